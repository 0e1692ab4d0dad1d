"""From the frame files of a clip to one uint8 RGB array."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from hsta_hf.data.clip import APEX_UNKNOWN, MicroExpressionClip
from hsta_hf.data.databases.base import ERROR, WARNING, Problem
from hsta_hf.data.frame_folders import describe_numbers
from hsta_hf.video_reading_hsta import VideoFileReader

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


class FaceNotFoundError(ValueError):
    """No face was found where one is needed; the message says what was looked at."""


class FrameTransform(Protocol):
    """What aligning found in an onset frame; calling it aligns a frame of the same clip."""

    @property
    def num_faces(self) -> int:
        """How many faces the onset frame shows; the largest is the one that is aligned."""
        ...

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB to (size, size, 3) uint8 RGB."""
        ...


@dataclass(frozen=True)
class DecodedClip:
    """A clip's pictures.

    Attributes:
        clip: The clip, its frames reduced to those that could be read.
        frames: uint8 RGB array (num_frames, height, width, 3), onset to offset.
        problems: What was wrong with its files.
        frame_hashes: 64 bits of each frame as it was decoded, before it was aligned or resized: equal hashes are
            equal pictures, in whatever file or database they lie.
        source_size: (height, width) of the frames as they were decoded.
        alignment: What `align` made of the onset frame; None without it.
    """

    clip: MicroExpressionClip
    frames: np.ndarray
    problems: tuple[Problem, ...]
    frame_hashes: tuple[int, ...] = ()
    source_size: tuple[int, int] = (0, 0)
    alignment: FrameTransform | None = None


def read_frame(path: Path) -> np.ndarray:
    """Decode one picture.

    Returns:
        uint8 RGB array (height, width, 3); greyscale pictures have three equal channels.

    Raises:
        ValueError: if the file is missing, empty, cut off, or no picture; the message names it.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read ({error.strerror or error})") from error
    if not data:
        raise ValueError(f"{path.name} is empty")
    # OpenCV fills what is missing of a cut-off JPEG with grey and says nothing: look for the end marker.
    if data.startswith(_JPEG_START) and _JPEG_END not in data[-1024:]:
        raise ValueError(f"{path.name} is cut off")
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ValueError(f"{path.name} cannot be decoded ({error.err or error})") from error
    if picture is None:
        raise ValueError(f"{path.name} is no picture that can be decoded")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def cut_clip(clip: MicroExpressionClip, max_frames: int | None) -> tuple[MicroExpressionClip, tuple[Problem, ...]]:
    """The clip cut to `max_frames` frames, and a warning if that took anything away."""
    if max_frames is None or clip.num_frames <= max_frames:
        return clip, ()
    kept = _keep(clip, range(max_frames))
    assert kept is not None
    message = f"cut from {clip.num_frames} to {max_frames} frames, offset {clip.offset} to {kept.offset}"
    if clip.apex is not None and kept.apex is None:
        message += f"; the apex {clip.apex} is not in them and is spotted instead"
    return kept, (_problem(clip, message, WARNING),)


def decode_clip(
    clip: MicroExpressionClip,
    size: int | None = None,
    align: Callable[[np.ndarray], FrameTransform] | None = None,
) -> DecodedClip | tuple[Problem, ...]:
    """Read all frames of a clip.

    A frame that cannot be read, or whose size is not that of most of the clip's frames, is left out and
    reported. Without its onset, or with fewer than two frames, the clip is unusable. Without its offset it
    ends at its last good frame; without its apex the apex is unknown.

    Args:
        clip: What a database gave.
        size: Side in pixels that frames are resized to (area interpolation); None keeps their size. With `align`,
            the transform decides the size.
        align: Makes the transform of the clip out of its onset frame; raises `FaceNotFoundError` where that shows
            no face, and the clip is then unusable.

    Returns:
        The clip and its pictures, or just the problems if the clip is unusable.
    """
    pictures: dict[int, np.ndarray] = {}
    shapes: dict[int, tuple[int, ...]] = {}
    hashes: dict[int, int] = {}
    reasons: list[str] = []
    transform: FrameTransform | None = None
    for position, picture in _read_frames(clip):
        if isinstance(picture, str):
            reasons.append(picture)
            continue
        if position == 0 and align is not None:
            try:
                transform = align(picture)
            except FaceNotFoundError as error:
                return (_problem(clip, f"{error}; the clip is left out", ERROR, field="face"),)
        shapes[position] = picture.shape
        hashes[position] = frame_hash(picture)
        # At once, since some clips hold thousands of large frames.
        if transform is not None:
            same = picture.shape == shapes[0]
            pictures[position] = transform(picture) if same else picture[:1, :1]
        elif align is None:
            pictures[position] = picture if size is None else _resized(picture, size)
    problems = [_problem(clip, f"{reason}; the frame is left out", ERROR) for reason in reasons]
    if transform is not None and transform.num_faces > 1:
        message = f"{transform.num_faces} faces in the onset frame; the largest is aligned, look at the contact sheet"
        problems.append(_problem(clip, message, WARNING, field="face"))
    if pictures:
        usual = shapes[0] if transform is not None else Counter(shapes.values()).most_common(1)[0][0]
        odd = [position for position, shape in shapes.items() if shape != usual]
        if odd:
            numbers = describe_numbers([clip.frame_numbers[position] for position in odd])
            sizes = sorted({f"{shapes[p][1]}x{shapes[p][0]}" for p in odd})
            message = (
                f"{numbers} of size {', '.join(sizes)} in a clip of {usual[1]}x{usual[0]}; left out, since they "
                f"show another section of the picture"
            )
            problems.append(_problem(clip, message, ERROR))
            for position in odd:
                del pictures[position]
    kept = _keep(clip, sorted(pictures))
    if kept is None:
        what = "the onset frame is" if len(shapes) > 1 else "all frames but one are"
        problems.append(_problem(clip, f"{what} unusable; the clip is left out", ERROR))
        return tuple(problems)
    if kept.offset != clip.offset:
        problems.append(_problem(clip, f"the offset is now {kept.offset}, was {clip.offset}", ERROR))
    if clip.apex is not None and kept.apex is None:
        problems.append(_problem(clip, f"the apex {clip.apex} is unusable and spotted instead", ERROR))

    order = sorted(pictures)
    frames = np.empty((len(pictures), *pictures[0].shape), np.uint8)
    for place, position in enumerate(order):
        frames[place] = pictures.pop(position)
    height, width = shapes[0][:2]
    found = tuple(hashes[position] for position in order)
    return DecodedClip(kept, frames, tuple(problems), found, (height, width), transform)


def frame_hash(picture: np.ndarray) -> int:
    """64 bits that tell a picture (H, W, 3) uint8 from others."""
    digest = hashlib.blake2b(str(picture.shape).encode(), digest_size=8)
    digest.update(np.ascontiguousarray(picture).data)
    return int.from_bytes(digest.digest(), "little")


def _read_frames(clip: MicroExpressionClip) -> Iterator[tuple[int, np.ndarray | str]]:
    """(position in the clip, the picture or what is wrong with it), in order."""
    if clip.video_path is None:
        for position, path in enumerate(clip.frame_paths):
            try:
                yield position, read_frame(path)
            except ValueError as error:
                yield position, str(error)
        return
    wanted = {number: position for position, number in enumerate(clip.frame_numbers)}
    seen = -1
    try:
        reader = VideoFileReader(clip.video_path.name, str(clip.video_path))
        for number, picture in reader.pictures(clip.onset, clip.offset):
            if number in wanted:
                seen = wanted[number]
                yield seen, picture
        reason = f"{clip.video_path.name} ends before it"
    except (OSError, ValueError) as error:
        reason = str(error)
    for position in range(seen + 1, clip.num_frames):
        yield position, f"frame {clip.frame_numbers[position]}: {reason}"


def _resized(picture: np.ndarray, size: int) -> np.ndarray:
    if picture.shape[:2] == (size, size):
        return picture
    return np.asarray(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _keep(clip: MicroExpressionClip, positions: list[int] | range) -> MicroExpressionClip | None:
    """The clip with only the frames at `positions`; None if that leaves no onset or no movement."""
    if len(positions) < 2 or positions[0] != 0:
        return None
    numbers = tuple(clip.frame_numbers[position] for position in positions)
    lost_apex = clip.apex is None or clip.apex not in numbers
    return replace(
        clip,
        offset=numbers[-1],
        apex=None if lost_apex else clip.apex,
        apex_source=APEX_UNKNOWN if lost_apex else clip.apex_source,
        frame_paths=tuple(clip.frame_paths[position] for position in positions) if clip.frame_paths else (),
        frame_numbers=numbers,
    )


def _problem(clip: MicroExpressionClip, message: str, severity: str, field: str = "frames") -> Problem:
    name = f"{clip.subject}/{clip.filename}/{clip.onset}/{'?' if clip.apex is None else clip.apex}/{clip.offset}"
    return Problem(name, field, message, severity, clip.source)
