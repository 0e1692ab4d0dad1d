"""A small sound tree of every database, and what of it leads to one clip's frames: for tests about all databases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from owners.casme2 import Casme2Tree
from owners.casme3_macro import MacroTree
from owners.files import write_picture, write_table
from owners.folder import FolderTree
from owners.samm import SammTree
from owners.smic import SmicTree

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
