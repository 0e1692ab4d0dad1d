"""The curve of a recording: movements in it, faceless stretches, cuts, memory, and blocks that can be continued."""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from moving_face import BROWS, MOUTH, SIZE, KnownFace, film, tent

from hsta_hf.data.face_alignment import FaceAligner
from hsta_hf.spotting import curve as curve_module
from hsta_hf.spotting.curve import BlockedCurve
from hsta_hf.spotting.intervals import find_intervals
from hsta_hf.spotting.judge import Judge
from hsta_hf.spotting.metric import iou
from hsta_hf.spotting.rows import MovementCurve
from hsta_hf.spotting.scan import Lengths
from hsta_hf.spotting.tracking import CROP


def maker(fps: float = 30.0) -> BlockedCurve:
    return BlockedCurve(FaceAligner(size=CROP, detector=KnownFace()), fps, Lengths())


def curve_of(frames: np.ndarray, fps: float = 30.0) -> MovementCurve:
    made = maker(fps)
    return made.whole((block.rows for block in made.blocks(enumerate(frames))), len(frames))


@pytest.fixture(scope="module")
def two_movements() -> np.ndarray:
    moved = [(BROWS, tent(200, 50, 56, 64, 1.5)), (MOUTH, tent(200, 140, 145, 150, 1.5))]
    return film(200, moved)


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve_module, "BLOCK_SECONDS", 2.0)


def test_two_movements_are_two_intervals(two_movements: np.ndarray) -> None:
    curve = curve_of(two_movements)
    assert curve.num_frames == len(curve.rows) == 200 and np.isfinite(curve.rows["score"]).all()
    found = find_intervals(curve, 8)
    assert [interval.region for interval in found] == ["brows", "mouth"]
    for interval, truth in zip(found, [(50, 64), (140, 150)], strict=True):
        assert iou((interval.onset, interval.offset), truth) >= 0.6


def test_many_frames_a_second_give_the_same_seconds() -> None:
    moved = [(BROWS, tent(600, 300, 336, 384, 1.5))]
    curve = curve_of(film(600, moved), fps=180.0)
    assert (curve.step, len(curve.rows)) == (6, 100)
    (interval,) = find_intervals(curve, 8)
    assert iou((interval.onset, interval.offset), (300, 384)) >= 0.6
    assert abs(interval.apex - 336) <= 9


def test_a_stretch_without_a_face_is_reported_and_holds_no_interval() -> None:
    frames = film(220, [(BROWS, tent(220, 50, 56, 64, 1.5))])
    frames[90:130] = 5
    curve = curve_of(frames)
    ((first, last),) = curve.faceless()
    assert first == 90 and 129 <= last < 160
    assert np.isnan(curve.rows["score"][first : last + 1]).all()
    (interval,) = find_intervals(curve, 8)
    assert iou((interval.onset, interval.offset), (50, 64)) >= 0.6


def test_a_cut_is_no_movement() -> None:
    curve = curve_of(np.concatenate([film(70, seed=1), film(70, seed=2)]))
    assert find_intervals(curve, 12) == []
    assert curve.rows["face"].all()


def test_a_recording_without_any_face_has_a_curve_of_nothing() -> None:
    curve = curve_of(np.full((70, SIZE, SIZE, 3), 3, np.uint8))
    assert not curve.rows["face"].any() and curve.faceless() == [(0, 69)]
    assert find_intervals(curve, 5) == []
    assert curve_of(np.empty((0, SIZE, SIZE, 3), np.uint8)).faceless() == []


@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("done", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))])
def test_continued_at_any_block_the_numbers_are_the_same(two_movements: np.ndarray, done: int) -> None:
    whole = [block.rows for block in maker().blocks(enumerate(two_movements))]
    assert [len(rows) for rows in whole] == [60, 60, 60, 20]
    again = maker()
    first = again.first_frame(done)
    assert first > 0
    later = again.blocks(((i, two_movements[i]) for i in range(first, 200)), done)
    for one, other in zip(whole[done:], (block.rows for block in later), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.usefixtures("short_blocks")
def test_blocks_join_without_a_seam(two_movements: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    found = find_intervals(curve_of(two_movements), 8)
    monkeypatch.setattr(curve_module, "BLOCK_SECONDS", 60.0)
    assert [(i.onset, i.offset, i.region) for i in found] == [
        (i.onset, i.offset, i.region) for i in find_intervals(curve_of(two_movements), 8)
    ]


@pytest.mark.usefixtures("short_blocks")
def test_frames_are_let_go() -> None:
    """No frame is alive when the next but one is asked for, however many have gone by."""
    base = film(30)
    alive: list[weakref.ref] = []

    def frames() -> Iterator[tuple[int, np.ndarray]]:
        for index in range(300):
            frame = base[index % 30].copy()
            alive.append(weakref.ref(frame))
            assert sum(reference() is not None for reference in alive) <= 2
            yield index, frame

    assert sum(len(block.rows) for block in maker().blocks(frames())) == 300


def test_a_window_of_pictures_is_held_and_no_more() -> None:
    lengths = Lengths()
    judge = Judge(lengths, 30.0, 1000)
    picture, held = np.zeros((CROP, CROP), np.float32), []
    for step in range(400):
        judge.see(picture + step % 2, step == 0, 0.0)
        held.append(judge.pictures_held)
    assert max(held) <= lengths.window(30.0) + lengths.hop(30.0)
    rows = judge.finish()
    assert len(rows) == 400 and np.isfinite(rows["score"]).all()


def test_a_stretch_that_is_too_short_to_judge_is_not_judged() -> None:
    judge = Judge(Lengths(), 30.0, 100)
    for step in range(50):
        judge.see(np.zeros((CROP, CROP), np.float32), step in (0, 40), 0.0)
    rows = judge.finish()
    assert np.isfinite(rows["score"][:40]).all() and np.isnan(rows["score"][40:]).all()
    assert rows["face"].all()


def test_stretches_of_any_length_are_judged_to_both_ends() -> None:
    lengths = Lengths()
    window, hop = lengths.window(30.0), lengths.hop(30.0)
    rng = np.random.default_rng(0)
    for length in (window - 1, window + 1, window + hop - 1, window + hop, window + 2 * hop + 1):
        judge = Judge(lengths, 30.0, length)
        for step in range(length):
            judge.see(rng.normal(100, 9, (CROP, CROP)).astype(np.float32), step == 0, 0.0)
        assert np.isfinite(judge.finish()["score"]).all(), length


def test_frames_a_second_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="1 to 10,000 frames a second, not 0"):
        maker(0.0)
