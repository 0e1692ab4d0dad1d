"""Relevance of patches: what every explanation gives, whatever it is made from, and how it lies on the pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from hsta_hf.configuration_hsta import HSTAConfig

STREAM_INPUTS: Mapping[str, str] = {"video": "pixel_values", "special": "special_pixel_values"}
"""The name of the model's input for each stream."""

Streams = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class PatchGrid:
    """How a stream is cut into patches.

    Attributes:
        tubelets, rows, columns: number of patches along time, height and width.
        tubelet_size: frames that one patch covers.
        patch_height, patch_width: pixels of the stream's pictures that one patch covers.
    """

    tubelets: int
    rows: int
    columns: int
    tubelet_size: int
    patch_height: int
    patch_width: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(tubelets, rows, columns), the order of the tokens."""
        return self.tubelets, self.rows, self.columns

    @property
    def patches(self) -> int:
        """Number of patches."""
        return self.tubelets * self.rows * self.columns

    def on_pixels(self, patches: torch.Tensor) -> torch.Tensor:
        """Values `(..., tubelets, rows, columns)` repeated over the pixels that each patch covers:
        `(..., frames, 1, height, width)`, which fits beside the stream."""
        for axis, times in ((-3, self.tubelet_size), (-2, self.patch_height), (-1, self.patch_width)):
            patches = patches.repeat_interleave(times, dim=axis)
        return patches.unsqueeze(-3)

    def of_pixels(self, values: torch.Tensor) -> torch.Tensor:
        """Sums over the pixels and channels of each patch: `(batch, frames, channels, height, width)` to
        `(batch, tubelets, rows, columns)`."""
        batch = values.shape[0]
        cut = values.sum(dim=2).reshape(
            batch, self.tubelets, self.tubelet_size, self.rows, self.patch_height, self.columns, self.patch_width
        )
        return cut.sum(dim=(2, 4, 6))


def patch_grids(config: HSTAConfig) -> dict[str, PatchGrid]:
    """The grids of the streams that a model uses, the video stream's first."""
    grids = {}
    for name, used in (("video", config.use_video_stream), ("special", config.use_special_stream)):
        if not used:
            continue
        stream = config.stream(name)
        height, width = _pair(stream.image_size)
        patch_height, patch_width = _pair(stream.patch_size)
        grids[name] = PatchGrid(
            stream.num_frames // stream.tubelet_size,
            height // patch_height,
            width // patch_width,
            stream.tubelet_size,
            patch_height,
            patch_width,
        )
    return grids


def _pair(size: int | Sequence[int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


@dataclass(frozen=True)
class RelevanceMap:
    """How much each patch of each stream counted for a decision.

    Attributes:
        method: name of what made it, one of `explain.METHODS`.
        streams: by stream, `(tubelets, rows, columns)` float64. Maps of attention are never negative; of gradients,
            negative patches spoke against the class. Only ratios within one map mean anything.
    """

    method: str
    streams: Mapping[str, np.ndarray]

    def flat(self) -> np.ndarray:
        """All patches in one row, stream after stream."""
        return np.concatenate([values.ravel() for values in self.streams.values()])

    def shares(self) -> dict[str, np.ndarray]:
        """What spoke for the class, as shares of 1 over both streams; where nothing did, every patch has the same."""
        positive = {name: np.maximum(values, 0.0) for name, values in self.streams.items()}
        total = sum(float(values.sum()) for values in positive.values())
        if total <= 0:
            patches = sum(values.size for values in positive.values())
            return {name: np.full(values.shape, 1 / patches) for name, values in positive.items()}
        return {name: values / total for name, values in positive.items()}


def split_flat(values: np.ndarray, grids: Mapping[str, PatchGrid]) -> dict[str, np.ndarray]:
    """`(..., all patches)` in the order of `RelevanceMap.flat` to `(..., tubelets, rows, columns)` by stream."""
    parts, start = {}, 0
    for name, grid in grids.items():
        parts[name] = values[..., start : start + grid.patches].reshape(*values.shape[:-1], *grid.shape)
        start += grid.patches
    if start != values.shape[-1]:
        raise ValueError(f"{values.shape[-1]} values for {start} patches; give one for each patch of each stream.")
    return parts
