"""Shared footage by frame hashes, checked against every pair compared by sets."""

from __future__ import annotations

import time
from itertools import combinations

import numpy as np
import pytest

from hsta_hf.data.footage import COMMON, SharedFootage, shared_footage


def every_pair_compared(clips: list[list[int]]) -> list[tuple[int, int, int]]:
    """The documented rule, slow and obvious, for clips in which no picture is common."""
    pairs = []
    for first, second in combinations(range(len(clips)), 2):
        a, b = set(clips[first]), set(clips[second])
        if len(a & b) >= 2 or (a & b and min(len(a), len(b)) == 1):
            pairs.append((first, second, len(a & b)))
    return pairs


@pytest.mark.parametrize("seed", range(5))
def test_the_pairs_are_those_of_comparing_every_clip_with_every_other(seed: int):
    rng = np.random.default_rng(seed)
    clips = [rng.integers(0, 400, rng.integers(0, 12)).tolist() for _ in range(60)]
    found = shared_footage(clips)
    assert found == every_pair_compared(clips)
    assert found


def test_overlapping_and_copied_clips_are_found_with_the_number_of_frames():
    clips = {"a": range(10, 20), "b": range(15, 40), "c": range(100, 110), "d": range(100, 110), "e": range(200, 220)}
    assert shared_footage(clips) == [(0, 1, 5), (2, 3, 10)]
    assert shared_footage(list(clips.values()))[0] == SharedFootage(first=0, second=1, frames=5)


def test_one_common_picture_is_a_coincidence_unless_it_is_all_of_a_clip():
    black = 7
    assert shared_footage([[black, 1, 2, 3], [black, 4, 5, 6]]) == []
    assert shared_footage([[black, black, black, 1], [black, black, black, 2]]) == []  # counts once in a clip
    assert shared_footage([[black, black], [black, 4, 5]]) == [(0, 1, 1)]


def test_pictures_that_very_many_clips_show_are_no_evidence():
    title, black = 1, 2
    clips = [[title, black, 1000 + i, 2000 + i] for i in range(COMMON + 1)]
    assert shared_footage(clips) == []
    assert len(shared_footage(clips[:-1])) == COMMON * (COMMON - 1) // 2  # few enough to be a clip shown again
    clips[3] = clips[5]
    assert shared_footage(clips) == [(3, 5, 4)]
    assert shared_footage([[black, black]] * (COMMON + 1)) == []


def test_any_number_of_copies_is_found_and_each_leads_to_the_next():
    clips = [[1, 2, 3]] * (COMMON + 5)
    assert shared_footage(clips) == [(i, i + 1, 3) for i in range(COMMON + 4)]
    # However such copies are dealt to two sides, a pair has one on each.
    rng = np.random.default_rng(0)
    for _ in range(20):
        side = rng.integers(0, 2, len(clips))
        side[:2] = [0, 1]
        side = rng.permutation(side)
        assert any(side[pair.first] != side[pair.second] for pair in shared_footage(clips))


def test_all_64_bits_count_and_empty_clips_are_in_no_pair():
    high = 2**64 - 1
    assert shared_footage([[high, high - 1], [high, high - 1], [2**53, 2**53 + 2], [2**53 + 1, 2**53 + 3]]) == [
        (0, 1, 2)
    ]
    assert shared_footage([]) == []
    assert shared_footage([[], [], [1]]) == []


def test_ten_thousand_clips_take_seconds_even_with_a_frame_in_all_of_them():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 2**63, (10_000, 60), dtype=np.uint64)
    pictures[:, 0] = 5  # in every clip
    pictures[1::2, 1:30] = pictures[::2, 1:30]  # every second clip overlaps with the one before
    started = time.perf_counter()
    found = shared_footage(pictures)  # type: ignore[arg-type]
    assert time.perf_counter() - started < 20  # there are 50 million pairs
    assert found == [(i, i + 1, 29) for i in range(0, 10_000, 2)]
