"""`hsta check` on trees in every owner's layout, quirks included, that hold the published counts."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from owners import casme2, casme3, casme3_macro, folder, megc2019, samm, smic

from hsta_hf.cli import check as command

# Database, its writer, lines of the summary, lines of the table of classes.
CASES: dict[str, tuple[str, Callable[[Path], Any], dict[str, str], dict[str, str]]] = {
    "casme3": (
        "casme3",
        lambda root: casme3.write_published(root, long_rows=5),  # 5,000 pictures less
        {
            "rows": "860",
            "usable clips": "860",
            "subjects": "94",
            "bad orders of onset, apex, offset": "55 (apex 55)",
            "apex unknown, to be spotted": "55",
            "corrections applied": "8",
            "rows left out on purpose": "0",
        },
        {
            "Emotion disgust": "250",
            "Emotion surprise": "187",
            "Emotion others": "161",
            "Emotion fear": "86",
            "Emotion anger": "64",
            "Emotion sad": "57",
            "Emotion happy": "55",
            "Objective class I": "15",
            "Objective class II": "151",
            "Objective class III": "234",
            "Objective class IV": "37",
            "Objective class V": "47",
            "Objective class VI": "3",
            "Objective class VII": "373",
        },
    ),
    "casme3_macro": (
        "casme3_macro",
        casme3_macro.write_published,
        {"rows": "3,346", "usable clips": "3,346", "subjects": "98"},
        {"**all**": "3346", "**subjects**": "98"},
    ),
    "casme2": (
        "casme2",
        casme2.write_published,
        {
            "rows": "256",
            "usable clips": "256",
            "subjects": "26",
            "apex unknown, to be spotted": "21",
            "corrections applied": "1",
        },
        {
            "Emotion disgust": "64",
            "Emotion fear": "2",
            "Emotion happiness": "32",
            "Emotion others": "99",
            "Emotion repression": "27",
            "Emotion sadness": "7",
            "Emotion surprise": "25",
        },
    ),
    "casme2-255": (
        "casme2",
        lambda root: casme2.write_published(root, 255),
        {"rows": "255", "usable clips": "255", "subjects": "26", "apex unknown, to be spotted": "1"},
        {"Emotion disgust": "63", "Emotion others": "99"},
    ),
    "samm": (
        "samm",
        samm.write_published,
        {
            "rows": "159",
            "usable clips": "159",
            "subjects": "29",
            "apex unknown, to be spotted": "3",
            "corrections applied": "1",
        },
        {
            "Emotion anger": "57",
            "Emotion contempt": "12",
            "Emotion disgust": "9",
            "Emotion fear": "8",
            "Emotion happiness": "26",
            "Emotion other": "26",
            "Emotion sadness": "6",
            "Emotion surprise": "15",
        },
    ),
    "smic_hs": (
        "smic_hs",
        smic.write_published,
        {
            "rows": "164",
            "usable clips": "164",
            "subjects": "16",
            "apex unknown, to be spotted": "164",
            "rows left out on purpose": "0",
        },
        {"Emotion negative": "70", "Emotion positive": "51", "Emotion surprise": "43"},
    ),
    "megc2019": (
        "megc2019",
        megc2019.write_published,
        {"usable clips": "442", "subjects": "68"},
        {
            "**all**": "442",
            "**subjects**": "68",
            "Database smic_hs": "164",
            "Database casme2": "145",
            "Database samm": "133",
            "casme2 negative": "88",
            "casme2 positive": "32",
            "casme2 surprise": "25",
            "samm negative": "92",
            "samm positive": "26",
            "samm surprise": "15",
            "smic_hs negative": "70",
            "smic_hs positive": "51",
            "smic_hs surprise": "43",
        },
    ),
}

SLOW = ("casme3_macro",)


def check(database: str, root: Path, *options: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return command.run(parser.parse_args(["check", database, str(root), *options]))


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case in SLOW else ()) for case in CASES]
)
def test_the_published_counts_are_met_and_said_to_be(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    database, write, summary, classes = CASES[case]
    write(tmp_path / "db")
    code = check(database, tmp_path / "db")
    text = capsys.readouterr().out
    tables = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    cells = {row[0]: row[1:] for row in reversed(tables)}  # the summary's "rows" and "subjects" come first
    assert {name: cells[name][0] for name in summary} == summary
    # rows, published, usable clips
    assert {name: cells[name] for name in classes} == {name: [count] * 3 for name, count in classes.items()}
    nothing = ("clips with missing frames", "unreadable frames", "duplicate rows", "paths that lead outside the root")
    assert {name: cells[name] for name in nothing} == {name: ["0"] for name in nothing}
    if case != "casme3_macro":  # whose rows in this tree all overlap
        assert cells["clips that share frames"] == ["0"]
    assert "All counts are the published ones." in text and "(differs)" not in text
    assert code == 0


def test_one_class_too_few_is_said_and_not_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tree = smic.write_published(tmp_path / "db")
    smic.lose(tree, tree.subject(1) / "micro" / "surprise" / "s1_sur_01")
    assert check("smic_hs", tmp_path / "db") == 1
    text = capsys.readouterr().out
    assert "43 (differs)" in text and "emotion surprise: 42 in the folders, 43 published" in text
    assert "Not sound: 2 counts not as published. 163 usable clips" in text


def test_a_folder_of_ones_own_has_no_published_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder.write_example(tmp_path / "db")
    assert check("folder", tmp_path / "db") == 0
    text = capsys.readouterr().out
    assert "published |" not in text and "There are no published counts of a folder of one's own." in text
    assert "# folder: 5 clips of 3 subjects" in text


def test_rows_without_any_frame_say_what_was_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tree = folder.FolderTree(tmp_path / "db")
    tree.row("videos/anna.mp4", "anna")
    tree.row("videos/ben.mp4", "ben")
    tree.save()
    assert check("folder", tmp_path / "db") == 1
    text = capsys.readouterr().out
    assert "No frames for any of 2 rows. Expected ROOT/clips.csv with the columns path and subject" in text
    assert f"ROOT ({tmp_path / 'db'}) holds: clips.csv." in text
    tree.video("videos/ben.mp4")  # one of two is no sign of a wrong layout
    assert check("folder", tmp_path / "db") == 1
    assert "No frames for" not in capsys.readouterr().out
