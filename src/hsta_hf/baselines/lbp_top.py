"""LBP-TOP with a linear SVM: local binary patterns on three orthogonal planes (Zhao and Pietikäinen 2007).

A clip is a volume of grey levels. In each of its planes x-y, x-t and y-t every voxel is coded by which of its
neighbours on an ellipse are at least as bright; uniform codes are counted block by block. scikit-image's patterns lie
on circles in one picture, while the radii in space and time differ here, so the codes are computed below.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import cv2
import numpy as np

from hsta_hf.baselines.base import TrainingPart
from hsta_hf.baselines.linear_svm import FittedSVM, fit_linear_svm
from hsta_hf.baselines.options import check_above, check_grid, read_options
from hsta_hf.training.clips import KeyFrames, LabelledClips
from hsta_hf.training.recipe import Recipe

# Sums of interpolation weights miss 1 by rounding: an even surface must not look like a slope.
_EQUAL = 1e-3


@dataclass(frozen=True)
class LBPTOPOptions:
    """Settings of LBP-TOP; the defaults are those of CASME II's baseline (Yan et al. 2014) but for `num_frames`.

    Attributes:
        grid: blocks [down, across]; a block is as long as the clip.
        radius: [x, y, t] in pixels and frames.
        neighbours: of each voxel in each plane.
        num_frames: frames that every clip is interpolated to, linearly, before it is coded; None leaves clips as
            they are (short ones are still brought to 2 t + 1 frames).
        size: side in pixels that frames are resized to; None leaves them as they were prepared.
        c: the SVM's C; None chooses it on inner folds of the training subjects.
    """

    grid: list[int] = field(default_factory=lambda: [5, 5])
    radius: list[int] = field(default_factory=lambda: [1, 1, 4])
    neighbours: int = 8
    num_frames: int | None = 20
    size: int | None = None
    c: float | None = None

    def __post_init__(self) -> None:
        check_grid(self.grid)
        check_above(self, neighbours=2, size=16, c=1e-9)
        if self.neighbours > 16:
            raise ValueError(f"neighbours is {self.neighbours}; 2 to 16 are possible.")
        if len(self.radius) != 3 or min(self.radius) < 1:
            raise ValueError(f"radius is {self.radius}; give [x, y, t], 1 or more each, for example [1, 1, 4].")
        if self.num_frames is not None and self.num_frames < 2 * self.radius[2] + 1:
            raise ValueError(
                f"num_frames is {self.num_frames}; a radius of {self.radius[2]} frames needs "
                f"{2 * self.radius[2] + 1} or more."
            )


def uniform_codes(neighbours: int) -> tuple[np.ndarray, int]:
    """Bin of each code, (2 ** neighbours,): one for each code with at most two changes around, one for all others.

    Returns:
        The bins, and their number: 59 for 8 neighbours.
    """
    codes = np.arange(2**neighbours, dtype=np.int64)
    around = (codes >> 1) | ((codes & 1) << (neighbours - 1))
    changes = np.array([bin(code).count("1") for code in codes ^ around])
    uniform = changes <= 2
    bins = np.full(len(codes), int(uniform.sum()))
    bins[uniform] = np.arange(uniform.sum())
    return bins, int(uniform.sum()) + 1


def plane_codes(volume: np.ndarray, axes: tuple[int, int], radii: tuple[int, int], margin: tuple[int, int, int],
                neighbours: int) -> np.ndarray:  # fmt: skip
    """Codes of all voxels that are `margin` or more away from the faces of the volume.

    Args:
        volume: (t, y, x) float32.
        axes: the plane: the axis along which neighbour 0 lies, and the other one.
        radii: along these axes.
        margin: (t, y, x), no less than the radii.
        neighbours: bit p is neighbour p at an angle of 2 pi p / neighbours, bilinear between voxels.

    Returns:
        (t - 2 margin, …) int64.
    """
    inner = [slice(m, n - m) for m, n in zip(margin, volume.shape, strict=True)]
    centre = volume[tuple(inner)]
    codes = np.zeros(centre.shape, dtype=np.int64)
    for p in range(neighbours):
        angle = 2 * np.pi * p / neighbours
        place = (radii[0] * np.cos(angle), radii[1] * np.sin(angle))
        lower = [int(np.floor(round(x, 9))) for x in place]
        share = [round(x, 9) - low for x, low in zip(place, lower, strict=True)]
        value = np.zeros_like(centre)
        for first in (0, 1):
            for second in (0, 1):
                weight = (share[0] if first else 1 - share[0]) * (share[1] if second else 1 - share[1])
                if weight:
                    shifted = list(inner)
                    for axis, step in zip(axes, (lower[0] + first, lower[1] + second), strict=True):
                        shifted[axis] = slice(margin[axis] + step, volume.shape[axis] - margin[axis] + step)
                    value += np.float32(weight) * volume[tuple(shifted)]
        codes |= (value >= centre - np.float32(_EQUAL)).astype(np.int64) << p
    return codes


def lbp_top(volume: np.ndarray, options: LBPTOPOptions) -> np.ndarray:
    """Histograms of a volume (t, y, x) of grey levels: (blocks, 3, bins) float32, each summing to 1.

    Planes are x-y, x-t, y-t. Voxels nearer to a face than a radius have no code.

    Raises:
        ValueError: the volume is too small for the radii or the grid.
    """
    radius_x, radius_y, radius_t = options.radius
    margin = (radius_t, radius_y, radius_x)
    sizes = [n - 2 * m for n, m in zip(volume.shape, margin, strict=True)]
    if sizes[0] < 1 or sizes[1] < options.grid[0] or sizes[2] < options.grid[1]:
        raise ValueError(
            f"{volume.shape[0]} frames of {volume.shape[2]}x{volume.shape[1]} pixels are too few for LBP-TOP of "
            f"radius {options.radius} on a grid of {options.grid}; change baseline_options."
        )
    volume = np.ascontiguousarray(volume, dtype=np.float32)
    bins, number = uniform_codes(options.neighbours)
    planes = (((2, 1), (radius_x, radius_y)), ((2, 0), (radius_x, radius_t)), ((1, 0), (radius_y, radius_t)))
    rows, columns = (np.arange(size) * parts // size for size, parts in zip(sizes[1:], options.grid, strict=True))
    block = rows[:, None] * options.grid[1] + columns[None, :]
    blocks = options.grid[0] * options.grid[1]
    found = np.empty((blocks, 3, number), dtype=np.float32)
    for plane, (axes, radii) in enumerate(planes):
        coded = bins[plane_codes(volume, axes, radii, margin, options.neighbours)]
        counts = np.bincount((coded + block * number).ravel(), minlength=blocks * number).reshape(blocks, number)
        found[:, plane] = counts / counts.sum(axis=1, keepdims=True)
    return found


def interpolated(volume: np.ndarray, num_frames: int) -> np.ndarray:
    """The volume (t, y, x) at `num_frames` moments spread evenly from its first to its last frame, linearly."""
    times = np.linspace(0, len(volume) - 1, num_frames)
    before = np.minimum(times.astype(np.int64), max(len(volume) - 2, 0))
    after = np.minimum(before + 1, len(volume) - 1)
    share = (times - before).astype(np.float32)[:, None, None]
    return np.asarray(volume[before] * (1 - share) + volume[after] * share, dtype=np.float32)


class LBPTOP:
    """LBP-TOP histograms of onset to offset, and a linear SVM."""

    name, title, pretrains = "lbp-top", "LBP-TOP with a linear SVM", False
    scored = (
        "linear SVMs fitted to LBP-TOP histograms of each training fold, their C chosen or fixed without test clips"
    )

    def __init__(self, recipe: Recipe) -> None:
        self.options = read_options(LBPTOPOptions, recipe.model.baseline_options, self.name)

    def settings(self) -> dict[str, Any]:
        """What the histograms depend on."""
        return {name: value for name, value in asdict(self.options).items() if name != "c"}

    def extract(self, clips: LabelledClips, index: int, key: KeyFrames) -> np.ndarray:
        """(blocks, 3, bins)."""
        frames, size = clips.frames(index)[key.onset : key.offset + 1], self.options.size
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        if size is not None:
            grey = [cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA) for picture in grey]
        volume = np.stack(grey).astype(np.float32)
        fewest = 2 * self.options.radius[2] + 1
        wanted = self.options.num_frames or max(len(volume), fewest)
        return lbp_top(volume if len(volume) == wanted else interpolated(volume, wanted), self.options)

    def fit(self, part: TrainingPart) -> FittedSVM:
        """See `fit_linear_svm`."""
        return fit_linear_svm(part, self.options.c)
