"""Synthetic faces, part one: a person who does not exist, drawn once as a neutral texture.

Nothing here is a photograph or a scan: a face is a height field made of a few curves and bumps, lit from one
side, coloured and covered with procedural skin noise. `drawn_motion` moves it, `synthesize` writes databases.

Face coordinates: the origin is the middle between the pupils, one unit is the distance between the pupils,
x points to the right of the image (the subject's left), y points down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hsta_hf.data.drawn_canvas import (
    CANVAS_EYE_HEIGHT,
    CANVAS_UNITS,
    Canvas,
    FloatArray,
    pixel_noise,
)
from hsta_hf.data.drawn_geometry import FaceGeometry
from hsta_hf.data.drawn_parts import DrawnEye, DrawnMouth
from hsta_hf.data.drawn_surface import brow_lines, draw_hair, draw_lips, draw_relief, draw_skin, shade

# Texture pixels per frame pixel, along one side.
SUPERSAMPLING = 2

# Albedo of skin, from light to dark (RGB in 0..1), and of hair and irises. Invented values, blended at random.
SKIN_COLOURS = ((0.91, 0.74, 0.64), (0.84, 0.65, 0.51), (0.74, 0.53, 0.39), (0.58, 0.39, 0.27), (0.40, 0.26, 0.18))
HAIR_COLOURS = ((0.07, 0.06, 0.06), (0.16, 0.10, 0.07), (0.30, 0.19, 0.11), (0.50, 0.36, 0.20), (0.48, 0.46, 0.44))
IRIS_COLOURS = ((0.16, 0.09, 0.05), (0.30, 0.19, 0.09), (0.30, 0.36, 0.22), (0.28, 0.42, 0.55), (0.42, 0.46, 0.48))


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

    relief = draw_relief(canvas, shape)
    diffuse, mirror = shade(canvas, relief, light, ambient)
    skin = draw_skin(canvas, shape, skin_colour, rng)

    # What is drawn on the skin.
    red, parting = draw_lips(canvas, shape)
    lip_colour = skin_colour * [0.86, 0.58, 0.58] + [0.05, 0.0, 0.01]
    lips = lip_colour * (1 + 0.05 * pixel_noise(rng, canvas.side, 1.2))[..., None]
    skin += (rng.uniform(0.55, 0.95) * red)[..., None] * (lips - skin)
    skin *= 1 - 0.62 * parting[..., None]
    hairs = canvas.strokes(brow_lines(shape, rng, int(rng.integers(110, 260))), 0.008)
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

    front, behind, hair = draw_hair(canvas, shape, hair_colour, rng)
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
