"""HOOF with a linear SVM: histograms of oriented optical flow (Chaudhry et al. 2009) in blocks of the face."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from hsta_hf.baselines.base import TrainingPart
from hsta_hf.baselines.flow import flow_settings, onset_to_apex
from hsta_hf.baselines.linear_svm import FittedSVM, fit_linear_svm
from hsta_hf.baselines.options import check_above, check_grid, read_options
from hsta_hf.training.clips import KeyFrames, LabelledClips
from hsta_hf.training.recipe import Recipe


@dataclass(frozen=True)
class HOOFOptions:
    """Settings of HOOF.

    Attributes:
        bins: directions that are told apart.
        grid: blocks [down, across].
        folded: as Chaudhry et al.: directions mirrored left and right count as one. Micro-expression work keeps them
            apart, which is the default.
        weighting: "sum": each block's histogram sums to 1 (0 where nothing moves). "bi-woof": it is then multiplied
            by the block's mean strain, as Bi-WOOF does (Liong et al. 2018).
        flow: fields of the optical flow that differ from what HSTA would see: method, size, remove_head_motion.
        c: the SVM's C; None chooses it on inner folds of the training subjects.
    """

    bins: int = 8
    grid: list[int] = field(default_factory=lambda: [8, 8])
    folded: bool = False
    weighting: Literal["sum", "bi-woof"] = "sum"
    flow: dict[str, Any] | None = None
    c: float | None = None

    def __post_init__(self) -> None:
        check_above(self, bins=2, c=1e-9)
        check_grid(self.grid)


def hoof(flow: np.ndarray, bins: int, grid: list[int], folded: bool = False, weighting: str = "sum") -> np.ndarray:
    """Histograms of one flow.

    Args:
        flow: (height, width, 3), u to the right and v downwards in pixels, and strain.
        bins, grid, folded, weighting: see `HOOFOptions`.

    Returns:
        (blocks, bins) float32. Bin b of B counts lengths of vectors whose angle, turning from right towards down,
        lies in [2 pi b / B, 2 pi (b + 1) / B); folded, those whose angle from the horizontal, of the vector or its
        mirror image to the right, lies in [-pi/2 + pi b / B, -pi/2 + pi (b + 1) / B).

    Raises:
        ValueError: the flow is smaller than the grid.
    """
    height, width = flow.shape[:2]
    if height < grid[0] or width < grid[1]:
        raise ValueError(f"a flow of {width}x{height} pixels cannot be cut into {grid} blocks")
    u, v = flow[..., 0].astype(np.float64), flow[..., 1].astype(np.float64)
    if folded:
        turn = (np.arctan2(v, np.abs(u)) + np.pi / 2) / np.pi
    else:
        turn = np.mod(np.arctan2(v, u), 2 * np.pi) / (2 * np.pi)
    direction = np.minimum((turn * bins).astype(np.int64), bins - 1)
    rows, columns = (np.arange(size) * parts // size for size, parts in zip((height, width), grid, strict=True))
    block, blocks = rows[:, None] * grid[1] + columns[None, :], grid[0] * grid[1]
    found = np.bincount((block * bins + direction).ravel(), np.hypot(u, v).ravel(), minlength=blocks * bins)
    found = found.reshape(blocks, bins)
    total = found.sum(axis=1, keepdims=True)
    found = np.divide(found, total, out=np.zeros_like(found), where=total > 0)
    if weighting == "bi-woof":
        strain = np.bincount(block.ravel(), flow[..., 2].astype(np.float64).ravel(), minlength=blocks)
        found *= (strain / np.bincount(block.ravel(), minlength=blocks))[:, None]
    return found.astype(np.float32)


class HOOF:
    """Histograms of the flow from onset to apex, and a linear SVM."""

    name, title, pretrains = "hoof", "HOOF with a linear SVM", False

    def __init__(self, recipe: Recipe) -> None:
        self.options = read_options(HOOFOptions, recipe.model.baseline_options, self.name)
        self.flow = flow_settings(recipe, self.options.flow)

    def settings(self) -> dict[str, Any]:
        """What the histograms depend on."""
        return {name: x for name, x in asdict(self.options).items() if name not in ("c", "flow")} | {"flow": self.flow}

    def extract(self, clips: LabelledClips, index: int, key: KeyFrames) -> np.ndarray:
        """(blocks, bins)."""
        flow, options = onset_to_apex(clips, index, key, self.flow), self.options
        return hoof(flow, options.bins, options.grid, options.folded, options.weighting)

    def fit(self, part: TrainingPart) -> FittedSVM:
        """See `fit_linear_svm`."""
        return fit_linear_svm(part, self.options.c)
