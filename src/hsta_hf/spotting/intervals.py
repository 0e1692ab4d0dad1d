"""Intervals out of a movement curve: its peaks above a threshold that the recording itself sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hsta_hf.spotting.regions import REGION_NAMES
from hsta_hf.spotting.rows import MovementCurve

THRESHOLD = 7.0
"""Median absolute deviations above the median at which a peak is an interval: the best of nine on recordings stitched
of rendered people, then tried on 16 others (docs/spotting.md)."""


@dataclass(frozen=True)
class Interval:
    """A candidate micro-expression.

    Attributes:
        onset, apex, offset: frames of the recording, from 0; all three belong to the interval.
        strength: how far its peak stands out of the recording's curve, in median absolute deviations above the median.
        region: where the face moved most.
    """

    onset: int
    apex: int
    offset: int
    strength: float
    region: str


def strengths(curve: MovementCurve) -> np.ndarray:
    """(steps,) the curve in median absolute deviations above its median; NaN where it was not judged.

    The median is over the whole recording, most of which is at rest: what a camera, a codec and a person's usual
    unrest do to the curve is in it.
    """
    score = curve.rows["score"].astype(np.float64)
    judged = score[np.isfinite(score)]
    if not len(judged):
        return np.full(len(score), np.nan)
    median = float(np.median(judged))
    spread = max(float(np.median(np.abs(judged - median))), _LEAST_SPREAD)
    return (score - median) / spread


def find_intervals(curve: MovementCurve, threshold: float = THRESHOLD) -> list[Interval]:
    """The intervals of a recording, in order; no two share a frame.

    The highest peak comes first and takes its frames; then the highest of what is left, and so on down to the
    threshold. Onset and offset are those of the rise and fall that explain the peak best (`scan`).

    Args:
        curve: of the whole recording.
        threshold: as `Interval.strength`; an interval is stronger.

    Raises:
        ValueError: if the threshold is not above 0.
    """
    if not threshold > 0:
        raise ValueError(f"the threshold is {threshold}; it counts median absolute deviations and lies above 0")
    strength = strengths(curve)
    taken = np.zeros(len(strength), dtype=bool)
    found = []
    candidates = np.flatnonzero(np.nan_to_num(strength, nan=-np.inf) > threshold)
    for apex in candidates[np.argsort(-strength[candidates], kind="stable")]:
        row = curve.rows[apex]
        onset, offset = max(0, int(apex) - int(row["rise"])), min(len(taken) - 1, int(apex) + int(row["fall"]))
        if taken[onset : offset + 1].any():
            continue
        taken[onset : offset + 1] = True
        first, last = curve.frames(onset)[0], min(curve.frames(offset)[1], curve.num_frames - 1)
        middle = min(sum(curve.frames(int(apex))) // 2, last)
        found.append(Interval(first, middle, last, float(strength[apex]), REGION_NAMES[int(row["region"])]))
    return sorted(found, key=lambda interval: interval.onset)


_LEAST_SPREAD = 1e-3  # of a curve that stands still, as that of a still picture does
