"""The head of HSTA alone, over features that its frozen backbone computed before."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.modeling_hsta import (
    HSTAClassifierOutput,
    HSTAForMicroExpressionClassification,
    HSTAPreTrainedModel,
)


class HSTAHead(HSTAForMicroExpressionClassification):
    """Dropout, linear head and loss of `HSTAForMicroExpressionClassification`, with the same names of parameters.

    Args:
        config: of the whole model.
    """

    main_input_name = "features"

    def __init__(self, config: HSTAConfig) -> None:
        HSTAPreTrainedModel.__init__(self, config)  # without the parent's backbone
        self.num_labels = int(config.num_labels or 0)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, self.num_labels)
        self.post_init()

    def forward(  # reads features where the whole model reads pictures
        self, features: torch.Tensor, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> HSTAClassifierOutput:
        """Classify clips by their features (batch, width); labels as in the whole model."""
        logits = self.classifier(self.dropout(features))
        loss = None if labels is None else self.classification_loss(logits, labels)
        return HSTAClassifierOutput(loss=loss, logits=logits)
