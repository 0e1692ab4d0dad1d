"""Starting HSTA's two streams from a VideoMAE checkpoint, with a report of what went where.

The file is copied into saved model folders, so it imports nothing of this package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, VideoMAEModel

# What a stream takes over from a VideoMAE checkpoint's configuration.
_GEOMETRY = (
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "image_size",
    "patch_size",
    "tubelet_size",
    "num_channels",
    "hidden_act",
    "layer_norm_eps",
    "qv_bias",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "initializer_range",
)


@dataclass
class VideoMAEReport:
    """What `from_videomae` did: lines `source -> stream` that were loaded, checkpoint tensors that were skipped and
    why, and the model's parameters that were initialised afresh."""

    loaded: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    initialised: list[str] = field(default_factory=list)
    loaded_parameters: list[nn.Parameter] = field(default_factory=list, repr=False)

    def __str__(self) -> str:
        parts = [
            f"loaded {len(self.loaded)}",
            f"skipped {len(self.skipped)}",
            f"initialised {len(self.initialised)}",
        ]
        lines = [f"HSTA from VideoMAE: {', '.join(parts)} tensors"]
        for title in ("loaded", "skipped", "initialised"):
            lines += [f"  {title}: {line}" for line in getattr(self, title)]
        return "\n".join(lines)


def stream_geometry(source: VideoMAEModel, given: dict[str, Any] | PreTrainedConfig | None) -> Any:
    """A stream's configuration: the checkpoint's geometry with the fields of `given` over it; a whole configuration
    object is taken as it is."""
    if isinstance(given, PreTrainedConfig):
        return given
    return {**{key: getattr(source.config, key) for key in _GEOMETRY}, **(given or {})}


def load_videomae(source: VideoMAEModel, model: nn.Module) -> VideoMAEReport:
    """Copy the weights of `source` into both streams of an HSTA classifier, tensor by tensor.

    The first M * L_v encoder layers go to the video stream in order, the first M * L_s to the special stream, the
    tubelet embedding to both. A tensor of another shape is skipped, and the report says so.
    """
    report, weights, used = VideoMAEReport(), source.state_dict(), set[str]()
    for stream in ("video", "special"):
        for prefix, target in _places(model, stream):
            for name, parameter in target.named_parameters():
                key = f"{prefix}.{name}"
                if key not in weights:
                    continue
                used.add(key)
                if weights[key].shape != parameter.shape:
                    shapes = f"{tuple(weights[key].shape)} against {tuple(parameter.shape)}"
                    report.skipped.append(f"{key} ({stream} stream has another shape: {shapes})")
                    continue
                with torch.no_grad():
                    parameter.copy_(weights[key])
                report.loaded.append(f"{key} -> {stream} stream")
                report.loaded_parameters.append(parameter)
    filled = {id(parameter) for parameter in report.loaded_parameters}
    report.initialised = [name for name, parameter in model.named_parameters() if id(parameter) not in filled]
    report.skipped += [f"{name} (no place for it)" for name in weights if name not in used]
    return report


def _places(model: nn.Module, stream: str) -> Iterator[tuple[str, nn.Module]]:
    """What the checkpoint calls a module, and the module of the stream that takes its weights."""
    hsta: Any = model.hsta
    embeddings = getattr(hsta, f"{stream}_embeddings")
    if embeddings is None:
        return
    yield "embeddings.patch_embeddings", embeddings.patch_embeddings
    layers = [usta for layer in hsta.layers for usta in getattr(layer, stream)]
    for number, usta in enumerate(layers):
        yield f"encoder.layer.{number}", usta
