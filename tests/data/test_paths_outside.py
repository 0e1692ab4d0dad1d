"""No annotation and no link leads out of a database's folder, whatever the database.

For every registered database a sound tree is written, and a readable copy of a clip's frames beside it. Then one thing
is changed: a cell of the annotation names the copy, or a folder or frame becomes a link to it. The row must be refused
by name, the clip left out, the other clips kept, and nothing of the copy opened. A database without a case fails.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from owners.casme2 import Casme2Tree
from owners.casme3_macro import MacroTree
from owners.files import write_picture, write_table
from owners.folder import FolderTree
from owners.samm import SammTree
from owners.smic import SmicTree

from hsta_hf.data.check import CheckReport, check_database
from hsta_hf.data.databases import DATABASES
from hsta_hf.data.decode import frame_hash, read_frame

Cells = Mapping[str, str]


@dataclass(frozen=True)
class Written:
    """A tree on disk with one clip that will be led astray, and at least one other.

    Attributes:
        root: The database's folder.
        file: A frame of the one clip, or its video.
        links: Folders and files of that clip alone, which a test may replace by links.
        cells: Cells of the annotation that lead to its frames: what each names, a folder or a file.
    """

    root: Path
    file: Path
    links: tuple[Path, ...]
    cells: Mapping[str, Path] = field(default_factory=dict)


# Writes a tree below a folder; the mapping replaces cells of the row of the clip that will be led astray.
Writer = Callable[[Path, Cells], Written]


def casme3(root: Path, cells: Cells) -> Written:
    for subject, letter in ((1, "a"), (2, "b")):
        for number in range(1, 9):
            write_picture(root / f"spNO.{subject}" / letter / "color" / f"{number}.jpg", subject, number)
    header = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")
    rows = [
        (cells.get("Subject", "spNO.1"), cells.get("Filename", "a"), 2, 4, 6, "4", "III", "anger"),
        ("spNO.2", "b", 2, 4, 6, "4", "III", "anger"),
    ]
    write_table(root / "own.csv", [header, *rows])
    letter = root / "spNO.1" / "a"
    file = letter / "color" / "4.jpg"
    return Written(
        root, file, (file, letter / "color", letter, letter.parent), {"Subject": letter.parent, "Filename": letter}
    )


def casme3_macro(root: Path, cells: Cells) -> Written:
    tree = MacroTree(root)
    tree.recording("spNO.1", "a", range(1, 9))
    tree.recording("spNO.2", "b", range(1, 9))
    tree.row(cells.get("Subject", "spNO.1"), cells.get("Filename", "a"), 2, 4, 6)
    tree.row("spNO.2", "b", 2, 4, 6)
    tree.save("own.csv")
    file = tree.frame("spNO.1", "a", 4)
    letter = file.parent.parent
    return Written(
        root, file, (file, letter / "color", letter, letter.parent), {"Subject": letter.parent, "Filename": letter}
    )


def casme2(root: Path, cells: Cells) -> Written:
    tree = Casme2Tree(root)
    tree.recording(1, "EP02_01f", range(40, 50))
    tree.recording(2, "EP03_02", range(40, 50))
    tree.row(cells.get("Subject", 1), cells.get("Filename", "EP02_01f"), 42, 44, 46)
    tree.row(2, "EP03_02", 42, 44, 46)
    tree.save("own.csv")
    file = tree.frame(1, "EP02_01f", 44)
    clip = file.parent
    return Written(root, file, (file, clip, clip.parent), {"Subject": clip.parent, "Filename": clip})


def samm(root: Path, cells: Cells) -> Written:
    tree = SammTree(root)
    tree.recording("006_1_2", range(40, 50))
    tree.recording("007_3_1", range(40, 50))
    tree.row(cells.get("Filename", "006_1_2"), 42, 44, 46, subject=cells.get("Subject", "006"))
    tree.row("007_3_1", 42, 44, 46)
    tree.save("own.csv")
    file = tree.frame("006_1_2", 44)
    clip = file.parent
    return Written(root, file, (file, clip, clip.parent), {"Subject": clip.parent, "Filename": clip})


def smic(camera: str) -> Writer:
    def write(root: Path, cells: Cells) -> Written:
        tree = SmicTree(root, camera=camera)
        clip = tree.clip(1, "negative", 1)
        tree.clip(2, "positive", 1)
        file = tree.frame(clip, 124)
        return Written(root, file, (file, clip, clip.parent, clip.parent.parent, tree.subject(1)))

    return write


def folder(root: Path, cells: Cells) -> Written:
    tree = FolderTree(root)
    tree.pictures("ben/smile", [f"{number}.png" for number in range(1, 9)])
    tree.pictures("carla/1", [f"{number}.png" for number in range(1, 9)])
    tree.row(cells.get("path", "ben/smile"), "ben", onset=2, apex=4, offset=6, fps=30)
    tree.row("carla/1", "carla", onset=2, apex=4, offset=6, fps=30)
    tree.save()
    file = root / "ben" / "smile" / "4.png"
    return Written(root, file, (file, file.parent, file.parent.parent), {"path": file.parent})


def folder_with_video(root: Path, cells: Cells) -> Written:
    tree = FolderTree(root)
    file = tree.video("ben/smile.mp4")
    tree.video("carla.mp4")
    tree.row(cells.get("path", "ben/smile.mp4"), "ben", onset=2, apex=4, offset=6)
    tree.row("carla.mp4", "carla", onset=2, apex=4, offset=6)
    tree.save()
    return Written(root, file, (file, file.parent), {"path": file})


def megc2019(root: Path, cells: Cells) -> Written:
    """The clip that is led astray is SAMM's; the others are those of its members' trees."""
    smic("HS")(root / "SMIC", {})
    casme2(root / "CASME2", {})
    member = samm(root / "SAMM", cells)
    return Written(root, member.file, member.links, member.cells)


@dataclass(frozen=True)
class Case:
    """A tree of one database.

    Attributes:
        database: The database's name.
        write: Writes the tree.
        links: How many folders and files of one clip may be links.
        cells: Cells of the annotation that lead to frames.
        kind: What is special about the tree.
    """

    database: str
    write: Writer
    links: int
    cells: tuple[str, ...] = ()
    kind: str = ""

    def __str__(self) -> str:
        return f"{self.database}-{self.kind}" if self.kind else self.database


CASES: tuple[Case, ...] = (
    Case("casme3", casme3, 4, ("Subject", "Filename")),
    Case("casme3_macro", casme3_macro, 4, ("Subject", "Filename")),
    Case("casme2", casme2, 3, ("Subject", "Filename")),
    Case("samm", samm, 3, ("Subject", "Filename")),
    Case("smic_hs", smic("HS"), 5),
    Case("smic_vis", smic("VIS"), 5),
    Case("smic_nir", smic("NIR"), 5),
    Case("megc2019", megc2019, 3, ("Subject", "Filename")),
    Case("folder", folder, 3, ("path",)),
    Case("folder", folder_with_video, 2, ("path",), "video"),
)
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
    assert {case.database for case in CASES} == set(DATABASES), "add a tree of the new database to CASES"


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
