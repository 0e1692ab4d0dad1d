"""The spotting metric of the Micro-Expression Grand Challenges: F1 over intervals of all videos together.

Li, Soladié, Séguier, Wang, Yap: Spotting Micro-Expressions on Long Videos Sequences (MEGC 2019), and Li, Wang, Yap,
See, Hong, Li: MEGC2020 - The Third Facial Micro-Expression Grand Challenge. A spotted interval is true if it shares
enough frames with a micro-expression: intersection over union of 0.5 or more. Each micro-expression makes one spotted
interval true at most, and each spotted interval counts for one micro-expression at most.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

IOU = 0.5
"""The challenges' threshold."""

Span = tuple[int, int]
"""First and last frame, both included."""


@dataclass(frozen=True)
class SpottingScore:
    """Counts over all videos, and what follows from them.

    Attributes:
        true: spotted intervals that are micro-expressions.
        spotted: intervals that were spotted.
        truth: micro-expressions that there are.
    """

    true: int
    spotted: int
    truth: int

    @property
    def precision(self) -> float:
        """Share of the spotted intervals that are true; 0 where nothing was spotted."""
        return self.true / self.spotted if self.spotted else 0.0

    @property
    def recall(self) -> float:
        """Share of the micro-expressions that were spotted; 0 where there are none."""
        return self.true / self.truth if self.truth else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall, 2 true / (spotted + truth); 0 where there is neither."""
        both = self.spotted + self.truth
        return 2 * self.true / both if both else 0.0


def iou(one: Span, other: Span) -> float:
    """Intersection over union of two intervals, in frames.

    Raises:
        ValueError: if an interval ends before it begins.
    """
    for first, last in (one, other):
        if last < first:
            raise ValueError(f"the interval {first} to {last} ends before it begins")
    shared = max(0, min(one[1], other[1]) - max(one[0], other[0]) + 1)
    return shared / (one[1] - one[0] + other[1] - other[0] + 2 - shared)


def match(spotted: Sequence[Span], truth: Sequence[Span], threshold: float = IOU) -> list[tuple[int, int]]:
    """The largest one-to-one matching of spotted intervals with micro-expressions; of those, the one of largest IoU.

    Args:
        spotted, truth: of one video, in any order; they may overlap.
        threshold: least intersection over union of a pair.

    Returns:
        (index in `spotted`, index in `truth`) of each pair, by `spotted`.

    Raises:
        ValueError: if the threshold is not above 0 and at most 1.
    """
    if not 0 < threshold <= 1:
        raise ValueError(
            f"the threshold of the intersection over union lies above 0 and at most at 1, not {threshold}"
        )
    if not spotted or not truth:
        return []
    shared = np.array([[iou(one, other) for other in truth] for one in spotted])
    enough = shared >= threshold
    # One pair more is worth more than any gain in overlap: overlaps of all pairs together stay below 1.
    worth = np.where(enough, 1 + shared / (1 + len(spotted) + len(truth)), 0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns, strict=True) if enough[i, j]]


def spotting_score(videos: Iterable[tuple[Sequence[Span], Sequence[Span]]], threshold: float = IOU) -> SpottingScore:
    """Score over all videos together, as the challenges count it.

    Args:
        videos: the spotted intervals and the micro-expressions of each.
        threshold: as in `match`.
    """
    true = spotted = truth = 0
    for found, there in videos:
        true += len(match(found, there, threshold))
        spotted += len(found)
        truth += len(there)
    return SpottingScore(true, spotted, truth)
