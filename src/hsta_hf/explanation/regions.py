"""Regions of an aligned face, named by the action units that move them, and how much of a map lies in each.

Where the parts of a face are is known from the template to which `hsta prepare` aligns faces
(`data/face_geometry.py`): the eyes are in the same place in every crop. Regions are rectangles in fractions of the
crop's side and cover it without overlap. A picture that was not aligned has its face
somewhere else, and its regions mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

_RASTER = 240  # a multiple of the usual numbers of patches a side, so that their edges lie on pixel edges


@dataclass(frozen=True)
class FaceRegion:
    """A named part of the aligned face.

    Attributes:
        name: What to call it; "right" and "left" are the person's own, the right one being on the picture's left.
        action_units: Numbers of the FACS action units that show there.
        boxes: Rectangles (left, top, right, bottom) in fractions of the crop's side. Where two regions overlap, the
            earlier in `REGIONS` has the pixel.
    """

    name: str
    action_units: tuple[int, ...]
    boxes: tuple[tuple[float, float, float, float], ...]

    @property
    def label(self) -> str:
        """Name and action units, such as "nose (AU 9)"."""
        return f"{self.name} (AU {', '.join(map(str, self.action_units))})" if self.action_units else self.name


def _mirrored(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    return 1 - right, top, 1 - left, bottom


def _pair(name: str, units: tuple[int, ...], *boxes: tuple[float, float, float, float]) -> tuple[FaceRegion, ...]:
    """The region of the person's right side, and its mirror picture."""
    mirrored = tuple(_mirrored(box) for box in boxes)
    return FaceRegion(f"right {name}", units, boxes), FaceRegion(f"left {name}", units, mirrored)


REGIONS: tuple[FaceRegion, ...] = (
    FaceRegion("between the brows", (4,), ((0.43, 0.15, 0.57, 0.33),)),
    *_pair("brow", (1, 2, 4), (0.12, 0.15, 0.43, 0.31)),
    FaceRegion("forehead", (1, 2), ((0.12, 0.00, 0.88, 0.15),)),
    FaceRegion("nose", (9,), ((0.40, 0.33, 0.60, 0.62),)),
    *_pair("eye", (5, 6, 7), (0.12, 0.31, 0.43, 0.46)),
    *_pair("cheek", (6, 12), (0.12, 0.46, 0.40, 0.64)),
    FaceRegion("upper lip", (10,), ((0.40, 0.62, 0.60, 0.70),)),
    FaceRegion("lips", (20, 23, 24, 25), ((0.42, 0.70, 0.58, 0.81),)),
    *_pair("mouth corner", (12, 14, 15, 20), (0.16, 0.64, 0.42, 0.83)),
    FaceRegion("chin", (17, 25, 26), ((0.30, 0.81, 0.70, 0.97),)),
    FaceRegion("elsewhere", (), ((0.0, 0.0, 1.0, 1.0),)),
)


@lru_cache(maxsize=8)
def region_masks(size: int) -> np.ndarray:
    """`(regions, size, size)` bool: which pixels of a square crop belong to each of `REGIONS`; each pixel to one."""
    centres = (np.arange(size) + 0.5) / size
    x, y = np.meshgrid(centres, centres)
    free = np.ones((size, size), dtype=bool)
    masks = []
    for region in REGIONS:
        inside = np.zeros((size, size), dtype=bool)
        for left, top, right, bottom in region.boxes:
            inside |= (x >= left) & (x < right) & (y >= top) & (y < bottom)
        masks.append(inside & free)
        free &= ~inside
    found = np.stack(masks)
    found.setflags(write=False)
    return found


def region_shares(patches: np.ndarray) -> np.ndarray:
    """How much of a map lies in each region; a patch's relevance is spread evenly over its area.

    Args:
        patches: `(..., rows, columns)`, over the whole crop.

    Returns:
        `(..., regions)`, in the order of `REGIONS`, with the sum of the map.
    """
    rows, columns = patches.shape[-2:]
    return np.asarray(np.einsum("...rc,rcn->...n", patches, _overlaps(rows, columns)))


@lru_cache(maxsize=8)
def _overlaps(rows: int, columns: int) -> np.ndarray:
    """`(rows, columns, regions)`: the share of each patch's area that lies in each region."""
    masks = region_masks(_RASTER).astype(np.float64)
    down, across = (_belonging(number) for number in (rows, columns))
    return np.asarray(np.moveaxis(down @ masks @ across.T, 0, -1))


def _belonging(number: int) -> np.ndarray:
    """`(patches, pixels)`: the share of a patch's side that each pixel of the raster makes up."""
    edges = np.linspace(0, _RASTER, number + 1)
    pixels = np.arange(_RASTER)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.clip(overlap, 0, None) * number / _RASTER


def region_areas() -> Mapping[str, float]:
    """The share of the crop's area that each region has, by name."""
    shares = region_masks(_RASTER).mean(axis=(1, 2))
    return {region.name: float(share) for region, share in zip(REGIONS, shares, strict=True)}
