"""Where on the small aligned face which action units show, in the cells of a 12 x 12 grid.

Eyes are at 0.37 of the picture's height, the corners of the mouth at 0.74 (`data/face_geometry.py`).
"""

from __future__ import annotations

import numpy as np

from hsta_hf.data.face_geometry import TEMPLATE
from hsta_hf.spotting.tracking import CROP

GRID = 12

# Name, what it shows, and its cells: (first row, last row, first column, last column), both ends included. Pixels that
# lids move over count for the eyelids only, in whatever cell they lie.
_REGIONS = (
    ("brows", "AU 1, 2, 4", ((1, 3, 2, 9),)),
    ("eyelids", "AU 5, 7, 43, 45", ()),
    ("nose", "AU 9, 10", ((4, 6, 5, 6), (6, 6, 4, 7))),
    ("cheeks", "AU 6, 12", ((5, 7, 2, 3), (5, 7, 8, 9), (5, 5, 4, 4), (5, 5, 7, 7))),
    ("mouth", "AU 10, 12 to 16, 18, 20, 22 to 28", ((7, 8, 4, 7), (8, 8, 3, 8))),
    ("chin", "AU 17, 26", ((9, 10, 4, 7),)),
)

REGION_NAMES: tuple[str, ...] = tuple(name for name, _, _ in _REGIONS)
ACTION_UNITS: dict[str, str] = {name: units for name, units, _ in _REGIONS}
EYELIDS = REGION_NAMES.index("eyelids")

_EYE_ROW, _EYE_COLUMN = TEMPLATE[1, 1] * GRID, (TEMPLATE[1, 0] - 0.5) * GRID  # the latter from the middle


def region_cells() -> np.ndarray:
    """(GRID, GRID) the region of each cell, -1 where it belongs to none: background, hair, neck."""
    cells = np.full((GRID, GRID), -1)
    for number, (_, _, boxes) in enumerate(_REGIONS):
        for top, bottom, left, right in boxes:
            part = cells[top : bottom + 1, left : right + 1]
            part[part == -1] = number
    return cells


def lid_pixels() -> np.ndarray:
    """(CROP, CROP) bool: where lids move, from the fold above the eye to the bag below it."""
    rows, columns = _places()
    return (rows > _EYE_ROW - 0.9) & (rows < _EYE_ROW + 0.85) & (columns < 1.5)


def eye_pixels() -> np.ndarray:
    """(CROP, CROP) bool: what a closing lid hides."""
    rows, columns = _places()
    return (np.abs(rows - _EYE_ROW) < 0.5) & (columns < 0.9)


def head_pixels() -> np.ndarray:
    """(CROP, CROP) bool: the face without its lids, which tells how the head moves however the eyes blink."""
    rows, columns = (np.mgrid[0:CROP, 0:CROP] + 0.5) * GRID / CROP
    return (columns > 1.8) & (columns < 10.2) & (rows > 1) & (rows < 10.8) & ~lid_pixels()


def _places() -> tuple[np.ndarray, np.ndarray]:
    """The row of each pixel, and its distance from the nearer eye's column, in cells."""
    rows, columns = (np.mgrid[0:CROP, 0:CROP] + 0.5) * GRID / CROP
    return rows, np.abs(np.abs(columns - GRID / 2) - _EYE_COLUMN)
