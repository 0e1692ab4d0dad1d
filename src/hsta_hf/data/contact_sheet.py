"""One picture per class for the eye: a few clips' onset, apex, offset, and what moved between onset and apex.

Misaligned faces, wrong key frames and swapped labels show here at once, and nowhere else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Row = Mapping[str, Any]
FramesOf = Callable[[int], np.ndarray]

FIELDS: Mapping[str, str] = {"emotion": "Emotion", "objective_class": "Objective class"}
CLIPS_PER_SHEET = 6
DIFFERENCE_FACTOR = 8
_TILE_HEIGHT = 176
_WIDEST_TILE = 352
_GAP = 6
_LINE = 18
_FONT, _SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.42
_INK, _PAPER = (30, 30, 30), (255, 255, 255)


@dataclass(frozen=True)
class ContactSheet:
    """A picture that was written.

    Attributes:
        field: "emotion" or "objective_class".
        value: The class, "(none)" for clips that the annotation gives none.
        path: The PNG file.
        num_clips: Clips of the class.
        shown: Ids of those in the picture.
    """

    field: str
    value: str
    path: Path
    num_clips: int
    shown: tuple[str, ...]


def write_contact_sheets(
    folder: Path, rows: Sequence[Row], frames_of: FramesOf, digests: Sequence[str], privacy_note: str
) -> list[ContactSheet]:
    """Write one PNG for each class of each label field that the dataset has.

    Args:
        folder: Where the pictures go; made here.
        rows: The rows of a prepared dataset, without frames and flow.
        frames_of: Gives the frames (T, H, W, 3) of the row at a position; asked for those that are shown only.
        digests: Digest of each row's content. They decide which clips are shown, so that equal datasets have equal
            pictures.
        privacy_note: Written on top of each picture.

    Returns:
        What was written, by field and class.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sheets = []
    for field, title in FIELDS.items():
        values = [row[field] for row in rows]
        if not any(values):
            continue
        classes: dict[str, list[int]] = {}
        for index, value in enumerate(values):
            classes.setdefault(value or "(none)", []).append(index)
        taken: set[str] = set()
        for value in sorted(classes):
            chosen = _choose(rows, classes[value], digests)
            path = folder / f"{_file_name(field, value, taken)}.png"
            heading = f"{title}: {value}, {len(chosen)} of {len(classes[value])} clips"
            picture = _sheet(rows, frames_of, chosen, (heading, privacy_note))
            done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
            assert done
            path.write_bytes(data.tobytes())
            shown = tuple(str(rows[index]["clip_id"]) for index in chosen)
            sheets.append(ContactSheet(field, value, path, len(classes[value]), shown))
    return sheets


def difference_picture(first: np.ndarray, second: np.ndarray, factor: int = DIFFERENCE_FACTOR) -> np.ndarray:
    """`second` minus `first`, `factor` times as strong, around middle grey.

    Args:
        first, second: (H, W, 3) uint8.

    Returns:
        (H, W, 3) uint8: 128 where nothing changed.
    """
    moved = second.astype(np.int16) - first.astype(np.int16)
    return np.clip(128 + factor * moved, 0, 255).astype(np.uint8)


def _choose(rows: Sequence[Row], indices: Sequence[int], digests: Sequence[str]) -> list[int]:
    """A few clips of as many databases and subjects as possible, picked by their content."""
    by_content = sorted(indices, key=lambda index: hashlib.sha256(digests[index].encode()).digest())
    turn: dict[tuple[str, str], int] = {}
    turns: dict[str, dict[tuple[str, str], int]] = {}
    order = []
    for place, index in enumerate(by_content):
        person = (str(rows[index]["database"]), str(rows[index]["subject"]))
        round_of_person = turn.get(person, 0)
        turn[person] = round_of_person + 1
        met = turns.setdefault(person[0], {})
        rank = met.setdefault(person, len(met))  # of the person within the database, so that databases alternate
        order.append((round_of_person, rank, place, index))
    return sorted(index for *_, index in sorted(order)[:CLIPS_PER_SHEET])


def _sheet(rows: Sequence[Row], frames_of: FramesOf, indices: Sequence[int], heading: Sequence[str]) -> np.ndarray:
    """The picture: heading, then two lines of caption and four tiles for each clip."""
    strips = [_strip(rows[index], frames_of(index)) for index in indices]
    width = max(strip.shape[1] for strip in strips)
    head = _text(heading, width)
    return np.concatenate([head, *(_pad(strip, width) for strip in strips)])


def _strip(row: Row, frames: np.ndarray) -> np.ndarray:
    onset = frames[row["onset_index"]]
    offset = frames[row["offset_index"]]
    known = row["apex_index"] is not None
    apex = frames[row["apex_index"]] if known else np.full_like(onset, 128)
    pictures = [onset, apex, offset, difference_picture(onset, apex) if known else apex]
    numbers = row["frame_numbers"]
    apex_text = f"apex {numbers[row['apex_index']]} ({row['apex_source']})" if known else "apex unknown"
    captions = [
        f"onset {numbers[row['onset_index']]}",
        apex_text,
        f"offset {numbers[row['offset_index']]}",
        f"apex - onset, x{DIFFERENCE_FACTOR}",
    ]
    tiles = []
    for picture, caption in zip(pictures, captions, strict=True):
        tile = _tile(picture)
        tiles.append(np.concatenate([_text([caption], tile.shape[1]), tile]))
        tiles.append(np.full((tiles[0].shape[0], _GAP, 3), _PAPER, np.uint8))
    strip = np.concatenate(tiles[:-1], axis=1)
    units = row["action_units_raw"] or "none given"
    caption = f"{row['clip_id']}  AU {units}  {row['num_frames']} frames"
    space = np.full((_GAP, strip.shape[1], 3), _PAPER, np.uint8)
    return np.concatenate([space, _text([caption], strip.shape[1]), strip])


def _tile(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    scale = min(_TILE_HEIGHT / height, _WIDEST_TILE / width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how), dtype=np.uint8)


def _text(lines: Sequence[str], width: int) -> np.ndarray:
    """Lines of text, (18 * len(lines), width, 3), broken off where they do not fit."""
    paper = np.full((_LINE * len(lines), width, 3), _PAPER, np.uint8)
    for number, line in enumerate(lines):
        text = line.encode("ascii", "replace").decode()  # OpenCV's own font has no other letters
        while len(text) > 1 and cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0] > width - 4:
            text = text[:-1]
        cv2.putText(paper, text, (2, _LINE * number + 13), _FONT, _SCALE, _INK, 1, cv2.LINE_AA)
    return paper


def _pad(picture: np.ndarray, width: int) -> np.ndarray:
    extra = width - picture.shape[1]
    return np.pad(picture, ((0, 0), (0, extra), (0, 0)), constant_values=255)


def _file_name(field: str, value: str, taken: set[str]) -> str:
    """A name that every file system takes, and that no other class has."""
    name = base = f"{field}_{re.sub(r'[^A-Za-z0-9]+', '-', value).strip('-') or 'none'}"
    number = 2
    while name.lower() in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name.lower())
    return name
