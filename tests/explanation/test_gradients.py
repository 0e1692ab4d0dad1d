"""Integrated gradients add up, and every map finds the one patch that a planted model looks at."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from explanation.planted import planted_model, random_model, random_streams

from hsta_hf.explanation.deletion import deletion_scores, deletion_test, most_relevant_first, random_order_curves
from hsta_hf.explanation.explain import METHODS, relevance_maps
from hsta_hf.explanation.gradients import has_captum, integrated_gradients
from hsta_hf.explanation.rollout import model_inputs

needs_captum = pytest.mark.skipif(not has_captum(), reason="needs captum")
MAPS = [pytest.param(name, marks=needs_captum if name == "integrated_gradients" else ()) for name in METHODS]


@needs_captum
@pytest.mark.parametrize("kind", ["released", "paper", "video alone", "special alone"])
def test_integrated_gradients_add_up_to_the_difference_of_the_logits(kind: str) -> None:
    model = random_model(kind)
    streams = random_streams(model, batch=2)
    still = {name: 0.3 * torch.ones_like(x) for name, x in streams.items()}
    classes = torch.tensor([2, 0])
    maps = integrated_gradients(model, streams, still, classes, steps=100)
    with torch.no_grad():
        scores = [model(**model_inputs(x)).logits for x in (streams, still)]
    for i, label in enumerate(classes.tolist()):
        whole = float(scores[0][i, label] - scores[1][i, label])
        assert abs(whole) > 1e-2
        assert maps[i].flat().sum() == pytest.approx(whole, rel=1e-3, abs=1e-5)


def test_without_captum_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum", None)
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    model = random_model("video alone")
    streams = random_streams(model)
    with pytest.raises(ImportError, match=r"hsta-hf\[explain\]"):
        integrated_gradients(model, streams, streams, torch.tensor([0]))
    assert not has_captum()


@pytest.mark.parametrize("through_crossing", [False, True])
@pytest.mark.parametrize("method", MAPS)
def test_the_patch_that_decides_is_found_and_its_deletion_drops_the_score_at_once(
    method: str, through_crossing: bool
) -> None:
    if method == "last_layer" and through_crossing:
        pytest.skip("half of the last layer's map is what the special stream's [CLS] saw, which decides nothing here")
    for patch in (1, 2):
        model = planted_model(patch, through_crossing)
        streams = {name: 1 + 2 * x for name, x in random_streams(model).items()}
        still = {name: torch.zeros_like(x) for name, x in streams.items()}
        relevance = relevance_maps(model, streams, still, torch.tensor([1]), [method])[0][method].flat()
        planted = patch + 8 if through_crossing else patch
        assert relevance.argmax() == planted
        order = most_relevant_first(relevance)
        patches = len(order)
        shares, (curve,) = deletion_scores(model, streams, still, order[None], 1, steps=patches)
        assert curve[0] > 0.9 and curve[1] < 0.1
        np.testing.assert_allclose(curve[1:], curve[-1], atol=1e-3)  # nothing else matters
        chance = random_order_curves(model, streams, still, 1, orders=40, steps=patches)
        test = deletion_test(model, streams, still, relevance, 1, chance, steps=patches)
        assert test.gain > 0.2 and test.beaten > 0.85
        assert test.reversed_curve.area > test.random_curve.area > test.curve.area
        assert shares[1] == 1 / patches


@needs_captum
def test_gradients_of_the_planted_model_are_on_its_patch_alone() -> None:
    model = planted_model(3, True)
    streams = {name: 1 + 2 * x for name, x in random_streams(model).items()}
    still = {name: torch.zeros_like(x) for name, x in streams.items()}
    flat = integrated_gradients(model, streams, still, torch.tensor([1]))[0].flat()
    assert flat[11] > 0
    np.testing.assert_allclose(np.delete(flat, 11), 0, atol=1e-3 * flat[11])
