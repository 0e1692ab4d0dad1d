"""What unzipping, file managers and spreadsheets leave in an owner's tree changes nothing, or is reported."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path

import pytest
from owners.casme2 import Casme2Tree
from owners.every_database import CASES, Case
from owners.files import write_picture, write_table
from owners.samm import SammTree
from owners.smic import SmicTree

from hsta_hf.data.action_units import read_action_units
from hsta_hf.data.annotation_table import read_annotation
from hsta_hf.data.databases import LoadReport, get_database
from hsta_hf.data.databases.timing import frame_number
from hsta_hf.data.frame_folders import FRAME_SUFFIXES

EVERY = [pytest.param(case, id=str(case)) for case in CASES]
WITH_PICTURES = [pytest.param(case, id=str(case)) for case in CASES if not case.kind]
WITH_TABLE = [pytest.param(case, id=str(case)) for case in CASES if case.cells and case.database != "megc2019"]
HEADER = ("Subject", "Onset")


def load(name: str, root: Path) -> LoadReport:
    return get_database(name).load(root)


def files_of(report: LoadReport) -> dict[str, list[str]]:
    return {clip.clip_id: [path.name.casefold() for path in clip.frame_paths] for clip in report.clips}


@pytest.mark.parametrize("case", EVERY)
def test_what_file_managers_and_zips_leave_behind_changes_nothing(case: Case, tmp_path: Path):
    root = case.write(tmp_path / "db", {}).root
    before = load(case.database, root)
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        for file in [path for path in folder.iterdir() if path.is_file()]:
            (folder / f"._{file.name}").write_bytes(b"\0\5\26\7 resource fork")
        for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
            (folder / name).write_bytes(b"\0")
    for folder in [root, *(path for path in root.iterdir() if path.is_dir() and case.database == "megc2019")]:
        (folder / "~$own.xlsx").write_bytes(b"\0")
        shutil.copytree(root / next(path.name for path in root.iterdir() if path.is_dir()), folder / "__MACOSX" / "x")
    after = load(case.database, root)
    assert after.clips == before.clips and len(after.clips) >= 2
    assert after.problems == before.problems


@pytest.mark.parametrize("case", WITH_PICTURES)
def test_suffixes_in_capitals_are_pictures(case: Case, tmp_path: Path):
    root = case.write(tmp_path / "db", {}).root
    before = load(case.database, root)
    for path in [path for path in root.rglob("*") if path.suffix in FRAME_SUFFIXES]:
        path.rename(path.with_suffix(path.suffix.upper()))
    after = load(case.database, root)
    assert files_of(after) == files_of(before) and after.problems == before.problems
    assert all(path.suffix.isupper() for clip in after.clips for path in clip.frame_paths)


@pytest.mark.parametrize("case", WITH_PICTURES)
def test_two_files_of_one_frame_are_named(case: Case, tmp_path: Path):
    written = case.write(tmp_path / "db", {})
    before = load(case.database, written.root)
    twin = written.file.with_stem(re.sub(r"([0-9]+)$", r"00\1", written.file.stem))
    write_picture(twin, 4711)
    after = load(case.database, written.root)
    added = [problem for problem in after.problems if problem not in before.problems]
    assert len(added) == 1 and added[0].field == "frames" and added[0].source
    if case.database == "folder":
        assert added[0].severity == "error" and written.file.name in added[0].message
    else:
        assert added[0].severity == "warning"
        assert f"is {twin.name} and {written.file.name}: of files with one number" in added[0].message
    # The first by name is used, in no clip but its own.
    names = [path.name for clip in after.clips for path in clip.frame_paths]
    assert twin.name in names and len(names) == sum(clip.num_frames for clip in before.clips)
    assert load(case.database, written.root).problems == after.problems


def test_files_of_one_frame_outside_the_clip_are_no_concern_of_it(tmp_path: Path):
    tree = Casme2Tree(tmp_path)
    tree.recording(1, "EP02_01f", range(40, 60))
    tree.row(1, "EP02_01f", 42, 44, 46)
    tree.row(1, "EP02_01f", 50, 52, 56)
    for number in (51, 53, 54, 55, 59):
        write_picture(tree.frame(1, "EP02_01f", number).with_stem(f"img0{number}"), number)
    (problem,) = load("casme2", tree.save("own.csv")).problems
    assert problem.clip.endswith("/50/52/56")
    assert problem.message.startswith("frame 51 is img051.jpg and img51.jpg; frame 53 is ")
    assert "img054.jpg and img54.jpg and 1 more such frames: of files" in problem.message


@pytest.mark.parametrize("case", WITH_TABLE)
def test_a_table_saved_on_windows_reads_the_same(case: Case, tmp_path: Path):
    root = case.write(tmp_path / "db", {}).root
    before = load(case.database, root)
    assert before.annotation is not None
    lines = before.annotation.read_text(encoding="utf-8").splitlines()
    padded = "".join(",".join(f"{cell} " for cell in line.split(",")) + "\r\n" for line in lines)
    before.annotation.write_bytes(b"\xef\xbb\xbf" + padded.encode())
    after = load(case.database, root)
    assert after.clips == before.clips and len(after.clips) >= 2
    assert after.problems == before.problems and after.corrections == before.corrections


@pytest.mark.parametrize("name", ["casme2", "samm", "smic_hs"])
@pytest.mark.parametrize("depth", [0, 1])
def test_a_zip_unpacked_into_a_folder_of_its_own_name_is_found(name: str, depth: int, tmp_path: Path):
    root = tmp_path / "db"
    if name == "casme2":
        tree = Casme2Tree(root)
        tree.recording(1, "EP02_01f", range(40, 50))
        tree.row(1, "EP02_01f", 42, 44, 46)
        tree.save("own.csv")
        top = "CASME2_RAW_selected"
    elif name == "samm":
        samm = SammTree(root)
        samm.recording("006_1_2", range(40, 50))
        samm.row("006_1_2", 42, 44, 46)
        samm.save("own.csv")
        top = "SAMM"
    else:
        SmicTree(root).clip(1, "negative", 1)
        top = "SMIC_all_raw"
    if not (root / top).exists():  # subjects lie in ROOT
        (root / top).mkdir()
        for path in [path for path in root.iterdir() if path.is_dir() and path.name != top]:
            path.rename(root / top / path.name)
    unpacked = root / top
    for _ in range(depth):
        inner = unpacked.rename(root / "inner")
        unpacked.mkdir()
        inner.rename(unpacked / top)
    report = load(name, root)
    assert len(report.clips) == 1 and not report.errors
    assert report.clips[0].frame_paths[0].relative_to(root).parts[: depth + 1] == (top,) * (depth + 1)


@pytest.mark.parametrize(
    ("cell", "number"),
    [("46", 46), (" 46 ", 46), ("46.0", 46), ("0", 0), ("46.5", None), ("-1", None), ("/", None), ("", None)],
)
def test_frame_numbers_stored_as_text_are_numbers(cell: str, number: int | None):
    assert frame_number(cell) == number


def full_width(text: str) -> str:
    """The text as a Chinese keyboard writes it."""
    return "".join(
        "\u3000" if sign == " " else chr(ord(sign) + 0xFEE0) if "!" <= sign <= "~" else sign for sign in text
    )


@pytest.mark.parametrize("text", ["4+7", "L14, 4", "AU12B + 6", "R12 or R15", "15?", "1;2"])
def test_action_units_in_full_width_signs_are_the_same(text: str):
    assert full_width(text) != text and read_action_units(full_width(text)) == read_action_units(text)
    assert not read_action_units(text).unread


def test_an_enumeration_comma_stands_between_action_units():
    assert read_action_units("4\u30017") == read_action_units("4,7")


def test_a_sheet_that_says_it_is_smaller_than_it_is_is_read_whole(tmp_path: Path):
    sound = write_table(tmp_path / "sound.xlsx", [HEADER, ("a", 1), ("b", 2)])
    wrong = tmp_path / "wrong.xlsx"
    with zipfile.ZipFile(sound) as source, zipfile.ZipFile(wrong, "w") as target:
        for name in source.namelist():
            content, changed = re.subn(rb'<dimension ref="[A-Z0-9:]+"', b'<dimension ref="A1:B2"', source.read(name))
            assert bool(changed) == ("worksheets/" in name)
            target.writestr(name, content)
    columns: dict[str, tuple[str, ...]] = {name: () for name in HEADER}
    assert read_annotation(wrong, columns) == read_annotation(sound, columns)
    assert len(read_annotation(wrong, columns)) == 2
