"""Writes CASME II in its owner's layout, quirks included: see `write_published`, and `Casme2Tree` for single clips."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from owners.files import spread, write_picture, write_table

OWNERS_NAME = "CASME2-coding-20140508.xlsx"
OBJECTIVE_NAME = "CASME2-ObjectiveClasses.xlsx"
# Two columns of the owner's table have no name and no values.
HEADER = (
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
)
FOLDERS = {"raw": "CASME2_RAW_selected", "cropped": "Cropped"}
PREFIXES = {"raw": "img", "cropped": "reg_img"}

EMOTIONS = {
    "disgust": 64,
    "fear": 2,
    "happiness": 32,
    "others": 99,
    "repression": 27,
    "sadness": 7,
    "surprise": 25,
}
# Rows per subject 1 to 26 of the version with 256 rows.
_ROWS = (9, 13, 7, 5, 19, 5, 9, 3, 14, 14, 10, 12, 8, 4, 3, 4, 36, 3, 16, 11, 2, 2, 12, 11, 7, 17)
# (subject, place among the subject's rows): name and emotion of clips that are special somewhere.
SPECIAL = {
    (4, 0): ("EP12_01f", "disgust"),  # not in MEGC 2019
    (5, 12): ("EP12_03f", "repression"),  # not in MEGC 2019
    (7, 2): ("EP06_01", "others"),  # data row 60: the wrong offset
    (16, 1): ("EP01_08", "repression"),  # cropped frames end before the offset
    (24, 2): ("EP02_07", "disgust"),  # not in MEGC 2019, not in the version with 255 rows
}
_WITHOUT_THREE_CLASSES = (10, 18)
_UNITS = ("4+7", "12", "L4", 4, "R14", "1+2", "4+7+9", "15?", "5", "6+12", "14+17", "L12+R12")


class Casme2Tree:
    """A CASME II folder: add recordings and rows, then `save`.

    Args:
        root: The folder; made if it is not there.
        folders: Folder of each variant below the root ("raw", "cropped"); "" is the root itself.
    """

    def __init__(self, root: Path, folders: dict[str, str] | None = None) -> None:
        self.root = root
        self.folders = dict(FOLDERS if folders is None else folders)
        self.rows: list[tuple[Any, ...]] = []
        root.mkdir(parents=True, exist_ok=True)

    def folder(self, subject: int, filename: str, variant: str = "raw") -> Path:
        return self.root / self.folders[variant] / f"sub{subject:02d}" / filename

    def frame(self, subject: int, filename: str, number: int, variant: str = "raw") -> Path:
        return self.folder(subject, filename, variant) / f"{PREFIXES[variant]}{number}.jpg"

    def recording(
        self, subject: int, filename: str, numbers: Iterable[int], variants: Collection[str] = ("raw",)
    ) -> None:
        """Write frames of each variant."""
        # Any two clips differ, whatever their order of writing.
        clip = sum(ord(letter) * 257**place for place, letter in enumerate(filename)) % 2**31
        for number in numbers:
            for which in variants:
                path = self.frame(subject, filename, number, which)
                write_picture(path, subject, clip, number, list(PREFIXES).index(which))

    def row(
        self,
        subject: Any,
        filename: Any,
        onset: Any,
        apex: Any,
        offset: Any,
        au: Any = "4+7",
        emotion: Any = "disgust",
    ) -> None:
        """Add an annotation row, whether or not it has frames."""
        self.rows.append((subject, filename, None, onset, apex, offset, None, au, emotion))

    def save(self, name: str = OWNERS_NAME, header: tuple[Any, ...] = HEADER) -> Path:
        """Write the coding table, as .xlsx or .csv by the name's ending (`../` puts it above the root)."""
        write_table(self.root / name, [header, *self.rows])
        return self.root

    def save_objective_classes(self, classes: Iterable[tuple[int, str, int]]) -> None:
        """Write the owner's second table: subject, filename, class 1 to 7."""
        write_table(self.root / OBJECTIVE_NAME, [("Subject", "Filename", "Objective Class"), *classes])


def published_clips(version: int = 256) -> list[tuple[int, str, str]]:
    """(subject, filename, emotion) of all rows, with the published count of each emotion.

    24 of the 26 subjects show one of the three MEGC classes, as in the owner's table. Which clip has which emotion is
    made up, but for those in `SPECIAL`.
    """
    assert version in (255, 256)
    left = dict(EMOTIONS)
    for _, emotion in SPECIAL.values():
        left[emotion] -= 1
    left["others"] -= sum(_ROWS[subject - 1] for subject in _WITHOUT_THREE_CLASSES)
    first = ["happiness", "disgust", "surprise", "repression"] * 6  # of each of the 24 subjects
    for emotion in first:
        left[emotion] -= 1
    pool, firsts = iter(spread(left)), iter(first)
    clips = []
    for subject, rows in enumerate(_ROWS, start=1):
        place_of_first = 1 if (subject, 0) in SPECIAL else 0
        for place in range(rows):
            if (subject, place) in SPECIAL:
                clips.append((subject, *SPECIAL[subject, place]))
                continue
            if subject in _WITHOUT_THREE_CLASSES:
                emotion = "others"
            else:
                emotion = next(firsts if place == place_of_first else pool)
            suffix = "f" if place % 3 == 0 else ""
            clips.append((subject, f"EP{1 + place // 9:02d}_{1 + place % 9:02d}{suffix}", emotion))
    if version == 255:
        clips = [clip for clip in clips if clip[:2] != (24, "EP02_07")]
    return clips


def write_published(
    root: Path, version: int = 256, variants: Collection[str] = ("raw",), annotation: str = OWNERS_NAME
) -> Path:
    """Write the whole database: 256 or 255 rows, 26 subjects, the published count of each emotion, all quirks.

    The version with 256 rows has 21 rows without an apex (`/`) and the wrong offset in data row 60
    (sub07/EP06_01); that with 255 has one without an apex (sub04/EP12_01f). Cropped frames of sub16/EP01_08
    end at 96, before its offset of 110.

    Args:
        root: The folder to write.
        version: 256 or 255.
        variants: Which frames to write: "raw", "cropped" or both.
        annotation: Name of the coding table.

    Returns:
        `root`.
    """
    tree = Casme2Tree(root)
    clips = published_clips(version)
    assert version != 256 or clips[60][:2] == (7, "EP06_01")
    without_apex = {29, 60, *range(121, 197, 4)} if version == 256 else {29}
    for index, (subject, filename, emotion) in enumerate(clips):
        onset = 40 + index % 30
        apex: Any = onset + 2
        offset = onset + 4
        if (subject, filename) == (7, "EP06_01"):
            onset, apex, offset = 86, 88, 91
        elif (subject, filename) == (16, "EP01_08"):
            onset, apex, offset = 73, 94, 110
        for which in variants:
            last = 96 if which == "cropped" and (subject, filename) == (16, "EP01_08") else offset
            tree.recording(subject, filename, range(onset, last + 1), (which,))
        if index in without_apex:
            apex = "/"
        if version == 256 and index == 60:
            offset = 9
        tree.row(subject, filename, onset, apex, offset, _UNITS[index % len(_UNITS)], emotion)
    return tree.save(annotation)
