"""Samplers: balanced, complete, and a function of seed and epoch only."""

from __future__ import annotations

from collections import Counter

import pytest

from hsta_hf.training.samplers import ClassBalancedSampler, ShuffledSampler

LABELS = [0] * 2 + [1] * 30 + [2] * 9


def test_every_class_comes_equally_often() -> None:
    sampler = ClassBalancedSampler(LABELS, seed=1)
    for epoch in range(5):
        sampler.set_epoch(epoch)
        counts = Counter(LABELS[draw.clip] for draw in sampler)
        assert sum(counts.values()) == len(LABELS) == len(sampler)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_small_class_repeats_evenly_and_a_large_one_does_not_repeat() -> None:
    clips = Counter(draw.clip for draw in ClassBalancedSampler(LABELS, seed=1))
    assert abs(clips[0] - clips[1]) <= 1
    assert max(clips[i] for i in range(2, 32)) == 1


@pytest.mark.parametrize("kind", ["balanced", "shuffled"])
def test_draws_depend_on_seed_and_epoch_only(kind: str) -> None:
    def make(seed: int) -> ShuffledSampler:
        return ClassBalancedSampler(LABELS, seed) if kind == "balanced" else ShuffledSampler(len(LABELS), seed)

    first, second = make(3), make(3)
    list(first)  # iterating does not move on by itself
    first.set_epoch(4)
    second.set_epoch(4)
    draws = list(first)
    assert draws == list(second)
    second.set_epoch(5)
    assert [draw.clip for draw in draws] != [draw.clip for draw in second]
    other = make(4)
    other.set_epoch(4)
    assert [draw.clip for draw in draws] != [draw.clip for draw in other]
    assert [draw.key for draw in draws] == [(3, 4, place) for place in range(len(LABELS))]


def test_shuffling_shows_every_clip_once() -> None:
    assert sorted(draw.clip for draw in ShuffledSampler(10, seed=0)) == list(range(10))


def test_clips_with_rare_units_are_drawn_more_often() -> None:
    labels = [(1.0, 0.0)] * 90 + [(1.0, 1.0)] * 10
    sampler = ClassBalancedSampler(labels, seed=0)
    rare = 0
    for epoch in range(20):
        sampler.set_epoch(epoch)
        rare += sum(draw.clip >= 90 for draw in sampler)
    # Weights: 1/100 for the frequent unit alone, 1/10 with the rare one: a share of 1 / 1.9.
    assert rare / 2000 == pytest.approx(1 / 1.9, abs=0.05)


def test_clips_without_any_unit_come_as_often_as_those_of_a_unit() -> None:
    labels = [(1.0, 0.0)] * 20 + [(0.0, 1.0)] * 20 + [(0.0, 0.0)] * 60
    sampler = ClassBalancedSampler(labels, seed=0)
    shares: Counter[tuple[float, ...]] = Counter()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        shares.update(labels[draw.clip] for draw in sampler)
    assert [count / 2000 for count in shares.values()] == pytest.approx([1 / 3] * 3, abs=0.04)


def test_no_clips_is_an_error() -> None:
    with pytest.raises(ValueError, match="no training clips"):
        ClassBalancedSampler([], seed=0)
