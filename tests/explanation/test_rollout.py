"""Rollout against matrices over all tokens of both streams, written out from what the model itself returns."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explanation.planted import KINDS, random_model, random_streams

from hsta_hf import HSTAForMicroExpressionClassification
from hsta_hf.explanation.gradients import gradient_attention
from hsta_hf.explanation.maps import STREAM_INPUTS, RelevanceMap, patch_grids
from hsta_hf.explanation.rollout import attention_rollout, last_layer_attention, record_attention

Steps = list[tuple[str, torch.Tensor]]


def steps_of(model: HSTAForMicroExpressionClassification, output: object) -> Steps:
    """The maps of one clip in the order in which the model used them, as (kind, (heads, queries, keys))."""
    config, steps = model.config, []
    for layer in range(config.num_hsta_layers):
        for name, depth in (("video", config.num_video_layers), ("special", config.num_special_layers)):
            maps = getattr(output, f"{name}_attentions")
            if maps is not None:
                steps += [(name, weights[0]) for weights in maps[layer * depth : (layer + 1) * depth]]
        if config.crosses_streams:
            steps.append(
                ("cross", (output.video_cross_attentions[layer][0], output.special_cross_attentions[layer][0]))
            )
    return steps


def slow_rollout(model: HSTAForMicroExpressionClassification, steps: Steps, residual: float) -> list[float]:
    """The product of one matrix per step over all tokens, entry by entry; the mean of the rows of the [CLS]."""
    lengths = {name: 1 + grid.patches for name, grid in patch_grids(model.config).items()}
    starts, total = {}, 0
    for name, length in lengths.items():
        starts[name] = total
        total += length
    product = np.eye(total)
    for kind, weights in steps:
        seen = np.zeros((total, total))
        if kind == "cross":
            unchanged = set(range(total)) - set(starts.values())
            for name, other, row in (("video", "special", weights[0]), ("special", "video", weights[1])):
                cls = starts[name]
                seen[cls, cls] = row[0, 0]
                for number in range(1, lengths[other]):
                    seen[cls, starts[other] + number] = row[0, number]
        else:
            unchanged = set(range(total)) - set(range(starts[kind], starts[kind] + lengths[kind]))
            for query in range(lengths[kind]):
                for key in range(lengths[kind]):
                    seen[starts[kind] + query, starts[kind] + key] = weights[query, key]
        step = residual * np.eye(total) + residual * seen
        for token in unchanged:
            step[token] = np.eye(total)[token]
        product = step @ product
    relevance = np.mean([product[start] for start in starts.values()], axis=0)
    return [relevance[starts[name] + number] for name in lengths for number in range(1, lengths[name])]


def call(model: HSTAForMicroExpressionClassification, streams: dict[str, torch.Tensor]) -> object:
    return model(**{STREAM_INPUTS[name]: x for name, x in streams.items()}, output_attentions=True)


def brought_to_one_head(steps: Steps) -> Steps:
    def mean(weights: torch.Tensor) -> np.ndarray:
        return weights.mean(0).detach().numpy()

    return [(kind, tuple(map(mean, maps)) if kind == "cross" else mean(maps)) for kind, maps in steps]


@pytest.mark.parametrize("kind", KINDS)
def test_rollout_is_the_product_of_all_matrices(kind: str) -> None:
    model = random_model(kind)
    streams = random_streams(model)
    found = attention_rollout(model, streams)[0]
    slow = slow_rollout(model, brought_to_one_head(steps_of(model, call(model, streams))), 0.5)
    np.testing.assert_allclose(found.flat(), slow, rtol=1e-7)  # averages of merged patches are float32
    assert np.std(slow) > 1e-3 * np.mean(slow)  # an even map would prove little


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "token_reduction" not in KINDS[kind]])
def test_gradient_attention_is_the_product_of_all_weighted_matrices(kind: str) -> None:
    model = random_model(kind)
    streams = random_streams(model)
    output = call(model, streams)
    steps = steps_of(model, output)
    weighted: Steps = []
    for name, weights in steps:
        maps = weights if name == "cross" else (weights,)
        gradients = [slow_gradient(model, streams, output, x) for x in maps]
        both = [np.maximum(x.detach().numpy() * g, 0).mean(0) for x, g in zip(maps, gradients, strict=True)]
        weighted.append((name, tuple(both) if name == "cross" else both[0]))
    slow = slow_rollout(model, weighted, 1.0)
    found = gradient_attention(model, streams, torch.tensor([1]))[0]
    np.testing.assert_allclose(found.flat(), slow, rtol=1e-7, atol=1e-12)
    assert max(slow) > 0


def slow_gradient(model: object, streams: object, output: object, one_clip: torch.Tensor) -> np.ndarray:
    """Gradient of the logit with respect to a map of the model's output."""
    names = ("video_attentions", "special_attentions", "video_cross_attentions", "special_cross_attentions")
    whole = [x for name in names for x in getattr(output, name) or ()]
    (which,) = [x for x in whole if x.data_ptr() == one_clip.data_ptr() and x.shape[1:] == one_clip.shape]
    (gradient,) = torch.autograd.grad(output.logits[0, 1], which, retain_graph=True, allow_unused=True)
    return np.zeros(one_clip.shape) if gradient is None else gradient[0].numpy()


def test_merged_patches_share_gradient_attention_and_keep_its_sum() -> None:
    model = random_model("merged patches")
    streams = random_streams(model)
    streams["video"][:, 2:, :, :8, :8] = streams["video"][:, :1, :, :8, :8]  # one place stands still
    streams["video"][:, 1, :, :8, :8] = streams["video"][:, 0, :, :8, :8]
    found = gradient_attention(model, streams, torch.tensor([0]))[0].streams["video"]
    assert found[0, 0, 0] == found[1, 0, 0] == found[2, 0, 0]
    assert found[0, 1, 1] != found[1, 1, 1] or found[1, 1, 1] != found[2, 1, 1]


def test_batches_and_recorded_logits_are_those_of_single_clips() -> None:
    model = random_model("released")
    streams = random_streams(model, batch=3)
    model.requires_grad_(False)
    both = attention_rollout(model, streams), gradient_attention(model, streams, torch.tensor([0, 2, 1]))
    for i, label in enumerate((0, 2, 1)):
        one = {name: x[i : i + 1] for name, x in streams.items()}
        np.testing.assert_allclose(both[0][i].flat(), attention_rollout(model, one)[0].flat())
        np.testing.assert_allclose(both[1][i].flat(), gradient_attention(model, one, torch.tensor([label]))[0].flat())
    with torch.no_grad():
        plain = model(streams["video"], streams["special"]).logits
        torch.testing.assert_close(record_attention(model, streams).logits, plain)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_last_layer_is_what_each_cls_saw_of_the_other_stream() -> None:
    model = random_model("released")
    streams = random_streams(model)
    found, output = last_layer_attention(model, streams)[0], call(model, streams)
    expected = output.video_cross_attentions[-1][0, :, 0, 1:].mean(0).detach().numpy()
    np.testing.assert_allclose(found.streams["special"].ravel(), expected)
    alone = random_model("video alone")
    found, output = last_layer_attention(alone, random_streams(alone))[0], call(alone, random_streams(alone))
    expected = output.video_attentions[-1][0, :, 0, 1:].mean(0).detach().numpy()
    np.testing.assert_allclose(found.streams["video"].ravel(), expected)


def test_shares_count_what_spoke_for_the_class() -> None:
    found = RelevanceMap("rollout", {"video": np.array([[[3.0, -9.0]]]), "special": np.array([[[1.0, 0.0]]])}).shares()
    assert found["video"].tolist() == [[[0.75, 0.0]]] and found["special"].tolist() == [[[0.25, 0.0]]]
    nothing = RelevanceMap("rollout", {"video": np.full((1, 1, 4), -1.0)}).shares()
    assert nothing["video"].tolist() == [[[0.25] * 4]]
