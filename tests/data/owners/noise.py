"""Tiny pictures of noise: nobody's face, and no two alike, since equal frames count as duplicated footage."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np


def noise(name: str, size: tuple[int, int] = (8, 8)) -> np.ndarray:
    """(height, width, 3) uint8 that depends on `name`; `size` is (width, height)."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    return generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def write_noise(path: Path, name: str, size: tuple[int, int] = (8, 8)) -> None:
    """Write the picture of `name` in the format that the path's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), noise(name, size))
