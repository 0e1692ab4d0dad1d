"""Calibration error, bins and Brier score against scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from hsta_hf.metrics.calibration import calibration


def scores(clips: int, sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities that are right as often as they say when `sharpness` is 1."""
    rng = np.random.default_rng(seed)
    honest = rng.dirichlet(np.full(4, 0.7), clips)
    true = np.array([rng.choice(4, p=row) for row in honest])
    told = honest**sharpness
    told /= told.sum(axis=1, keepdims=True)
    return told, true, told.argmax(axis=1)


@pytest.mark.parametrize("sharpness", [1.0, 4.0])
def test_bins_are_those_of_scikit_learn(sharpness: float) -> None:
    told, true, predicted = scores(3000, sharpness)
    found = calibration(told, true, predicted)
    assert found is not None and found["binning"] == "equal-width"
    accuracy, confidence = calibration_curve(true == predicted, told.max(axis=1), n_bins=15)
    assert [entry["accuracy"] for entry in found["bins"]] == pytest.approx(list(accuracy))
    assert [entry["confidence"] for entry in found["bins"]] == pytest.approx(list(confidence))
    weights = np.array([entry["clips"] for entry in found["bins"]])
    assert weights.sum() == 3000
    assert found["ece"] == pytest.approx((weights * np.abs(accuracy - confidence)).sum() / 3000)
    assert found["ece"] < 0.03 if sharpness == 1 else found["ece"] > 0.1
    assert all(entry["low"] - 1e-9 <= entry["confidence"] <= entry["high"] + 1e-9 for entry in found["bins"])


def test_brier_scores_are_those_of_scikit_learn() -> None:
    told, true, predicted = scores(400, 2.0)
    found = calibration(told, true, predicted)
    assert found is not None
    by_class = [brier_score_loss(true == label, told[:, label]) for label in range(4)]
    assert found["brier"] == pytest.approx(sum(by_class))
    labels = (np.random.default_rng(1).random(told.shape) < told).astype(int)
    several = calibration(told, labels, (told > 0.5).astype(int))
    assert several is not None
    expected = np.mean([brier_score_loss(labels[:, unit], told[:, unit]) for unit in range(4)])
    assert several["brier"] == pytest.approx(expected) and several["ece"] < 0.05


def test_few_clips_share_bins_of_about_ten() -> None:
    found = calibration(*scores(47, 1.0))
    assert found is not None and found["binning"] == "equal-count"
    assert [entry["clips"] for entry in found["bins"]] == [12, 12, 12, 11]
    one = calibration([[0.75, 0.25]] * 4, [0, 0, 1, 1], [0, 0, 0, 0])
    assert one is not None and one["ece"] == pytest.approx(0.25)
    assert one["bins"] == [{"low": 0.75, "high": 0.75, "clips": 4, "confidence": 0.75, "accuracy": 0.5}]


def test_equal_scores_share_a_bin() -> None:
    """Which of them comes first in the table says nothing."""
    rng = np.random.default_rng(3)
    p = np.array([0.6] * 25 + [0.7] * 3 + [0.9] * 12)
    right = np.r_[np.arange(25) < 15, [True, True, False], np.arange(12) < 9]
    bins = []
    for order in (np.arange(40), rng.permutation(40)):
        found = calibration(np.c_[p, 1 - p][order], np.where(right, 0, 1)[order], np.zeros(40, int))
        assert found is not None
        bins.append([(entry["clips"], round(entry["accuracy"] * entry["clips"])) for entry in found["bins"]])
    assert bins == [[(25, 15), (15, 11)]] * 2
    alike = calibration([[0.25, 0.25, 0.25, 0.25]] * 40, [0, 1, 2, 3] * 10, [0] * 40)
    assert alike is not None and len(alike["bins"]) == 1 and alike["ece"] == 0


def test_a_prediction_that_is_not_the_highest_score_has_the_score_of_its_own_class() -> None:
    found = calibration([[0.9, 0.1]], [1], [1])
    assert found is not None and found["bins"][0]["confidence"] == pytest.approx(0.1)


def test_what_is_no_probability_has_no_calibration() -> None:
    assert calibration([[3.0, -1.0]], [0], [0]) is None
    assert calibration([[np.nan, 0.5]], [0], [0]) is None
    with pytest.raises(ValueError, match=r"got \(1, 2\), \(2,\) and \(1,\)"):
        calibration([[0.5, 0.5]], [0, 1], [0])
