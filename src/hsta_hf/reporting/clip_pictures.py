"""Pictures of single clips for a report: onset, apex, and what moved between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from hsta_hf.data.contact_sheet import difference_picture

if TYPE_CHECKING:
    from hsta_hf.training.clips import LabelledClips


# Standard deviation of the smoothing before a difference is taken, as a share of the picture's width.
NOISE_WIDTH = 0.01


@dataclass(frozen=True)
class Pictures:
    """Pictures of one clip, (H, W, 3) uint8 RGB.

    Attributes:
        apex, difference: None where the annotation has no apex of use.
        difference: apex minus onset, smoothed, several times as strong, around middle grey.
    """

    onset: np.ndarray
    apex: np.ndarray | None
    difference: np.ndarray | None


# From a clip's id to its pictures; None where there is no such clip.
ClipPictures = Callable[[str], "Pictures | None"]


def pictures_of(clips: LabelledClips) -> ClipPictures:
    """Pictures of the clips of a prepared dataset, read when they are asked for."""
    places = {str(name): index for index, name in enumerate(clips.column("clip_id"))}
    key_frames = clips.key_frames()

    def pictures(clip: str) -> Pictures | None:
        index = places.get(clip)
        if index is None:
            return None
        frames, keys = clips.frames(index), key_frames[index]
        onset = frames[keys.onset]
        if keys.apex is None:
            return Pictures(onset, None, None)
        apex = frames[keys.apex]
        return Pictures(onset, apex, difference_picture(_smooth(onset), _smooth(apex)))

    return pictures


def _smooth(picture: np.ndarray) -> np.ndarray:
    # The camera's noise, several times as strong, would hide the movement.
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), NOISE_WIDTH * picture.shape[1]), dtype=np.uint8)
