"""The published networks: shapes, numbers of parameters, and streams that do not meet before they should."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hsta_hf.baselines.off_apexnet import OFFApexNetModel
from hsta_hf.baselines.ststnet import STSTNetModel


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("kind", "published"), [(STSTNetModel, 1_683), (OFFApexNetModel, 2_664_475)])
def test_three_classes_take_the_published_number_of_parameters(kind: type[nn.Module], published: int) -> None:
    assert parameters(kind(3)) == published


@pytest.mark.parametrize("kind", [STSTNetModel, OFFApexNetModel])
def test_pictures_become_logits(kind: type[nn.Module]) -> None:
    assert kind(7)(torch.rand(2, 3, 28, 28)).shape == (2, 7)


def test_ststnet_is_its_three_streams_side_by_side() -> None:
    torch.manual_seed(0)
    network = STSTNetModel(4).eval()
    with torch.no_grad():
        network.streams[2].running_mean.uniform_(0, 0.1)
        network.streams[2].running_var.uniform_(0.5, 2)
    pictures, parts, first = torch.randn(3, 3, 28, 28), [], 0
    for filters in (3, 5, 8):
        rows = slice(first, first + filters)
        convolution, norm = nn.Conv2d(3, filters, 3, padding=2), nn.BatchNorm2d(filters).eval()
        with torch.no_grad():
            convolution.weight.copy_(network.streams[0].weight[rows])
            convolution.bias.copy_(network.streams[0].bias[rows])
        norm.running_mean, norm.running_var = (
            network.streams[2].running_mean[rows],
            network.streams[2].running_var[rows],
        )
        stream = nn.functional.max_pool2d(norm(convolution(pictures).relu()), 3, 3, 1)
        assert stream.shape == (3, filters, 10, 10)
        parts.append(stream)
        first += filters
    expected = network.classifier(nn.functional.avg_pool2d(torch.cat(parts, dim=1), 2).flatten(1))
    torch.testing.assert_close(network(pictures), expected)


def test_off_apexnet_does_not_look_at_strain() -> None:
    network = OFFApexNetModel(3).eval()
    pictures = torch.rand(2, 3, 28, 28)
    other = pictures.clone()
    other[:, 2] += 1
    torch.testing.assert_close(network(other), network(pictures))
    other[:, 1] += 1
    assert not torch.allclose(network(other), network(pictures))
