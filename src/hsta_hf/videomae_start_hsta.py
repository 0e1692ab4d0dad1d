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

import difflib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, VideoMAEConfig
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


# What a stream's tensors take their shapes from.
_SHAPES = ("hidden_size", "intermediate_size", "patch_size", "tubelet_size", "num_channels")

# What HSTAConfig takes besides its fields.
_ALSO_TAKEN = ("num_labels", "attn_implementation", "dtype", "torch_dtype")


@dataclass
class StreamStart:
    """What one stream took over.

    Attributes:
        name: `"video"` or `"special"`.
        on: whether the model has the stream.
        depth: encoder layers of the checkpoint.
        embedding: whether all of the tubelet embedding was loaded.
        whole, partly: numbers of the encoder layers, from 0, that were loaded whole or in part.
        fresh: names of the stream's USTA layers that got no weight matrix. A bias alone does not count: some fit
            whatever the width.
    """

    name: str
    on: bool
    depth: int
    embedding: bool = False
    whole: list[int] = field(default_factory=list)
    partly: list[int] = field(default_factory=list)
    fresh: list[str] = field(default_factory=list)

    @property
    def layers(self) -> int:
        """USTA layers that the stream has."""
        return len(self.whole) + len(self.partly) + len(self.fresh)

    @property
    def started(self) -> bool:
        """Whether the stream got any weight matrix."""
        return bool(self.embedding or self.whole or self.partly)

    def __str__(self) -> str:
        if not self.on:
            return f"{self.name} stream: off"
        parts = ["tubelet embedding"] if self.embedding else []
        parts += [f"encoder {_ranges(self.whole)} of {self.depth}"] if self.whole else []
        parts += [f"parts of encoder {_ranges(self.partly)} of {self.depth}"] if self.partly else []
        line = f"{self.name} stream: {' and '.join(parts) or 'no weight'} loaded"
        if self.started and not self.embedding:
            line += ", the tubelet embedding is fresh"
        return line if self.layers else f"{line}; the stream has no layers"


@dataclass
class VideoMAEReport:
    """What `from_videomae` did.

    `str(report)` is short: it groups and counts. The full lists, a line for every tensor, are `loaded`, `skipped` and
    `initialised`.

    Attributes:
        loaded: lines `source -> stream`, one for each tensor and stream.
        skipped: the checkpoint's tensors that were not loaded, each with the reason.
        initialised: names of the model's parameters that were initialised afresh.
        positions: for each stream the positions that its patches take.
        loaded_parameters: the model's parameters that were loaded.
        streams: for each stream what it took over.
        origin: the checkpoint's file, folder or Hub repository.
    """

    loaded: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    initialised: list[str] = field(default_factory=list)
    positions: list[str] = field(default_factory=list)
    loaded_parameters: list[nn.Parameter] = field(default_factory=list, repr=False)
    streams: list[StreamStart] = field(default_factory=list)
    origin: str = "a VideoMAE checkpoint"

    @property
    def fresh_layers(self) -> list[str]:
        """Names of the USTA layers, of both streams, that got no weight matrix."""
        return [name for stream in self.streams for name in stream.fresh]

    def __str__(self) -> str:
        counts = f"{len(self.loaded)} loaded, {len(self.skipped)} skipped, {len(self.initialised)} initialised"
        lines = [f"HSTA from {self.origin}: {counts}", *map(str, self.streams)]
        if self.fresh_layers:
            lines.append(f"fresh layers: {', '.join(self.fresh_layers)}")
        always = sum(_always_fresh(name) for name in self.initialised)
        lines.append(f"fresh in every start: {always} tensors (CSTA, [CLS], norms of the [CLS], head)")
        lines += [f"positions: {line}" for line in self.positions]
        for reason, names in _by_reason(self.skipped).items():
            shown = ", ".join(names[:_NAMES_SHOWN]) + (", …" if len(names) > _NAMES_SHOWN else "")
            lines.append(f"skipped: {len(names)} ({reason}): {shown}")
        lines.append("every tensor: model.videomae_report.loaded, .skipped, .initialised")
        return "\n  ".join(lines)


_NAMES_SHOWN = 2


def _always_fresh(name: str) -> bool:
    """Whether a parameter of the model is none that a VideoMAE could fill: not in a USTA layer or an embedding."""
    return re.search(r"\.(video|special)\.\d+\.|\.patch_embeddings\.", name) is None


def _by_reason(skipped: list[str]) -> dict[str, list[str]]:
    """Names by reason, out of lines `name (reason: details)`."""
    groups: dict[str, list[str]] = {}
    for line in skipped:
        name, _, reason = line.partition(" (")
        groups.setdefault(reason.removesuffix(")").split(":")[0], []).append(name)
    return groups


def _ranges(numbers: list[int]) -> str:
    """`[0, 1, 2, 5]` as "layers 0-2, 5"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    shown = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"layer{'s' if len(numbers) > 1 else ''} {shown}"


def check_fields(config: dict[str, Any], kind: type[PreTrainedConfig], where: str = "") -> None:
    """Refuse keywords that a configuration class does not have; transformers would keep them without effect.

    Raises:
        ValueError: names the keyword, with its place `where`, and the nearest field.
    """
    known = {name for parent in kind.__mro__ for name in inspect.get_annotations(parent)} | set(kind().to_dict())
    known |= {*_ALSO_TAKEN, *kind.attribute_map}
    for name in config:
        if name not in known:
            near = difflib.get_close_matches(name, [one for one in known if one[0] != "_"], n=3, cutoff=0.5)
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else "help() of that class lists them."
            raise ValueError(f"from_videomae: {kind.__name__} has no field {where + name!r}. {hint}")


def stream_configs(source: VideoMAECheckpoint, config: dict[str, Any]) -> dict[str, Any]:
    """`video_config` and `special_config` of an HSTA model: the checkpoint's geometry with the fields of `config` over
    it; a whole configuration object is taken as it is.

    Raises:
        ValueError: if the checkpoint does not tell the number of heads, and `config` does not either; or a stream has
            a field that `VideoMAEConfig` has not.
    """
    given = {name: config.get(name) or {} for name in ("video_config", "special_config")}
    geometry = {key: source.geometry[key] for key in _GEOMETRY if key in source.geometry}
    fields = [stream for stream in given.values() if not isinstance(stream, PreTrainedConfig)]
    for name, stream in given.items():
        if not isinstance(stream, PreTrainedConfig):
            check_fields(stream, VideoMAEConfig, f"{name}.")
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
    tubelet embedding to both. A tensor of another shape is skipped, and the report says so; a stream that gets no
    weight matrix is also a warning.
    """
    report, used = VideoMAEReport(origin=source.origin), set[str]()
    names = {id(module): name for name, module in model.named_modules()}
    depth = 1 + max((int(key.split(".")[2]) for key in source.tensors if key.startswith("encoder.")), default=-1)
    for stream in ("video", "special"):
        places = list(_places(model, stream))
        start = StreamStart(stream, on=bool(places), depth=depth)
        report.streams.append(start)
        for prefix, target in places:
            parameters = dict(target.named_parameters())
            count = matrices = 0
            for name, parameter in parameters.items():
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
                count += 1
                matrices += parameter.ndim > 1
            if not prefix.startswith("encoder."):
                start.embedding = count == len(parameters)
            elif matrices:
                (start.whole if count == len(parameters) else start.partly).append(int(prefix.rsplit(".", 1)[1]))
            else:
                start.fresh.append(names[id(target)])
        report.positions += _positions(source, model, stream)
        if start.on and not start.started:
            logger.warning("%s: %s", source.origin, _nothing_fits(source, model, stream))
    filled = {id(parameter) for parameter in report.loaded_parameters}
    report.initialised = [name for name, parameter in model.named_parameters() if id(parameter) not in filled]
    report.skipped += [f"{source.names[key]} (deeper than the streams)" for key in source.tensors if key not in used]
    report.skipped += source.skipped
    return report


def _nothing_fits(source: VideoMAECheckpoint, model: nn.Module, stream: str) -> str:
    """Why a stream got no weight: the fields that give its tensors other shapes than the checkpoint's."""
    hsta: Any = model.hsta
    ours = hsta.config.stream(stream).to_dict()
    others = [
        f"{name} is {ours[name]}, the checkpoint has {source.geometry[name]}"
        for name in _SHAPES
        if name in source.geometry and ours[name] != source.geometry[name]
    ]
    return (
        f"the {stream} stream got no weight and starts afresh, because no weight matrix has its shape "
        f"({'; '.join(others)}). Leave these fields out of {stream}_config to take the checkpoint's."
    )


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
