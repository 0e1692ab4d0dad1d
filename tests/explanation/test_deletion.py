"""Taking patches away: which pixels go, and what the curve and its area are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explanation.planted import random_model, random_streams

from hsta_hf.explanation.deletion import (
    DeletionCurve,
    DeletionTest,
    deletion_scores,
    most_relevant_first,
    without_patches,
)
from hsta_hf.explanation.maps import patch_grids
from hsta_hf.explanation.rollout import model_inputs


def test_curves_are_those_of_clips_with_single_patches_replaced() -> None:
    model = random_model("released")
    streams, still = random_streams(model), random_streams(model, seed=2)
    order = np.random.default_rng(3).permutation(20)  # 3 x 2 x 2 of the video stream, 2 x 2 x 2 of the special stream
    shares, scores = deletion_scores(model, streams, still, np.stack([order, order[::-1]]), 1, steps=5)
    assert shares.tolist() == [0, 0.2, 0.4, 0.6, 0.8, 1]
    for row, way in enumerate((order, order[::-1])):
        for point, gone in enumerate((0, 4, 8, 12, 16, 20)):
            slow = {name: x.clone() for name, x in streams.items()}
            for patch in way[:gone]:
                name, number = ("video", patch) if patch < 12 else ("special", patch - 12)
                size = 2 if name == "video" else 1
                tubelet, y, x = number // 4, number % 4 // 2, number % 2
                where = (0, slice(size * tubelet, size * tubelet + size), slice(None))
                where += (slice(8 * y, 8 * y + 8), slice(8 * x, 8 * x + 8))
                slow[name][where] = still[name][where]
            with torch.no_grad():
                expected = model(**model_inputs(slow)).logits.softmax(-1)[0, 1]
            assert scores[row, point] == pytest.approx(float(expected), abs=1e-9)


def test_a_mask_of_nothing_and_of_everything() -> None:
    model = random_model("special alone")
    streams, still = random_streams(model), random_streams(model, seed=2)
    both = without_patches(streams, still, np.array([[False] * 8, [True] * 8]), patch_grids(model.config))
    assert torch.equal(both["special"][:1], streams["special"]) and torch.equal(both["special"][1:], still["special"])


def test_an_order_that_is_none_is_refused() -> None:
    model = random_model("special alone")
    streams = random_streams(model)
    with pytest.raises(ValueError, match="8 patches once"):
        deletion_scores(model, streams, streams, np.array([[0, 1, 2, 3, 4, 5, 6, 6]]), 0)


def test_area_gain_and_share_of_beaten_orders() -> None:
    shares = np.array([0, 0.5, 1.0])
    falling = DeletionCurve(shares, np.array([1.0, 0.0, 0.0]))
    assert falling.area == 0.25
    test = DeletionTest(falling, falling, falling, np.array([0.25, 0.5, 0.5, 0.15]))
    assert test.gain == pytest.approx(0.1) and test.beaten == pytest.approx(0.625)
    assert most_relevant_first(np.array([0.1, 3.0, -1.0, 0.1])).tolist() == [1, 0, 3, 2]
