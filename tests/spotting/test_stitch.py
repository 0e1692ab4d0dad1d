"""Recordings stitched from clips: what is where, no cuts, fresh noise, and blinks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from moving_face import BROWS, MOUTH, eyes, film, tent

from hsta_hf.data.clip import MicroExpressionClip
from hsta_hf.spotting.stitch import Footage, Plan, draw_recording, plan_recording, read_footage

LEAD, LENGTH = 3, 18


def made_clip(tmp_path: Path, number: int) -> MicroExpressionClip:
    place = (BROWS, MOUTH)[number % 2]
    head = np.linspace([0.8 * number, 0], [0.8 * number + 1, 0.5], LENGTH)
    frames = film(LENGTH, [(place, tent(LENGTH, LEAD, LEAD + 5, LENGTH - 3, 1.5))], head=head, seed=0)
    folder = tmp_path / f"clip{number}"
    folder.mkdir()
    for i, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{100 + i}.png"), np.clip(frame.astype(int) + 6 * number, 0, 255).astype(np.uint8))
    onset, offset = 100 + LEAD, 100 + LENGTH - 3
    numbers = tuple(range(onset, offset + 1))
    return MicroExpressionClip(
        clip_id=f"test/a/{number}",
        database="test",
        subject="a",
        filename=str(number),
        onset=onset,
        apex=onset + 5,
        offset=offset,
        frame_paths=tuple(folder / f"{n}.png" for n in numbers),
        frame_numbers=numbers,
        fps=30.0,
    )


@pytest.fixture
def footage(tmp_path: Path) -> list[Footage]:
    return [read_footage(made_clip(tmp_path, number)) for number in range(3)]


def drawn(plan: Plan) -> np.ndarray:
    return np.stack(list(draw_recording(plan, lambda frame: eyes())))


def test_footage_has_the_frames_beside_the_clip(footage: list[Footage]) -> None:
    for item in footage:
        assert len(item.frames) == LENGTH and (item.onset, item.apex, item.offset) == (LEAD, LEAD + 5, LENGTH - 3)


def test_clips_are_where_the_plan_says(footage: list[Footage]) -> None:
    plan = plan_recording(footage, seed=1, seconds=(1.0, 2.0))
    frames = drawn(plan)
    assert len(frames) == plan.num_frames
    for item, placed in zip(footage, plan.placed, strict=True):
        np.testing.assert_array_equal(
            frames[placed.onset : placed.offset + 1], item.frames[item.onset : item.offset + 1]
        )
        assert placed.apex == placed.onset + 5
    np.testing.assert_array_equal(frames, drawn(plan))  # the same seed draws the same
    assert plan_recording(footage, seed=2, seconds=(1.0, 2.0)).stretches != plan.stretches


def test_joins_are_no_cuts(footage: list[Footage]) -> None:
    """From the last frame of a stretch to the first of a clip no more changes than within stretches and clips."""
    plan = plan_recording(footage, seed=3, seconds=(1.0, 2.0), blinks=0.0)
    frames = drawn(plan).astype(np.float32)
    change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    joins = [start - 1 for start in plan.starts]
    joins += [start + len(item.frames) - 1 for start, item in zip(plan.starts, footage, strict=True)]
    others = np.delete(change, joins)
    assert change[joins].max() < 1.3 * np.percentile(others, 99)
    # Nor do clips stand out by their noise.
    clips = np.concatenate([change[s : s + LEAD - 1] for s in plan.starts])
    stretches = np.concatenate([change[s - 20 : s - 1] for s in plan.starts])
    assert 0.7 < np.median(clips) / np.median(stretches) < 1.4


def test_a_turn_leads_from_one_clips_light_to_the_next(footage: list[Footage]) -> None:
    plan = plan_recording(footage, seed=4, seconds=(2.0, 3.0), blinks=0.0)
    level = drawn(plan).mean(axis=(1, 2, 3))
    (first, last), start = plan.turns[0], plan.starts[0] + LENGTH
    assert start < first < last < plan.starts[1]
    assert np.ptp(level[start:first]) < 1 and np.ptp(level[last + 1 : plan.starts[1]]) < 1
    assert level[last + 2] - level[first - 1] == pytest.approx(6, abs=0.7)
    assert np.abs(np.diff(level[first : last + 1])).max() < 1.5


def test_blinks_change_the_eyes_and_come_back(footage: list[Footage]) -> None:
    plan = plan_recording(footage, seed=5, seconds=(2.0, 3.0), blinks=1.0)
    assert len(plan.blinks) == 4
    change = np.abs(drawn(plan).astype(np.float32) - drawn(replace(plan, blinks=()))).mean(axis=-1)
    closed = np.zeros(plan.num_frames, dtype=bool)
    for first, last in plan.blinks:
        during = change[first : last + 1, 50:75, 45:115].mean(axis=(1, 2))
        assert during.max() > 5 and during.argmax() not in (0, last - first)
        assert during[0] < 0.8 * during.max() > during[-1]
        assert not any(a <= last and first <= b for a, b in plan.turns)
        closed[first : last + 1] = True
    assert not change[~closed].any()  # nothing else is drawn otherwise
    assert not change[:, 85:].any()  # nor anything but what is about the eyes


def test_what_cannot_be_stitched_is_refused(footage: list[Footage]) -> None:
    with pytest.raises(ValueError, match="one or more clips"):
        plan_recording([], seed=1)
    with pytest.raises(ValueError, match="shortest first"):
        plan_recording(footage, seed=1, seconds=(3.0, 2.0))
