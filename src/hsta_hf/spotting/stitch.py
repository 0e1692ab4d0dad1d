"""Long recordings stitched from a database's short clips, to measure spotting where no long recording is at hand.

Clips of one person follow each other, with still stretches between them. A stretch begins with the last frame that
the database has after one clip and ends with the first one before the next clip, and is drawn from these two:

- the head sways on a smooth random path, as fast as it moves in the two clips' own frames at rest; position and speed
  run on from the one clip and into the next, so that no join is a cut; it trembles about that path as much as there;
- somewhere in the stretch the head turns, within about a second, from the one clip's pose and light to the other's: a
  morph along the optical flow between the two pictures, not a crossfade;
- every frame gets fresh sensor noise, with the spectrum of that in the clips' own frames at rest;
- in some stretches the eyes blink: skin of the upper lid is pulled over the eye. A blink takes as long as a
  micro-expression, which makes it the hardest thing not to report.

Pixels, seconds and indices from 0 throughout. docs/spotting.md says what such recordings can and cannot show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

from hsta_hf.data.clip import MicroExpressionClip
from hsta_hf.data.decode import read_frame
from hsta_hf.data.face_geometry import fit_similarity
from hsta_hf.optical_flow_hsta import head_motion, optical_flow, warp

MAX_BESIDE = 6
"""Frames taken from before the onset and after the offset, as far as the database has them."""
_KNOT_SECONDS = 0.7  # a swaying head turns about as often
_MOST_SWAY = 4.0  # pixels


@dataclass(frozen=True)
class Footage:
    """A clip with the frames that stand before its onset and after its offset.

    Attributes:
        clip: what the database says of it.
        frames: (T, H, W, 3) uint8 RGB.
        onset, apex, offset: indices into `frames`; apex None where it is unknown.
    """

    clip: MicroExpressionClip
    frames: np.ndarray
    onset: int
    apex: int | None
    offset: int


@dataclass(frozen=True)
class Placed:
    """A micro-expression in a recording: frame indices in the recording, and whose clip it is."""

    onset: int
    apex: int | None
    offset: int
    clip: MicroExpressionClip


@dataclass(frozen=True)
class Plan:
    """Where everything is in a recording that is not drawn yet.

    Attributes:
        footage: the clips, in their order.
        stretches: frames of the still stretch before each clip, and after the last one.
        blinks: (first frame, last frame) of each drawn blink, in the recording.
        turns: the same of each turn of the head.
        seed: of everything random in the drawing.
        fps: frames per second.
    """

    footage: tuple[Footage, ...]
    stretches: tuple[int, ...]
    blinks: tuple[tuple[int, int], ...]
    turns: tuple[tuple[int, int], ...]
    seed: int
    fps: float

    @property
    def num_frames(self) -> int:
        """Frames of the whole recording."""
        return sum(self.stretches) + sum(len(item.frames) for item in self.footage)

    @property
    def starts(self) -> list[int]:
        """Where each clip's first frame is in the recording."""
        return [
            sum(self.stretches[: i + 1]) + sum(len(item.frames) for item in self.footage[:i])
            for i in range(len(self.footage))
        ]

    @property
    def placed(self) -> list[Placed]:
        """The micro-expressions of the recording, in order."""
        return [
            Placed(
                start + item.onset, None if item.apex is None else start + item.apex, start + item.offset, item.clip
            )
            for start, item in zip(self.starts, self.footage, strict=True)
        ]


def read_footage(clip: MicroExpressionClip, max_beside: int = MAX_BESIDE) -> Footage:
    """A clip's frames and those beside it: the files with the next lower and higher numbers in the same folder.

    Raises:
        ValueError: if the clip is one of a video file, or a frame cannot be read; names it.
    """
    if not clip.frame_paths:
        raise ValueError(f"{clip.clip_id}: recordings are stitched from frame files, this clip is one of a video file")
    first, last = clip.frame_paths[0], clip.frame_paths[-1]
    before = [first.with_name(f"{clip.onset - i}{first.suffix}") for i in range(1, max_beside + 1)]
    after = [last.with_name(f"{clip.offset + i}{last.suffix}") for i in range(1, max_beside + 1)]
    before, after = _unbroken(before)[::-1], _unbroken(after)
    frames = np.stack([read_frame(path) for path in [*before, *clip.frame_paths, *after]])
    onset = len(before)
    apex = None if clip.apex_index is None else onset + clip.apex_index
    return Footage(clip, frames, onset, apex, onset + clip.num_frames - 1)


def plan_recording(
    footage: Sequence[Footage],
    seed: int,
    seconds: tuple[float, float] = (2.0, 8.0),
    blinks: float = 0.5,
) -> Plan:
    """Where clips, turns and blinks are in a recording of these clips.

    Args:
        footage: clips of one person, of one size.
        seed: draws all lengths and places, and the drawing's own randomness.
        seconds: shortest and longest still stretch.
        blinks: share of the still stretches that hold a blink.

    Raises:
        ValueError: if there is no clip, or sizes differ, or the seconds are not in order.
    """
    if not footage or len({item.frames.shape[1:] for item in footage}) > 1:
        raise ValueError("a recording is stitched from one or more clips whose frames have one size")
    if not 0.5 <= seconds[0] <= seconds[1]:
        raise ValueError(f"still stretches last from 0.5 s up, shortest first, not {seconds}")
    rng = np.random.default_rng(seed)
    fps = footage[0].clip.fps
    stretches, blink_places, turns, start = [], [], [], 0
    for number in range(len(footage) + 1):
        length = round(float(rng.uniform(*seconds)) * fps)
        turn = (0, 0)
        if 0 < number < len(footage):
            lasts = min(round(float(rng.uniform(0.7, 1.5)) * fps), length // 2)
            first = int(rng.integers(2, length - lasts - 1))
            turn = (first, first + lasts - 1)
            turns.append((start + turn[0], start + turn[1]))
        if rng.random() < blinks:
            lasts = max(3, round(float(rng.uniform(0.2, 0.4)) * fps))
            # Not during a turn, where neither picture's eyes are in their place.
            places = [i for i in range(2, length - lasts - 2) if i > turn[1] or i + lasts < turn[0] or turn == (0, 0)]
            if places:
                first = int(rng.choice(places))
                blink_places.append((start + first, start + first + lasts - 1))
        stretches.append(length)
        start += length + (len(footage[number].frames) if number < len(footage) else 0)
    return Plan(tuple(footage), tuple(stretches), tuple(blink_places), tuple(turns), seed, fps)


def draw_recording(plan: Plan, eyes: Callable[[np.ndarray], np.ndarray | None]) -> Iterator[np.ndarray]:
    """The frames of a recording, one after the other: (H, W, 3) uint8 RGB.

    Args:
        plan: what is where.
        eyes: gives (2, 2) x and y of the eyes' middles in a frame, or None: no blink is drawn then.
    """
    rng = np.random.default_rng([plan.seed, 1])
    frame = 0
    for number in range(len(plan.stretches)):
        before = plan.footage[number - 1] if number else None
        after = plan.footage[number] if number < len(plan.footage) else None
        length = plan.stretches[number]
        yield from _still(before, after, length, frame, plan, rng, eyes)
        frame += length
        if after is not None:
            yield from after.frames
            frame += len(after.frames)


def _unbroken(paths: Sequence) -> list:
    found = []
    for path in paths:
        if not path.is_file():
            break
        found.append(path)
    return found


def _still(
    before: Footage | None,
    after: Footage | None,
    length: int,
    start: int,
    plan: Plan,
    rng: np.random.Generator,
    eyes: Callable[[np.ndarray], np.ndarray | None],
) -> Iterator[np.ndarray]:
    """The still stretch between two clips; without a first one it leads into the second, and the other way round."""
    first = before.frames[-1] if before is not None else None
    last = after.frames[0] if after is not None else None
    speeds = [
        _speed(before.frames[before.offset :]) if before is not None else None,
        _speed(after.frames[: after.onset + 1]) if after is not None else None,
    ]
    fields = _noise_fields((before, after))
    path = _sway(length, plan.fps, speeds, free_start=before is None, free_end=after is None, rng=rng)
    path += rng.normal(0, 1, path.shape) * _tremor((before, after))
    turn = next(((a - start, b - start) for a, b in plan.turns if start <= a < start + length), (length, length))
    blink = next(((a - start, b - start) for a, b in plan.blinks if start <= a < start + length), None)
    flow = _flow_between(first, last) if first is not None and last is not None else None
    for index in range(length):
        share = float(np.clip((index - turn[0] + 1) / (turn[1] - turn[0] + 2), 0, 1))
        share = share * share * (3 - 2 * share) if flow is not None else float(first is None)
        picture = _between(first, last, flow, share)
        if blink is not None and blink[0] <= index <= blink[1]:
            places = eyes(first if first is not None and share < 0.5 else last)  # type: ignore[arg-type]
            if places is not None:
                picture = _close_eyes(picture, places, _closing(index - blink[0], blink[1] - blink[0] + 1))
        picture = _moved(picture, path[index])
        noisy = picture + _fresh_noise(fields, picture.shape, rng)
        yield np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _between(first: np.ndarray | None, last: np.ndarray | None, flow: np.ndarray | None, share: float) -> np.ndarray:
    """The picture that is `share` of the way from one to the other; float32."""
    if share <= 0 or last is None:
        assert first is not None
        return first.astype(np.float32)
    if share >= 1 or first is None:
        return last.astype(np.float32)
    assert flow is not None
    one, other = first.astype(np.float32), last.astype(np.float32)
    return (1 - share) * warp(one, -share * flow) + share * warp(other, (1 - share) * flow)


def _flow_between(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Flow from one picture to another in other light: both are brought to one mean and contrast, then smoothed."""

    def even(picture: np.ndarray) -> np.ndarray:
        grey = picture.astype(np.float32).mean(axis=-1)
        grey = cv2.GaussianBlur(grey, (0, 0), 1.0)
        return np.clip(128 + 40 * (grey - grey.mean()) / max(float(grey.std()), 1.0), 0, 255).astype(np.uint8)

    return cv2.GaussianBlur(optical_flow(even(first), even(last), "dis"), (0, 0), 2.0)


def _similarity_motion(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(4,) how the head moved: right, down, turn and growth, the last two at the edge of the face, in pixels."""
    height, width = first.shape[:2]
    flow = head_motion(optical_flow(first, second))
    y, x = np.mgrid[height // 5 : height * 4 // 5 : 6, width // 4 : width * 3 // 4 : 6]
    points = np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64)
    centre = np.array([width / 2, height / 2])
    moved = points + flow[y.ravel(), x.ravel()]
    matrix = fit_similarity(points - centre, moved - centre, np.ones(len(points)))
    radius = width / 4
    return np.array([matrix[0, 2], matrix[1, 2], matrix[1, 0] * radius, (matrix[0, 0] - 1) * radius])


def _speed(frames: np.ndarray) -> np.ndarray | None:
    """(4,) the head's speed in pixels a frame over frames at rest; None where there is only one."""
    return _similarity_motion(frames[0], frames[-1]) / (len(frames) - 1) if len(frames) > 1 else None


def _tremor(items: Sequence[Footage | None]) -> np.ndarray:
    """(4,) how far the head is off a smooth path in each frame at rest, in pixels; a standard deviation."""
    off = []
    for item in items:
        if item is None:
            continue
        for frames in (item.frames[: item.onset + 1], item.frames[item.offset :]):
            steps = np.array([_similarity_motion(a, b) for a, b in pairwise(frames)])
            if len(steps) > 1:
                off.append(np.square(steps - steps.mean(axis=0)).sum(axis=0) / (len(steps) - 1) / 2)
    return np.sqrt(np.mean(off, axis=0)) if off else np.zeros(4)


def _noise_fields(items: Sequence[Footage | None]) -> list[np.ndarray]:
    """Fourier transforms (H, W // 2 + 1, 3) of what differs between neighbouring frames at rest, over the root of 2.

    Sensor noise that went through a camera and a codec is neither white nor the same in all colours; these have its
    spectrum. The head moves by a twentieth of a pixel between the two: moving it back would smooth more of the noise
    away than it would spare.
    """
    fields = []
    for item in items:
        if item is None:
            continue
        pairs = [(i, i + 1) for i in range(item.onset)]
        pairs += [(i, i + 1) for i in range(item.offset + 1, len(item.frames) - 1)]
        for i, j in pairs or [(0, 1)]:
            difference = item.frames[j].astype(np.float32) - item.frames[i]
            fields.append(np.fft.rfft2(difference / np.sqrt(2), axes=(0, 1)))
    return fields


def _fresh_noise(fields: Sequence[np.ndarray], shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Noise (H, W, 3) with the spectrum of one of the fields, and phases of its own that all colours share."""
    field = fields[int(rng.integers(len(fields)))]
    white = np.fft.rfft2(rng.normal(0, 1, shape[:2]))
    phases = white / np.maximum(np.abs(white), 1e-9)
    return np.fft.irfft2(field * phases[..., None], s=shape[:2], axes=(0, 1))


def _sway(
    length: int,
    fps: float,
    speeds: Sequence[np.ndarray | None],
    free_start: bool,
    free_end: bool,
    rng: np.random.Generator,
) -> np.ndarray:
    """(length, 4) where the head is against its place in the clips beside: 0 at both ends, and as fast as there."""
    known = [speed for speed in speeds if speed is not None]
    typical = np.sqrt(np.mean(np.square(known), axis=0)) if known else np.full(4, 0.05)
    start, end = (np.zeros(4) if speed is None else speed for speed in speeds)
    count = max(2, round(length / fps / _KNOT_SECONDS))
    size = np.minimum(typical * fps * _KNOT_SECONDS / 1.5, _MOST_SWAY)
    knots = rng.normal(0, 1, (count + 1, 4)) * size
    if not free_start:
        knots[0] = 0
    if not free_end:
        knots[-1] = 0
    # The stretch lies between frame -1, the last of the clip before, and frame `length`, the first of the next.
    times = np.linspace(-1, length, count + 1)
    return CubicSpline(times, knots, bc_type=((1, start), (1, end)))(np.arange(length))


def _moved(picture: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A picture after a `_similarity_motion`."""
    height, width = picture.shape[:2]
    radius = width / 4
    turn, growth = motion[2] / radius, 1 + motion[3] / radius
    matrix = np.array([[growth, -turn, 0.0], [turn, growth, 0.0]])
    centre = np.array([width / 2, height / 2])
    matrix[:, 2] = centre + motion[:2] - matrix[:, :2] @ centre
    return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def _closing(index: int, length: int) -> float:
    """How far the lids are down, 0 to 1, in frame `index` of a blink: down in a third of it, up in the rest."""
    time = (index + 1) / (length + 1)
    peak = 0.35
    part = time / peak if time < peak else (1 - time) / (1 - peak)
    return float(np.sin(0.5 * np.pi * part))


def _close_eyes(picture: np.ndarray, eyes: np.ndarray, closing: float) -> np.ndarray:
    """Pull the skin above each eye over it. `closing` 0 leaves the picture as it is, 1 closes the eyes."""
    height, width = picture.shape[:2]
    y, x = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
    distance = float(np.linalg.norm(eyes[1] - eyes[0]))
    half_width, half_height, fold = 0.27 * distance, 0.10 * distance, 0.26 * distance
    source_y = y.copy()
    for centre_x, centre_y in eyes:
        across = 1 - ((x - centre_x) / half_width) ** 2
        open_line = centre_y - half_height * across
        lid = open_line + closing * 2 * half_height * across
        top = centre_y - fold
        inside = (across > 0) & (y > top) & (y < lid)
        stretched = top + (y - top) * (open_line - top) / np.maximum(lid - top, 1e-3)
        source_y = np.where(inside, stretched, source_y)
    return cv2.remap(picture, x, source_y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
