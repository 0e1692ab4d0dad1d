"""An upload becomes frames in memory, and is deleted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from hsta_hf.app.film_facts import FilmFacts, IntakeError, film_facts
from hsta_hf.app.limits import Limits
from hsta_hf.video_reading_hsta import VideoFileReader, VideoReadError


@dataclass(frozen=True)
class Footage:
    """The frames that are analysed, as they came.

    Attributes:
        name: what to call them.
        frames: (T, H, W, 3) uint8 RGB.
        times: (T,) float64, seconds after the first of them.
        notes: what the visitor should know of how they were taken, one sentence each.
    """

    name: str
    frames: np.ndarray
    times: np.ndarray
    notes: tuple[str, ...] = ()


def take_in(path: Path, start: float, uploads: Path, limits: Limits) -> Footage:
    """Read what is analysed of an upload, and delete the upload whatever comes of it.

    Args:
        path: the uploaded file.
        start: where in a film longer than `limits.window_seconds` to begin, in seconds.
        uploads: the folder that uploads lie in; nothing outside it is deleted.
        limits: what is accepted.

    Raises:
        IntakeError: the file is no film, beyond the limits, or damaged.
    """
    try:
        return read_footage(film_facts(path, limits), path, start, limits)
    finally:
        delete_upload(path, uploads)


def read_footage(facts: FilmFacts, path: Path, start: float, limits: Limits) -> Footage:
    """The frames of the window that begins `start` seconds into a film.

    Raises:
        IntakeError: it cannot be decoded.
    """
    first, last = facts.window(start, limits)
    reader = VideoFileReader(facts.name, str(path))
    frames: list[np.ndarray] = []
    shrunk = source = None
    try:
        for _, picture in reader.pictures(first, last):
            if shrunk is None:
                source = picture.shape
                shrunk = _kept_size(picture.shape, last - first + 1, limits)
            if picture.shape != source:
                raise IntakeError(f"{facts.name} changes the size of its pictures. Please save it at one size.")
            frames.append(_shrink(picture, shrunk))
    except VideoReadError as error:
        raise IntakeError(f"{error}. Please choose another file.") from error
    if not frames:
        raise IntakeError(f"{facts.name} holds no pictures that can be decoded. Please choose another file.")
    times = facts.times[first : first + len(frames)]
    return Footage(facts.name, np.stack(frames), times - times[0], _notes(facts, first, frames, source, limits))


def delete_upload(path: Path, uploads: Path) -> None:
    """Delete an uploaded file and the folder that Gradio made for it; one that is gone already is no error.

    Raises:
        ValueError: the file does not lie in the folder of uploads.
    """
    folder, root = path.resolve().parent, uploads.resolve()
    if not folder.is_relative_to(root):
        raise ValueError(f"{path} is no upload: it does not lie in {uploads}")
    if folder == root:
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _kept_size(shape: tuple[int, ...], num_frames: int, limits: Limits) -> tuple[int, int]:
    """(width, height) at which the frames are kept: as they came, or shrunk to fit into memory."""
    height, width = shape[:2]
    scale = min(1.0, (limits.kept_bytes / (3 * height * width * num_frames)) ** 0.5)
    return max(1, int(width * scale)), max(1, int(height * scale))


def _shrink(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if picture.shape[:2] == (size[1], size[0]):
        return picture
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _notes(
    facts: FilmFacts, first: int, frames: list[np.ndarray], source: tuple[int, ...] | None, limits: Limits
) -> tuple[str, ...]:
    notes = []
    if len(frames) < facts.num_frames:
        begin = float(facts.times[first])
        length = min(float(facts.times[first + len(frames) - 1]) - begin + facts.frame_seconds, limits.window_seconds)
        notes.append(
            f"The film lasts {facts.seconds:.1f} s and a micro-expression under half a second: only the "
            f"{length:.1f} s from {begin:.1f} s on were taken. Move onset and offset so that they hold one movement."
        )
    if len(frames) < 3:
        notes.append("There are fewer than three frames: too few for a movement to rise and fall.")
    if source is not None and frames[0].shape != source:
        height, width = frames[0].shape[:2]
        notes.append(f"Its pictures were shrunk from {source[1]}x{source[0]} to {width}x{height} pixels.")
    return tuple(notes)


__all__ = ["FilmFacts", "Footage", "IntakeError", "delete_upload", "film_facts", "read_footage", "take_in"]
