"""The parts of a synthetic face that uncover what lies behind them: eyes under their lids, a mouth behind its lips.

Both are small patches of the neutral texture that can be drawn again in another state. Shifts are given in
pupil distances, as everywhere on the face.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hsta_hf.data.drawn_canvas import FloatArray


def _resample(patch: NDArray[np.uint8], source_y: FloatArray) -> NDArray[np.uint8]:
    """Move the rows of a patch: output pixel (y, x) shows the patch at (source_y[y, x], x)."""
    source_x = np.broadcast_to(np.arange(patch.shape[1], dtype=np.float32), source_y.shape)
    moved = cv2.remap(
        patch, np.ascontiguousarray(source_x), source_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, dtype=np.uint8)


def _edge(distance: FloatArray) -> FloatArray:
    """Soft step from 0 to 1 where a distance in texture pixels crosses 0."""
    return np.clip(distance / 1.6 + 0.5, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class DrawnEye:
    """One eye: the skin around it, the ball behind it and the two lid margins as curves.

    `skin` is the patch (h, w, 4) of the texture without an eye, `ball` (h + 2 margin, w + 2 margin, 3) float32
    the lit eyeball, `upper` and `lower` (w,) the rows of the lid margins, `profile` (w,) how far each column
    follows a lid (1 in the middle, 0 at the corners).
    """

    top: int
    left: int
    unit: float
    margin: int
    skin: NDArray[np.uint8] = field(repr=False)
    ball: FloatArray = field(repr=False)
    upper: FloatArray = field(repr=False)
    lower: FloatArray = field(repr=False)
    profile: FloatArray = field(repr=False)
    lash: float

    def draw(
        self,
        upper_shift: float = 0.0,
        lower_shift: float = 0.0,
        closing: float = 0.0,
        gaze: tuple[float, float] = (0.0, 0.0),
    ) -> NDArray[np.uint8]:
        """The patch (h, w, 4) uint8 with lids and ball in a given state.

        Shifts (pupil distances, down is positive) move the lid margins; `closing` 0..1 brings the upper lid
        down to the lower; `gaze` (pupil distances) moves the ball's front.
        """
        height, width = self.skin.shape[:2]
        rows = np.arange(height, dtype=np.float32)[:, None]
        down = np.float32(upper_shift * self.unit) * self.profile
        low = np.float32(lower_shift * self.unit) * self.profile
        gap = np.maximum(self.lower + low - self.upper - down, 0)
        down = np.minimum(down, self.lower + low - self.upper) + np.float32(closing) * gap
        upper, lower = self.upper + down, self.lower + low

        # Between crease and margin the upper lid stretches; below the lower margin the cheek gives way.
        reach_up = np.float32(0.17 * self.unit)
        reach_low = np.float32(0.14 * self.unit)
        weight_up = np.clip(1 - (upper - rows) / np.maximum(reach_up + down, 1), 0, 1) * (rows <= upper)
        weight_low = np.clip(1 - (rows - lower) / np.maximum(reach_low - low, 1), 0, 1) * (rows > upper)
        source = (rows - weight_up * down - weight_low * low).astype(np.float32)
        patch = _resample(self.skin, source).astype(np.float32)

        shift = np.array([[1, 0, gaze[0] * self.unit], [0, 1, gaze[1] * self.unit]], dtype=np.float32)
        ball = cv2.warpAffine(self.ball, shift, self.ball.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
        ball = ball[self.margin : self.margin + height, self.margin : self.margin + width]
        shadow = 1 - 0.45 * np.exp(-np.clip(rows - upper, 0, None) / np.float32(0.035 * self.unit))
        hole = _edge(rows - upper) * _edge(lower - rows) * (self.profile > 0)
        colour = patch[..., :3]
        colour += hole[..., None] * (ball * shadow[..., None] - colour)
        lash = np.exp(-0.5 * ((rows - upper + 0.006 * self.unit) / (0.014 * self.unit)) ** 2)
        lash = lash * (0.85 * self.lash) + (0.22 * self.lash) * np.exp(
            -0.5 * ((rows - lower) / (0.010 * self.unit)) ** 2
        )
        colour *= 1 - (np.clip(lash, 0, 1) * np.clip(4 * self.profile, 0, 1))[..., None]
        return np.clip(np.rint(patch), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class DrawnMouth:
    """Lips, the line between them (rows `line` (w,)) and what shows behind them when they part."""

    top: int
    left: int
    unit: float
    lips: NDArray[np.uint8] = field(repr=False)
    line: FloatArray = field(repr=False)
    profile: FloatArray = field(repr=False)
    inside: FloatArray = field(repr=False)
    teeth: float

    def draw(self, opening: float = 0.0) -> NDArray[np.uint8]:
        """The patch (h, w, 4) uint8 with the lips parted by `opening` pupil distances in the middle."""
        if opening <= 0:
            return self.lips
        rows = np.arange(self.lips.shape[0], dtype=np.float32)[:, None]
        gap = np.float32(opening * self.unit) * self.profile
        upper, lower = self.line - 0.3 * gap, self.line + 0.7 * gap
        reach = np.float32(0.30 * self.unit)
        weight_up = np.clip(1 - (upper - rows) / reach, 0, 1) * (rows < upper)
        weight_low = np.clip(1 - (rows - lower) / reach, 0, 1) * (rows >= upper)
        source = (rows + 0.3 * gap * weight_up - 0.7 * gap * weight_low).astype(np.float32)
        patch = _resample(self.lips, source).astype(np.float32)
        hole = _edge(rows - upper) * _edge(lower - rows) * np.clip(gap, 0, 1)
        depth = (rows - upper) / np.maximum(gap, 1)
        bright = self.teeth * np.clip(1.3 - 1.6 * np.abs(depth - 0.35), 0, 1) * np.clip(gap / 3, 0, 1)
        inside = self.inside + bright[..., None] * (np.array([205, 198, 185], dtype=np.float32) - self.inside)
        colour = patch[..., :3]
        colour += hole[..., None] * (inside - colour)
        return np.clip(np.rint(patch), 0, 255).astype(np.uint8)
