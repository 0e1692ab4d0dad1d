"""The model's losses for targets that are not whole: label smoothing and mixup."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def smooth_targets(labels: torch.Tensor, num_labels: int, smoothing: float, multi_label: bool) -> torch.Tensor:
    """Targets (batch, num_labels): one-hot labels moved by `smoothing` towards uniform (0.5 for multi-label).

    Args:
        labels: (batch,) class ids, or (batch, num_labels) targets.
        num_labels: number of classes.
        smoothing: share of the target that is uniform, in 0..1.
        multi_label: whether classes are independent.
    """
    targets = F.one_hot(labels, num_labels).float() if labels.ndim == 1 else labels.float()
    uniform = 0.5 if multi_label else 1 / num_labels
    return targets * (1 - smoothing) + smoothing * uniform


def soft_target_loss(logits: torch.Tensor, targets: torch.Tensor, kind: str, multi_label: bool) -> torch.Tensor:
    """The loss of `HSTAForMicroExpressionClassification`, for (batch, num_labels) targets in 0..1.

    Args:
        logits: (batch, num_labels).
        targets: (batch, num_labels).
        kind: "mse" on the scores (paper, eq. 16) or "cross_entropy" (released code).
        multi_label: scores are sigmoids instead of a softmax.
    """
    if kind == "mse":
        return F.mse_loss(logits.sigmoid() if multi_label else logits.softmax(-1), targets)
    if multi_label:
        return F.binary_cross_entropy_with_logits(logits, targets)
    return F.cross_entropy(logits, targets)
