"""How far a pooled score can be trusted: a bootstrap over people, and a paired test between two methods.

People are drawn, not clips, since clips of one person resemble each other: an interval from drawn clips would be too
narrow. All clips of a person, of all seeds, are drawn together; a resample's score is the mean over seeds of the
pooled score, so the interval says how the reported number varies with the people filmed, not with the seed.

Intervals are bias-corrected and accelerated (BCa; Efron 1987) and widened for few people as a t interval is widened
against a normal one (Hesterberg 2015). In simulated studies of 10, 32 and 68 people with 3 and 7 classes (400 each)
these held the true UF1 in 93 to 97 of 100 cases; plain percentile intervals fell to 86 with 10 people and 7 classes:
resamples have fewer different people, and so vary less. `tests/metrics/test_uncertainty.py` repeats a part of that.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import stdtrit

from hsta_hf.metrics.tables import FloatArray, SubjectCounts, count_subjects, is_multi_label, label_names

SAMPLES = 2000
PERMUTATIONS = 9999
LEVEL = 0.95
# Up to so many people whose predictions differ, all ways of swapping are gone through: 2^13 = 8,192.
EXACT_PEOPLE = 13
_KEY = ["database", "subject", "clip"]

Interval = tuple[float, float]


class ComparisonError(ValueError):
    """Two tables that cannot be compared; the message says what differs, with an example."""


def subject_intervals(
    counts: SubjectCounts, samples: int = SAMPLES, level: float = LEVEL, seed: int = 0
) -> dict[str, Interval] | None:
    """Bootstrap intervals over people of the pooled scores.

    A resample that lacks a class is scored by the rule of the scores themselves.

    Args:
        counts: of `count_subjects`.
        samples: resamples.
        level: share of intervals that should hold the true score.
        seed: of the drawing.

    Returns:
        {score: (low, high)}, without a score that does not exist; None where there is one person only, from whom
        nothing about people follows.

    Raises:
        ValueError: `samples` is below 1, or `level` is not between 0 and 1.
    """
    _check(samples, level)
    if len(counts.people) < 2:
        return None
    people = len(counts.people)
    drawn, without = counts.scores(_resamples(people, samples, seed)), counts.scores(1 - np.eye(people))
    known = {name: value for name, value in counts.pooled().items() if not math.isnan(value)}
    return {name: _interval(drawn[name], value, without[name], level) for name, value in known.items()}


def subject_mean_interval(
    values: Sequence[float], subjects: Sequence[str], samples: int = SAMPLES, level: float = LEVEL, seed: int = 0
) -> Interval | None:
    """Bootstrap interval over people of the mean of a number that each clip has, as of `subject_intervals`.

    Args:
        values: a number for each clip.
        subjects: whose clip it is; people of different databases need different names.
        samples, level, seed: as in `subject_intervals`, which also says when there is none.

    Raises:
        ValueError: there are not as many subjects as values, or as in `subject_intervals`.
    """
    _check(samples, level)
    table = pd.DataFrame({"value": np.asarray(values, dtype=np.float64), "subject": list(subjects)})
    sums = table.groupby("subject")["value"].agg(["sum", "size"]).to_numpy(dtype=np.float64)
    people = len(sums)
    if people < 2:
        return None

    def means(weights: FloatArray) -> FloatArray:
        totals = weights @ sums
        return np.asarray(totals[:, 0] / totals[:, 1])

    drawn, without = means(_resamples(people, samples, seed)), means(1 - np.eye(people))
    return _interval(drawn, float(table["value"].mean()), without, level)


def _check(samples: int, level: float) -> None:
    if samples < 1:
        raise ValueError(f"The number of resamples must be 1 or more; got {samples}.")
    if not 0 < level < 1:
        raise ValueError(f"The level of an interval must lie between 0 and 1, e.g. 0.95; got {level}.")


def _resamples(people: int, samples: int, seed: int) -> FloatArray:
    """How often each person is in each resample, (samples, people)."""
    return np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), samples).astype(np.float64)


def _interval(drawn: FloatArray, estimate: float, without: FloatArray, level: float) -> Interval:
    """Widened BCa interval from resamples (samples,) and from estimates without each person (people,)."""
    normal = NormalDist()
    people = len(without)
    drawn, without = drawn[~np.isnan(drawn)], without[~np.isnan(without)]
    tail = float(stdtrit(people - 1, (1 - level) / 2)) * math.sqrt(people / (people - 1))
    below = (np.sum(drawn < estimate - 1e-12) + np.sum(drawn <= estimate + 1e-12)) / (2 * len(drawn))
    bias = normal.inv_cdf(float(np.clip(below, 1 / (len(drawn) + 1), len(drawn) / (len(drawn) + 1))))
    influence = without.mean() - without
    spread = float(np.sum(influence**2)) ** 1.5
    acceleration = float(np.sum(influence**3)) / (6 * spread) if spread > 1e-30 else 0.0
    shares = []
    for z in (bias + tail, bias - tail):
        shrink = 1 - acceleration * z
        shares.append(normal.cdf(bias + z / shrink) if shrink > 0 else float(z > 0))
    low, high = np.quantile(drawn, shares)
    return float(low), float(high)


@dataclass(frozen=True)
class ScoreDifference:
    """One score of two methods on the same clips.

    Attributes:
        first, second: the pooled score of each, mean over seeds.
        difference: first minus second.
        interval: bootstrap interval of the difference over people; None for one person, or where a score is NaN.
        p: two-sided p of the paired permutation test over people; None likewise.
    """

    first: float
    second: float
    difference: float
    interval: Interval | None
    p: float | None


@dataclass(frozen=True)
class PairedComparison:
    """Two methods on the clips that both were tested on.

    Attributes:
        scores: {score: ScoreDifference}.
        clips, subjects: what was compared.
        seeds: pairs of seeds (first, second) that were compared.
        left_out_first, left_out_second: clips that only this table has.
        seeds_left_out_first, seeds_left_out_second: seeds that have no partner.
        exact: whether all ways of swapping were gone through; else `permutations` were drawn.
        permutations: ways of swapping that were looked at.
        samples, level: of the bootstrap.
    """

    scores: Mapping[str, ScoreDifference]
    clips: int
    subjects: int
    seeds: tuple[tuple[int, int], ...]
    left_out_first: int
    left_out_second: int
    seeds_left_out_first: tuple[int, ...]
    seeds_left_out_second: tuple[int, ...]
    exact: bool
    permutations: int
    samples: int
    level: float

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries and lists, for JSON."""
        return dataclasses.asdict(self)


def compare_tables(
    first: pd.DataFrame,
    second: pd.DataFrame,
    labels: Sequence[str] | None = None,
    second_labels: Sequence[str] | None = None,
    *,
    samples: int = SAMPLES,
    permutations: int = PERMUTATIONS,
    level: float = LEVEL,
    seed: int = 0,
) -> PairedComparison:
    """Compare two methods by their predictions tables, paired over people.

    The test: were the methods alike, a person's predictions of one could as well be the other's. So within each person
    the two methods' predictions are swapped, all seeds together, or not; p is the share of such swaps that give at
    least the difference found, either way round (Good, "Permutation, Parametric and Bootstrap Tests of Hypotheses",
    2005), the found one counted in (Phipson and Smyth, 2010).

    Seeds with the same number are partners; where no number is in both, they are paired in order, and a table of one
    seed (a method without chance, say) is the partner of every seed of the other.

    Args:
        first, second: tables with `clip`, `subject`, `label`, `prediction`, and `database` and `seed` if any.
        labels: names of the classes; by default those of the `score_…` columns of `first`.
        second_labels: those of `second`, likewise.
        samples: resamples of the difference's interval.
        permutations: swaps to draw where not all can be gone through.
        level: of the interval.
        seed: of the drawing.

    Raises:
        ComparisonError: the classes or a clip's label differ, a clip comes twice, no clip is in both, or the seeds
            cannot be paired.
    """
    _check(samples, level)
    _check(permutations, level)
    names = tuple(label_names(first) if labels is None else labels)
    others = tuple(label_names(second) if second_labels is None else second_labels)
    if names != others:
        raise ComparisonError(f"The tables have other classes: {', '.join(names)} and {', '.join(others)}.")
    if is_multi_label(first) != is_multi_label(second):
        raise ComparisonError("One table has one label a clip, the other has several.")
    one, other = _keyed(first, "first"), _keyed(second, "second")
    if (one["database"] == "").all() or (other["database"] == "").all():
        one["database"], other["database"] = "", ""
    pairs, lonely_first, lonely_second = _pair_seeds(sorted(set(one["seed"])), sorted(set(other["seed"])))
    one, other = _index(one, {a for a, _ in pairs}, "first"), _index(other, {b for _, b in pairs}, "second")
    shared = _shared_clips(one, other)
    lost = [len(frame.reset_index()[_KEY].drop_duplicates()) - len(shared) for frame in (one, other)]
    counts = [
        count_subjects(_of_seeds(frame, shared, [pair[side] for pair in pairs]), len(names))
        for side, frame in enumerate((one, other))
    ]
    _same_labels(one, other, shared, pairs)
    scores, exact, looked_at = _differences(counts[0], counts[1], samples, permutations, level, seed)
    return PairedComparison(
        scores=scores,
        clips=len(shared),
        subjects=len(counts[0].people),
        seeds=tuple(pairs),
        left_out_first=lost[0],
        left_out_second=lost[1],
        seeds_left_out_first=tuple(lonely_first),
        seeds_left_out_second=tuple(lonely_second),
        exact=exact,
        permutations=looked_at,
        samples=samples,
        level=level,
    )


def _keyed(table: pd.DataFrame, which: str) -> pd.DataFrame:
    if table.empty:
        raise ComparisonError(f"The {which} table has no rows.")
    missing = [name for name in ("clip", "subject", "label", "prediction") if name not in table.columns]
    if missing:
        raise ComparisonError(f"The {which} table has no column {', '.join(missing)}.")
    found = pd.DataFrame({name: table[name].to_list() for name in ("label", "prediction")})
    for name in _KEY:
        found[name] = table[name].astype(str).to_list() if name in table.columns else ""
    found["seed"] = table["seed"].astype(np.int64).to_list() if "seed" in table.columns else 0
    return found


def _index(table: pd.DataFrame, seeds: set[int], which: str) -> pd.DataFrame:
    table = table[table["seed"].isin(seeds)].set_index([*_KEY, "seed"]).sort_index()
    twice = table.index[table.index.duplicated()]
    if len(twice):
        _, subject, clip, seed = twice[0]
        raise ComparisonError(f"The {which} table has clip {clip} of subject {subject} twice for seed {seed}.")
    return table


def _pair_seeds(first: list[int], second: list[int]) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    if len(first) == 1 or len(second) == 1:
        size = max(len(first), len(second))
        pairs = list(zip(first * (size if len(first) == 1 else 1), second * (size if len(second) == 1 else 1)))  # noqa: B905
        return pairs, [], []
    common = [seed for seed in first if seed in second]
    if common:
        return (
            [(seed, seed) for seed in common],
            [seed for seed in first if seed not in common],
            [seed for seed in second if seed not in common],
        )
    if len(first) == len(second):
        return list(zip(first, second, strict=True)), [], []
    raise ComparisonError(
        f"The seeds cannot be paired: {', '.join(map(str, first))} and {', '.join(map(str, second))}. Run both with "
        "the same seeds, or with as many."
    )


def _shared_clips(one: pd.DataFrame, other: pd.DataFrame) -> pd.Index:
    """Clips that every compared seed of both tables has, so that all seeds are scored on the same clips."""
    shared: pd.Index | None = None
    for frame in (one, other):
        for seed in sorted(set(frame.index.get_level_values("seed"))):
            clips = frame.xs(seed, level="seed").index
            shared = clips if shared is None else shared.intersection(clips)
    if shared is None or not len(shared):
        examples = [f"clip {frame.index[0][2]} of subject {frame.index[0][1]}" for frame in (one, other)]
        raise ComparisonError(
            "No clip is in both tables for every seed (the same database, subject and clip); they have, say, "
            f"{examples[0]} and {examples[1]}."
        )
    return shared.sort_values()


def _of_seeds(frame: pd.DataFrame, shared: pd.Index, seeds: Sequence[int]) -> pd.DataFrame:
    parts = [frame.xs(seed, level="seed").loc[shared].reset_index().assign(seed=i) for i, seed in enumerate(seeds)]
    return pd.concat(parts, ignore_index=True)


def _same_labels(one: pd.DataFrame, other: pd.DataFrame, shared: pd.Index, pairs: Sequence[tuple[int, int]]) -> None:
    for first, second in pairs:
        labels = [frame.xs(seed, level="seed").loc[shared, "label"] for frame, seed in ((one, first), (other, second))]
        for key, a, b in zip(shared, *labels, strict=True):
            if not np.array_equal(a, b):
                plain = [np.asarray(x).tolist() for x in (a, b)]
                raise ComparisonError(
                    f"Clip {key[2]} of subject {key[1]} has the label {plain[0]} in the first table and {plain[1]} in "
                    "the second: they were not made from the same annotation."
                )


def _differences(
    first: SubjectCounts, second: SubjectCounts, samples: int, permutations: int, level: float, seed: int
) -> tuple[dict[str, ScoreDifference], bool, int]:
    people = len(first.people)
    if first.people != second.people:
        raise AssertionError("Both tables were cut to the same clips, so their people must be the same.")
    found = [counts.pooled() for counts in (first, second)]
    if people < 2:
        empty = {
            name: ScoreDifference(found[0][name], found[1][name], found[0][name] - found[1][name], None, None)
            for name in first.score_names
        }
        return empty, True, 0
    weights = _resamples(people, samples, seed)
    drawn = [counts.scores(weights) for counts in (first, second)]
    without = [counts.scores(1 - np.eye(people)) for counts in (first, second)]
    swaps, exact = _swaps(_differing(first, second), permutations, seed)
    swapped = [
        dataclasses.replace(first, values=_both(first, second)).scores(np.concatenate(parts, axis=1))
        for parts in ((1 - swaps, swaps), (swaps, 1 - swaps))
    ]
    scores = {}
    for name in first.score_names:
        difference = found[0][name] - found[1][name]
        if math.isnan(difference):
            scores[name] = ScoreDifference(found[0][name], found[1][name], difference, None, None)
            continue
        extreme = int((np.abs(swapped[0][name] - swapped[1][name]) >= abs(difference) - 1e-12).sum())
        p = extreme / len(swaps) if exact else (extreme + 1) / (len(swaps) + 1)
        interval = _interval(drawn[0][name] - drawn[1][name], difference, without[0][name] - without[1][name], level)
        scores[name] = ScoreDifference(found[0][name], found[1][name], difference, interval, p)
    return scores, exact, len(swaps)


def _both(first: SubjectCounts, second: SubjectCounts) -> FloatArray:
    return np.concatenate([first.values, second.values], axis=0)


def _differing(first: SubjectCounts, second: SubjectCounts) -> npt.NDArray[np.bool_]:
    """Which people swapping changes anything for."""
    return (first.values != second.values).any(axis=(1, 2))


def _swaps(differing: npt.NDArray[np.bool_], permutations: int, seed: int) -> tuple[FloatArray, bool]:
    """Who is swapped, (swaps, people) of 0 and 1; all ways where they are few. The rest is never swapped."""
    number = int(differing.sum())
    exact = number <= EXACT_PEOPLE
    if exact:
        chosen = (np.arange(2**number)[:, None] >> np.arange(number)) & 1
    else:
        chosen = np.random.default_rng([seed, 1]).integers(0, 2, size=(permutations, number))
    swaps = np.zeros((len(chosen), len(differing)))
    swaps[:, differing] = chosen
    return swaps, exact


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct several p values, so that one of them is wrongly below a bound only as often as that bound says.

    Holm's step-down (1979): the smallest times n, the next times n - 1, …, never falling, at most 1. None stays None
    and is not counted.

    Raises:
        ValueError: a p value is not between 0 and 1.
    """
    known = [(float(p), index) for index, p in enumerate(p_values) if p is not None]
    if any(math.isnan(p) or not 0 <= p <= 1 for p, _ in known):
        raise ValueError(f"p values must lie between 0 and 1; got {list(p_values)}.")
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(sorted(known)):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[index] = largest
    return corrected
