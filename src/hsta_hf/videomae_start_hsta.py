"""Starting HSTA's two streams from a VideoMAE checkpoint, with a report of what went where.

The file is copied into saved model folders, so it imports nothing of this package but its neighbours.

**Which positions a stream takes.** VideoMAE adds row i of a fixed sinusoid table to patch i, counted tubelet by
tubelet and row by row; row i depends on i alone. A stream of 6 frames takes the first 3 of the 8 tubelet slots that a
16-frame checkpoint was trained with, the special stream the first one: what `VideoMAEModel` with `num_frames=6` does.
The slots are not spread over the eight, because the distance between slots stands for time: VideoMAE's Kinetics
checkpoints were trained on every fourth frame at 25 to 30 a second, so neighbouring slots lie about 0.3 s apart. Six
frames spread over a micro-expression (up to 0.5 s) put its tubelets 0.2 s apart or less. One slot is near that; the
3.5 slots (1 s) of a spread over slots 0, 3.5 and 7 are not, and there is no slot 3.5.

Another number of patches a frame than the checkpoint's moves the rows to other places in the picture. They are not
interpolated (VideoMAE v2's fine-tuning script does that; `VideoMAEModel` and the authors' released implementation do
not): a mean of neighbouring rows is no row that the checkpoint has seen. The report and a warning say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.utils import logging

from .videomae_checkpoint_hsta import VideoMAECheckpoint

logger = logging.get_logger(__name__)

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
    why, the model's parameters that were initialised afresh, and per stream the positions that its patches take."""

    loaded: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    initialised: list[str] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)
    loaded_parameters: list[nn.Parameter] = field(default_factory=list, repr=False)

    def __str__(self) -> str:
        parts = [
            f"loaded {len(self.loaded)}",
            f"skipped {len(self.skipped)}",
            f"initialised {len(self.initialised)}",
        ]
        lines = [f"HSTA from VideoMAE: {', '.join(parts)} tensors"]
        for title in ("positions", "loaded", "skipped", "initialised"):
            lines += [f"  {title}: {line}" for line in getattr(self, title)]
        return "\n".join(lines)


def stream_configs(source: VideoMAECheckpoint, config: dict[str, Any]) -> dict[str, Any]:
    """`video_config` and `special_config` of an HSTA model: the checkpoint's geometry with the fields of `config` over
    it; a whole configuration object is taken as it is.

    Raises:
        ValueError: if the checkpoint does not tell the number of heads, and `config` does not either.
    """
    given = {name: config.get(name) or {} for name in ("video_config", "special_config")}
    geometry = {key: source.geometry[key] for key in _GEOMETRY if key in source.geometry}
    fields = [stream for stream in given.values() if not isinstance(stream, PreTrainedConfig)]
    if fields and "num_attention_heads" not in geometry:
        # Both streams start from the same layers, so heads told for one hold for the other.
        heads = next((stream["num_attention_heads"] for stream in fields if "num_attention_heads" in stream), None)
        if heads is None:
            raise ValueError(
                f"{source.origin} does not tell its number of attention heads; say it: "
                "video_config={'num_attention_heads': …} (small 6, base 12, large, huge and giant 16)."
            )
        geometry["num_attention_heads"] = heads
    return {
        name: stream if isinstance(stream, PreTrainedConfig) else {**geometry, **stream}
        for name, stream in given.items()
    }


def load_videomae(source: VideoMAECheckpoint, model: nn.Module) -> VideoMAEReport:
    """Copy the weights of `source` into both streams of an HSTA classifier, tensor by tensor.

    The first M * L_v encoder layers go to the video stream in order, the first M * L_s to the special stream, the
    tubelet embedding to both. A tensor of another shape is skipped, and the report says so.
    """
    report, used = VideoMAEReport(), set[str]()
    for stream in ("video", "special"):
        for prefix, target in _places(model, stream):
            for name, parameter in target.named_parameters():
                key = f"{prefix}.{name}"
                if key not in source.tensors:
                    continue
                used.add(key)
                tensor, shown = source.tensors[key], source.names[key]
                if tensor.shape != parameter.shape:
                    shapes = f"{tuple(tensor.shape)} against {tuple(parameter.shape)}"
                    report.skipped.append(f"{shown} ({stream} stream has another shape: {shapes})")
                    continue
                with torch.no_grad():
                    parameter.copy_(tensor)
                report.loaded.append(f"{shown} -> {stream} stream")
                report.loaded_parameters.append(parameter)
        report.positions += _positions(source, model, stream)
    filled = {id(parameter) for parameter in report.loaded_parameters}
    report.initialised = [name for name, parameter in model.named_parameters() if id(parameter) not in filled]
    report.skipped += [f"{source.names[key]} (deeper than the streams)" for key in source.tensors if key not in used]
    report.skipped += source.skipped
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


def _positions(source: VideoMAECheckpoint, model: nn.Module, stream: str) -> list[str]:
    """The line of the report on a stream's positions; a warning where they lie elsewhere than in the checkpoint."""
    hsta: Any = model.hsta
    embeddings = getattr(hsta, f"{stream}_embeddings")
    if embeddings is None or embeddings.cls_token.shape[-1] != source.geometry["hidden_size"]:
        return []
    config = hsta.config.stream(stream)
    slots, grid, first = config.num_frames // config.tubelet_size, _grid(vars(config)), embeddings.first_patch_position
    line = (
        f"the {stream} stream's {slots} x {grid[0]} x {grid[1]} patches take rows {first} to "
        f"{first + slots * grid[0] * grid[1] - 1} of the sinusoid table"
    )
    if first:
        line += f", {first} later than in VideoMAE (first_patch_position={first})"
    if not {"image_size", "num_frames"} <= source.geometry.keys():
        return [f"{line}; the checkpoint does not tell its number of frames and patches"]
    trained, trained_grid = source.geometry["num_frames"] // source.geometry["tubelet_size"], _grid(source.geometry)
    if grid != trained_grid:
        line += (
            f"; the checkpoint was trained with {trained_grid[0]} x {trained_grid[1]} patches a frame, so these rows "
            "lie elsewhere in the picture and have to be learned anew"
        )
        logger.warning("%s: %s. The checkpoint's image_size and patch_size keep them.", source.origin, line)
    elif slots > trained:
        line += f"; the checkpoint was trained with {trained} tubelet slots, the others are new to it"
    else:
        line += f", the first {slots} of the checkpoint's {trained} tubelet slots"
    return [line]


def _grid(geometry: dict[str, Any]) -> tuple[int, int]:
    """Patches of a frame, down and across."""
    sizes = [geometry[name] for name in ("image_size", "patch_size")]
    image, patch = (size if isinstance(size, (list, tuple)) else (size, size) for size in sizes)
    return image[0] // patch[0], image[1] // patch[1]
