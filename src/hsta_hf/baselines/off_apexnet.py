"""OFF-ApexNet: optical flow features from apex frame network (Gan et al. 2019)."""

from __future__ import annotations

import torch
from torch import nn

from hsta_hf.baselines.flow_networks import FlowNetwork


class OFFApexNetModel(nn.Module):
    """One small CNN for u and one for v, side by side into two wide layers.

    Each: 6 filters of 5x5, halved, 16 filters of 5x5, halved, to 7x7x16. Then 1024, 1024 and the classes. For the
    paper's three classes it has 2,664,475 parameters.

    Args:
        num_labels: number of classes.
    """

    def __init__(self, num_labels: int) -> None:
        super().__init__()
        self.streams = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(1, 6, kernel_size=5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Conv2d(6, 16, kernel_size=5, padding=2),
                nn.ReLU(),
                nn.MaxPool2d(2),
                nn.Flatten(),
            )
            for _ in "uv"
        )
        self.classifier = nn.Sequential(
            nn.Linear(2 * 7 * 7 * 16, 1024),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(1024, 1024),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.Linear(1024, num_labels),
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """(batch, 3, 28, 28), of which strain is left out, to logits (batch, num_labels)."""
        streams = [stream(pictures[:, number : number + 1]) for number, stream in enumerate(self.streams)]
        logits: torch.Tensor = self.classifier(torch.cat(streams, dim=1))
        return logits


class OFFApexNet(FlowNetwork):
    """OFF-ApexNet on u and v from onset to apex."""

    name, title = "off-apexnet", "OFF-ApexNet"

    def build(self, num_labels: int) -> nn.Module:
        """See `OFFApexNetModel`."""
        return OFFApexNetModel(num_labels)
