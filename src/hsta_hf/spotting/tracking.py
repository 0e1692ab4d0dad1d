"""A head followed from frame to frame: the small, still picture of the face that spotting looks at.

The face is found once, by `FaceAligner`, in the frame where a stretch begins; from there on a similarity (move, turn,
scale) is followed by inverse compositional Lucas-Kanade (Baker and Matthews 2004), which costs a millisecond a frame
where finding the face costs tens, and does not tremble as a detector does. Now and then the face is looked for again,
so that a following that has slipped, or a face that has gone, is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hsta_hf.data.decode import FaceNotFoundError
from hsta_hf.data.face_alignment import FaceAligner
from hsta_hf.data.face_geometry import TEMPLATE, compose, transform_points, warp_similarity

CROP = 112
"""Side in pixels of the small pictures: eyes are 36 pixels apart, an apex moves brows or lips by about one."""
_FACE_PART = (0.2, 0.2, 0.8, 0.85)  # left, top, right, bottom: what is face in any case
_ROUNDS = 3
_STILL = 0.15  # pixels: a round that moves less is the last; what it leaves is a tenth of that
_SAME_FACE = 0.6  # correlation with the reference below which the picture no longer shows it
_CUT = 0.5  # the same with the frame before
_RENEW_SECONDS = 2.0
_CHECK_SECONDS = 1.0
_DOUBTS = 4  # frames in a row in which the detector does not find it
_SLIPPED = 0.12  # of the crop's side: how far eyes may be from where the template has them


@dataclass(frozen=True)
class FaceFrame:
    """The face of one frame.

    Attributes:
        crop: (CROP, CROP) uint8 grey, the head where it was when the stretch began.
        starts: whether a stretch begins here: nothing before this frame can be compared with it.
        motion: how far the head moved since the frame before, in pixels of the crop (mean over the face).
    """

    crop: np.ndarray
    starts: bool
    motion: float


class HeadTracker:
    """Follows the largest face of a video, frame by frame.

    Args:
        aligner: finds the face; its size is `CROP`.
        fps: frames per second.
    """

    def __init__(self, aligner: FaceAligner, fps: float) -> None:
        if aligner.size != CROP:
            raise ValueError(f"the aligner of a head tracker makes crops of {CROP} pixels, not {aligner.size}")
        self._aligner = aligner
        self._renew_every = max(1, round(_RENEW_SECONDS * fps))
        self._check_every = max(1, round(_CHECK_SECONDS * fps))
        self._lost()

    def follow(self, frame: np.ndarray) -> FaceFrame | None:
        """The face in the next frame, (H, W, 3) or (H, W) uint8; None while there is none.

        Where the face is lost it is looked for at once, and then once a second.
        """
        if self._matrix is not None:
            found = self._step(frame)
            if found is not None:
                return found
            self._lost()
        if self._waiting > 0:
            self._waiting -= 1
            return None
        return self._find(frame)

    def _lost(self) -> None:
        self._matrix: np.ndarray | None = None
        self._waiting = 0

    def _find(self, frame: np.ndarray) -> FaceFrame | None:
        try:
            self._matrix = self._aligner.fit(frame).matrix
        except FaceNotFoundError:
            self._waiting = self._check_every - 1
            return None
        crop = _cut(frame, self._matrix)
        self._before = _smooth(crop)
        self._reference = _Reference(self._before)
        self._since_renewed = self._since_checked = self._doubts = 0
        return FaceFrame(crop, True, 0.0)

    def _step(self, frame: np.ndarray) -> FaceFrame | None:
        """The face followed by one frame; None if it is lost."""
        assert self._matrix is not None
        # Where the head was still serves as the first guess: it moves by a fraction of a pixel.
        matrix, crop = self._matrix, _cut(frame, self._matrix)
        smooth = _smooth(crop)
        if _correlation(smooth.ravel(), self._before.ravel()) < _CUT:
            return None
        for _ in range(_ROUNDS):
            step = self._reference.motion(smooth)
            matrix = compose(step, matrix)
            crop = _cut(frame, matrix)
            smooth = _smooth(crop)
            if _length(step) < _STILL:
                break
        if not self._reference.shows(smooth):
            return None
        moved = _length(compose(matrix, _inverse(self._matrix)))
        self._matrix, self._before = matrix, smooth
        self._since_checked += 1
        if self._since_checked >= self._check_every:
            if self._still_there(frame):
                self._since_checked = self._doubts = 0
            else:  # a detector misses a face now and then: looked for in the next frame, too
                self._doubts += 1
                if self._doubts == _DOUBTS:
                    return None
        self._since_renewed += 1
        if self._since_renewed >= self._renew_every:  # light and pose change, and the reference with them
            self._reference, self._since_renewed = _Reference(smooth), 0
        return FaceFrame(crop, False, moved)

    def _still_there(self, frame: np.ndarray) -> bool:
        """Whether the detector finds a face about where this one is followed to."""
        assert self._matrix is not None
        template = TEMPLATE[:2] * CROP - 0.5
        for face in self._aligner.detector.detect(frame):
            eyes = transform_points(self._matrix, face.landmarks[:2])
            if np.abs(eyes - template).max() < _SLIPPED * CROP:
                return True
        return False


class _Reference:
    """A face that others are brought to, (CROP, CROP) smoothed, and what moving the head a little does to it."""

    def __init__(self, smooth: np.ndarray) -> None:
        left, top, right, bottom = (round(part * CROP) for part in _FACE_PART)
        self._part = (slice(top, bottom), slice(left, right))
        gradient_y, gradient_x = np.gradient(smooth)
        y, x = np.mgrid[0:CROP, 0:CROP].astype(np.float32)
        x, y = x - _CENTRE, y - _CENTRE
        columns = [gradient_x, gradient_y, gradient_x * x + gradient_y * y, gradient_y * x - gradient_x * y]
        light = [np.ones_like(smooth), smooth - smooth.mean()]
        self._design = np.stack([c[self._part].ravel() for c in (*columns, *light)], axis=1).astype(np.float32)
        self._picture = smooth[self._part].ravel()

    def motion(self, smooth: np.ndarray) -> np.ndarray:
        """(2, 3) similarity that brings a smoothed crop nearer to the reference.

        One Gauss-Newton step with light (brightness, contrast) fitted beside, and with weights that let pixels which
        differ by more than most have no say: an expression, a blink.
        """
        residual = smooth[self._part].ravel() - self._picture
        weights = np.ones_like(residual)
        for _ in range(2):
            weighted = self._design * weights[:, None]
            normal = weighted.T @ self._design
            normal[np.diag_indices_from(normal)] += 1e-6 * np.trace(normal)
            change = np.linalg.solve(normal, weighted.T @ residual)
            left = residual - self._design @ change
            scale = 1.4826 * float(np.median(np.abs(left))) + 1e-3
            weights = 1 / (1 + (left / (2 * scale)) ** 2) ** 2
        right, down, growth, turn = (float(value) for value in change[:4])
        # What stands at x in the crop stands at x + d(x) in the reference: the step goes there.
        a, b = 1 + growth + 1j * turn, right + 1j * down
        matrix = np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])
        centre = np.array([_CENTRE, _CENTRE])
        matrix[:, 2] += centre - matrix[:, :2] @ centre
        return matrix

    def shows(self, smooth: np.ndarray) -> bool:
        """Whether a smoothed crop still looks like the reference."""
        return _correlation(smooth[self._part].ravel(), self._picture) > _SAME_FACE


_CENTRE = (CROP - 1) / 2


def _cut(frame: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    crop = warp_similarity(frame, matrix, CROP)
    return crop if crop.ndim == 2 else np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY))


def _smooth(crop: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(crop.astype(np.float32), (0, 0), 1.2)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / size if size > 1e-6 else 0.0


def _length(motion: np.ndarray) -> float:
    """Mean distance in pixels by which a similarity moves the corners of the face."""
    corners = np.array([[x * CROP, y * CROP] for x in (0.2, 0.8) for y in (0.2, 0.85)])
    return float(np.linalg.norm(transform_points(motion, corners) - corners, axis=1).mean())


def _inverse(matrix: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.invertAffineTransform(matrix))
