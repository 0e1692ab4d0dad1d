"""Synthetic faces, part one: a person who does not exist, drawn once as a neutral texture.

Nothing here is a photograph or a scan: a face is a height field made of a few curves and bumps, lit from one
side, coloured and covered with procedural skin noise. `drawn_motion` moves it, `synthesize` writes databases.

Face coordinates: the origin is the middle between the pupils, one unit is the distance between the pupils,
x points to the right of the image (the subject's left), y points down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from hsta_hf.data.drawn_canvas import (
    CANVAS_EYE_HEIGHT,
    CANVAS_UNITS,
    Canvas,
    FloatArray,
    pixel_noise,
    smooth_closed,
)
from hsta_hf.data.drawn_parts import DrawnEye, DrawnMouth

# Texture pixels per frame pixel, along one side.
SUPERSAMPLING = 2

# Albedo of skin, from light to dark (RGB in 0..1), and of hair and irises. Invented values, blended at random.
SKIN_COLOURS = ((0.91, 0.74, 0.64), (0.84, 0.65, 0.51), (0.74, 0.53, 0.39), (0.58, 0.39, 0.27), (0.40, 0.26, 0.18))
HAIR_COLOURS = ((0.07, 0.06, 0.06), (0.16, 0.10, 0.07), (0.30, 0.19, 0.11), (0.50, 0.36, 0.20), (0.48, 0.46, 0.44))
IRIS_COLOURS = ((0.16, 0.09, 0.05), (0.30, 0.19, 0.09), (0.30, 0.36, 0.22), (0.28, 0.42, 0.55), (0.42, 0.46, 0.48))


@dataclass(frozen=True)
class FaceGeometry:
    """Where the parts of one face lie, in face coordinates (pupil distances). Defaults are an average adult."""

    eye_half_width: float = 0.245
    eye_upper: float = 0.105
    eye_lower: float = 0.070
    eye_tilt: float = 0.02
    brow_height: float = 0.36
    brow_inner: float = 0.19
    brow_outer: float = 0.80
    brow_arch: float = 0.08
    brow_thickness: float = 0.085
    brow_slant: float = 0.0
    nose_half_width: float = 0.26
    nose_tip: float = 0.66
    nose_height: float = 0.36
    mouth: float = 1.09
    mouth_half_width: float = 0.41
    mouth_curve: float = 0.0
    upper_lip: float = 0.085
    lower_lip: float = 0.115
    chin: float = 1.76
    cheek_half_width: float = 1.08
    jaw_half_width: float = 0.87
    forehead_half_width: float = 1.05
    crown: float = -1.75
    hairline: float = -1.10

    @classmethod
    def random(cls, rng: np.random.Generator) -> FaceGeometry:
        """A face around the average one; spreads are about those of adults."""

        def around(mean: float, spread: float) -> float:
            return float(mean + spread * np.clip(rng.standard_normal(), -2.0, 2.0))

        average = cls()
        mouth = around(average.mouth, 0.05)
        return cls(
            eye_half_width=around(average.eye_half_width, 0.017),
            eye_upper=around(average.eye_upper, 0.014),
            eye_lower=around(average.eye_lower, 0.009),
            eye_tilt=around(average.eye_tilt, 0.022),
            brow_height=around(average.brow_height, 0.040),
            brow_inner=around(average.brow_inner, 0.030),
            brow_outer=around(average.brow_outer, 0.045),
            brow_arch=around(average.brow_arch, 0.025),
            brow_thickness=around(average.brow_thickness, 0.016),
            brow_slant=around(average.brow_slant, 0.025),
            nose_half_width=around(average.nose_half_width, 0.030),
            nose_tip=around(average.nose_tip, 0.040),
            nose_height=around(average.nose_height, 0.050),
            mouth=mouth,
            mouth_half_width=around(average.mouth_half_width, 0.035),
            mouth_curve=around(average.mouth_curve, 0.018),
            upper_lip=around(average.upper_lip, 0.018),
            lower_lip=around(average.lower_lip, 0.020),
            chin=mouth + around(average.chin - average.mouth, 0.055),
            cheek_half_width=around(average.cheek_half_width, 0.045),
            jaw_half_width=around(average.jaw_half_width, 0.055),
            forehead_half_width=around(average.forehead_half_width, 0.04),
            crown=around(average.crown, 0.06),
            hairline=around(average.hairline, 0.10),
        )

    def outline(self) -> FloatArray:
        """Closed outline of head and jaw, (N, 2), smoothed."""
        half = [
            (0.0, self.crown),
            (0.55 * self.forehead_half_width, self.crown + 0.12),
            (0.90 * self.forehead_half_width, self.crown + 0.52),
            (self.forehead_half_width, -0.72),
            (self.cheek_half_width, -0.10),
            (0.98 * self.cheek_half_width, 0.42),
            (0.5 * self.cheek_half_width + 0.5 * self.jaw_half_width, 0.88),
            (self.jaw_half_width, self.mouth + 0.10),
            (0.70 * self.jaw_half_width, 0.45 * self.mouth + 0.55 * self.chin),
            (0.36 * self.jaw_half_width, self.chin - 0.045),
            (0.0, self.chin),
        ]
        points = half + [(-x, y) for x, y in reversed(half[1:-1])]
        return smooth_closed(np.asarray(points, dtype=np.float32))

    def half_width(self, y: FloatArray) -> FloatArray:
        """Half the head's width at each height `y` (any shape); a little above 0 outside of the head."""
        right = self.outline()
        right = right[right[:, 0] >= 0]
        right = right[np.argsort(right[:, 1], kind="stable")]
        return np.interp(y, right[:, 1], right[:, 0], left=0.0, right=0.0).astype(np.float32)


@dataclass(frozen=True)
class DrawnSubject:
    """One synthetic person, ready to be moved by `drawn_motion.draw_clip`.

    `texture` is the neutral head (side, side, 4) uint8: RGB premultiplied with alpha, and alpha. `background`
    is (size, size, 3) float32 in 0..255. `depth` is (size, size) float32 on the canvas at frame resolution:
    how far a point stands out, in pupil distances, for parallax when the head turns.
    """

    name: str
    size: int
    geometry: FaceGeometry
    texture: NDArray[np.uint8] = field(repr=False)
    eyes: tuple[DrawnEye, DrawnEye] = field(repr=False)
    mouth: DrawnMouth = field(repr=False)
    background: FloatArray = field(repr=False)
    depth: FloatArray = field(repr=False)
    pupil_distance: float  # in frame pixels
    position: tuple[float, float]  # of the middle between the pupils in the frame, in pixels
    roll: float  # radians
    yaw: float  # radians
    pitch: float  # radians
    light: tuple[float, float]  # direction the light comes from, in the image plane
    noise: float  # standard deviation of the sensor noise, in grey levels of 255
    wrinkling: float  # how much folding skin changes its shading
    anatomy_seed: int  # how this person's muscles differ from the average

    @property
    def canvas(self) -> Canvas:
        """The canvas at frame resolution, on which motion is defined."""
        return Canvas(self.size)

    @property
    def texture_canvas(self) -> Canvas:
        """The canvas of `texture`."""
        return Canvas(self.size * SUPERSAMPLING)


def _blend(colours: Sequence[tuple[float, float, float]], rng: np.random.Generator, jitter: float) -> FloatArray:
    place = rng.uniform(0, len(colours) - 1)
    table = np.asarray(colours)
    colour = [np.interp(place, np.arange(len(colours)), table[:, channel]) for channel in range(3)]
    return np.clip(np.asarray(colour) * (1 + jitter * rng.standard_normal(3)), 0.02, 1.0).astype(np.float32)


def _relief(canvas: Canvas, shape: FaceGeometry) -> FloatArray:
    """Height of the face's surface towards the camera, (side, side), in pupil distances."""
    x, y = canvas.axis_x, canvas.axis_y
    width = np.maximum(shape.half_width(y), 0.05)
    across = np.clip(np.abs(x)[None, :] / width[:, None], 0, 0.995)
    middle, reach = 0.5 * (shape.crown + shape.chin), 0.54 * (shape.chin - shape.crown)
    along = np.clip(1 - ((y - middle) / reach) ** 2, 0.02, 1) ** 0.35
    relief = 0.95 * along[:, None] * (1 - across**2.3) ** 0.55

    tip, ala = shape.nose_tip, shape.nose_half_width
    ridge = np.interp(
        y,
        [-0.25, -0.02, 0.5 * tip, 0.88 * tip, tip, tip + 0.10, tip + 0.16],
        [0, 0.22, 0.55, 0.98, 1.0, 0.35, 0],
    )
    spread = np.interp(y, [-0.1, 0.3 * tip, 0.8 * tip, tip + 0.15], [0.10, 0.10, 0.56 * ala, 0.50 * ala])
    nose = shape.nose_height * ridge[:, None] * np.exp(-0.5 * (x[None, :] / spread[:, None]) ** 2)
    relief = relief + nose
    relief += 0.13 * canvas.pair(0.76 * ala, tip - 0.02, 0.27 * ala, 0.085)
    relief -= 0.15 * canvas.pair(0.50, 0.0, 0.25, 0.14)
    relief -= 0.07 * canvas.pair(0.20, -0.03, 0.07, 0.12)
    relief += 0.07 * canvas.pair(0.50, 0.0, 0.18, 0.10)
    relief += 0.075 * canvas.pair(0.42, -shape.brow_height + 0.02, 0.32, 0.10)
    relief += 0.09 * canvas.pair(0.66, 0.52, 0.24, 0.22)
    mouth = shape.mouth
    relief += 0.11 * canvas.bump(0, mouth - 0.05, 0.36, 0.22)
    relief -= 0.022 * canvas.bump(0, 0.5 * (tip + mouth) + 0.04, 0.045, 0.08)
    relief += 0.045 * canvas.bump(0, mouth - 0.6 * shape.upper_lip, 0.65 * shape.mouth_half_width, 0.045)
    relief += 0.060 * canvas.bump(0, mouth + 0.65 * shape.lower_lip, 0.55 * shape.mouth_half_width, 0.055)
    relief -= 0.055 * canvas.bump(0, mouth + shape.lower_lip + 0.15, 0.22, 0.06)
    relief += 0.09 * canvas.bump(0, shape.chin - 0.20, 0.20, 0.13)
    fold = np.array(
        [(ala + 0.03, tip - 0.10), (ala + 0.10, tip + 0.10), (shape.mouth_half_width + 0.09, mouth - 0.05)]
    )
    relief -= 0.022 * canvas.strokes([fold, fold * [-1, 1]], 0.03, 0.03)
    return relief.astype(np.float32)


def _shading(
    canvas: Canvas, relief: FloatArray, light: NDArray[np.floating], ambient: float
) -> tuple[FloatArray, FloatArray]:
    """Diffuse factor and shine of a relief under a light from direction `light` (3,), each (side, side)."""
    step = float(canvas.axis_x[1] - canvas.axis_x[0])
    soft = canvas.blur(relief, 0.012)
    slope_y, slope_x = np.gradient(soft, step)
    length = np.sqrt(slope_x**2 + slope_y**2 + 1)
    toward = (-slope_x * light[0] - slope_y * light[1] + light[2]) / length
    crease = np.clip(1 + 1.7 * (relief - canvas.blur(relief, 0.11)), 0.55, 1.15)
    diffuse = (ambient + (1 - ambient) * np.clip(toward, 0, None)) * crease
    half = light + np.array([0, 0, 1])
    half = half / np.linalg.norm(half)
    mirror = np.clip((-slope_x * half[0] - slope_y * half[1] + half[2]) / length, 0, None) ** 22
    return diffuse.astype(np.float32), mirror.astype(np.float32)


def _skin(canvas: Canvas, shape: FaceGeometry, colour: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Albedo of skin over the whole canvas, (side, side, 3): blood, blotches, pores, freckles, moles, beard."""
    side = canvas.side
    blood = 0.6 * canvas.pair(0.68, 0.52, 0.26, 0.22) + 0.7 * canvas.bump(0, shape.nose_tip, 0.18, 0.16)
    blood = (blood + 0.4 * pixel_noise(rng, side, 0.09 * canvas.unit)) * rng.uniform(0.02, 0.09)
    pores = pixel_noise(rng, side, 0.9) * rng.uniform(0.012, 0.040)
    grain = pixel_noise(rng, side, rng.uniform(1.8, 3.0)) * rng.uniform(0.015, 0.045)
    patches = pixel_noise(rng, side, rng.uniform(5, 9)) * rng.uniform(0.010, 0.035)
    tone = 1 + pores + grain + patches
    spots = np.zeros((side, side), np.uint8)
    freckles = int(rng.integers(150, 700)) if rng.random() < 0.35 else int(rng.integers(0, 25))
    places = np.stack([rng.normal(0, 0.62, freckles), rng.normal(0.30, 0.36, freckles)], 1)
    for place, strength in zip(canvas.to_pixels(places), rng.uniform(40, 190, freckles), strict=True):
        centre = tuple(int(v) for v in np.round(place * 16))
        cv2.circle(spots, centre, int(rng.uniform(0.5, 1.3) * 16), int(strength), -1, cv2.LINE_AA, shift=4)
    moles = int(rng.integers(0, 6))
    for place in canvas.to_pixels(np.stack([rng.uniform(-0.9, 0.9, moles), rng.uniform(-0.9, 1.5, moles)], 1)):
        centre = tuple(int(v) for v in np.round(place * 16))
        cv2.circle(spots, centre, int(rng.uniform(1.2, 2.6) * 16), 255, -1, cv2.LINE_AA, shift=4)
    spotted = np.asarray(cv2.GaussianBlur(spots, (0, 0), 0.8), np.float32) / 255
    tone = tone * (1 - rng.uniform(0.25, 0.5) * spotted)
    if rng.random() < 0.3:
        jaw = canvas.bump(0, shape.chin - 0.25, 0.62, 0.30) - 0.9 * canvas.bump(0, shape.mouth, 0.30, 0.11)
        whiskers = 1 + 0.22 * pixel_noise(rng, side, 0.8)
        tone = tone * (1 - rng.uniform(0.10, 0.30) * np.clip(jaw, 0, 1) * whiskers)
    skin = colour[None, None, :] * tone[..., None]
    skin[..., 0] *= 1 + blood
    skin[..., 1] *= 1 - 0.9 * blood
    skin[..., 2] *= 1 - 0.7 * blood
    return skin.astype(np.float32)


def _brow_lines(shape: FaceGeometry, rng: np.random.Generator, density: int) -> list[NDArray[np.float64]]:
    """Hairs of both brows as short lines in face coordinates."""
    lines: list[NDArray[np.float64]] = []
    for sign in (-1.0, 1.0):
        along = rng.uniform(0, 1, density)
        middle = -shape.brow_height - shape.brow_arch * np.sin(np.pi * (0.15 + 0.80 * along))
        middle = middle + shape.brow_arch * 0.4 + shape.brow_slant * (0.5 - along) + 0.06 * along**3
        thick = shape.brow_thickness * (1.0 - 0.75 * along**1.6) * np.minimum(1, 0.55 + 3 * along)
        x = shape.brow_inner + (shape.brow_outer - shape.brow_inner) * along
        y = middle + thick * np.clip(0.33 * rng.standard_normal(density), -0.55, 0.55)
        angle = -1.15 + 1.45 * along + 0.25 * rng.standard_normal(density)
        length = rng.uniform(0.06, 0.10, density)
        ends = np.stack([x + length * np.cos(angle), y + length * np.sin(angle)], 1)
        starts = np.stack([x, y], 1)
        lines += [np.stack([start, end]) * [sign, 1.0] for start, end in zip(starts, ends, strict=True)]
    return lines


def _lips(canvas: Canvas, shape: FaceGeometry) -> tuple[FloatArray, FloatArray]:
    """Mask of the red of the lips and of the line between them, both (side, side) in 0..1."""
    t = np.linspace(-1, 1, 41)
    x = t * shape.mouth_half_width
    line = shape.mouth + shape.mouth_curve * t**2 - 0.018 * np.exp(-((t / 0.16) ** 2)) * -1.0
    upper = line - shape.upper_lip * (1 - np.abs(t) ** 1.7) * (1 - 0.28 * np.exp(-((t / 0.13) ** 2)))
    lower = line + shape.lower_lip * (1 - np.abs(t) ** 2.4)
    red = canvas.fill(np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]]), 0.018)
    parting = canvas.strokes([np.stack([x, line], 1)], 0.016, 0.010)
    return red, parting


def _hair(
    canvas: Canvas, shape: FaceGeometry, colour: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mask of hair in front of the head, mask of hair behind it, and its albedo (side, side, 3)."""
    volume, temple = rng.uniform(0.06, 0.16), rng.uniform(-0.05, 0.35)
    outline = shape.outline()
    outer = outline * [1 + volume / shape.cheek_half_width, 1.0]
    outer[:, 1] = np.where(outline[:, 1] < -0.3, outline[:, 1] - volume, outline[:, 1])
    part = rng.uniform(-0.35, 0.35)
    t = np.linspace(-1, 1, 31)
    inner_x = t * 0.93 * shape.forehead_half_width
    fringe = shape.hairline + (temple - shape.hairline) * np.abs(t) ** rng.uniform(3.0, 6.0)
    fringe = fringe + 0.06 * np.exp(-(((t - part) / 0.2) ** 2)) + 0.02 * rng.standard_normal(31)
    cap = outer[outer[:, 1] < temple]
    cap = cap[np.argsort(np.arctan2(cap[:, 0], -(cap[:, 1] - temple)), kind="stable")]
    front = canvas.fill(np.concatenate([np.stack([inner_x, fringe], 1), cap[::-1]]), 0.02)
    behind = np.zeros_like(front)
    if rng.random() < 0.45:
        long = float(rng.uniform(0.9, 2.4))
        wide = shape.cheek_half_width + volume + 0.08
        top = outer[outer[:, 1] < -0.6]
        top = top[np.argsort(top[:, 0], kind="stable")] * [1.04, 1.01]
        fall = np.array([(wide, -0.3), (wide + 0.08, 0.5), (wide - 0.05, long), (0.5, long - 0.1)])
        fall = np.concatenate([fall, fall[::-1] * [-1, 1]])
        behind = canvas.fill(np.concatenate([top, fall]), 0.04)
    strands = rng.standard_normal((canvas.side, canvas.side), dtype=np.float32)
    strands = np.asarray(cv2.GaussianBlur(strands, (0, 0), sigmaX=0.9, sigmaY=9.0), dtype=np.float32)
    strands = strands / max(float(strands.std()), 1e-6)
    albedo = colour[None, None, :] * np.clip(1 + 0.28 * strands, 0.3, 2.0)[..., None]
    return front, behind, albedo.astype(np.float32)


def _head_mask(canvas: Canvas, shape: FaceGeometry) -> FloatArray:
    return canvas.fill(shape.outline(), 0.012)


def _draw_eye(
    canvas: Canvas,
    shape: FaceGeometry,
    texture: NDArray[np.uint8],
    light: FloatArray,
    side: float,
    iris: NDArray[np.floating],
    rng: np.random.Generator,
) -> DrawnEye:
    """Cut the patch around the eye on `side` (-1 or +1) from the texture and put a ball behind it."""
    corner = canvas.to_pixels(np.array([side * 0.5 - 0.38, -0.36]))
    opposite = canvas.to_pixels(np.array([side * 0.5 + 0.38, 0.34]))
    left, top = (int(v) for v in np.floor(corner))
    right, bottom = (int(v) for v in np.ceil(opposite))
    unit = canvas.unit
    x = canvas.axis_x[left:right]
    t = (x - side * 0.5) / shape.eye_half_width
    inward = -side * t  # 1 at the inner corner
    inside = np.clip(1 - np.abs(t), 0, 1)
    tilt = shape.eye_tilt * inward
    skew = np.clip(t + 0.12 * side, -1, 1)
    profile = np.clip(1 - np.abs(t) ** 2.2, 0, 1) * (inside > 0)
    upper = tilt - shape.eye_upper * (1 - np.abs(t) ** 2.1).clip(0) * (1 - 0.10 * skew * side)
    lower = tilt + shape.eye_lower * (1 - np.abs(t) ** 2.4).clip(0) + 0.012
    to_row = canvas.side * CANVAS_EYE_HEIGHT - 0.5 - top
    margin = round(0.16 * unit)
    y_axis = (np.arange(top - margin, bottom + margin) + 0.5) / canvas.side * CANVAS_UNITS
    y_axis = y_axis - CANVAS_EYE_HEIGHT * CANVAS_UNITS
    x_axis = ((np.arange(left - margin, right + margin) + 0.5) / canvas.side - 0.5) * CANVAS_UNITS - side * 0.5
    radius = np.hypot(x_axis[None, :], y_axis[:, None])
    soft = 1.2 / unit
    iris_radius = 0.098
    grain = 1 + 0.12 * rng.standard_normal(radius.shape)
    sclera = np.array([0.80, 0.77, 0.74]) * (1 - 0.9 * radius[..., None] ** 2)
    ring = np.clip(0.35 + 2.2 * (iris_radius - radius) / iris_radius, 0.35, 0.95)
    coloured = iris * (ring * grain)[..., None]
    in_iris = np.clip((iris_radius - radius) / soft + 0.5, 0, 1)[..., None]
    in_pupil = np.clip((rng.uniform(0.034, 0.048) - radius) / soft + 0.5, 0, 1)[..., None]
    ball = sclera + in_iris * (coloured - sclera)
    ball = ball + in_pupil * (0.02 - ball)
    glint = np.hypot(x_axis[None, :] - 0.035 * light[0], y_axis[:, None] - 0.035 * light[1] + 0.01)
    ball = ball * (0.62 + 0.38 * light[2]) + 0.75 * np.clip((0.018 - glint) / soft + 0.5, 0, 1)[..., None]
    return DrawnEye(
        top=top,
        left=left,
        unit=unit,
        margin=margin,
        skin=texture[top:bottom, left:right].copy(),
        ball=(255 * np.clip(ball, 0, 1)).astype(np.float32),
        upper=(upper * unit + to_row).astype(np.float32),
        lower=(lower * unit + to_row).astype(np.float32),
        profile=profile.astype(np.float32),
        lash=float(rng.uniform(0.55, 1.0)),
    )


def _draw_mouth(
    canvas: Canvas, shape: FaceGeometry, texture: NDArray[np.uint8], rng: np.random.Generator
) -> DrawnMouth:
    """Cut the patch around the mouth from the texture."""
    corner = canvas.to_pixels(np.array([-shape.mouth_half_width - 0.12, shape.mouth - 0.45]))
    opposite = canvas.to_pixels(np.array([shape.mouth_half_width + 0.12, shape.mouth + 0.55]))
    left, top = (int(v) for v in np.floor(corner))
    right, bottom = (int(v) for v in np.ceil(opposite))
    t = canvas.axis_x[left:right] / shape.mouth_half_width
    line = shape.mouth + shape.mouth_curve * np.minimum(t**2, 1) + 0.018 * np.exp(-((t / 0.16) ** 2))
    row = canvas.side * CANVAS_EYE_HEIGHT - 0.5 - top
    return DrawnMouth(
        top=top,
        left=left,
        unit=canvas.unit,
        lips=texture[top:bottom, left:right].copy(),
        line=(line * canvas.unit + row).astype(np.float32),
        profile=(np.clip(1 - np.abs(t) ** 2, 0, 1) ** 0.8).astype(np.float32),
        inside=np.asarray([52, 22, 22], dtype=np.float32) * np.float32(rng.uniform(0.6, 1.2)),
        teeth=float(rng.uniform(0.2, 0.9)),
    )


def _background(size: int, rng: np.random.Generator) -> FloatArray:
    """A wall behind the person, (size, size, 3) float32 in 0..255: a gradient with some blur of structure."""
    dim, tint = rng.uniform(40, 190), 1 + 0.08 * rng.standard_normal(3)
    slope = rng.uniform(-0.35, 0.35, 2)
    ramp = np.linspace(-0.5, 0.5, size)
    wall = 1 + slope[0] * ramp[None, :] + slope[1] * ramp[:, None]
    wall = wall + rng.uniform(0, 0.10) * pixel_noise(rng, size, size / 9)
    return np.clip(dim * wall[..., None] * tint, 0, 255).astype(np.float32)


def draw_subject(seed: int | Sequence[int], size: int = 192, name: str = "") -> DrawnSubject:
    """Draw one synthetic person.

    Args:
        seed: the same seed gives the same person, to the byte.
        size: side of the frames in pixels, at least 64.
        name: what to call the person, "synthetic-<seed>" if empty.

    Raises:
        ValueError: `size` is too small for a face with eyes.
    """
    if size < 64:
        raise ValueError(f"size is {size}; a drawn face needs frames of at least 64 pixels a side")
    rng = np.random.default_rng(seed)
    canvas = Canvas(size * SUPERSAMPLING)
    shape = FaceGeometry.random(rng)
    skin_colour = _blend(SKIN_COLOURS, rng, 0.04)
    hair_colour = _blend(HAIR_COLOURS, rng, 0.06)
    iris = _blend(IRIS_COLOURS, rng, 0.08)

    azimuth, height, ambient = rng.uniform(-0.95, 0.95), rng.uniform(-0.15, 0.85), rng.uniform(0.30, 0.60)
    light = np.array([np.sin(azimuth), -np.sin(height), np.cos(azimuth) * np.cos(height)])
    light = light / np.linalg.norm(light)
    lamp = rng.uniform(0.85, 1.20) * (1 + 0.05 * rng.standard_normal(3))

    relief = _relief(canvas, shape)
    diffuse, mirror = _shading(canvas, relief, light, ambient)
    skin = _skin(canvas, shape, skin_colour, rng)

    # What is drawn on the skin.
    red, parting = _lips(canvas, shape)
    lip_colour = skin_colour * [0.86, 0.58, 0.58] + [0.05, 0.0, 0.01]
    lips = lip_colour * (1 + 0.05 * pixel_noise(rng, canvas.side, 1.2))[..., None]
    skin += (rng.uniform(0.55, 0.95) * red)[..., None] * (lips - skin)
    skin *= 1 - 0.62 * parting[..., None]
    hairs = canvas.strokes(_brow_lines(shape, rng, int(rng.integers(110, 260))), 0.008)
    brow = np.clip(0.75 * hairs + 0.55 * canvas.blur(hairs, 0.025), 0, 1) * rng.uniform(0.7, 1.0)
    skin += brow[..., None] * (0.55 * hair_colour - skin)
    ala, tip = shape.nose_half_width, shape.nose_tip
    skin *= (1 - 0.80 * np.clip(canvas.pair(0.42 * ala, tip + 0.085, 0.22 * ala, 0.028), 0, 1))[..., None]
    skin *= (1 - 0.22 * canvas.pair(1.02 * ala, tip + 0.00, 0.025, 0.07))[..., None]
    t = np.linspace(-1.05, 1.05, 25)
    crease = np.stack([0.5 + t * shape.eye_half_width, -shape.eye_upper * (1.55 - 0.85 * t**2) - 0.01], 1)
    crease[:, 1] -= shape.eye_tilt * t
    skin *= (1 - rng.uniform(0.12, 0.42) * canvas.strokes([crease, crease * [-1, 1]], 0.016, 0.010))[..., None]
    skin *= (1 - rng.uniform(0.0, 0.18) * canvas.pair(0.47, 0.16, 0.17, 0.05))[..., None]

    shine = rng.uniform(0.02, 0.14) * mirror
    face = skin * (diffuse[..., None] * lamp) + shine[..., None]

    # Neck, shoulders, ears and hair behind the head.
    ambient_light = (ambient + 0.45 * (1 - ambient)) * lamp
    neck_width = rng.uniform(0.62, 0.80)
    neck = np.array([(-neck_width, 0.9), (neck_width, 0.9), (neck_width + 0.06, 2.15), (2.9, 2.95), (2.9, 3.5)])
    neck = np.concatenate([neck, [(-2.9, 3.5), (-2.9, 2.95), (-neck_width - 0.06, 2.15)]])
    neck_mask = canvas.fill(neck, 0.02)
    turn = canvas.axis_x / (neck_width + 0.25)
    round_neck = np.clip(1 - 0.55 * turn**2 + 0.35 * turn * light[0], 0.25, 1.2)[None, :]
    under_chin = 1 - 0.55 * np.asarray(canvas.blur(_head_mask(canvas, shape), 0.13))
    body = skin * (ambient_light * (round_neck * under_chin)[..., None])
    collar_height = rng.uniform(2.05, 2.5)
    collar = np.array([(-2.9, collar_height + 0.45), (-0.75, collar_height - 0.15), (0, collar_height + 0.2)])
    collar = np.concatenate([collar, collar[1::-1] * [-1, 1], [(2.9, 3.6), (-2.9, 3.6)]])
    cloth = canvas.fill(collar, 0.015)
    fabric = rng.uniform(0.05, 0.75) * (1 + 0.25 * rng.standard_normal(3))
    cloth_colour = np.clip(fabric, 0.02, 0.95) * (1 + 0.05 * pixel_noise(rng, canvas.side, 1.5))[..., None]
    body += cloth[..., None] * (cloth_colour * ambient_light - body)

    front, behind, hair = _hair(canvas, shape, hair_colour, rng)
    if rng.random() < 0.30:  # bald or shaven
        front, behind = front * np.float32(rng.uniform(0, 0.35)), np.zeros_like(behind)
    hair_lit = hair * (lamp * (0.5 * ambient_light + 0.5 * diffuse[..., None]))
    ear_y, ear_width = rng.uniform(0.10, 0.30), rng.uniform(0.08, 0.16)
    angle = np.linspace(0, 2 * np.pi, 32)
    reach = float(shape.half_width(np.array([ear_y], dtype=np.float32))[0]) + 0.4 * ear_width
    ear = np.stack([reach + ear_width * np.cos(angle), ear_y + 0.32 * np.sin(angle) - 0.08 * np.cos(angle)], 1)
    ears = np.maximum(canvas.fill(ear, 0.012), canvas.fill(ear * [-1, 1], 0.012))
    hollow = canvas.pair(reach + 0.2 * ear_width, ear_y, 0.45 * ear_width, 0.15)
    side_light = 1 + 0.35 * light[0] * np.sign(canvas.axis_x)[None, :]
    ear_colour = skin * (ambient_light * (side_light * (0.95 - 0.45 * hollow))[..., None])

    colour = hair_lit * 0.6
    for mask, paint in ((neck_mask, body), (ears, ear_colour), (_head_mask(canvas, shape), face), (front, hair_lit)):
        colour = colour + mask[..., None] * (paint - colour)
    alpha = 1 - (1 - behind) * (1 - neck_mask) * (1 - ears) * (1 - _head_mask(canvas, shape)) * (1 - front)
    premultiplied = np.concatenate([np.clip(colour, 0, 1) * alpha[..., None], alpha[..., None]], -1)
    texture = np.rint(255 * premultiplied).astype(np.uint8)

    light32 = light.astype(np.float32)
    eyes = (
        _draw_eye(canvas, shape, texture, light32, -1.0, iris * lamp, rng),
        _draw_eye(canvas, shape, texture, light32, 1.0, iris * lamp, rng),
    )
    mouth = _draw_mouth(canvas, shape, texture, rng)
    for part, patch in ((eyes[0], eyes[0].draw()), (eyes[1], eyes[1].draw()), (mouth, mouth.draw())):
        texture[part.top : part.top + patch.shape[0], part.left : part.left + patch.shape[1]] = patch

    frame = Canvas(size)
    depth = 1.0 * frame.bump(0, 0.15, 0.85, 1.25) + 0.30 * frame.bump(0, shape.nose_tip - 0.08, 0.20, 0.26)
    return DrawnSubject(
        name=name or f"synthetic-{seed}",
        size=size,
        geometry=shape,
        texture=texture,
        eyes=eyes,
        mouth=mouth,
        background=_background(size, rng),
        depth=(depth - 0.55).astype(np.float32),
        pupil_distance=size * rng.uniform(0.235, 0.315),
        position=(size * (0.5 + 0.03 * rng.standard_normal()), size * rng.uniform(0.31, 0.42)),
        roll=float(np.deg2rad(2.0 * rng.standard_normal())),
        yaw=float(np.deg2rad(np.clip(6.0 * rng.standard_normal(), -13, 13))),
        pitch=float(np.deg2rad(np.clip(4.0 * rng.standard_normal(), -9, 9))),
        light=(float(light[0]), float(light[1])),
        noise=float(rng.uniform(0.6, 4.0)),
        wrinkling=float(rng.uniform(0.3, 1.5)),
        anatomy_seed=int(rng.integers(2**31)),
    )
