"""What all writers share: tiny pictures that differ, and annotation tables as .xlsx or .csv."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import openpyxl

_Key = TypeVar("_Key", str, int)


def write_picture(path: Path, *identity: int, grey: bool = False) -> Path:
    """Write a picture of 8x8 pixels whose four coloured tiles depend on `identity` (clip, frame) only.

    Pictures of different identities differ, so that clips are not taken for copies of each other.
    """
    tiles = np.random.default_rng(identity).integers(0, 256, (2, 2, 1 if grey else 3), np.uint8)
    picture = tiles.repeat(4, axis=0).repeat(4, axis=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(path.suffix, picture)
    assert done
    path.write_bytes(encoded.tobytes())
    return path


def write_table(path: Path, rows: Iterable[Sequence[Any]]) -> Path:
    """Write rows (the header among them) as .xlsx or .csv, by the name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)
        return path
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row in rows:
        sheet.append(list(row))
    book.save(path)
    return path


def spread(counts: dict[_Key, int]) -> list[_Key]:
    """Each key as often as it counts, mixed evenly: any few neighbours hold about the same mixture."""
    places = [((i + 0.5) / count, name) for name, count in counts.items() for i in range(count)]
    return [name for _, name in sorted(places)]
