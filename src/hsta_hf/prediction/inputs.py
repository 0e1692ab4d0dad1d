"""What `hsta predict` is given, as a list of clips: files, folders, tables of clips, patterns."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hsta_hf.data.annotation_table import AnnotationError, read_table
from hsta_hf.prediction.clips import ClipRequest
from hsta_hf.video_reading_hsta import IMAGE_SUFFIXES

VIDEO_SUFFIXES = (
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ts", ".mts", ".3gp"),
    *(".ogv", ".gif"),
)
_KEY_FRAMES = ("onset", "apex", "offset")


class InputError(ValueError):
    """An input names no clips at all; the message says which, and what it may be."""


def requests_of(inputs: Sequence[str]) -> list[ClipRequest]:
    """The clips that inputs name, in their order; a clip that is named again, with the same key frames, counts once.

    Args:
        inputs: each a video file, an http(s) URL, a folder, a table of clips (.csv) or a pattern (`clips/*.mp4`, `**`
            for any depth). A folder is one clip if pictures and no videos lie in it. Of other folders the videos are
            taken, at any depth, in order of their paths; where there are none, the folders of frames.

    Raises:
        InputError: a pattern, a folder or a table has no clips.
    """
    found: dict[ClipRequest, None] = {}
    for text in inputs:
        found.update(dict.fromkeys(_of_input(text)))
    return list(found)


def _of_input(text: str) -> Iterator[ClipRequest]:
    if glob.has_magic(text) and not os.path.lexists(text) and not re.match(r"https?://", text, re.IGNORECASE):
        matches = sorted(glob.glob(text, recursive=True))
        if not matches:
            raise InputError(f"{text}: no file or folder matches this pattern")
        videos = [match for match in matches if not Path(match).is_dir()]
        # Of `clips/**` the folders are not clips besides the videos in them.
        for match in videos or matches:
            yield from _of_path(Path(match))
    elif re.match(r"https?://", text, re.IGNORECASE):
        yield ClipRequest(text, text)
    else:
        yield from _of_path(Path(text))


def _of_path(path: Path) -> Iterator[ClipRequest]:
    if path.is_dir():
        for clip in clips_in(path):
            yield ClipRequest(str(clip), str(clip))
    elif path.suffix.lower() == ".csv":
        yield from _of_table(path)
    else:
        yield ClipRequest(str(path), str(path))


def clips_in(folder: Path) -> list[Path]:
    """The videos in a folder, or else the folders of frames; the folder itself, if it is one.

    Raises:
        InputError: there are neither.
    """
    videos, frames = [], []
    for name, folders, files in os.walk(folder):
        folders[:] = sorted(entry for entry in folders if not entry.startswith("."))
        shown = [entry for entry in files if not entry.startswith(".")]
        here = [Path(name, entry) for entry in shown if entry.lower().endswith(VIDEO_SUFFIXES)]
        videos += here
        if not here and any(entry.lower().endswith(IMAGE_SUFFIXES) for entry in shown):
            frames.append(Path(name))
            if Path(name) == folder:
                return [folder]
    if videos or frames:
        return sorted(videos or frames)
    raise InputError(
        f"{folder} holds no videos ({', '.join(VIDEO_SUFFIXES)}) and no folders of frames "
        f"({', '.join(IMAGE_SUFFIXES)})"
    )


def _of_table(path: Path) -> Iterator[ClipRequest]:
    try:
        table = read_table(path, {"path": ("video", "file", "folder")}, {name: () for name in _KEY_FRAMES})
    except AnnotationError as error:
        raise InputError(str(error)) from error
    if not table.rows:
        raise InputError(f"{path} has no rows below its header")
    for row in table.rows:
        where, cell = f"{path.name} row {row.number}", row.cells["path"]
        source = cell if re.match(r"https?://", cell, re.IGNORECASE) else str(path.parent / cell)
        keys: dict[str, int | None] = {}
        wrong = [] if cell else ["its path is empty"]
        for name in _KEY_FRAMES:
            value = row.cells[name]
            match = re.fullmatch(r"([0-9]+)(?:\.0+)?", value, re.ASCII)  # some programs make 12.0 of 12
            keys[name] = int(match[1]) if match else None
            if value and not match:
                wrong.append(f"{name} is {value!r}, not the index of a frame, counted from 0 (empty: unknown)")
        known = [key for key in keys.values() if key is not None]
        if not wrong and known != sorted(known):
            said = ", ".join(f"{name} {key}" for name, key in keys.items() if key is not None)
            wrong.append(f"{said} are not in order; needed is onset <= apex <= offset")
        yield ClipRequest(
            source, source if cell else where, **keys, error=f"{where}: {'; '.join(wrong)}" if wrong else None
        )
