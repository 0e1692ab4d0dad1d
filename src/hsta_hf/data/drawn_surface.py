"""What a synthetic face is made of: relief, light, skin, brows, lips and hair, each drawn on a canvas."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from hsta_hf.data.drawn_canvas import Canvas, FloatArray, pixel_noise
from hsta_hf.data.drawn_geometry import FaceGeometry


def draw_relief(canvas: Canvas, shape: FaceGeometry) -> FloatArray:
    """Height of the face's surface towards the camera, (side, side), in pupil distances."""
    x, y = canvas.axis_x, canvas.axis_y
    width = np.maximum(shape.half_width(y), 0.15)  # no spike where the outline closes
    across = np.clip(np.abs(x)[None, :] / width[:, None], 0, 0.995)
    middle, reach = 0.5 * (shape.crown + shape.chin), 0.505 * (shape.chin - shape.crown)
    along = np.clip(1 - ((y - middle) / reach) ** 2, 0, 1) ** 0.35
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


def shade(
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


def draw_skin(canvas: Canvas, shape: FaceGeometry, colour: FloatArray, rng: np.random.Generator) -> FloatArray:
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


def brow_lines(shape: FaceGeometry, rng: np.random.Generator, density: int) -> list[NDArray[np.float64]]:
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


def draw_lips(canvas: Canvas, shape: FaceGeometry) -> tuple[FloatArray, FloatArray]:
    """Mask of the red of the lips and of the line between them, both (side, side) in 0..1."""
    t = np.linspace(-1, 1, 41)
    x = t * shape.mouth_half_width
    line = shape.mouth + shape.mouth_curve * t**2 - 0.018 * np.exp(-((t / 0.16) ** 2)) * -1.0
    upper = line - shape.upper_lip * (1 - np.abs(t) ** 1.7) * (1 - 0.28 * np.exp(-((t / 0.13) ** 2)))
    lower = line + shape.lower_lip * (1 - np.abs(t) ** 2.4)
    red = canvas.fill(np.concatenate([np.stack([x, upper], 1), np.stack([x, lower], 1)[::-1]]), 0.018)
    parting = canvas.strokes([np.stack([x, line], 1)], 0.016, 0.010)
    return red, parting


def draw_hair(
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
