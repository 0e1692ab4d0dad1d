"""Writes small databases in the owners' layouts, quirks included. Frames are flat colours: nobody's face."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from owners.files import write_table

HEADER = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")
OWNERS_NAME = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"


def frame_colour(number: int) -> tuple[int, int, int]:
    """The RGB colour of frame `number`: red tells the number (mod 200), so that tests can find it again."""
    return (20 + number % 200, 90, 40)


class Casme3Tree:
    """A CAS(ME)^3 part A folder: add recordings and rows, then `save`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[tuple[Any, ...]] = []
        root.mkdir(parents=True, exist_ok=True)

    def frame(self, subject: str, letter: str, number: int) -> Path:
        return self.root / subject / letter / "color" / f"{number}.jpg"

    def recording(self, subject: str, letter: str, numbers: Iterable[int], size: tuple[int, int] = (40, 32)) -> None:
        """Write frames; `size` is (width, height)."""
        for number in numbers:
            path = self.frame(subject, letter, number)
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = np.empty((size[1], size[0], 3), np.uint8)
            picture[:] = frame_colour(number)[::-1]
            assert cv2.imwrite(str(path), picture)

    def row(
        self,
        subject: Any,
        letter: Any,
        onset: Any,
        apex: Any,
        offset: Any,
        au: Any = "4+7",
        objective: Any = "III",
        emotion: Any = "anger",
    ) -> None:
        """Add an annotation row, whether or not it has frames."""
        self.rows.append((subject, letter, onset, apex, offset, au, objective, emotion))

    def save(self, name: str = OWNERS_NAME, header: tuple[str, ...] = HEADER) -> Path:
        """Write the annotation, as .xlsx or .csv by the name's ending."""
        write_table(self.root / name, [header, *self.rows])
        return self.root


@pytest.fixture
def casme3_tree(tmp_path: Path) -> Casme3Tree:
    """An empty CAS(ME)^3 tree to fill."""
    return Casme3Tree(tmp_path / "casme3")


@pytest.fixture
def sound_root(casme3_tree: Casme3Tree) -> Path:
    """Three subjects, four clips, nothing wrong; one recording holds two of the clips."""
    tree = casme3_tree
    tree.recording("spNO.1", "a", range(1, 40))
    tree.recording("spNO.2", "b", range(100, 112))
    tree.recording("spNO.10", "c", range(7, 20))
    tree.row("spNO.1", "a", 3, 7, 12, "L14", "VII", "others")
    tree.row("spNO.1", "a", 20, 25, 31, "R1+R2", "II", "surprise")
    tree.row("spNO.2", "b", 101, 104, 110, 4, "III", "anger")
    tree.row("spNO.10", "c", 8, 12, 18, "T28+14", "VII", "disgust")
    return tree.save()


@pytest.fixture
def colour_of() -> Callable[[int], tuple[int, int, int]]:
    """The colour that the writer gave a frame number."""
    return frame_colour
