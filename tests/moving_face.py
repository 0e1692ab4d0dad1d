"""A face made of grain, whose parts move as a test says, and a detector that knows where it is."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import av
import cv2
import numpy as np

from hsta_hf.data.face_detector import Face
from hsta_hf.data.face_geometry import TEMPLATE

SIZE = 160
FACE = np.array([[128.0, 0.0, 16.0], [0.0, 128.0, 16.0]])  # a face of 128 pixels, 16 from the left and the top
BROWS, MOUTH = (0.25, 0.22), (0.5, 0.73)  # places on the face, as fractions of it
DARK = 30.0  # mean grey level below which the detector sees no face


class KnownFace:
    """Sees the face where it was drawn, unless the frame is dark."""

    score_threshold = 0.7

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.looked = 0

    def detect(self, frame: np.ndarray) -> list[Face]:
        self.looked += 1
        if frame.mean() < DARK:
            return []
        landmarks = TEMPLATE @ FACE[:, :2].T + FACE[:, 2] - 0.5
        return [Face((16.0, 16.0, 128.0, 128.0), landmarks, 0.9)]

    def refine(self, frame: np.ndarray, face: Face) -> Face:
        return face


def grain(seed: int = 0) -> np.ndarray:
    """(SIZE, SIZE) float32, a picture with something to see everywhere, and two eyes."""
    rng = np.random.default_rng(seed)
    fine = cv2.GaussianBlur(rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32), (0, 0), 2.0)
    coarse = cv2.GaussianBlur(rng.normal(0, 1, (SIZE, SIZE)).astype(np.float32), (0, 0), 9.0)
    picture = 120 + 18 * fine / fine.std() + 18 * coarse / coarse.std()
    for x, y in eyes():
        cv2.ellipse(picture, ((x, y), (18, 9), 0), 220.0, -1)
        cv2.circle(picture, (round(x), round(y)), 5, 20.0, -1)
    return picture


def eyes() -> np.ndarray:
    """(2, 2) x and y of the eyes in a frame."""
    return TEMPLATE[:2] @ FACE[:, :2].T + FACE[:, 2] - 0.5


def film(
    length: int,
    parts: Iterable[tuple[tuple[float, float], np.ndarray]] = (),
    head: np.ndarray | None = None,
    closing: np.ndarray | None = None,
    noise: float = 1.5,
    seed: int = 0,
) -> np.ndarray:
    """(length, SIZE, SIZE, 3) uint8.

    Args:
        parts: (place on the face, (length,) how many pixels it has moved down) of each part that moves.
        head: (length, 2) how far the head has moved, in pixels.
        closing: (length,) how far the eyes are closed, 0 to 1.
        noise: standard deviation of the sensor noise.
    """
    picture, rng = grain(seed), np.random.default_rng([seed, 1])
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    frames = np.empty((length, SIZE, SIZE, 3), np.uint8)
    for t in range(length):
        still = picture.copy()
        if closing is not None and closing[t] > 0:
            for eye_x, eye_y in eyes():
                lid = eye_y - 6 + 11 * closing[t]
                covered = (np.abs(x - eye_x) < 10) & (y > eye_y - 6) & (y < lid)
                still[covered] = 125.0
        right, down = np.zeros_like(x), np.zeros_like(y)
        for place, moved in parts:
            at = FACE[:, :2] @ np.array(place) + FACE[:, 2]
            down += moved[t] * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / (2 * 9.0**2)).astype(np.float32)
        if head is not None:
            right, down = right + np.float32(head[t, 0]), down + np.float32(head[t, 1])
        seen = cv2.remap(still, x - right, y - down, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
        seen = seen + rng.normal(0, noise, seen.shape)
        frames[t] = np.clip(np.rint(seen), 0, 255).astype(np.uint8)[..., None]
    return frames


def tent(length: int, onset: int, apex: int, offset: int, height: float) -> np.ndarray:
    """(length,) 0 up to the onset, `height` at the apex, 0 from the offset on."""
    t = np.arange(length)
    return height * np.clip(np.minimum((t - onset) / (apex - onset), (offset - t) / (offset - apex)), 0, None)


def write_video(path: Path, frames: Iterable[np.ndarray], fps: int = 30) -> Path:
    """Write frames as H.264 without visible loss."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "6", "preset": "veryfast"})
        stream.height = stream.width = SIZE
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path
