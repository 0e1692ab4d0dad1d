"""`prepare` says which clips share footage, as `hsta check` does, whatever run decoded them."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from owners.files import write_picture

from hsta_hf.cli.main import main
from hsta_hf.data import prepare as prepare_module
from hsta_hf.data.check import check_database
from hsta_hf.data.prepare import PrepareOptions, PrepareReport, StrictError
from hsta_hf.data.prepare_parts import PartStore
from hsta_hf.data.prepared import MANIFEST

if TYPE_CHECKING:
    from conftest import Casme3Tree

OVERLAP = "shares 3 frames with spNO.1/a/3/7/12 (own.csv row 2): these rows overlap; both are kept, split by subjects"
TWICE = (
    "shows 10 frames of spNO.1/a/3/7/12 (own.csv row 2) and with 1 more clip under other names: the recording is "
    "there twice, as subjects spNO.1 and spNO.3; training and test would share it"
)


def prepare(root: Path, out: Path, size: int | None = None, **settings: Any) -> PrepareReport:
    options = PrepareOptions(faces="keep", size=size)
    return prepare_module.prepare("casme3", root, out, options, progress=False, workers=1, **settings)


def write_recording(tree: Casme3Tree, subject: str, letter: str) -> None:
    for number in range(1, 31):
        picture = tree.frame(subject, letter, number).with_suffix(".png")
        write_picture(picture, int(subject.rpartition(".")[2]), ord(letter), number)


@pytest.fixture
def clean(casme3_tree: Casme3Tree) -> Casme3Tree:
    """Two clips of two subjects, and in both the same black and yellow pictures; the table is not saved yet."""
    for subject, letter in (("spNO.1", "a"), ("spNO.2", "b")):
        write_recording(casme3_tree, subject, letter)
        for number, level in ((4, 0), (6, 255), (8, 77)):
            plain = np.full((8, 8, 3), (level, level, 0), np.uint8)
            assert cv2.imwrite(str(casme3_tree.frame(subject, letter, number).with_suffix(".png")), plain)
        casme3_tree.row(subject, letter, 3, 7, 12)
    return casme3_tree


def add_shared(clean: Casme3Tree, apex: int | None) -> Path:
    """The same, a row that overlaps the first, and the first once more under another subject."""
    for number, picture in ((4, 70), (6, 71), (8, 72)):  # nothing plain in the one that is there twice
        write_picture(clean.frame("spNO.1", "a", number).with_suffix(".png"), picture)
    clean.row("spNO.1", "a", 10, apex, 20)
    shutil.copytree(clean.frame("spNO.1", "a", 1).parent, clean.frame("spNO.3", "c", 1).parent)
    clean.row("spNO.3", "c", 3, 7, 12)
    return clean.save("own.csv")


@pytest.mark.parametrize("apex", [14, None])
def test_footage_that_clips_share_is_a_problem_like_all_others_and_the_same_as_of_check(
    clean: Casme3Tree, tmp_path: Path, apex: int | None
):
    shared = add_shared(clean, apex)
    report = prepare(shared, tmp_path / "out")
    footage = [problem for problem in report.problems if problem.field == "footage"]
    assert [(p.severity, p.source, p.message) for p in footage[:2]] == [
        ("warning", "own.csv row 4", OVERLAP),
        ("error", "own.csv row 5", TWICE),
    ]
    checked = check_database("casme3", shared, progress=None).problems
    assert footage == [problem for problem in checked if problem.field == "footage"]
    assert set(footage) & set(report.errors)

    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert OVERLAP in text and TWICE in text
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text(encoding="utf-8"))
    assert {TWICE, OVERLAP} <= {problem["message"] for problem in manifest["problems"]}
    with (tmp_path / "out" / "clips.csv").open(encoding="utf-8", newline="") as file:
        problems = {row["source"]: row["problems"] for row in csv.DictReader(file)}
    assert f"warning: footage: {OVERLAP}" in problems["own.csv row 4"]
    assert f"error: footage: {TWICE}" in problems["own.csv row 5"]
    assert "footage" not in problems["own.csv row 2"] + problems["own.csv row 3"]


def test_strict_refuses_shared_footage_and_writes_nothing(
    clean: Casme3Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    shared = add_shared(clean, 14)
    with pytest.raises(StrictError, match="the recording is there twice, as subjects"):
        prepare(shared, tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()
    command = ["prepare", "casme3", str(shared), str(tmp_path / "out"), "--faces", "keep", "--workers", "1"]
    assert main(command) == 0
    assert TWICE in capsys.readouterr().out


@pytest.mark.parametrize("size", [None, 5])
def test_pictures_of_one_colour_are_no_shared_footage_whatever_the_size(
    clean: Casme3Tree, tmp_path: Path, size: int | None
):
    root = clean.save("own.csv")
    assert prepare(root, tmp_path / "out", size).problems == ()
    # The same again with something in the pictures: what is compared are the owner's, not the prepared ones.
    for number in (4, 6):
        for subject, letter in (("spNO.1", "a"), ("spNO.2", "b")):
            write_picture(clean.frame(subject, letter, number).with_suffix(".png"), 99, number)
    (problem,) = prepare(root, tmp_path / "other", size).problems
    assert problem.message.startswith("shows 2 frames of spNO.1/a/3/7/12")


def test_a_run_that_was_killed_after_the_join_tells_the_same(
    clean: Casme3Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Then the plain pictures are looked at in the joined files, not in those of the clips."""
    clean.row("spNO.1", "a", 10, 12, 20)
    root = clean.save("own.csv")
    prepare(root, tmp_path / "whole")
    shutil.move(tmp_path / "whole", tmp_path / "reference")
    monkeypatch.setattr(prepare_module, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(root, tmp_path / "out")
    monkeypatch.undo()
    assert not list((tmp_path / "out.partial" / "clips").iterdir())
    report = prepare(root, tmp_path / "out")
    assert report.resumed == 3 and [problem.message for problem in report.problems] == [OVERLAP]
    digests = [
        {path.relative_to(folder): hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*.*")}
        for folder in (tmp_path / "out", tmp_path / "reference")
    ]
    assert digests[0] == digests[1] and len(digests[0]) > 5


def test_frames_are_looked_at_only_of_clips_that_share_a_picture(
    clean: Casme3Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    write_recording(clean, "spNO.4", "d")
    clean.row("spNO.4", "d", 3, 7, 12)
    looked_at = []
    colours = PartStore.middle_colours

    def count(store: PartStore, key: str) -> np.ndarray:
        found = colours(store, key)
        looked_at.append(found.tolist())
        return found

    monkeypatch.setattr(PartStore, "middle_colours", count)
    prepare(clean.save("own.csv"), tmp_path / "out")
    assert len(looked_at) == 2
    for found in looked_at:  # RGB, of frames 3 to 12
        assert [found[place] for place in (1, 3, 5)] == [[0, 0, 0], [0, 255, 255], [0, 77, 77]]
