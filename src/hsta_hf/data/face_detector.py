"""Where the faces of a frame are: OpenCV's YuNet, its file, and landmarks found more exactly than it finds them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from huggingface_hub import hf_hub_download, is_offline_mode
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from hsta_hf.data.face_geometry import TEMPLATE, fit_similarity, transform_points, warp_similarity

DETECTOR_REPOSITORY = "opencv/face_detection_yunet"
DETECTOR_FILE = "face_detection_yunet_2023mar.onnx"
DETECTOR_REVISION = "3cc26e7f1014a5ee5d74a42acee58bafc9d0a310"
DETECTOR_VARIABLE = "HSTA_FACE_DETECTOR"

SCORE_THRESHOLD = 0.7
_OVERLAP = 0.3  # two boxes that share more are one face
_SEARCH_SIDE = 640  # longer sides are shrunk for the search; landmarks are then found anew in the whole frame
_BORDER = 0.25  # of the longer side: what is put around a frame that shows no face, for faces that fill it

# How `refine` looks at a face again: so many views a round, each round from where the last one put the landmarks, in
# pictures of 96 pixels with the eyes about 24 apart, moved by up to 4 pixels, turned by up to 12 degrees, up to a
# quarter larger or smaller, every other one mirrored. YuNet's landmarks stray by 2 to 3 % of the eye distance with
# each of these, and that averages out. Numbers chosen by measurement (docs/faces.md).
_ROUNDS = (8, 24)
_VIEW_SIDE, _VIEW_EYES = 96, 24.0
_VIEW_SHIFT, _VIEW_TURN, _VIEW_ZOOM = 4.0, np.deg2rad(12), 0.25
_VIEW_SCORE = 0.3  # of what is known to be a face: the single guesses that take part in the mean
_VIEW_WEIGHTS = np.array([1.0, 1.0, 0.5, 0.5, 0.5])
_MIRRORED = [1, 0, 2, 4, 3]  # landmark i of a mirrored face is this one of the face


@dataclass(frozen=True)
class Face:
    """A face in a frame.

    Attributes:
        box: (x, y, width, height) in pixels of the frame; may reach over its edge.
        landmarks: (5, 2) float64, x and y in pixels, pixel centres at whole numbers: the person's right eye, left
            eye, nose tip, right and left corner of the mouth.
        score: The detector's confidence, 0 to 1.
    """

    box: tuple[float, float, float, float]
    landmarks: np.ndarray
    score: float

    @property
    def area(self) -> float:
        """Square pixels of the box."""
        return self.box[2] * self.box[3]


def detector_weights(weights: str | Path | None = None) -> Path:
    """The detector's file: the one given, else that of the environment variable, else the Hub's.

    Raises:
        FileNotFoundError: if the file does not exist, or the Hub cannot be reached and its cache lacks the file.
    """
    named = weights if weights is not None else os.environ.get(DETECTOR_VARIABLE) or None
    remedy = f"give the file by --face-detector PATH or in the environment variable {DETECTOR_VARIABLE}"
    if named is not None:
        path = Path(named).expanduser()
        if not path.is_file():
            source = "" if weights is not None else f", which {DETECTOR_VARIABLE} names,"
            raise FileNotFoundError(
                f"face detector {path}{source} is no file; it should be {DETECTOR_FILE} of the Hub repository "
                f"{DETECTOR_REPOSITORY}"
            )
        return path
    try:
        return Path(hf_hub_download(DETECTOR_REPOSITORY, DETECTOR_FILE, revision=DETECTOR_REVISION))
    except LocalEntryNotFoundError as error:
        why = "HF_HUB_OFFLINE is set" if is_offline_mode() else "no connection"
        raise FileNotFoundError(
            f"the face detector {DETECTOR_REPOSITORY}/{DETECTOR_FILE} is not in the Hub's cache on this machine, and "
            f"the Hub could not be reached ({why}). Where there is a connection, `hf download {DETECTOR_REPOSITORY} "
            f"{DETECTOR_FILE} --local-dir FOLDER` fetches it; then {remedy}"
        ) from error
    except HfHubHTTPError as error:
        raise FileNotFoundError(
            f"the Hub does not give {DETECTOR_REPOSITORY}/{DETECTOR_FILE} at {DETECTOR_REVISION}: {error}; {remedy}"
        ) from error


class FaceDetector:
    """OpenCV's YuNet (Wu et al. 2023). One object serves any number of threads, and travels to other processes."""

    def __init__(self, weights: str | Path | None = None, score_threshold: float = SCORE_THRESHOLD) -> None:
        """Find the weights and see that they load.

        Args:
            weights: YuNet's ONNX file; None takes the file that the environment variable HSTA_FACE_DETECTOR names,
                else that of the Hub repository `opencv/face_detection_yunet`, at a fixed revision.
            score_threshold: Faces of which the detector is less sure are none.

        Raises:
            FileNotFoundError: if there is no such file, or the Hub cannot be reached.
            ValueError: if the file is no ONNX model of a face detector.
        """
        self.path = detector_weights(weights)
        self.score_threshold = score_threshold
        self._local = threading.local()
        try:
            self._rows(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            raise ValueError(
                f"face detector {self.path} is no YuNet model that OpenCV {cv2.__version__} can load ({error.err}); "
                f"it should be {DETECTOR_FILE} of the Hub repository {DETECTOR_REPOSITORY}"
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _local=threading.local())

    def detect(self, frame: np.ndarray) -> list[Face]:
        """The faces of a frame.

        Args:
            frame: (H, W, 3) RGB or (H, W) uint8, of any size. Frames with a side above 640 pixels are searched in a
                shrunk copy; `refine` then looks at full resolution.

        Returns:
            Largest first; empty if there is none.
        """
        picture = _bgr(frame)
        faces = self._search(picture)
        if not faces:
            # YuNet learned from faces with something around them, and misses some in tightly cropped frames.
            border = round(_BORDER * max(picture.shape[:2]))
            picture = cv2.copyMakeBorder(picture, border, border, border, border, cv2.BORDER_REPLICATE)
            for face in self._search(picture):
                box = (face.box[0] - border, face.box[1] - border, *face.box[2:])
                faces.append(Face(box, face.landmarks - border, face.score))
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def refine(self, frame: np.ndarray, face: Face) -> Face:
        """The same face, its landmarks found anew: the mean over many small views of it.

        Deterministic; takes about as long as searching a frame of 400 pixels. A view in which nothing is found has no
        say; if that is all of them, the face comes back as it is.

        Args:
            frame: The frame it was found in, at full resolution.
            face: What `detect` found.
        """
        # With a fourth channel OpenCV interpolates linearly in under half the time, to the same numbers.
        picture = cv2.cvtColor(_bgr(frame), cv2.COLOR_BGR2BGRA)
        landmarks = face.landmarks
        for number in _ROUNDS:
            found = [self._look(picture, landmarks, index) for index in range(number)]
            seen = [points for points in found if points is not None]
            if not seen:
                break
            landmarks = np.mean(seen, axis=0)
        return Face(face.box, landmarks, face.score)

    def _look(self, picture: np.ndarray, landmarks: np.ndarray, index: int) -> np.ndarray | None:
        """The landmarks as view `index` around `landmarks` shows them; `picture` is BGRA."""
        view = _view(landmarks, index)
        seen = cv2.cvtColor(warp_similarity(picture, view, _VIEW_SIDE), cv2.COLOR_BGRA2BGR)
        rows = self._rows(seen, look=True)
        if not len(rows):
            return None
        # YuNet guesses from several places of its grid at once. They differ, so that all good ones are used, and not
        # just the one of the highest score.
        trust = np.where(rows[:, 14] >= rows[:, 14].max() / 2, rows[:, 14] ** 2, 0)
        points = np.tensordot(trust / trust.sum(), rows[:, 4:14].reshape(-1, 5, 2), axes=1)
        points = transform_points(cv2.invertAffineTransform(view), points)
        return points[_MIRRORED] if _is_mirrored(index) else points

    def _search(self, picture: np.ndarray) -> list[Face]:
        height, width = picture.shape[:2]
        ratio = min(1.0, _SEARCH_SIDE / max(height, width))
        if ratio < 1:
            size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        scale = np.array([width / picture.shape[1], height / picture.shape[0]])
        faces = []
        for row in self._rows(picture):
            corner, extent = (row[:2] + 0.5) * scale - 0.5, row[2:4] * scale
            box = (float(corner[0]), float(corner[1]), float(extent[0]), float(extent[1]))
            faces.append(Face(box, (row[4:14].reshape(5, 2) + 0.5) * scale - 0.5, float(row[14])))
        return faces

    def _rows(self, picture: np.ndarray, look: bool = False) -> np.ndarray:
        """(n, 15) float64: box, landmarks and score, in pixels of a BGR picture; with `look`, all guesses."""
        network = self._network(look)
        network.setInputSize((picture.shape[1], picture.shape[0]))
        found = network.detect(np.ascontiguousarray(picture))[1]
        return np.empty((0, 15)) if found is None else np.asarray(found, np.float64)

    def _network(self, look: bool) -> Any:
        """This thread's own network: OpenCV's keeps the size and the result of its last picture."""
        name = "looker" if look else "searcher"
        if not hasattr(self._local, name):
            score, overlap = (_VIEW_SCORE, 1.0) if look else (self.score_threshold, _OVERLAP)
            with _quiet():
                setattr(self._local, name, cv2.FaceDetectorYN.create(str(self.path), "", (320, 320), score, overlap))
        return getattr(self._local, name)


def _view(landmarks: np.ndarray, index: int) -> np.ndarray:
    """(2, 3) frame to view `index`. Its move, turn and zoom are spread evenly, by powers of a root (Roberts 2018)."""
    right, down, turn, zoom = 2 * ((0.5 + (index + 1) * _STEPS) % 1) - 1
    target = (TEMPLATE - TEMPLATE.mean(axis=0)) * _VIEW_EYES / (TEMPLATE[1, 0] - TEMPLATE[0, 0])
    matrix = fit_similarity(landmarks, target, _VIEW_WEIGHTS)
    factor = (1 + _VIEW_ZOOM * zoom) * np.exp(1j * _VIEW_TURN * turn)
    matrix = np.array([[factor.real, -factor.imag], [factor.imag, factor.real]]) @ matrix
    matrix[:, 2] += (_VIEW_SIDE - 1) / 2 + _VIEW_SHIFT * np.array([right, down])
    if _is_mirrored(index):
        matrix[0] = [0, 0, _VIEW_SIDE - 1] - matrix[0]
    return matrix


# 1/r, 1/r², ... for the root r of r⁵ = r + 1: multiples of these, modulo 1, fill the four-dimensional cube evenly.
_STEPS = 1.1673039782614187 ** -np.arange(1.0, 5.0)


def _is_mirrored(index: int) -> bool:
    return index % 2 == 1


_LOG_LOCK = threading.Lock()


@contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV 5 warns at each YuNet it loads that it ignores the target device, which nobody asked for."""
    logging = cv2.utils.logging
    with _LOG_LOCK:
        before = logging.getLogLevel()
        logging.setLogLevel(logging.LOG_LEVEL_ERROR)
        try:
            yield
        finally:
            logging.setLogLevel(before)


def _bgr(frame: np.ndarray) -> np.ndarray:
    if frame.dtype != np.uint8 or frame.ndim not in (2, 3) or (frame.ndim == 3 and frame.shape[2] != 3):
        raise ValueError(f"a frame is (H, W, 3) or (H, W) uint8, not {frame.dtype} of shape {frame.shape}")
    code = cv2.COLOR_GRAY2BGR if frame.ndim == 2 else cv2.COLOR_RGB2BGR
    return np.asarray(cv2.cvtColor(frame, code))
