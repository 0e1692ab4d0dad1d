"""The square canvas, in face coordinates, on which a synthetic face is drawn; curves and noise for drawing on it.

Face coordinates: the origin is the middle between the pupils, one unit is the distance between the pupils,
x points to the right of the image (the subject's left), y points down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

# The neutral face lies on a canvas whose side is this many pupil distances, its eyes a bit above the middle.
CANVAS_UNITS = 5.2
CANVAS_EYE_HEIGHT = 0.42


@dataclass(frozen=True)
class Canvas:
    """A square pixel grid in face coordinates; `axis_x` and `axis_y` hold the coordinates of pixel centres."""

    side: int
    unit: float = field(init=False)
    axis_x: FloatArray = field(init=False, repr=False)
    axis_y: FloatArray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        unit = self.side / CANVAS_UNITS
        centres = (np.arange(self.side, dtype=np.float32) + 0.5) / np.float32(self.side)
        object.__setattr__(self, "unit", unit)
        object.__setattr__(self, "axis_x", (centres - np.float32(0.5)) * np.float32(CANVAS_UNITS))
        object.__setattr__(self, "axis_y", (centres - np.float32(CANVAS_EYE_HEIGHT)) * np.float32(CANVAS_UNITS))

    def to_pixels(self, points: NDArray[np.floating]) -> FloatArray:
        """Face coordinates (..., 2) to pixel coordinates, where whole numbers are pixel centres."""
        origin = np.array([0.5, CANVAS_EYE_HEIGHT]) * self.side - 0.5
        return (np.asarray(points) * self.unit + origin).astype(np.float32)

    def bump(self, x: float, y: float, sigma_x: float, sigma_y: float) -> FloatArray:
        """Axis-aligned Gaussian of height 1, (side, side)."""
        column = np.exp(-0.5 * ((self.axis_y - y) / sigma_y) ** 2)
        row = np.exp(-0.5 * ((self.axis_x - x) / sigma_x) ** 2)
        return (column[:, None] * row[None, :]).astype(np.float32)

    def pair(self, x: float, y: float, sigma_x: float, sigma_y: float) -> FloatArray:
        """The same bump on both sides of the face."""
        column = np.exp(-0.5 * ((self.axis_y - y) / sigma_y) ** 2)
        row = np.exp(-0.5 * ((self.axis_x - x) / sigma_x) ** 2) + np.exp(-0.5 * ((self.axis_x + x) / sigma_x) ** 2)
        return (column[:, None] * row[None, :]).astype(np.float32)

    def fill(self, polygon: NDArray[np.floating], blur: float = 0.0) -> FloatArray:
        """Antialiased mask in 0..1 of a polygon in face coordinates; `blur` is a sigma in face coordinates."""
        mask = np.zeros((self.side, self.side), np.uint8)
        fixed_point = np.round(self.to_pixels(polygon) * 16).astype(np.int32)
        cv2.fillPoly(mask, [fixed_point], 255, cv2.LINE_AA, shift=4)
        return self.blur(mask.astype(np.float32) / np.float32(255), blur)

    def strokes(self, lines: Sequence[NDArray[np.floating]], width: float, blur: float = 0.0) -> FloatArray:
        """Mask in 0..1 of open lines in face coordinates, `width` in face coordinates (at least one pixel)."""
        mask = np.zeros((self.side, self.side), np.uint8)
        paths = [np.round(self.to_pixels(line) * 16).astype(np.int32) for line in lines]
        cv2.polylines(mask, paths, False, 255, max(1, round(width * self.unit)), cv2.LINE_AA, shift=4)
        return self.blur(mask.astype(np.float32) / np.float32(255), blur)

    def blur(self, image: FloatArray, sigma: float) -> FloatArray:
        """Gaussian blur; `sigma` in face coordinates, 0 leaves the image alone."""
        if sigma <= 0:
            return image
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma * self.unit), dtype=np.float32)


def pixel_noise(rng: np.random.Generator, side: int, sigma: float) -> FloatArray:
    """Smooth Gaussian noise (side, side) of standard deviation 1; `sigma` is its grain in pixels."""
    coarse = max(1, int(sigma / 2))  # broad grain needs no fine grid
    small = -(-side // coarse)
    noise = rng.standard_normal((small, small), dtype=np.float32)
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma / coarse), dtype=np.float32)
    if coarse > 1:
        noise = np.asarray(cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC), dtype=np.float32)
    return noise / np.float32(max(float(noise.std()), 1e-6))


def smooth_closed(points: FloatArray, rounds: int = 3) -> FloatArray:
    """Chaikin's corner cutting of a closed polygon (N, 2) -> (N * 2**rounds, 2)."""
    for _ in range(rounds):
        following = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * following, 0.25 * points + 0.75 * following], 1).reshape(-1, 2)
    return points.astype(np.float32)
