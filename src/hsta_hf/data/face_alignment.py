"""The one transform that brings the face of a clip's onset frame into every crop of the clip.

The transform is a similarity (move, turn, scale), made from five landmarks of the onset frame alone: fitted anew to
each frame it would follow the detector's noise, which is larger than a micro-expression. `docs/faces.md` has the
measurements.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from hsta_hf.data.decode import FaceNotFoundError
from hsta_hf.data.face_detector import Face, FaceDetector
from hsta_hf.data.face_geometry import TEMPLATE, compose, fit_similarity, transform_points, warp_similarity
from hsta_hf.optical_flow_hsta import head_motion, optical_flow

# The eyes decide: a head turned a little between two clips moves nose and mouth against them.
LANDMARK_WEIGHTS = np.array([1.0, 1.0, 0.1, 0.1, 0.1])
# The part of the crop (left, top, right, bottom) that is face in any case: what `stabilise` looks at.
_FACE_PART = (0.2, 0.2, 0.8, 0.85)
# Side of the picture in which the head's motion is looked for. Flow at 224 pixels takes four times as long and follows
# a known motion less well: docs/faces.md.
_MOTION_SIDE = 112
# How far around the face's part flow is computed, too: without it that part's own edge would tell in it.
_FLOW_MARGIN = 0.07


class Detector(Protocol):
    """What `FaceAligner` needs of a detector; `FaceDetector` is one."""

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces of a uint8 frame (H, W, 3) RGB or (H, W), largest first."""
        ...

    def refine(self, frame: np.ndarray, face: Face) -> Face:
        """The face with its landmarks found more exactly."""
        ...


@dataclass(frozen=True)
class OnsetAlignment:
    """The transform of a clip, made from its onset frame; calling it aligns a frame.

    Attributes:
        matrix: (2, 3) float64, a similarity: x and y in the source, in pixels, to x and y in the crop.
        face: The face that is aligned, in pixels of the source.
        num_faces: How many faces the onset frame shows.
        size: Side of the crop in pixels.
        landmarks: (5, 2) float64, the face's landmarks in pixels of the crop.
        reference: (size, size) uint8, the aligned onset in grey, by which frames are stabilised; None if they are not.
    """

    matrix: np.ndarray
    face: Face
    num_faces: int
    size: int
    landmarks: np.ndarray
    reference: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) or (H, W) uint8 to (size, size, 3) or (size, size); the picture's edge is repeated outside it."""
        crop = warp_similarity(frame, self.matrix, self.size)
        if self.reference is None:
            return crop
        return warp_similarity(frame, compose(self.motion(crop), self.matrix), self.size)

    def motion(self, crop: np.ndarray) -> np.ndarray:
        """What brings the head of an aligned frame back to where it is in the aligned onset.

        The motion that most of the face shares, found robustly from optical flow; an expression moves the rest.

        Args:
            crop: (size, size[, 3]) uint8, a frame aligned with `matrix`.

        Returns:
            (2, 3) float64, a similarity from the crop to the stabilised crop, in pixels.

        Raises:
            ValueError: if the alignment was made without `stabilise`.
        """
        if self.reference is None:
            raise ValueError("this alignment has no reference to stabilise by; make it with stabilise=True")
        side = min(self.size, _MOTION_SIDE)
        before, after = (_shrunk(picture, side) for picture in (self.reference, _grey(crop)))
        left, top, right, bottom = (round(part * side) for part in _FACE_PART)
        margin = round(_FLOW_MARGIN * side)
        seen = slice(top - margin, bottom + margin), slice(left - margin, right + margin)
        flow = optical_flow(before[seen], after[seen])
        shared = head_motion(flow[margin : margin + bottom - top, margin : margin + right - left])
        y, x = np.mgrid[top:bottom:2, left:right:2]
        scale = self.size / side
        rest = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * scale - 0.5
        moved = rest + scale * shared[::2, ::2].reshape(-1, 2)
        return fit_similarity(moved, rest, np.ones(len(rest)))


class FaceAligner:
    """Makes the transform of a clip from its onset frame. Safe to share between threads."""

    def __init__(
        self,
        weights: str | Path | None = None,
        size: int = 224,
        stabilise: bool = False,
        detector: Detector | None = None,
    ) -> None:
        """Set up the detector.

        Args:
            weights: As in `FaceDetector`.
            size: Side of the crops in pixels.
            stabilise: Also undo the head's motion since the onset, frame by frame.
            detector: Another detector; `weights` is not looked at then.

        Raises:
            FileNotFoundError, ValueError: as `FaceDetector`; ValueError too if `size` is below 16.
        """
        if size < 16:
            raise ValueError(f"size is the side of the aligned frames in pixels, 16 or more, not {size}")
        self.detector = FaceDetector(weights) if detector is None else detector
        self.size = size
        self.stabilise = stabilise

    def fit(self, onset: np.ndarray) -> OnsetAlignment:
        """The transform of a clip.

        Args:
            onset: (H, W, 3) RGB or (H, W) uint8, the clip's first frame.

        Raises:
            FaceNotFoundError: if the frame shows no face.
        """
        faces = self.detector.detect(onset)
        if not faces:
            height, width = onset.shape[:2]
            threshold = getattr(self.detector, "score_threshold", None)
            sure = "" if threshold is None else f" with a score of {threshold:g} or more"
            raise FaceNotFoundError(f"no face found in the onset frame ({width}x{height} pixels){sure}")
        face = self.detector.refine(onset, faces[0])
        matrix = fit_similarity(face.landmarks, TEMPLATE * self.size - 0.5, LANDMARK_WEIGHTS)
        reference = _grey(warp_similarity(onset, matrix, self.size)) if self.stabilise else None
        landmarks = transform_points(matrix, face.landmarks)
        return OnsetAlignment(matrix, face, len(faces), self.size, landmarks, reference)


def _shrunk(picture: np.ndarray, side: int) -> np.ndarray:
    return picture if len(picture) == side else cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)


def _grey(frame: np.ndarray) -> np.ndarray:
    return frame if frame.ndim == 2 else np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


__all__ = ["Detector", "Face", "FaceAligner", "FaceDetector", "OnsetAlignment"]
