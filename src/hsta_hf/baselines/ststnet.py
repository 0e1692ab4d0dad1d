"""STSTNet: Shallow Triple Stream Three-dimensional CNN (Liong et al. 2019), as its authors' PyTorch code has it."""

from __future__ import annotations

import torch
from torch import nn

from hsta_hf.baselines.flow_networks import FlowNetwork


class STSTNetModel(nn.Module):
    """Three shallow streams of 3, 5 and 8 filters over (u, v, strain), pooled to 5x5x16, and one linear layer.

    Nothing crosses the streams before the linear layer, and all do the same to each filter: they are computed as one
    stream of 16 filters. It has 480 + 401 c parameters for c classes; for the paper's three, 1,683.

    Args:
        num_labels: number of classes.
    """

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        filters = 3 + 5 + 8
        self.streams = nn.Sequential(
            nn.Conv2d(3, filters, kernel_size=3, padding=2),
            nn.ReLU(),
            nn.BatchNorm2d(filters),
            nn.MaxPool2d(kernel_size=3, stride=3, padding=1),
            nn.Dropout(0.5),
            nn.AvgPool2d(kernel_size=2, stride=2),
        )
        self.classifier = nn.Linear(5 * 5 * filters, num_labels)
        self.to(memory_format=torch.channels_last)  # 1.4 times as fast on a CPU

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(batch, 3, 28, 28) to logits (batch, num_labels)."""
        pictures = pictures.contiguous(memory_format=torch.channels_last)
        logits: torch.Tensor = self.classifier(self.streams(pictures).flatten(1))
        return logits


class STSTNet(FlowNetwork):
    """STSTNet on u, v and strain from onset to apex."""

    name, title = "ststnet", "STSTNet"

    def build(self, num_labels: int) -> nn.Module:
        """See `STSTNetModel`."""
        return STSTNetModel(num_labels)
