"""How much a face moves, frame by frame: the curve on which onset, apex and offset are shown and corrected."""

from __future__ import annotations

import cv2
import numpy as np

from hsta_hf.optical_flow_hsta import head_motion, optical_flow

SIDE = 112
"""Frames are shrunk to squares of this many pixels before their flow is computed: some 2 ms a frame."""
PERCENTILE = 95.0
"""An expression moves a small part of the face; the mean would drown it, the maximum is noise."""
# The part of an aligned face (left, top, right, bottom) that moves in expressions, without hair and background.
_FACE = (0.15, 0.12, 0.85, 0.92)


def motion_curve(frames: np.ndarray, onset: int, aligned: bool) -> np.ndarray:
    """How far each frame has moved from the onset frame.

    Farnebäck's flow from the onset to the frame, less the affine motion that most of the picture shares
    (`optical_flow_hsta.head_motion`); of what is left, the 95th percentile of its length.

    The curve is shown, and not used: the apex is spotted by `frame_selection.spot_apex`, which looks for a movement
    that rises and falls in one place, and so need not be where the curve is highest.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        onset: index of the frame that movement counts from.
        aligned: whether the frames show an aligned face; then hair and background are left out.

    Returns:
        (T,) float64, in per cent of the picture's width; 0 at the onset.

    Raises:
        ValueError: the onset is not one of the frames.
    """
    if not 0 <= onset < len(frames):
        raise ValueError(f"The onset is frame {onset}, but there are frames 0 to {len(frames) - 1}.")
    small = [cv2.resize(frame, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for frame in frames]
    left, top, right, bottom = (round(share * SIDE) for share in (_FACE if aligned else (0, 0, 1, 1)))
    curve = np.zeros(len(frames))
    for index, picture in enumerate(small):
        if index == onset:
            continue
        flow = optical_flow(small[onset], picture)[top:bottom, left:right]
        moved = np.linalg.norm(flow - head_motion(flow), axis=-1)
        curve[index] = 100 / SIDE * np.percentile(moved, PERCENTILE)
    return curve
