"""Writes the macro-expressions of CAS(ME)^3 part A in their owner's layout: see `write_published`, `MacroTree`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from owners.files import write_picture, write_table

OWNERS_NAME = "cas(me)3_part_A_MaE_label_JpgIndex_v2_emotion.xlsx"
HEADER = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Expression type", "Objective class", "emotion")
NUM_ROWS = 3346
NUM_SUBJECTS = 98
_EMOTIONS = ("disgust", "surprise", "fear", "anger", "sad", "happy", "others")
_UNITS = ("4+7", "1+2", "L14", 12, "R1+R2", "T28+14")


class MacroTree:
    """A CAS(ME)^3 folder with a table of macro-expressions: add recordings and rows, then `save`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[tuple[Any, ...]] = []
        root.mkdir(parents=True, exist_ok=True)

    def frame(self, subject: str, letter: str, number: int) -> Path:
        return self.root / subject / letter / "color" / f"{number}.jpg"

    def recording(self, subject: str, letter: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            path = self.frame(subject, letter, number)
            write_picture(path, int(subject.rpartition(".")[2]), ord(letter), number)

    def row(
        self,
        subject: Any,
        letter: Any,
        onset: Any,
        apex: Any,
        offset: Any,
        au: Any = "4+7",
        kind: Any = "Macro-expression",
        objective: Any = "III",
        emotion: Any = "anger",
    ) -> None:
        """Add an annotation row, whether or not it has frames."""
        self.rows.append((subject, letter, onset, apex, offset, au, kind, objective, emotion))

    def save(self, name: str = OWNERS_NAME, header: tuple[Any, ...] = HEADER) -> Path:
        """Write the table, as .xlsx or .csv by the name's ending."""
        write_table(self.root / name, [header, *self.rows])
        return self.root


def write_published(root: Path, annotation: str = OWNERS_NAME) -> Path:
    """Write as many rows (3,346) and subjects (98) as the owner's table has; rows are parts of one recording each.

    Args:
        root: The folder to write.
        annotation: Name of the table.

    Returns:
        `root`.
    """
    tree = MacroTree(root)
    for number in range(NUM_SUBJECTS):
        subject = f"spNO.{number + 1}"
        rows = NUM_ROWS // NUM_SUBJECTS + (number < NUM_ROWS % NUM_SUBJECTS)
        tree.recording(subject, "a", range(1, rows + 6))
        for place in range(rows):
            index = len(tree.rows)
            units, emotion = _UNITS[index % len(_UNITS)], "Others" if index < 3 else _EMOTIONS[index % len(_EMOTIONS)]
            tree.row(subject, "a", 1 + place, 3 + place, 6 + place, units, emotion=emotion)
    return tree.save(annotation)
