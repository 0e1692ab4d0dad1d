"""Answers are those of `hsta predict` for the same frames, whatever the visitor sets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from prediction_helpers import moving_clip

from hsta_hf.app.analysis import Analyst
from hsta_hf.app.example import drawn_footage
from hsta_hf.app.explaining import MOST_PICTURES, explain
from hsta_hf.app.intake import Footage
from hsta_hf.data.decode import FaceNotFoundError


def footage(seed: int, num_frames: int = 14) -> Footage:
    return Footage("clip.mp4", moving_clip(seed, num_frames), np.arange(num_frames) / 30)


@pytest.mark.parametrize("which", ["plain_analyst", "aligned_analyst"])
@pytest.mark.parametrize("marks", [(0, None, None), (2, 6, 11), (3, None, 12)])
def test_an_answer_is_what_prediction_says(
    which: str, marks: tuple[int, int | None, int | None], request: pytest.FixtureRequest
) -> None:
    analyst: Analyst = request.getfixturevalue(which)
    clip = analyst.open(footage(1))
    answer = analyst.answer(clip, *marks)
    onset, apex, offset = marks
    (wanted,) = analyst.predictor(clip.footage.frames, onset=onset, apex=apex, offset=offset)
    assert answer.scores == pytest.approx(wanted.scores, abs=1e-6)
    assert (answer.marks.onset, answer.marks.apex, answer.marks.offset) == (wanted.onset, wanted.apex, wanted.offset)
    assert answer.apex_spotted == (apex is None) and answer.likeliest == wanted.prediction == answer.overlay.label


def test_another_apex_gives_another_answer(plain_analyst: Analyst) -> None:
    clip = plain_analyst.open(footage(2))
    first, second = plain_analyst.answer(clip, 0, 3, 13), plain_analyst.answer(clip, 0, 9, 13)
    assert first.scores != second.scores
    assert not np.array_equal(*(answer.overlay.pictures["Special stream"] for answer in (first, second)))


def test_the_curve_counts_from_the_onset_and_covers_the_whole_clip(plain_analyst: Analyst) -> None:
    answer = plain_analyst.answer(plain_analyst.open(footage(3)), 4, 6, 10)
    assert answer.curve.shape == (14,) and answer.curve[4] == 0 and answer.curve[[0, 13]].min() > 0


def test_marks_out_of_order_are_refused(plain_analyst: Analyst) -> None:
    clip = plain_analyst.open(footage(3))
    for marks in [(5, 4, 9), (0, 4, 14), (-1, 4, 9), (6, None, 5)]:
        with pytest.raises(ValueError, match="not in order"):
            plain_analyst.answer(clip, *marks)


def test_a_clip_without_a_face_is_no_clip(aligned_analyst: Analyst) -> None:
    frames = moving_clip(4, 8)
    with pytest.raises(FaceNotFoundError):
        aligned_analyst.open(Footage("dark.mp4", np.zeros_like(frames), np.arange(8) / 30))
    frames[5] = 0
    clip = aligned_analyst.open(Footage("flash.mp4", frames, np.arange(8) / 30))
    with pytest.raises(FaceNotFoundError):
        aligned_analyst.answer(clip, 5, 6, 7)
    assert aligned_analyst.answer(clip, 4, 6, 7).marks.onset == 4


def test_the_overlay_shows_every_frame_of_a_short_clip_and_some_of_a_long_one(aligned_analyst: Analyst) -> None:
    overlay = aligned_analyst.answer(aligned_analyst.open(footage(5)), 1, 5, 10).overlay
    assert overlay.frames == tuple(range(10)) and set(overlay.pictures) == {"Video stream", "Special stream"}
    assert overlay.pictures["Video stream"].shape == (10, 224, 224, 3)
    assert sum(overlay.stream_shares.values()) == pytest.approx(1)
    assert len(overlay.regions) == 3 and overlay.regions[0][1] >= overlay.regions[1][1] > 0
    frames = aligned_analyst.open(footage(5, 100)).shown
    long = explain(aligned_analyst.predictor, frames, 50, "sad")
    assert len(long.frames) == MOST_PICTURES and (long.frames[0], long.frames[-1]) == (0, 99)


def test_no_region_is_named_where_the_face_is_not_aligned(plain_analyst: Analyst) -> None:
    assert plain_analyst.answer(plain_analyst.open(footage(6))).overlay.regions == ()


def test_explaining_leaves_no_gradients_in_the_model(plain_analyst: Analyst) -> None:
    plain_analyst.answer(plain_analyst.open(footage(6)))
    model: torch.nn.Module = plain_analyst.predictor.model
    assert all(parameter.grad is None for parameter in model.parameters())


def test_drawn_faces_are_the_same_for_the_same_number() -> None:
    first, again, other = drawn_footage(3), drawn_footage(3), drawn_footage(4)
    np.testing.assert_array_equal(first.frames, again.frames)
    assert first.frames.shape != other.frames.shape or not np.array_equal(first.frames, other.frames)
    assert "no real person" in first.notes[0] and len(first.times) == len(first.frames)
