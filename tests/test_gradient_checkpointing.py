"""Gradient checkpointing at full size and batch 32: what a forward pass keeps for the backward pass, in bytes.

Counted on fake tensors, which have shapes and no memory: the base model at batch 32 would take 10 to 25 GB.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification

BATCH = 32


def enable_checkpointing(model: HSTAForMicroExpressionClassification) -> None:
    # the name that transformers 5.23 brought, or the older one
    name = "activation_checkpointing_enable"
    getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()


class Saved:
    """Bytes of the distinct storages that autograd keeps, without those of the parameters and buffers."""

    def __init__(self, model: nn.Module) -> None:
        own = (*model.parameters(), *model.buffers())
        self._storages = {x.untyped_storage()._cdata: x.untyped_storage() for x in own}
        self._not_counted = set(self._storages)

    def keep(self, tensor: torch.Tensor) -> torch.Tensor:
        # A storage is held on to, so that no later one can take its address and be mistaken for it.
        self._storages[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    @property
    def num_bytes(self) -> int:
        return sum(x.nbytes() for address, x in self._storages.items() if address not in self._not_counted)


def fake_base_model(**fields: Any) -> HSTAForMicroExpressionClassification:
    """The base model for training, without memory; to be called under a FakeTensorMode."""
    config = HSTAConfig.from_preset("base", num_labels=7, **fields)
    with torch.device("meta"):
        model = HSTAForMicroExpressionClassification(config)
    for module in model.modules():  # module.to_empty cannot swap fake tensors
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(torch.empty(parameter.shape))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype)
    return model.train()


def pixels(batch: int) -> dict[str, torch.Tensor]:
    return {
        "pixel_values": torch.empty(batch, 6, 3, 224, 224),
        "special_pixel_values": torch.empty(batch, 2, 3, 224, 224),
    }


def saved_by_a_step(model: HSTAForMicroExpressionClassification, batch: int = BATCH) -> int:
    saved = Saved(model)
    with torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda tensor: tensor):
        loss = model(**pixels(batch), labels=torch.zeros(batch, dtype=torch.long)).loss
    kept = saved.num_bytes
    loss.backward()  # the recomputation runs, too
    return kept


def saved_by_the_largest_layer(model: HSTAForMicroExpressionClassification) -> int:
    """What one layer of the longer stream keeps while the backward pass computes it again."""
    layer = model.hsta.layers[0].video[0]
    hidden_states = torch.empty(BATCH, 1 + 3 * 14 * 14, model.config.stream("video").hidden_size, requires_grad=True)
    saved = Saved(layer)
    with torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda tensor: tensor):
        layer(hidden_states)
    return saved.num_bytes


@pytest.mark.parametrize(
    ("block_style", "attention", "dropout"),
    [
        ("released", "sdpa", 0.0),
        pytest.param("released", "sdpa", 0.2, marks=pytest.mark.slow),
        pytest.param("released", "eager", 0.0, marks=pytest.mark.slow),
        pytest.param("paper", "sdpa", 0.0, marks=pytest.mark.slow),
        pytest.param("paper", "sdpa", 0.2, marks=pytest.mark.slow),
        pytest.param("paper", "eager", 0.0, marks=pytest.mark.slow),
    ],
)
def test_it_halves_the_activations_of_the_base_model_at_batch_32(
    block_style: str, attention: str, dropout: float
) -> None:
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    with FakeTensorMode():
        model = fake_base_model(
            block_style=block_style, drop_path_rate=dropout, video_config=rates, special_config=rates
        )
        model.set_attn_implementation(attention)
        plain = saved_by_a_step(model)
        one_layer = saved_by_the_largest_layer(model)
        enable_checkpointing(model)
        checkpointed = saved_by_a_step(model)
    ratio = (checkpointed + one_layer) / plain
    print(
        f"{block_style}, {attention}, dropout {dropout}: {plain / 1e9:.2f} GB without checkpointing, "
        f"{checkpointed / 1e9:.2f} GB with it and {one_layer / 1e9:.2f} GB for the layer computed anew: {ratio:.2f}"
    )
    assert plain > 1e9, "the count sees the activations"
    assert ratio <= 0.5


def test_the_count_is_right_where_it_can_be_done_by_hand() -> None:
    """A linear layer keeps its input, GELU too; the sum keeps nothing."""
    linear = nn.Linear(8, 16)
    saved = Saved(linear)
    given = torch.randn(4, 8)
    with torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda tensor: tensor):
        nn.functional.gelu(linear(given)).sum()
    assert saved.num_bytes == 4 * (4 * 8 + 4 * 16)
