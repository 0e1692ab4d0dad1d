"""Frames out of whatever a user calls a video: a path, URL, bytes, array, tensor, list of frames or folder.

Every source becomes a `ClipReader` that is asked twice: `survey` counts frames and collects small pictures for
apex spotting, `read` returns the few frames that were chosen. Files are decoded as a stream with PyAV, once
for each question, so that memory does not grow with the length of the video.

The file is copied into saved model folders, so it imports nothing of this package but its neighbours.
"""

from __future__ import annotations

import http.client
import io
import os
import re
import shutil
import tempfile
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import torch

from .frame_selection import MAX_SPOTTING_FRAMES, shrink_for_spotting, spotting_stride

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
URL_TIMEOUT_SECONDS = 30.0
_ROUNDING = 1e-3  # floats in 0..1 may pass its ends by as much
# FFmpeg reads these as if they were films; they are text and single pictures.
_NOT_VIDEO = re.compile(r"^(tty|image2|image2pipe|\w+_pipe)$")


class VideoReadError(ValueError):
    """A source cannot be read as a video; the message names it."""


@dataclass(frozen=True)
class Survey:
    """What one look over a clip found.

    Attributes:
        num_frames: frames in the source; of a video file, those up to the offset that was asked for.
        small: (n, h, w) float32, every `stride`-th frame from the onset on, for apex spotting; None if not asked.
        stride: 1 unless the clip is longer than `frame_selection.MAX_SPOTTING_FRAMES`.
    """

    num_frames: int
    small: np.ndarray | None
    stride: int


class SmallPictures:
    """Collects small pictures for apex spotting from frames that come one after the other, however many will come.

    At most `frame_selection.MAX_SPOTTING_FRAMES` are kept: when there would be more, every other one is dropped.

    Args:
        onset: index of the first frame that counts.
    """

    def __init__(self, onset: int) -> None:
        self._onset, self._stride = onset, 1
        self._kept: list[np.ndarray] = []

    def wants(self, index: int) -> bool:
        """Whether the frame at `index` is to be added; to be asked once for each, in order."""
        if index < self._onset or (index - self._onset) % self._stride:
            return False
        if len(self._kept) == MAX_SPOTTING_FRAMES:
            self._kept, self._stride = self._kept[::2], 2 * self._stride
        return (index - self._onset) % self._stride == 0

    def add(self, picture: np.ndarray) -> None:
        """Take in the (H, W, 3) uint8 frame that was wanted."""
        self._kept.append(shrink_for_spotting(picture))

    def survey(self, num_frames: int) -> Survey:
        """What was found in a source of `num_frames` frames."""
        return Survey(num_frames, np.stack(self._kept) if self._kept else None, self._stride)


class ClipReader:
    """Random access to the frames of one clip, (H, W, 3) uint8 RGB, by index from 0.

    Args:
        name: what error messages call the clip.
        num_frames: how many frames there are.
        get: returns one frame.
    """

    def __init__(self, name: str, num_frames: int, get: Callable[[int], np.ndarray]) -> None:
        if num_frames == 0:
            raise VideoReadError(f"{name} holds no frames")
        self.name = name
        self._num_frames = num_frames
        self._get = get

    def survey(self, onset: int, offset: int | None, spot: bool) -> Survey:
        """Count the frames and, with `spot`, shrink those from `onset` to `offset` (None: the last)."""
        if not spot:
            return Survey(self._num_frames, None, 1)
        end = self._num_frames if offset is None else min(offset + 1, self._num_frames)
        stride = spotting_stride(max(end - onset, 1))
        small, sizes = [], set()
        for index in range(onset, end, stride):
            frame = self._get(index)
            sizes.add(frame.shape[:2])
            small.append(shrink_for_spotting(frame))
        self._check_sizes(sizes)
        return Survey(self._num_frames, np.stack(small) if small else None, stride)

    def read(self, indices: Sequence[int]) -> dict[int, np.ndarray]:
        """The frames at `indices`, by index.

        Raises:
            VideoReadError: if an index lies past the last frame, or the frames differ in size.
        """
        self._check_last(indices, self._num_frames)
        frames = {index: self._get(index) for index in sorted(set(indices))}
        self._check_sizes(frame.shape[:2] for frame in frames.values())
        return frames

    def pictures(self, first: int, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """(index, frame) from `first` to `last` (None: the end), both included; ends early where the clip does."""
        end = self._num_frames if last is None else min(last + 1, self._num_frames)
        for index in range(first, end):
            yield index, self._get(index)

    def close(self) -> None:
        """Release files held open."""

    def _check_last(self, indices: Sequence[int], num_frames: int) -> None:
        if max(indices) >= num_frames:
            raise VideoReadError(
                f"{self.name}: frame {max(indices)} is wanted, but there are only {num_frames} frames"
            )

    def _check_sizes(self, sizes: Iterable[tuple[int, ...]]) -> None:
        different = sorted({f"{width}x{height}" for height, width in sizes})
        if len(different) > 1:
            raise VideoReadError(
                f"{self.name} has frames of different sizes ({', '.join(different)}); bring them to one"
            )


class VideoFileReader(ClipReader):
    """Frames of a video file, decoded as a stream from its start for every question asked.

    Args:
        name: what error messages call the file.
        file: path, or a seekable binary file that this reader closes.
    """

    def __init__(self, name: str, file: str | BinaryIO) -> None:
        self.name = name
        self._file = file

    def survey(self, onset: int, offset: int | None, spot: bool) -> Survey:
        """Decode once, up to `offset`; at most `frame_selection.MAX_SPOTTING_FRAMES` small pictures are kept."""
        small, num_frames = SmallPictures(onset), 0
        sizes: set[tuple[int, ...]] = set()
        for index, frame in enumerate(self._decode()):
            num_frames += 1
            if spot and small.wants(index):
                picture = _to_rgb(frame)
                sizes.add(picture.shape[:2])
                small.add(picture)
            if index == offset:
                break
        self._check_sizes(sizes)
        return small.survey(num_frames)

    def read(self, indices: Sequence[int]) -> dict[int, np.ndarray]:
        """Decode up to the last of `indices`, keeping the frames at `indices` only."""
        wanted, last, num_frames = set(indices), max(indices), 0
        frames: dict[int, np.ndarray] = {}
        for index, frame in enumerate(self._decode()):
            num_frames += 1
            if index in wanted:
                frames[index] = _to_rgb(frame)
            if index == last:
                break
        self._check_last(indices, num_frames)
        self._check_sizes(frame.shape[:2] for frame in frames.values())
        return frames

    def pictures(self, first: int, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """As `ClipReader.pictures`, decoded once from the start of the file, one at a time."""
        for index, frame in enumerate(self._decode()):
            if index >= first:
                yield index, _to_rgb(frame)
            if index == last:
                return

    def close(self) -> None:
        if not isinstance(self._file, str):
            self._file.close()

    def _decode(self) -> Iterator[av.VideoFrame]:
        """Frames in the order in which they are shown.

        Raises:
            VideoReadError: if the file is no video, a part of it cannot be decoded, or its frames end well
                before the length that the file declares (a file cut off in the middle).
        """
        if not isinstance(self._file, str):
            self._file.seek(0)
        try:
            with av.open(self._file, mode="r") as container:
                if _NOT_VIDEO.match(container.format.name):
                    raise VideoReadError(f"{self.name} is not a video (it reads as {container.format.long_name})")
                pictures = [s for s in container.streams.video if "attached_pic" not in str(s.disposition)]
                if not pictures:
                    raise VideoReadError(f"{self.name} holds no video stream")
                yield from self._decode_stream(container, pictures[0])
        except av.error.FFmpegError as error:
            raise VideoReadError(
                f"{self.name} cannot be decoded: it is not a video, damaged or cut off ({error.strerror})"
            ) from error

    def _decode_stream(self, container: Any, stream: Any) -> Iterator[av.VideoFrame]:
        length = _Length(container, stream)
        for frame in container.decode(stream):
            length.saw(frame)
            yield frame
        if length.num_frames == 0:
            raise VideoReadError(f"{self.name} holds no frames that can be decoded")
        if length.ends_early():
            raise VideoReadError(
                f"{self.name} is cut off: {length.num_frames} frames could be decoded, {length.seconds():.2f} s, "
                f"but the file declares {length.declared()}; get the whole file"
            )


class _Length:
    """The length that a file declares against the frames that come out of it.

    A file counts as cut off if both its frames and its seconds (as far as the file declares them) fall short
    by more than 2 % and more than a frame. Both, since an edited file may hold frames that are not to be shown.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.num_frames = 0
        self.declared_frames: int = stream.frames
        self.declared_seconds = _declared_seconds(container, stream)
        self._time_base = float(stream.time_base or 0)
        self._frame_seconds = 1 / float(stream.average_rate) if stream.average_rate else 0.0
        self._first: float | None = None
        self._last = self._end = self._longest_gap = 0.0

    def saw(self, frame: av.VideoFrame) -> None:
        self.num_frames += 1
        if frame.pts is None:
            return
        now = frame.pts * self._time_base
        if self._first is None:
            self._first = now
        else:
            self._longest_gap = max(self._longest_gap, now - self._last)
        self._last = now
        lasts = frame.duration * self._time_base if frame.duration else self._frame_seconds
        self._end = max(self._end, now + lasts)

    def seconds(self) -> float:
        return self.num_frames * self._frame_seconds if self._first is None else self._end - self._first

    def ends_early(self) -> bool:
        missing_frames = self.declared_frames - self.num_frames
        few = self.declared_frames > 0 and missing_frames > max(1, 0.02 * self.declared_frames)
        if self.declared_seconds is None:
            return few
        slack = max(1.5 * max(self._frame_seconds, self._longest_gap), 0.02 * self.declared_seconds)
        short = self.seconds() < self.declared_seconds - slack
        return short and (few or self.declared_frames == 0)

    def declared(self) -> str:
        parts = [f"{self.declared_frames} frames"] if self.declared_frames else []
        parts += [f"{self.declared_seconds:.2f} s"] if self.declared_seconds is not None else []
        return ", ".join(parts)


def open_clip(source: Any, name: str, input_data_format: str | None = None) -> ClipReader:
    """A reader for one clip.

    Args:
        source: path of a video file or of a folder of frames, http(s) URL, bytes, (T, H, W[, C]) or (T, C, H, W)
            array or tensor, or a list of frames: arrays, tensors, PIL images or paths of picture files. A
            `ClipReader` is returned as it is.
        name: what error messages call an array or list; files and URLs go by their own names.
        input_data_format: "channels_first" or "channels_last" of arrays; None finds out.

    Raises:
        FileNotFoundError: if a path does not exist.
        VideoReadError: if the source is empty, has a wrong shape or value range, or is no video; names it.
        TypeError: if the source is of no such kind.
    """
    if isinstance(source, ClipReader):
        return source
    if isinstance(source, (str, os.PathLike)):
        text = os.fspath(source)
        if re.match(r"https?://", text, re.IGNORECASE):
            return VideoFileReader(text, _download(text))
        return _open_path(Path(text))
    if isinstance(source, (bytes, bytearray, memoryview)):
        if len(source) == 0:
            raise VideoReadError(f"{name} is empty: 0 bytes")
        return VideoFileReader(f"{name} ({len(source)} bytes)", io.BytesIO(source))
    if isinstance(source, (list, tuple)):
        if len(source) == 0:
            raise VideoReadError(f"{name} holds no frames")
        if all(isinstance(item, (str, os.PathLike)) for item in source):
            return _open_pictures(name, [Path(item) for item in source])
        frames = [_as_array(item, name) for item in source]
        shapes = {frame.shape for frame in frames}
        if len(shapes) > 1:
            raise VideoReadError(f"{name} has frames of different shapes: {sorted(shapes)}")
        return _open_array(name, np.stack(frames), input_data_format)
    array = _as_array(source, name)
    if _is_picture(source) or (array.ndim == 3 and array.shape[-1] in (1, 3, 4)):
        # As (T, H, W) this would be a film of the picture's rows, 1, 3 or 4 pixels wide.
        raise VideoReadError(
            f"{name} is one picture, of shape {array.shape}; give its frames as a list or (T, H, W, C)"
        )
    return _open_array(name, array, input_data_format)


def is_picture_path(item: Any) -> bool:
    """Whether `item` is the path of a picture file, judged by its suffix."""
    return isinstance(item, (str, os.PathLike)) and os.fspath(item).lower().endswith(IMAGE_SUFFIXES)


def _open_path(path: Path) -> ClipReader:
    if path.is_dir():
        pictures = [entry for entry in path.iterdir() if is_picture_path(entry)]
        if not pictures:
            raise VideoReadError(f"{path} is a folder without frames ({', '.join(IMAGE_SUFFIXES)})")
        return _open_pictures(str(path), sorted(pictures, key=_natural_order))
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; give the path of a video file or of a folder of frames")
    if path.stat().st_size == 0:
        raise VideoReadError(f"{path} is empty: 0 bytes")
    return VideoFileReader(str(path), str(path))


def _open_pictures(name: str, paths: list[Path]) -> ClipReader:
    for path in paths:
        if not path.is_file():
            raise FileNotFoundError(f"{name}: frame {path} does not exist")

    def get(index: int) -> np.ndarray:
        from PIL import Image, UnidentifiedImageError

        try:
            with Image.open(paths[index]) as picture:
                frame = _picture_array(picture)
        except (UnidentifiedImageError, OSError) as error:
            raise VideoReadError(f"{name}: frame {paths[index]} cannot be read ({error})") from error
        # One file says nothing about the others' range, so 16 bits are taken at their word.
        frame = _range_converter(f"{name}: frame {paths[index]}", frame, trust_16_bits=True)(frame)
        return np.repeat(frame[..., None], 3, axis=-1) if frame.ndim == 2 else frame

    return ClipReader(name, len(paths), get)


def _open_array(name: str, array: np.ndarray, input_data_format: str | None) -> ClipReader:
    if array.ndim not in (3, 4):
        raise VideoReadError(f"{name} has shape {array.shape}; a video is (T, H, W), (T, H, W, C) or (T, C, H, W)")
    if 0 in array.shape:
        raise VideoReadError(f"{name} holds no frames: its shape is {array.shape}")
    if array.ndim == 4:
        channels_last = _channels_last(name, array.shape, input_data_format)
        array = array if channels_last else np.moveaxis(array, 1, -1)
    to_uint8 = _range_converter(name, array)

    def get(index: int) -> np.ndarray:
        frame = to_uint8(array[index])
        if frame.ndim == 2 or frame.shape[-1] == 1:
            frame = np.repeat(frame.reshape(*frame.shape[:2], 1), 3, axis=-1)
        return np.ascontiguousarray(frame[..., :3])  # alpha is dropped

    return ClipReader(name, len(array), get)


def _channels_last(name: str, shape: tuple[int, ...], input_data_format: str | None) -> bool:
    if input_data_format is not None:
        last = str(getattr(input_data_format, "value", input_data_format)) == "channels_last"
        channels = shape[-1] if last else shape[1]
    else:
        last = shape[-1] in (1, 3, 4)
        channels = shape[-1] if last else shape[1]
    if channels not in (1, 3, 4):
        raise VideoReadError(f"{name} has shape {shape}; neither its second nor its last axis is 1, 3 or 4 channels")
    return last


def _range_converter(name: str, array: np.ndarray, trust_16_bits: bool = False) -> Callable[[np.ndarray], np.ndarray]:
    """How frames of `array` become uint8: floats in 0..1 or 0..255, 16-bit, booleans.

    16-bit numbers that nowhere pass 255 are 8-bit ones in a wider type, unless `trust_16_bits`.
    """
    if array.dtype == np.uint8:
        return lambda frame: frame
    if array.dtype == np.bool_:
        return lambda frame: frame.astype(np.uint8) * np.uint8(255)
    if array.dtype.kind == "u" and array.dtype.itemsize == 2:
        scale = 257.0 if trust_16_bits or array.max() > 255 else 1.0
        return lambda frame: np.rint(frame / scale).astype(np.uint8)
    if array.dtype.kind not in "fiu":
        raise VideoReadError(f"{name} holds {array.dtype} values; frames are numbers")
    low, high = float(array.min()), float(array.max())
    is_float = array.dtype.kind == "f"
    if is_float and low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return lambda frame: np.rint(frame.astype(np.float32) * 255.0).astype(np.uint8)
    if not (low >= 0 and high <= 255):  # NaN fails too
        raise VideoReadError(f"{name} holds values from {low:g} to {high:g}; frames lie in 0..255, or 0..1 for floats")
    if is_float and high < 2:
        raise VideoReadError(
            f"{name} holds values up to {high:g}: too much for 0..1, too little for 0..255; clip them to 0..1"
        )
    return lambda frame: np.rint(frame).astype(np.uint8)


def _as_array(item: Any, name: str) -> np.ndarray:
    if isinstance(item, torch.Tensor):
        item = item.detach().cpu()
        return item.float().numpy() if item.dtype in (torch.bfloat16, torch.float16) else item.numpy()
    if isinstance(item, np.ndarray):
        return item
    if _is_picture(item):
        return _picture_array(item)
    raise TypeError(
        f"{name} is a {type(item).__name__}; a path, URL, bytes, array, tensor or list of frames is needed"
    )


def _is_picture(item: Any) -> bool:
    """Whether `item` is a PIL image; asked without importing PIL."""
    return hasattr(item, "convert") and hasattr(item, "getbands")


def _picture_array(picture: Any) -> np.ndarray:
    """A PIL image as (H, W, 3) uint8; one of more than 8 bits, which PIL would clip, as (H, W) of its own numbers."""
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;"):
        return np.asarray(picture.convert("RGB"))
    array = np.asarray(picture)
    is_16_bit = array.dtype.kind == "i" and array.min() >= 0 and array.max() < 1 << 16
    return array.astype(np.uint16) if is_16_bit else array  # some versions of PIL open 16-bit files as 32-bit


# Colours of a small picture take less than waiting for a pool of threads, where other processes use the cores, too.
_ONE_THREAD: dict[str, Any] = {"threads": 1} if int(av.__version__.split(".")[0]) >= 17 else {}


def _to_rgb(frame: av.VideoFrame) -> np.ndarray:
    """(H, W, 3) uint8, upright as the file's rotation says."""
    picture = frame.to_ndarray(format="rgb24", **_ONE_THREAD)
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(picture, quarter_turns)) if quarter_turns else picture


def _declared_seconds(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    tag = re.match(r"(\d+):(\d+):([\d.]+)", stream.metadata.get("DURATION", ""))  # Matroska keeps it there
    if tag:
        return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3])
    if container.duration and len(container.streams) == 1:  # with sound, the sound may be the longer one
        return float(container.duration) / av.time_base
    return None


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    """Sorts 2.jpg before 10.jpg."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"(\d+)", path.name) if p]


def _download(url: str) -> BinaryIO:
    """The file behind `url` in an unnamed temporary file, piece by piece."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the reader closes it
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "hsta-hf"})
        with urllib.request.urlopen(request, timeout=URL_TIMEOUT_SECONDS) as response:
            shutil.copyfileobj(response, file, length=1 << 20)
            declared = int(response.headers.get("Content-Length") or 0)
            if file.tell() < declared:
                raise ConnectionError(f"it broke off after {file.tell()} of {declared} bytes")
    except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: not the form of a URL
        file.close()
        raise VideoReadError(f"{url} cannot be downloaded: {error}") from error
    if file.tell() == 0:
        file.close()
        raise VideoReadError(f"{url} is empty: 0 bytes")
    return file
