"""Soft-target losses are the model's own losses when targets are whole."""

from __future__ import annotations

import pytest
import torch

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification
from hsta_hf.training.losses import smooth_targets, soft_target_loss

STREAM = {"hidden_size": 8, "num_attention_heads": 1, "intermediate_size": 8, "image_size": 16}


@pytest.mark.parametrize("kind", ["mse", "cross_entropy"])
@pytest.mark.parametrize("multi_label", [False, True])
def test_whole_targets_give_the_models_loss(kind: str, multi_label: bool) -> None:
    problem = "multi_label_classification" if multi_label else "single_label_classification"
    config = HSTAConfig.from_preset(
        "tiny",
        num_labels=5,
        classification_loss=kind,
        problem_type=problem,
        num_hsta_layers=1,
        video_config=STREAM,
        special_config=STREAM,
    )
    model = HSTAForMicroExpressionClassification(config)
    logits = torch.randn(6, 5)
    labels = (torch.rand(6, 5) < 0.4).float() if multi_label else torch.tensor([0, 4, 2, 2, 1, 3])
    targets = smooth_targets(labels, 5, 0.0, multi_label)
    assert torch.allclose(
        soft_target_loss(logits, targets, kind, multi_label), model.classification_loss(logits, labels), atol=1e-7
    )


def test_smoothing_agrees_with_torch_and_stays_a_distribution() -> None:
    logits, labels = torch.randn(6, 5), torch.tensor([0, 4, 2, 2, 1, 3])
    targets = smooth_targets(labels, 5, 0.1, multi_label=False)
    assert torch.allclose(targets.sum(dim=1), torch.ones(6))
    expected = torch.nn.functional.cross_entropy(logits, labels, label_smoothing=0.1)
    assert torch.allclose(soft_target_loss(logits, targets, "cross_entropy", False), expected)
    assert smooth_targets(torch.tensor([[1.0, 0.0]]), 2, 0.2, multi_label=True).tolist() == [
        [pytest.approx(0.9), pytest.approx(0.1)]
    ]
