"""No annotation and no link leads out of a database's folder, whatever the database.

For every registered database a sound tree is written, and a readable copy of a clip's frames beside it. Then one thing
is changed: a cell of the annotation names the copy, or a folder or frame becomes a link to it. The row must be refused
by name, the clip left out, the other clips kept, and nothing of the copy opened. A database without a case fails.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from owners.every_database import CASES, Case
from owners.files import write_picture

from hsta_hf.data.check import CheckReport, check_database
from hsta_hf.data.databases import DATABASES
from hsta_hf.data.decode import frame_hash, read_frame

EVERY = [pytest.param(case, id=str(case)) for case in CASES]
EVERY_CELL = [pytest.param(case, cell, id=f"{case}-{cell}") for case in CASES for cell in case.cells]
EVERY_LINK = [pytest.param(case, at, id=f"{case}-{at}") for case in CASES for at in range(case.links)]

_watched: list[tuple[str, list[str]]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _watched and isinstance(arguments[0], (str, bytes, os.PathLike)):
        folder, opened = _watched[-1]
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if path.startswith(folder + os.sep):
            opened.append(path)


sys.addaudithook(_hook)  # stays, and does nothing while nothing is watched


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """Notes every file below `folder` that Python opens, whatever path led to it."""
    opened: list[str] = []
    _watched.append((os.path.realpath(folder), opened))
    try:
        yield opened
    finally:
        _watched.pop()


def check(name: str, root: Path) -> CheckReport:
    return check_database(name, root, workers=1)


def pictures_of(report: CheckReport) -> set[int]:
    """Hashes of all picture files of the report's clips."""
    return {frame_hash(read_frame(path)) for clip in report.clips for path in clip.frame_paths}


def copy_out(what: Path, outside: Path) -> Path:
    """A readable copy of a folder or file outside the root; its pictures differ from those inside."""
    copy = outside / what.name
    if what.is_dir():
        shutil.copytree(what, copy)
    else:
        outside.mkdir(parents=True, exist_ok=True)
        shutil.copy(what, copy)
    return copy


def assert_refused(report: CheckReport, sound: CheckReport, said: str) -> None:
    (lost,) = {clip.clip_id for clip in sound.clips} - {clip.clip_id for clip in report.clips}
    assert len(report.clips) == len(sound.clips) - 1 >= 1
    refusals = [problem for problem in report.errors if "refused" in problem.message]
    assert len(refusals) == 1, [str(problem) for problem in report.problems]
    assert said in refusals[0].message, refusals[0].message
    assert refusals[0].source and refusals[0].clip, "the row or clip is named"
    assert report.summary["paths_outside_the_root"] == 1 and report.unsound()
    assert lost not in {clip.clip_id for clip in report.clips}


def linked(link: Path, target: Path) -> None:
    try:
        link.symlink_to(target, target_is_directory=target.is_dir())
    except OSError:
        pytest.skip("this system does not let ordinary users make symbolic links")


def test_every_database_has_a_case():
    assert {case.database for case in CASES} == set(DATABASES), "add its tree to owners/every_database.py"


@pytest.mark.parametrize("case", EVERY)
def test_the_tree_is_sound_as_it_is_and_the_case_tells_the_truth(case: Case, tmp_path: Path):
    written = case.write(tmp_path / "db", {})
    report = check(case.database, written.root)
    assert not report.errors and len(report.clips) >= 2
    assert (len(written.links), tuple(written.cells)) == (case.links, case.cells)
    assert bool(case.cells) == (report.load.annotation is not None or case.database == "megc2019")


@pytest.mark.parametrize(("case", "cell"), EVERY_CELL)
@pytest.mark.parametrize("style", ["relative", "absolute", "windows", "drive"])
def test_a_path_in_the_annotation_that_leads_outside_is_refused(case: Case, cell: str, style: str, tmp_path: Path):
    root, outside = tmp_path / "db", tmp_path / "outside"
    named = case.write(root, {}).cells[cell]
    sound = check(case.database, root)
    copy = copy_out(named, outside)
    text = {
        # Joined to the folder in which the cell's name is looked up, these lead to the copy.
        "relative": Path(os.path.relpath(copy, named.parent)).as_posix(),
        "absolute": str(copy),
        # On Windows these lead out as well; elsewhere they are names of folders, which are put there.
        "windows": f"..\\..\\{outside.name}\\{copy.name}",
        "drive": f"C:\\{outside.name}\\{copy.name}",
    }[style]
    shutil.rmtree(root)
    case.write(root, {cell: text})
    if style in ("relative", "absolute"):
        assert (named.parent / text).exists(), "a naive loader would find it"
    elif os.name != "nt":
        copy_out(named, outside / "again").rename(named.parent / text)
    with watched(outside) as opened:
        report = check(case.database, root)
    assert opened == []
    assert_refused(report, sound, repr(text))


@pytest.mark.parametrize(("case", "at"), EVERY_LINK)
def test_a_link_that_leads_outside_is_refused(case: Case, at: int, tmp_path: Path):
    written = case.write(tmp_path / "db", {})
    sound = check(case.database, written.root)
    link, outside = written.links[at], tmp_path / "outside"
    copy = copy_out(link, outside)
    inside_copy = copy / written.file.relative_to(link) if copy.is_dir() else copy
    if inside_copy.suffix != ".mp4":  # a readable picture that is nowhere else
        write_picture(inside_copy, 12345)
        assert frame_hash(read_frame(inside_copy)) not in pictures_of(sound)
    if link.is_dir():
        shutil.rmtree(link)
    else:
        link.unlink()
    linked(link, copy)
    assert written.file.exists(), "a naive loader would read it"
    with watched(outside) as opened:
        report = check(case.database, written.root)
    assert opened == []
    assert_refused(report, sound, "is a link out of")
    assert str(tmp_path / "db") in next(p.message for p in report.errors if "refused" in p.message)


@pytest.mark.parametrize("case", EVERY)
def test_a_link_that_stays_inside_is_followed(case: Case, tmp_path: Path):
    written = case.write(tmp_path / "db", {})
    sound = check(case.database, written.root)
    elsewhere = written.file.with_name(f"moved_{written.file.name}x")
    written.file.rename(elsewhere)
    linked(written.file, elsewhere)
    report = check(case.database, written.root)
    assert [clip.clip_id for clip in report.clips] == [clip.clip_id for clip in sound.clips]
    assert not report.errors


def test_the_watch_sees_what_is_opened_through_a_link(tmp_path: Path):
    picture = write_picture(tmp_path / "outside" / "1.png", 1)
    linked(tmp_path / "link", tmp_path / "outside")
    with watched(tmp_path / "outside") as opened:
        read_frame(tmp_path / "link" / "1.png")
    assert opened == [str(picture.resolve())]
