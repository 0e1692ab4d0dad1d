"""Relevance from attention: rollout through both streams and their crossings, and the last layer's maps alone.

Rollout (Abnar and Zuidema 2020, "Quantifying Attention Flow in Transformers") follows attention from a [CLS] back to
the patches, with half of each layer's weight on the residual path. HSTA has two sequences, so the rule is applied to
the tokens of both as one set: a USTA layer mixes the tokens of its stream, and a CSTA changes two tokens only, the
[CLS] of each stream, which become half themselves and half what they saw: themselves and the other stream's patches.
The decision reads both [CLS], so half of the relevance starts from each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from hsta_hf.explanation.maps import STREAM_INPUTS, RelevanceMap, Streams, patch_grids
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification, HSTALayer
from hsta_hf.token_reduction_hsta import TokenGroups


@dataclass
class LayerMaps:
    """The attention of one HSTA layer, heads apart.

    Attributes:
        usta: by stream, its USTA layers' maps in order, each `(batch, heads, 1 + patches, 1 + patches)`.
        cross: by stream, what its [CLS] saw in the CSTA, `(batch, heads, 1, 1 + patches of the other stream)`; empty
            without a CSTA.

    Where `token_reduction` merges patches of the video stream, its tokens are the merged ones.
    """

    usta: dict[str, list[torch.Tensor]] = field(default_factory=lambda: {"video": [], "special": []})
    cross: dict[str, torch.Tensor] = field(default_factory=dict)

    def tensors(self) -> Iterator[torch.Tensor]:
        """All maps of the layer."""
        for maps in self.usta.values():
            yield from maps
        yield from self.cross.values()

    def replaced(self, tensors: Iterator[torch.Tensor]) -> LayerMaps:
        """The same with other tensors, in the order of `tensors()`."""
        usta = {name: [next(tensors) for _ in maps] for name, maps in self.usta.items()}
        return LayerMaps(usta, {name: next(tensors) for name in self.cross})


@dataclass(frozen=True)
class RecordedAttention:
    """One forward pass: its logits `(batch, num_labels)`, its maps by HSTA layer, and how patches were merged.

    The maps are parts of the graph that gave the logits, where gradients were on.
    """

    logits: torch.Tensor
    layers: Sequence[LayerMaps]
    groups: TokenGroups | None


def record_attention(model: HSTAForMicroExpressionClassification, inputs: Streams) -> RecordedAttention:
    """Run the model and keep every attention map, as it was used.

    Args:
        model: in evaluation mode.
        inputs: by stream ("video", "special"), `(batch, frames, channels, height, width)`.
    """
    layers = [LayerMaps() for _ in model.hsta.layers]
    with _watching(model, layers):
        logits = model(**model_inputs(inputs), output_attentions=True).logits
    return RecordedAttention(logits, layers, model.hsta._group_tokens(inputs.get("video")))


def model_inputs(inputs: Streams) -> dict[str, torch.Tensor]:
    """Streams by the names of the model's inputs."""
    return {STREAM_INPUTS[name]: pixels for name, pixels in inputs.items()}


@contextmanager
def _watching(model: HSTAForMicroExpressionClassification, layers: Sequence[LayerMaps]) -> Iterator[None]:
    """Fill `layers` from what the attention modules return.

    The model's own output has the maps too, but where patches are merged they have been brought back to all patches by
    then, and what was brought back is no part of the graph that gradients follow.
    """
    handles = []

    def keep_usta(maps: list[torch.Tensor]) -> Any:
        return lambda module, args, output: maps.append(output[1])

    def keep_cross(cross: dict[str, torch.Tensor], name: str) -> Any:
        return lambda module, args, output: cross.update({name: output[1]})

    for layer, maps in zip(model.hsta.layers, layers, strict=True):
        assert isinstance(layer, HSTALayer)
        for name, modules in (("video", layer.video), ("special", layer.special)):
            handles += [module.register_forward_hook(keep_usta(maps.usta[name])) for module in modules]
        crossings: Mapping[str, nn.Module | None] = {"video": layer.video_cross, "special": layer.special_cross}
        for name, crossing in crossings.items():
            if crossing is not None:
                handles.append(crossing.register_forward_hook(keep_cross(maps.cross, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def attention_rollout(model: HSTAForMicroExpressionClassification, inputs: Streams) -> list[RelevanceMap]:
    """Rollout of each clip of a batch; see the module.

    Args:
        model: in evaluation mode.
        inputs: by stream, `(batch, frames, channels, height, width)`.

    Returns:
        One map per clip. It does not depend on a class.
    """
    with torch.no_grad():
        recorded = record_attention(model, inputs)
        mean = [layer.replaced(iter([x.mean(dim=1) for x in layer.tensors()])) for layer in recorded.layers]
        rows = follow_back(mean, token_numbers(model, recorded.groups), 0.5, 0.5)
    return as_maps("rollout", rows, recorded.groups, model)


def last_layer_attention(model: HSTAForMicroExpressionClassification, inputs: Streams) -> list[RelevanceMap]:
    """What each [CLS] saw in the last layer: the other stream's patches in the last CSTA; without CSTA its own
    stream's patches in the last USTA.

    Args and Returns as `attention_rollout`.

    Raises:
        ValueError: if the model has neither CSTA nor USTA layers.
    """
    with torch.no_grad():
        recorded = record_attention(model, inputs)
    other = {"video": "special", "special": "video"}
    seen = {}
    if recorded.layers[-1].cross:
        for name, weights in recorded.layers[-1].cross.items():
            seen[other[name]] = weights.mean(dim=1)[:, 0]
    else:
        for name in patch_grids(model.config):
            last = [maps for layer in recorded.layers for maps in layer.usta[name]][-1:]
            if not last:
                raise ValueError(f"The {name} stream has no attention layers, so there is no map of it to look at.")
            seen[name] = last[0].mean(dim=1)[:, 0]
    return as_maps("last_layer", {name: seen[name] for name in patch_grids(model.config)}, recorded.groups, model)


def follow_back(
    layers: Sequence[LayerMaps], tokens: Mapping[str, int], residual: float, attended: float
) -> dict[str, torch.Tensor]:
    """Follow relevance from the [CLS] at the end back to the tokens at the start.

    Every layer has the matrix `residual` * I + `attended` * A over the tokens of both streams, where A holds its maps;
    the rows of the [CLS] in the product of all layers' matrices are what is computed, and their mean returned.

    Args:
        layers: in the order of the model, with the maps of heads brought to one: `(batch, queries, keys)`.
        tokens: of the streams in use, how many they have with the [CLS]; see `token_numbers`.
        residual, attended: weights of the two ways through a layer.

    Returns:
        By stream, `(batch, 1 + patches)`, the [CLS] first.
    """
    some = next(tensor for layer in layers for tensor in layer.tensors())
    rows = {name: some.new_zeros(some.shape[0], number) for name, number in tokens.items()}
    for row in rows.values():
        row[:, 0] = 1 / len(rows)
    for layer in reversed(layers):
        if layer.cross:
            rows = _through_crossing(rows, layer.cross, residual, attended)
        for name, maps in layer.usta.items():
            for weights in reversed(maps):
                through = (rows[name][:, None] @ weights)[:, 0]
                rows[name] = residual * rows[name] + attended * through
    return rows


def _through_crossing(
    rows: Mapping[str, torch.Tensor], cross: Mapping[str, torch.Tensor], residual: float, attended: float
) -> dict[str, torch.Tensor]:
    """Both [CLS] were changed at once, each from both streams as they were before; patches were not."""
    found = {name: row.clone() for name, row in rows.items()}
    for row in found.values():
        row[:, 0] *= residual
    for name, other in (("video", "special"), ("special", "video")):
        cls, weights = rows[name][:, :1], cross[name][:, 0]
        found[name][:, :1] += attended * cls * weights[:, :1]
        found[other][:, 1:] += attended * cls * weights[:, 1:]
    return found


def token_numbers(model: HSTAForMicroExpressionClassification, groups: TokenGroups | None) -> dict[str, int]:
    """How many tokens, the [CLS] among them, each stream in use has after merging."""
    numbers = {name: 1 + grid.patches for name, grid in patch_grids(model.config).items()}
    if groups is not None:
        numbers["video"] = groups.averages.shape[1]
    return numbers


def as_maps(
    method: str,
    rows: Mapping[str, torch.Tensor],
    groups: TokenGroups | None,
    model: HSTAForMicroExpressionClassification,
) -> list[RelevanceMap]:
    """Relevance of tokens `(batch, 1 + tokens)` as maps of patches, the [CLS] left out.

    A merged token hands each of its patches the same part of what it has.
    """
    grids = patch_grids(model.config)
    patches: dict[str, np.ndarray] = {}
    for name, row in rows.items():
        whole = row.detach().double()
        if name == "video" and groups is not None:
            whole = (whole[:, None] @ groups.averages.double())[:, 0]
        patches[name] = whole[:, 1:].cpu().numpy().reshape(-1, *grids[name].shape)
    batch = len(next(iter(patches.values())))
    return [RelevanceMap(method, {name: values[i] for name, values in patches.items()}) for i in range(batch)]
