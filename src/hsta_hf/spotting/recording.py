"""A recording from file to curve: streamed once, and continued where an earlier run stopped."""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

from hsta_hf.data.face_alignment import FaceAligner, FaceDetector
from hsta_hf.reporting.files import replacing
from hsta_hf.spotting.curve import BlockedCurve
from hsta_hf.spotting.rows import ROW, MovementCurve
from hsta_hf.spotting.scan import Lengths
from hsta_hf.spotting.tracking import CROP
from hsta_hf.video_reading_hsta import VideoFileReader, VideoReadError

_VERSION = 1  # of the numbers in a curve's file: one more when the method changes

# What reading a curve's file raises where it is not there, damaged, or another file.
_NO_CURVE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class Recording:
    """A video file to spot in.

    Attributes:
        path: the file.
        fps: frames per second.
        declared_frames: how many frames the file says it has; None if it does not say.
    """

    path: Path
    fps: float
    declared_frames: int | None


@dataclass(frozen=True)
class Spotted:
    """The curve of a recording.

    Attributes:
        curve: as far as the recording could be read.
        problem: why that is not to its end; None if it is.
        continued: frames whose numbers are those of an earlier run.
    """

    curve: MovementCurve
    problem: str | None
    continued: int


def open_recording(path: Path, fps: float | None = None) -> Recording:
    """What the file says of itself, without decoding it.

    Args:
        fps: frames per second in place of the file's.

    Raises:
        FileNotFoundError: if there is no such file.
        VideoReadError: if it is no video, or says no frame rate and none is given; names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a video file")
    try:
        with av.open(str(path), mode="r") as container:
            streams = [s for s in container.streams.video if "attached_pic" not in str(s.disposition)]
            if not streams:
                raise VideoReadError(f"{path} holds no video stream")
            rate = streams[0].average_rate
            frames = streams[0].frames
            if not frames and container.duration and rate:
                frames = round(container.duration / av.time_base * float(rate))
    except av.error.FFmpegError as error:
        raise VideoReadError(f"{path} cannot be read: it is no video, or damaged ({error.strerror})") from error
    found = fps if fps is not None else (float(rate) if rate else None)
    if found is None:
        raise VideoReadError(f"{path} does not say its frames per second; give them by --fps")
    if not 1 <= found <= 10_000:
        raise VideoReadError(f"{path}: {found:g} frames per second cannot be; give the right number by --fps")
    return Recording(path, found, frames or None)


def movement_curve(
    recording: Recording,
    detector: FaceDetector,
    lengths: Lengths,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Spotted:
    """Stream the recording once, and keep some numbers a step.

    Args:
        recording: what to read.
        detector: finds faces.
        lengths: of micro-expressions.
        cache: an .npz file for the numbers, written after each block of a minute. If it holds those of the same
            file, lengths and detector, they are taken, and the recording is judged from there on; the numbers are the
            same as without an interruption.
        progress: called with the number of frames that are done, again and again.

    Raises:
        VideoReadError: if not even the first frame can be read.
    """
    maker = BlockedCurve(FaceAligner(size=CROP, detector=detector), recording.fps, lengths)
    key = _key(recording, detector, lengths)
    blocks, known_frames = _read(cache, key, maker.block_steps) if cache is not None else ([], None)
    continued = sum(len(rows) for rows in blocks) * maker.step
    if known_frames is not None:
        return Spotted(maker.whole(blocks, known_frames), None, known_frames)
    frames = _Frames(recording, maker.first_frame(len(blocks)), progress)
    for block in maker.blocks(frames, len(blocks)):
        blocks.append(block.rows)
        if cache is not None and len(block.rows) == maker.block_steps:
            _write(cache, key, blocks, None)
    if frames.problem is not None and frames.count == 0:
        raise VideoReadError(frames.problem)
    if cache is not None and frames.problem is None:
        _write(cache, key, blocks, frames.count)
    return Spotted(maker.whole(blocks, frames.count), frames.problem, continued)


class _Frames:
    """The frames of a recording from `first` on, with their indices. An error ends them, and is kept."""

    def __init__(self, recording: Recording, first: int, progress: Callable[[int], None] | None) -> None:
        self._recording, self._first, self._progress = recording, first, progress
        self.count = 0  # of frames up to the last one, from the recording's first
        self.problem: str | None = None

    def __iter__(self) -> Iterator[tuple[int, np.ndarray]]:
        reader = VideoFileReader(str(self._recording.path), str(self._recording.path))
        try:
            for index, frame in reader.pictures(self._first, 1 << 62):
                self.count = index + 1
                yield index, frame
                if self._progress is not None:
                    self._progress(self.count)
        except VideoReadError as error:
            self.problem = str(error)


def _key(recording: Recording, detector: FaceDetector, lengths: Lengths) -> dict[str, Any]:
    """What the numbers depend on; fit for JSON."""
    status = recording.path.stat()
    return {
        "version": _VERSION,
        "bytes": status.st_size,
        "changed": status.st_mtime_ns,
        "fps": recording.fps,
        "lengths": asdict(lengths),
        "detector": hashlib.sha256(detector.path.read_bytes()).hexdigest(),
    }


def _write(path: Path, key: dict[str, Any], blocks: list[np.ndarray], num_frames: int | None) -> None:
    about = json.dumps({"key": key, "num_frames": num_frames})
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, rows=np.concatenate(blocks) if blocks else np.zeros(0, ROW), about=np.array(about))


def _read(path: Path, key: dict[str, Any], block_steps: int) -> tuple[list[np.ndarray], int | None]:
    """Whole blocks of an earlier run, and the recording's number of frames if that run came to its end."""
    try:
        with np.load(path, allow_pickle=False) as content:
            about = json.loads(str(content["about"]))
            rows = content["rows"]
    except _NO_CURVE:  # made anew
        return [], None
    if not isinstance(about, dict) or about.get("key") != key or rows.dtype != ROW:
        return [], None
    ended = about.get("num_frames")
    blocks = [rows[start : start + block_steps] for start in range(0, len(rows), block_steps)]
    return blocks, None if ended is None else int(ended)
