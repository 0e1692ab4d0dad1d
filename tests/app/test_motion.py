"""The motion curve: 0 where nothing moves, highest where most does, blind to a head that moves as a whole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from hsta_hf.app.motion import PERCENTILE, SIDE, motion_curve


def moving_part() -> np.ndarray:
    """(112, 112): how much of the shift each pixel takes part in."""
    y, x = np.mgrid[:112, :112]
    return np.exp(-((x - 60) ** 2 + (y - 60) ** 2) / 600)


def textured(shifts: np.ndarray, whole: bool) -> np.ndarray:
    """(T, 112, 112, 3): a random texture of which the middle, or everything, is moved right by so many pixels."""
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.uniform(0, 255, (112, 112)).astype(np.float32), (0, 0), 2)
    picture = 255 * (picture - picture.min()) / np.ptp(picture)
    y, x = np.mgrid[:112, :112].astype(np.float32)
    part = np.ones_like(x) if whole else moving_part()
    columns = [(x - shift * part).astype(np.float32) for shift in shifts]
    frames = [cv2.remap(picture, column, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT) for column in columns]
    return np.repeat(np.rint(frames).astype(np.uint8)[..., None], 3, axis=-1)


def test_a_still_clip_does_not_move() -> None:
    np.testing.assert_array_equal(motion_curve(textured(np.zeros(4), False), 0, True), 0)


def test_the_curve_follows_a_part_that_moves_and_counts_in_per_cent_of_the_width() -> None:
    shifts = 2.0 * np.sin(np.linspace(0, np.pi, 9))
    curve = motion_curve(textured(shifts, False), 0, False)
    assert curve.argmax() == 4 and curve[0] == 0
    assert curve[4] == pytest.approx(100 / SIDE * np.percentile(2.0 * moving_part(), PERCENTILE), rel=0.25)
    assert np.all(np.diff(curve[:5]) > 0) and np.all(np.diff(curve[4:]) < 0)


def test_a_head_that_moves_as_a_whole_is_taken_out() -> None:
    shifts = np.array([0.0, 2.0])
    assert motion_curve(textured(shifts, True), 0, True)[1] < 0.3 * motion_curve(textured(shifts, False), 0, True)[1]


def test_movement_counts_from_the_onset_that_is_given() -> None:
    curve = motion_curve(textured(np.array([0.0, 1.0, 2.0, 0.0]), False), 2, False)
    assert curve[2] == 0 and min(curve[0], curve[3]) > curve[1] > 0
    with pytest.raises(ValueError, match="frames 0 to 3"):
        motion_curve(textured(np.zeros(4), False), 4, False)
