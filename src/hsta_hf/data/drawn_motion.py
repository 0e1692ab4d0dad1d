"""Synthetic faces, part two: FACS action units as smooth fields of displacement on one subject's face.

Directions and extents follow the descriptions of FACS (Ekman and Friesen's manual), by eye; amplitudes are
those of micro-expressions. Nothing here is measured on people.

Sides: L and R are the subject's own, so R is the left of the image.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hsta_hf.data.drawn_canvas import Canvas, FloatArray
from hsta_hf.data.drawn_face import DrawnSubject


@dataclass(frozen=True)
class Pull:
    """One Gaussian bump of motion: at landmark `at` plus (dx, dy), moving (out, down) at its centre.

    Lengths are pupil distances, `out` points away from the face's midline, strengths are relative within an
    action unit. Pulls at landmarks off the midline act on both sides, mirrored.
    """

    at: str
    dx: float
    dy: float
    sigma_x: float
    sigma_y: float
    out: float
    down: float


@dataclass(frozen=True)
class ActionUnit:
    """A FACS action unit: pulls on the skin, shifts of the lid margins (down is positive), parting of the lips."""

    name: str
    pulls: tuple[Pull, ...]
    upper_lid: float = 0.0
    lower_lid: float = 0.0
    lips_apart: float = 0.0


def _unit(name: str, *pulls: tuple[str, float, float, float, float, float, float], **lids: float) -> ActionUnit:
    return ActionUnit(name, tuple(Pull(*pull) for pull in pulls), **lids)


ACTION_UNITS: dict[str, ActionUnit] = {
    "1": _unit(
        "inner brow raiser",
        ("brow_inner", 0.02, -0.02, 0.20, 0.20, 0.0, -1.0),
        ("brow_inner", 0.05, -0.35, 0.26, 0.24, 0.0, -0.5),
        ("glabella", 0.0, 0.0, 0.16, 0.20, 0.0, -0.35),
        upper_lid=-0.10,
    ),
    "2": _unit(
        "outer brow raiser",
        ("brow_outer", -0.10, -0.02, 0.24, 0.19, 0.05, -1.0),
        ("brow_outer", -0.12, -0.35, 0.26, 0.24, 0.0, -0.5),
        ("brow_middle", 0.0, 0.10, 0.20, 0.12, 0.0, -0.35),
        upper_lid=-0.10,
    ),
    "4": _unit(
        "brow lowerer",
        ("brow_inner", 0.02, 0.0, 0.20, 0.17, -0.75, 0.75),
        ("brow_middle", 0.05, 0.0, 0.22, 0.15, -0.25, 0.45),
        ("glabella", 0.0, -0.05, 0.14, 0.22, 0.0, 0.45),
        ("brow_inner", 0.08, -0.32, 0.24, 0.20, -0.10, 0.35),
        upper_lid=0.15,
    ),
    "5": _unit(
        "upper lid raiser",
        ("upper_lid", 0.0, -0.04, 0.20, 0.06, 0.0, -0.55),
        upper_lid=-1.0,
    ),
    "6": _unit(
        "cheek raiser",
        ("cheek", 0.06, -0.06, 0.28, 0.22, -0.10, -0.9),
        ("outer_canthus", 0.10, 0.06, 0.18, 0.16, -0.35, -0.15),
        ("lower_lid", 0.05, 0.08, 0.22, 0.10, 0.0, -0.5),
        lower_lid=-0.40,
        upper_lid=0.10,
    ),
    "7": _unit(
        "lid tightener",
        ("lower_lid", 0.0, 0.05, 0.22, 0.08, -0.10, -0.75),
        ("outer_canthus", 0.03, 0.02, 0.12, 0.09, -0.30, 0.0),
        ("upper_lid", 0.0, -0.05, 0.22, 0.07, 0.0, 0.35),
        lower_lid=-0.75,
        upper_lid=0.45,
    ),
    "9": _unit(
        "nose wrinkler",
        ("nose_side", 0.0, 0.0, 0.17, 0.22, 0.0, -0.85),
        ("ala", 0.0, 0.0, 0.16, 0.15, 0.05, -0.80),
        ("upper_lip", 0.02, -0.08, 0.22, 0.13, 0.0, -0.50),
        ("cheek", -0.30, -0.12, 0.22, 0.20, -0.05, -0.55),
        ("brow_inner", 0.0, 0.02, 0.20, 0.17, -0.25, 0.60),
        ("glabella", 0.0, 0.0, 0.15, 0.20, 0.0, 0.55),
        lower_lid=-0.20,
    ),
    "10": _unit(
        "upper lip raiser",
        ("upper_lip", 0.03, -0.04, 0.24, 0.11, 0.0, -1.0),
        ("nasolabial", 0.0, 0.0, 0.18, 0.20, 0.08, -0.80),
        ("ala", 0.05, 0.04, 0.13, 0.13, 0.05, -0.30),
        ("cheek", -0.15, -0.05, 0.22, 0.18, 0.0, -0.35),
        lips_apart=0.15,
    ),
    "12": _unit(
        "lip corner puller",
        ("corner", 0.02, -0.01, 0.20, 0.19, 0.65, -0.80),
        ("cheek", 0.0, 0.12, 0.28, 0.26, 0.35, -0.60),
        ("nasolabial", 0.08, 0.05, 0.18, 0.18, 0.30, -0.40),
        ("lower_lip", 0.05, 0.0, 0.18, 0.13, 0.30, -0.15),
        ("cheek", 0.18, -0.25, 0.20, 0.20, 0.10, -0.30),
    ),
    "14": _unit(
        "dimpler",
        ("corner", 0.0, 0.0, 0.16, 0.15, 0.80, -0.05),
        ("corner", 0.24, -0.02, 0.13, 0.20, -0.45, 0.0),
        ("corner", 0.03, -0.18, 0.14, 0.10, 0.15, 0.30),
        ("corner", 0.02, 0.20, 0.17, 0.13, 0.10, -0.55),
        ("lower_lip", 0.02, 0.0, 0.18, 0.10, 0.30, 0.0),
    ),
    "15": _unit(
        "lip corner depressor",
        ("corner", 0.0, 0.02, 0.17, 0.16, 0.10, 1.0),
        ("corner", 0.04, 0.24, 0.18, 0.16, 0.10, 0.45),
        ("corner", -0.02, -0.22, 0.20, 0.18, 0.0, 0.55),
        ("lower_lip", 0.08, 0.02, 0.15, 0.11, 0.10, 0.35),
    ),
    "17": _unit(
        "chin raiser",
        ("chin_boss", 0.0, 0.0, 0.28, 0.20, 0.0, -1.0),
        ("lower_lip_centre", 0.0, 0.03, 0.26, 0.11, 0.0, -0.75),
        ("upper_lip", 0.0, 0.02, 0.20, 0.07, 0.0, -0.18),
        ("corner", 0.0, 0.06, 0.13, 0.12, 0.0, 0.22),
    ),
    "18": _unit(
        "lip pucker",
        ("corner", -0.02, 0.0, 0.19, 0.17, -0.95, 0.0),
        ("upper_lip", 0.05, 0.0, 0.15, 0.10, -0.40, -0.15),
        ("lower_lip", 0.05, 0.0, 0.15, 0.10, -0.40, 0.15),
        ("corner", 0.24, 0.0, 0.18, 0.24, -0.45, 0.0),
    ),
    "20": _unit(
        "lip stretcher",
        ("corner", 0.0, 0.02, 0.19, 0.18, 1.0, 0.15),
        ("corner", 0.24, 0.08, 0.20, 0.25, 0.70, 0.10),
        ("lower_lip", 0.03, 0.05, 0.18, 0.13, 0.50, 0.0),
        ("lower_lip_centre", 0.0, 0.04, 0.20, 0.11, 0.0, -0.30),
        ("upper_lip", 0.06, 0.0, 0.15, 0.09, 0.30, 0.05),
        ("jaw", 0.0, 0.0, 0.24, 0.20, 0.35, 0.20),
    ),
    "23": _unit(
        "lip tightener",
        ("upper_lip", 0.0, 0.0, 0.24, 0.08, -0.15, 0.65),
        ("lower_lip", 0.0, 0.0, 0.24, 0.08, -0.15, -0.65),
        ("corner", 0.0, 0.0, 0.14, 0.12, -0.55, 0.0),
    ),
    "24": _unit(
        "lip pressor",
        ("upper_lip_centre", 0.0, -0.01, 0.32, 0.09, 0.0, 0.75),
        ("lower_lip_centre", 0.0, 0.02, 0.30, 0.10, 0.0, -1.0),
        ("chin_boss", 0.0, -0.04, 0.25, 0.15, 0.0, -0.50),
        ("corner", 0.0, 0.0, 0.12, 0.10, 0.10, 0.05),
    ),
    "25": _unit(
        "lips part",
        ("lower_lip_centre", 0.0, 0.10, 0.28, 0.12, 0.0, 0.30),
        lips_apart=0.9,
    ),
}


def parse_action_units(action_units: str | Sequence[str]) -> tuple[tuple[str, str], ...]:
    """("R1+R2") or (["R1", "R2"]) -> (("R", "1"), ("R", "2")); no prefix means both sides, "".

    Raises:
        ValueError: an action unit that cannot be drawn.
    """
    names = action_units.split("+") if isinstance(action_units, str) else list(action_units)
    parsed = []
    for name in names:
        match = re.fullmatch(r"([LR]?)(\d+)", name.strip())
        if match is None or match.group(2) not in ACTION_UNITS:
            known = ", ".join(ACTION_UNITS)
            raise ValueError(f"cannot draw action unit {name!r}; known: {known}, each with L or R in front for a side")
        parsed.append((match.group(1), match.group(2)))
    if not parsed:
        raise ValueError("no action units given; name at least one, for example '6+12'")
    return tuple(parsed)


@dataclass
class Deformation:
    """How a face differs from neutral, per unit of activation: a field, lid shifts, lips apart.

    `field` (side, side, 2) on a Canvas; it and the shifts are in pupil distances. `upper_lids`, `lower_lids`:
    image left, image right.
    """

    field: FloatArray
    upper_lids: NDArray[np.float64]
    lower_lids: NDArray[np.float64]
    lips_apart: float

    def scaled(self, factor: float) -> Deformation:
        """The same deformation, `factor` times as strong."""
        return Deformation(
            self.field * np.float32(factor),
            self.upper_lids * factor,
            self.lower_lids * factor,
            self.lips_apart * factor,
        )


def deformation(
    subject: DrawnSubject, action_units: str | Sequence[str], rng: np.random.Generator | None = None
) -> Deformation:
    """The field of a combination of action units on one subject's face.

    Every subject's muscles differ a little from the table's, always in the same way; with `rng` the strengths
    of the combination's action units and of the two sides vary on top, as they do between expressions.
    """
    side = subject.canvas.side
    total = Deformation(np.zeros((side, side, 2), np.float32), np.zeros(2), np.zeros(2), 0.0)
    for which, number in parse_action_units(action_units):
        anatomy = np.random.default_rng([subject.anatomy_seed, int(number)])
        one = _deform(subject, ACTION_UNITS[number], which, anatomy, rng)
        total.field += one.field
        total.upper_lids += one.upper_lids
        total.lower_lids += one.lower_lids
        total.lips_apart += one.lips_apart
    return total


def _deform(
    subject: DrawnSubject, unit: ActionUnit, which: str, anatomy: np.random.Generator, rng: np.random.Generator | None
) -> Deformation:
    """One action unit, on both sides of the face or on one (`which` "L" or "R")."""
    canvas, points = subject.canvas, subject.geometry.landmarks()
    moved = np.zeros((canvas.side, canvas.side, 2), np.float32)
    strength = 1.0 if rng is None else float(rng.uniform(0.5, 1.0))
    sides = np.ones(2) if rng is None else rng.uniform(0.82, 1.0, 2)
    sides = sides * np.clip(1 + 0.07 * anatomy.standard_normal(2), 0.8, 1.2)
    if which:
        sides = sides * ([1, 0.04] if which == "R" else [0.04, 1])
    for pull in unit.pulls:
        vary = anatomy.standard_normal(6)
        x = points[pull.at][0] + pull.dx + 0.02 * vary[0]
        y = points[pull.at][1] + pull.dy + 0.02 * vary[1]
        turn, gain = 0.13 * vary[2], float(np.exp(0.15 * vary[3])) * strength
        out = gain * (pull.out * np.cos(turn) - pull.down * np.sin(turn))
        down = gain * (pull.out * np.sin(turn) + pull.down * np.cos(turn))
        sigma_x, sigma_y = pull.sigma_x * np.exp(0.1 * vary[4]), pull.sigma_y * np.exp(0.1 * vary[5])
        if points[pull.at][0] == 0.0:
            _add_bump(moved, canvas, 0.0, y, sigma_x, sigma_y, 0.0, down * float(sides.mean()))
            continue
        for sign, share in ((-1.0, float(sides[0])), (1.0, float(sides[1]))):
            _add_bump(moved, canvas, sign * x, y, sigma_x, sigma_y, sign * out * share, down * share)
    lids = strength * sides
    return Deformation(moved, unit.upper_lid * lids, unit.lower_lid * lids, unit.lips_apart * float(lids.mean()))


DISTRACTING_MOVEMENTS: dict[str, ActionUnit] = {
    "jaw": _unit(
        "jaw drops a little",
        ("chin_boss", 0.0, 0.05, 0.42, 0.28, 0.0, 1.0),
        ("lower_lip_centre", 0.0, 0.0, 0.30, 0.14, 0.0, 0.60),
        ("jaw", 0.0, 0.0, 0.24, 0.24, -0.05, 0.45),
        lips_apart=0.25,
    ),
    "lips": _unit(
        "lips shift",
        ("lower_lip", 0.0, 0.0, 0.22, 0.12, 0.25, 0.6),
        ("upper_lip", 0.0, 0.0, 0.20, 0.09, 0.20, -0.3),
    ),
}


def distracting_movement(subject: DrawnSubject, name: str, rng: np.random.Generator) -> Deformation:
    """A movement that belongs to no emotion ("jaw" or "lips"), its peak one pupil distance."""
    moved = _deform(subject, DISTRACTING_MOVEMENTS[name], "", rng, rng)
    return moved.scaled(float(rng.choice([-1.0, 1.0]) if name == "lips" else 1.0) / peak_displacement(subject, moved))


def _add_bump(
    target: FloatArray, canvas: Canvas, x: float, y: float, sigma_x: float, sigma_y: float, out: float, down: float
) -> None:
    """Add a bump of motion to `target` (side, side, 2), touching only the pixels within 3.2 sigma."""
    columns = slice(*np.searchsorted(canvas.axis_x, [x - 3.2 * sigma_x, x + 3.2 * sigma_x]))
    rows = slice(*np.searchsorted(canvas.axis_y, [y - 3.2 * sigma_y, y + 3.2 * sigma_y]))
    across = np.exp(-0.5 * ((canvas.axis_x[columns] - x) / sigma_x) ** 2)
    along = np.exp(-0.5 * ((canvas.axis_y[rows] - y) / sigma_y) ** 2)
    shape = along[:, None] * across[None, :]
    if out:
        target[rows, columns, 0] += np.float32(out) * shape
    if down:
        target[rows, columns, 1] += np.float32(down) * shape


def fold_shading(subject: DrawnSubject, moved: Deformation) -> FloatArray:
    """Change of brightness per unit of activation where skin is pushed together and folds, (side, side).

    Compressed skin bulges towards the camera, and a bulge is brighter on the side of the light.
    """
    step = float(subject.canvas.axis_x[1] - subject.canvas.axis_x[0])
    bulge = -(np.gradient(moved.field[..., 0], step, axis=1) + np.gradient(moved.field[..., 1], step, axis=0))
    slope_y, slope_x = np.gradient(bulge, step)
    change = -(subject.light[0] * slope_x + subject.light[1] * slope_y) * 0.045 + 0.10 * np.minimum(-bulge, 0)
    return (subject.wrinkling * np.clip(change, -0.35, 0.35)).astype(np.float32)


def peak_displacement(subject: DrawnSubject, moved: Deformation) -> float:
    """Largest displacement of anything on the face at full activation, in pupil distances."""
    canvas, shape = subject.canvas, subject.geometry
    largest = float(np.sqrt((moved.field**2).sum(-1).max()))
    edges = [(x, -shape.eye_upper, float(moved.upper_lids[i])) for i, x in enumerate((-0.5, 0.5))]
    edges += [(x, shape.eye_lower, float(moved.lower_lids[i])) for i, x in enumerate((-0.5, 0.5))]
    edges.append((0.0, shape.mouth + 0.02, 0.7 * moved.lips_apart))
    for x, y, shift in edges:
        column, row = np.round(canvas.to_pixels(np.array([x, y]))).astype(int)
        largest = max(largest, abs(float(moved.field[row, column, 1]) + shift))
    return largest
