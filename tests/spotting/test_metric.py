"""The spotting metric, against a slow and obvious one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from hsta_hf.spotting.metric import Span, SpottingScore, iou, match, spotting_score


def iou_of_sets(one: Span, other: Span) -> float:
    a, b = set(range(one[0], one[1] + 1)), set(range(other[0], other[1] + 1))
    return len(a & b) / len(a | b)


def most_pairs(spotted: list[Span], truth: list[Span], threshold: float) -> int:
    """The size of the largest one-to-one matching, by trying all."""
    best = 0
    short, long = (spotted, truth) if len(spotted) <= len(truth) else (truth, spotted)
    for chosen in itertools.permutations(long, len(short)):
        best = max(best, sum(iou_of_sets(a, b) >= threshold for a, b in zip(short, chosen, strict=True)))
    return best


def some_spans(rng: np.random.Generator, number: int) -> list[Span]:
    starts = rng.integers(0, 40, number)
    return [
        (int(start), int(start + length)) for start, length in zip(starts, rng.integers(0, 20, number), strict=True)
    ]


def test_it_counts_what_trying_all_matchings_counts() -> None:
    rng = np.random.default_rng(3)
    pairs_seen = several = 0
    for _ in range(300):
        spotted, truth = some_spans(rng, int(rng.integers(0, 6))), some_spans(rng, int(rng.integers(0, 6)))
        threshold = float(rng.choice([0.2, 0.5, 0.7]))
        pairs = match(spotted, truth, threshold)
        assert len(pairs) == most_pairs(spotted, truth, threshold)
        assert len({i for i, _ in pairs}) == len({j for _, j in pairs}) == len(pairs)
        assert all(iou_of_sets(spotted[i], truth[j]) >= threshold for i, j in pairs)
        pairs_seen += len(pairs)
        several += len(pairs) > 1
    assert pairs_seen > 100 and several > 20  # the cases say something


def test_iou_counts_frames_with_both_ends() -> None:
    assert iou((0, 9), (0, 9)) == 1
    assert iou((0, 9), (5, 14)) == pytest.approx(5 / 15)
    assert iou((0, 9), (10, 19)) == 0
    assert iou((4, 4), (4, 5)) == 0.5
    rng = np.random.default_rng(4)
    for one, other in zip(some_spans(rng, 50), some_spans(rng, 50), strict=True):
        assert iou(one, other) == pytest.approx(iou_of_sets(one, other))


def test_half_an_overlap_is_enough() -> None:
    assert match([(0, 9)], [(0, 4)]) == [(0, 0)]
    assert match([(0, 10)], [(0, 4)]) == []


def test_a_micro_expression_makes_one_interval_true() -> None:
    found = spotting_score([([(0, 9), (1, 10), (2, 11)], [(1, 10)])])
    assert (found.true, found.spotted, found.truth) == (1, 3, 1)
    assert match([(0, 9), (1, 10)], [(1, 10)]) == [(1, 0)]  # the one that overlaps more


def test_the_score_is_over_all_videos_together() -> None:
    found = spotting_score([([(0, 9)], [(0, 9), (50, 59)]), ([(0, 9), (30, 39)], []), ([], [(5, 15)])])
    assert found == SpottingScore(true=1, spotted=3, truth=3)
    assert found.precision == found.recall == found.f1 == pytest.approx(1 / 3)
    # The mean of the videos' own scores would be another number.
    assert found.f1 != pytest.approx(np.mean([2 / 3, 0, 0]))


def test_nothing_spotted_and_nothing_there_are_zero_and_no_error() -> None:
    assert spotting_score([]).f1 == spotting_score([([], [])]).precision == 0
    assert spotting_score([([], [(0, 5)])]).f1 == 0


def test_bad_intervals_and_thresholds_are_refused() -> None:
    with pytest.raises(ValueError, match="9 to 3 ends before it begins"):
        match([(9, 3)], [(0, 5)])
    for threshold in (0.0, -1.0, 1.5):
        with pytest.raises(ValueError, match="above 0 and at most at 1"):
            match([(0, 5)], [(0, 5)], threshold)
