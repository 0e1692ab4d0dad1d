"""The deletion test: does the score fall when the patches that a map calls important are taken away?

Patches of both streams are taken away in the order of the map, the most relevant first, and the score of the class is
watched (Samek et al. 2017; Petsiuk et al. 2018, RISE). A map that means something lets the score fall sooner than a
random order does, and in reversed order later. The figure is the area under the curve of the score over the share of
patches taken away: small for a good map. Both ends of all curves are the same, the whole clip and the blank one, so
areas of one clip may be compared, and those of different clips only by how far each is from random.

A patch is taken away by showing in its place what a still clip would show: see `clip.still_streams`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from hsta_hf.explanation.maps import PatchGrid, Streams, patch_grids, split_flat
from hsta_hf.explanation.rollout import model_inputs
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification

STEPS = 24
RANDOM_ORDERS = 50
_AT_ONCE = 64  # clips in one batch
_SAME = 1e-6  # areas nearer than this are equal: another order of the sums in the model


@dataclass(frozen=True)
class DeletionCurve:
    """How the score falls while patches are taken away.

    Attributes:
        shares: `(points,)` share of patches that are gone, from 0 to 1.
        scores: `(points,)` probability of the class.
    """

    shares: np.ndarray
    scores: np.ndarray

    @property
    def area(self) -> float:
        """Area under the curve, by trapezes: the mean score on the way, between 0 and 1."""
        middles = (self.scores[1:] + self.scores[:-1]) / 2
        return float(middles @ np.diff(self.shares))


@dataclass(frozen=True)
class DeletionTest:
    """A map's curve beside those that mean nothing.

    Attributes:
        curve: the most relevant patch first.
        reversed_curve: the least relevant patch first.
        random_curve: the mean over random orders.
        random_areas: `(orders,)` the area of each random order.
    """

    curve: DeletionCurve
    reversed_curve: DeletionCurve
    random_curve: DeletionCurve
    random_areas: np.ndarray

    @property
    def gain(self) -> float:
        """Mean area of random orders less the map's: above 0 where the map is better than chance."""
        return float(self.random_areas.mean()) - self.curve.area

    @property
    def beaten(self) -> float:
        """The share of random orders whose area is larger than the map's: 0.5 is chance, 1 the best."""
        larger = self.random_areas - self.curve.area
        smaller = (larger > _SAME).mean() + 0.5 * (np.abs(larger) <= _SAME).mean()
        return float(smaller)


def class_scores(model: HSTAForMicroExpressionClassification, logits: torch.Tensor) -> torch.Tensor:
    """Probabilities `(..., num_labels)`: softmax, or sigmoids of a model of action units."""
    multi = model.config.problem_type == "multi_label_classification"
    return logits.sigmoid() if multi else logits.softmax(-1)


def most_relevant_first(relevance: np.ndarray) -> np.ndarray:
    """The order of patches from `(..., patches)` relevance; ties in the order of the patches."""
    return np.argsort(-relevance, axis=-1, kind="stable")


def without_patches(
    streams: Streams, still: Streams, gone: np.ndarray, grids: Mapping[str, PatchGrid]
) -> dict[str, torch.Tensor]:
    """One clip with patches taken away.

    Args:
        streams, still: by stream, `(1, frames, channels, height, width)`.
        gone: `(versions, patches)` bool, over the patches of all streams.
        grids: of the streams.

    Returns:
        By stream, `(versions, frames, channels, height, width)`.
    """
    result = {}
    for name, mask in split_flat(gone, grids).items():
        pixels = grids[name].on_pixels(torch.from_numpy(mask).to(streams[name].device))
        result[name] = torch.where(pixels, still[name], streams[name])
    return result


def deletion_scores(
    model: HSTAForMicroExpressionClassification,
    streams: Streams,
    still: Streams,
    orders: np.ndarray,
    label: int,
    steps: int = STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of a clip while its patches are taken away in several orders.

    Args:
        model: in evaluation mode.
        streams, still: by stream, `(1, frames, channels, height, width)`.
        orders: `(orders, patches)` int, each a permutation of the patches of all streams.
        label: the class whose probability is watched.
        steps: into how many equal parts the way from the whole to the blank clip is cut, at most.

    Returns:
        `(points,)` shares of patches gone, and `(orders, points)` scores.

    Raises:
        ValueError: if an order is no permutation of the patches.
    """
    grids = patch_grids(model.config)
    patches = sum(grid.patches for grid in grids.values())
    if orders.ndim != 2 or not (np.sort(orders, axis=1) == np.arange(patches)).all():
        raise ValueError(f"An order holds each of the {patches} patches once; got an array of shape {orders.shape}.")
    counts = np.unique(np.linspace(0, patches, min(steps, patches) + 1).round().astype(int))
    place = np.argsort(orders, axis=1)  # when each patch goes
    inner = counts[1:-1]  # the ends are the same in every order
    gone = np.concatenate(
        [
            np.zeros((1, patches), dtype=bool),
            np.ones((1, patches), dtype=bool),
            (place[:, None, :] < inner[None, :, None]).reshape(-1, patches),
        ]
    )
    found = []
    with torch.no_grad():
        for start in range(0, len(gone), _AT_ONCE):
            part = without_patches(streams, still, gone[start : start + _AT_ONCE], grids)
            logits = model(**model_inputs(part)).logits
            found.append(class_scores(model, logits)[:, label].double().cpu().numpy())
    scores = np.concatenate(found)
    curves = np.empty((len(orders), len(counts)))
    curves[:, 0], curves[:, -1] = scores[0], scores[1]
    curves[:, 1:-1] = scores[2:].reshape(len(orders), len(inner))
    return counts / patches, curves


def random_order_curves(
    model: HSTAForMicroExpressionClassification,
    streams: Streams,
    still: Streams,
    label: int,
    orders: int = RANDOM_ORDERS,
    steps: int = STEPS,
    seed: int = 0,
) -> list[DeletionCurve]:
    """Curves of random orders of one clip; see `deletion_scores`."""
    patches = sum(grid.patches for grid in patch_grids(model.config).values())
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.permutation(patches) for _ in range(orders)])
    shares, scores = deletion_scores(model, streams, still, drawn, label, steps)
    return [DeletionCurve(shares, row) for row in scores]


def deletion_test(
    model: HSTAForMicroExpressionClassification,
    streams: Streams,
    still: Streams,
    relevance: np.ndarray,
    label: int,
    random_curves: list[DeletionCurve],
    steps: int = STEPS,
) -> DeletionTest:
    """Test one map of one clip.

    Args:
        model: in evaluation mode.
        streams, still: by stream, `(1, frames, channels, height, width)`.
        relevance: `(patches,)`, as `RelevanceMap.flat` gives it.
        label: the class whose probability is watched.
        random_curves: what `random_order_curves` gave for this clip, the same for all of its maps.
        steps: as in `deletion_scores`.
    """
    order = most_relevant_first(relevance)
    shares, (forwards, backwards) = deletion_scores(
        model, streams, still, np.stack([order, order[::-1]]), label, steps
    )
    mean = np.mean([curve.scores for curve in random_curves], axis=0)
    return DeletionTest(
        DeletionCurve(shares, forwards),
        DeletionCurve(shares, backwards),
        DeletionCurve(shares, mean),
        np.array([curve.area for curve in random_curves]),
    )
