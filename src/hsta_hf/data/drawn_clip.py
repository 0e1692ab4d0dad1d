"""Synthetic faces, part three: clips. A face at rest, a brief movement of its action units, and what disturbs it.

    subject = draw_subject(7)
    clip = draw_clip(subject, "6+12", np.random.default_rng(0))
    clip.frames[clip.apex]  # (192, 192, 3) uint8

Everything a clip holds follows from the subject and the random generator handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hsta_hf.data.drawn_canvas import FloatArray
from hsta_hf.data.drawn_face import SUPERSAMPLING, DrawnSubject
from hsta_hf.data.drawn_motion import (
    Deformation,
    deformation,
    distracting_movement,
    fold_shading,
    parse_action_units,
    peak_displacement,
)

REFERENCE_SIZE = 224  # frame side, in pixels, at which amplitudes are given
NOISE_MARGIN = 96


@dataclass(frozen=True)
class DrawnClip:
    """One synthetic micro-expression.

    `frames` (T, H, W, 3) uint8 RGB; `onset`, `apex`, `offset` index into them. `activation` (T,) is 0 at rest
    and 1 at the apex. `amplitude` is the largest displacement that the action units cause, in pixels of a
    frame of 224 pixels. `distractors` names what else moves, next to head drift.
    """

    frames: NDArray[np.uint8] = field(repr=False)
    onset: int
    apex: int
    offset: int
    action_units: str
    amplitude: float
    activation: FloatArray = field(repr=False)
    distractors: tuple[str, ...]


def time_course(length: int, onset: int, apex: int, offset: int, rng: np.random.Generator) -> FloatArray:
    """Activation per frame, (length,): 0 until the onset, 1 at the apex, fading until a little after the offset."""
    t = np.arange(length, dtype=np.float64)
    rise = np.clip((t - onset) / (apex - onset), 0, 1)
    fall = np.clip((offset + 0.5 - t) / (offset + 0.5 - apex), 0, 1)
    power = rng.uniform(0.8, 1.25)
    activation = np.where(t <= apex, 0.5 - 0.5 * np.cos(np.pi * rise**power), 0.5 - 0.5 * np.cos(np.pi * fall))
    jitter = 1 + 0.03 * rng.standard_normal(length)
    jitter[apex] = 1.0
    activation = np.minimum(activation * jitter, 1.0)
    activation[apex] = 1.0
    beside = (t != apex) & (activation > 0.98)
    return np.where(beside, 0.98, activation).astype(np.float32)


def random_times(rng: np.random.Generator, num_frames: tuple[int, int], lead: tuple[int, int]) -> tuple[int, ...]:
    """(frames in all, onset, apex, offset); onset to offset lasts `num_frames`, with `lead` frames either side."""
    length = int(rng.integers(num_frames[0], num_frames[1] + 1))
    before, after = (int(v) for v in rng.integers(lead[0], lead[1] + 1, 2))
    rise = int(np.clip(round((length - 1) * rng.uniform(0.30, 0.49)), 2, max(2, (length - 1) // 2)))
    return before + length + after, before, before + rise, before + length - 1


@dataclass(frozen=True)
class _Distractors:
    """What moves beside the action units, per frame: lids closing 0..1, gaze, and other muscles' movements."""

    names: tuple[str, ...]
    closing: FloatArray  # (T,)
    gaze: FloatArray  # (T, 2) in pupil distances
    movements: tuple[tuple[Deformation, FloatArray], ...]  # with an activation (T,) each


def _draw_distractors(
    subject: DrawnSubject, length: int, probability: float, rng: np.random.Generator
) -> _Distractors:
    t = np.arange(length, dtype=np.float32)
    closing = np.zeros(length, np.float32)
    gaze = np.tile(rng.normal(0, 0.012, 2).astype(np.float32), (length, 1))
    movements: list[tuple[Deformation, FloatArray]] = []
    names: list[str] = []
    if rng.random() < probability:
        kinds = ["blink", "gaze", "jaw", "lips"]
        names = [kinds[i] for i in sorted(rng.choice(4, size=int(rng.integers(1, 3)), replace=False))]
    for name in names:
        if name == "blink":
            middle, depth = rng.uniform(-1, length), rng.uniform(0.5, 1.05)
            down, up = rng.uniform(1.2, 2.2), rng.uniform(1.8, 3.5)
            closing = depth * np.exp(-((t - middle) ** 2) / np.where(t < middle, down, up) ** 2)
            closing = np.clip(np.where(closing < 0.03, 0, closing), 0, 1).astype(np.float32)
        elif name == "gaze":
            start, speed = rng.uniform(0, length), rng.uniform(0.5, 1.5)
            step = np.clip((t - start) / speed, 0, 1)
            gaze = gaze + step[:, None] * rng.normal(0, [0.05, 0.025]).astype(np.float32)
        else:
            moved = distracting_movement(subject, name, rng)
            start, duration = rng.uniform(-6, length - 3), rng.uniform(8, 24)
            phase = np.clip((t - start) / duration, 0, 1)
            peak = rng.uniform(0.3, 1.2) * subject.size / REFERENCE_SIZE / subject.pupil_distance
            wave = peak * (0.5 - 0.5 * np.cos(2 * np.pi * phase))
            movements.append((moved, wave.astype(np.float32)))
    return _Distractors(tuple(names), closing, gaze.astype(np.float32), tuple(movements))


def _head_drift(length: int, strength: float, size: int, rng: np.random.Generator) -> FloatArray:
    """Slow drift of the head, (T, 6): x, y in pixels, roll, log scale, yaw, pitch. Smooth, zero in the middle."""
    t = (np.arange(length) - 0.5 * (length - 1))[:, None]
    per_frame = np.array([0.05 * size / 192, 0.05 * size / 192, 0.0006, 0.0002, 0.0009, 0.0009]) * strength
    linear = rng.normal(0, 1, 6) * per_frame * t
    period = rng.uniform(18, 60, 6)
    sway = np.sin(2 * np.pi * (t / period + rng.random(6))) * rng.normal(0, 1, 6) * per_frame * 6
    return (linear + sway).astype(np.float32)


def _placement(subject: DrawnSubject, drift: FloatArray) -> NDArray[np.float64]:
    """Affine map (2, 3) from the canvas to the frame, both in pixels."""
    canvas = subject.canvas
    scale = subject.pupil_distance / canvas.unit * float(np.exp(drift[3]))
    angle = subject.roll + float(drift[2])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    origin = canvas.to_pixels(np.zeros(2)).astype(np.float64)
    target = np.asarray(subject.position) + drift[:2]
    return np.concatenate([turn, (target - turn @ origin)[:, None]], 1)


def _paste(texture: NDArray[np.uint8], top: int, left: int, patch: NDArray[np.uint8]) -> None:
    texture[top : top + patch.shape[0], left : left + patch.shape[1]] = patch


def draw_clip(
    subject: DrawnSubject,
    action_units: str | Sequence[str],
    rng: np.random.Generator,
    *,
    amplitude: tuple[float, float] = (0.5, 4.0),
    num_frames: tuple[int, int] = (8, 20),
    lead: tuple[int, int] = (2, 5),
    distractors: float = 0.6,
    head_motion: float = 1.0,
) -> DrawnClip:
    """Draw one synthetic micro-expression in memory.

    Args:
        subject: whose face.
        action_units: "6+12", "R1+R2" or a list of such names.
        rng: the only source of chance; the same state gives the same clip, to the byte.
        amplitude: range of the largest displacement, in pixels of a frame of 224 pixels; drawn log-uniformly.
        num_frames: range of the number of frames from onset to offset, both included.
        lead: range of the number of frames before the onset and, drawn again, after the offset.
        distractors: chance that the clip also holds one or two of blink, shift of gaze, movement of jaw or lips.
        head_motion: strength of the slow drift of the head; 0 keeps it still.

    Raises:
        ValueError: an unknown action unit or an impossible range.
    """
    for what, (low, high), least in (("amplitude", amplitude, 0.0), ("num_frames", num_frames, 5), ("lead", lead, 0)):
        if not least <= low <= high:
            raise ValueError(f"{what} is ({low}, {high}); it must be a range (low, high) with low at least {least}")
    units = parse_action_units(action_units)
    length, onset, apex, offset = random_times(rng, num_frames, lead)
    activation = time_course(length, onset, apex, offset, rng)
    moved = deformation(subject, action_units, rng)
    pixels = float(np.exp(rng.uniform(*np.log(np.maximum(amplitude, 1e-6)))))
    frame_to_reference = REFERENCE_SIZE / subject.size
    moved = moved.scaled(pixels / (peak_displacement(subject, moved) * subject.pupil_distance * frame_to_reference))
    others = _draw_distractors(subject, length, distractors, rng)
    drift = _head_drift(length, head_motion, subject.size, rng)
    flicker = (1 + 0.004 * rng.standard_normal(length)).astype(np.float32)
    frames = _render(subject, moved, activation, others, drift, flicker, rng)
    return DrawnClip(
        frames=frames,
        onset=onset,
        apex=apex,
        offset=offset,
        action_units="+".join(side + number for side, number in units),
        amplitude=pixels,
        activation=activation,
        distractors=others.names,
    )


def _render(
    subject: DrawnSubject,
    moved: Deformation,
    activation: FloatArray,
    others: _Distractors,
    drift: FloatArray,
    flicker: FloatArray,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Frames (T, size, size, 3) uint8 of a clip whose every movement is decided."""
    size, unit = subject.size, np.float32(subject.texture_canvas.unit)
    pixel = (np.arange(size, dtype=np.float32) + np.float32(0.5)) * SUPERSAMPLING - np.float32(0.5)
    # Planes of: where in the texture to look (x, y), and a factor of brightness.
    rest = np.stack([*np.meshgrid(pixel, pixel), np.ones((size, size), np.float32)])
    change = np.stack([-unit * moved.field[..., 0], -unit * moved.field[..., 1], fold_shading(subject, moved)])
    parallax = subject.depth * unit
    background = np.ascontiguousarray(np.moveaxis(subject.background, -1, 0))
    # One sheet of noise a clip, larger than the frame; every frame takes another part of it.
    noise = _sensor_noise(size + NOISE_MARGIN, subject.noise, rng)
    offsets = rng.integers(0, NOISE_MARGIN + 1, (len(activation), 2))
    texture = subject.texture.copy()
    drawn: dict[str, tuple[float, ...]] = {}
    frames = np.empty((len(activation), size, size, 3), np.uint8)
    for t, active in enumerate(activation):
        source = rest + active * change
        source[0] -= np.float32(subject.yaw + drift[t, 4]) * parallax
        source[1] -= np.float32(subject.pitch + drift[t, 5]) * parallax
        upper, lower = active * moved.upper_lids, active * moved.lower_lids
        apart = float(active * moved.lips_apart)
        for other, wave in others.movements:
            if wave[t]:
                source[:2] -= unit * wave[t] * np.moveaxis(other.field, -1, 0)
                apart += float(wave[t] * other.lips_apart)
        for i, eye in enumerate(subject.eyes):
            gaze = (float(others.gaze[t, 0]), float(others.gaze[t, 1]))
            state = (float(upper[i]), float(lower[i]), float(others.closing[t]), *gaze)
            if drawn.get(f"eye {i}") != state:
                _paste(texture, eye.top, eye.left, eye.draw(*state[:3], gaze))
                drawn[f"eye {i}"] = state
        if drawn.get("mouth") != (apart,):
            _paste(texture, subject.mouth.top, subject.mouth.left, subject.mouth.draw(apart))
            drawn["mouth"] = (apart,)

        matrix = _placement(subject, drift[t])
        where_x, where_y, light = (
            cv2.warpAffine(plane, matrix, (size, size), borderMode=cv2.BORDER_REPLICATE) for plane in source
        )
        head = cv2.remap(texture, where_x, where_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        planes = np.stack(cv2.split(head)).astype(np.float32)
        picture = planes[:3]
        picture *= light
        picture += background * (1 - planes[3] / np.float32(255))
        picture *= flicker[t]
        top, left = offsets[t]
        picture += noise[:, top : top + size, left : left + size]
        np.clip(picture + np.float32(0.5), 0, 255, out=picture)
        cv2.merge(list(picture.astype(np.uint8)), frames[t])
    return frames


def _sensor_noise(side: int, strength: float, rng: np.random.Generator) -> FloatArray:
    """Noise, (3, side, side): fine in brightness, coarser and weaker in colour."""
    grain = rng.standard_normal((side, side), dtype=np.float32)
    small = -(-side // 2)
    tint = rng.standard_normal((3, small, small), dtype=np.float32) * np.float32(0.5)
    broad = np.stack([cv2.resize(plane, (side, side), interpolation=cv2.INTER_LINEAR) for plane in tint])
    return np.asarray((broad + grain) * np.float32(strength), dtype=np.float32)
