"""State dicts of the authors' released implementation to HSTA models, and back, tensor by tensor.

What the tensors tell is read off them; what they do not tell (heads, image size, frame counts, LayerNorm epsilon,
names of labels) has to be said. A state dict that holds more, less or something else than the released model of its
geometry is refused, with its keys.

The released implementation drew the six frames of a test clip at random; here they are chosen uniformly. A converted
model therefore gives the released logits on the same frames, and its own choice of frames on the same clip.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification

STREAMS = ("special", "video")  # the released implementation's streams 0 and 1
LAYER_NORM_EPS = 1e-6

# Heads, the same number in both streams, of the released implementation's own models, by special and video width. The
# special stream of most has heads of 32, so the common rule of 64 a head would be wrong for it.
_RELEASED_HEADS = {(96, 192): 3, (128, 256): 4, (192, 384): 6, (224, 448): 7, (384, 768): 12}
_USUAL_HEAD_SIZE = 64

_KINDS = ("weight", "bias")
# Modules of one USTA layer, released name to ours; q, k and v apart, which the released one keeps stacked.
_USTA = {
    "attn.proj": "attention.output.dense",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
# Modules of one direction of CSTA; {s} is the number of the stream whose [CLS] attends.
_CSTA = {
    "projs.{s}.0": "project.0",
    "projs.{s}.2": "project.2",
    "fusion.{s}.norm1": "layernorm",
    "fusion.{s}.attn.wq": "query",
    "fusion.{s}.attn.wk": "key",
    "fusion.{s}.attn.wv": "value",
    "fusion.{s}.attn.proj": "output",
    "revert_projs.{s}.0": "revert.0",
    "revert_projs.{s}.2": "revert.2",
}


class ReleasedCheckpointError(ValueError):
    """A checkpoint that cannot be converted without guessing, or a setting that does not fit it."""


@dataclass(frozen=True)
class StreamGeometry:
    """What the tensors tell of one stream; sizes in pixels and frames."""

    hidden_size: int
    intermediate_size: int
    patch_size: int | tuple[int, int]
    tubelet_size: int
    num_channels: int
    qv_bias: bool
    num_layers: int  # USTA layers of one HSTA layer: L_v or L_s


@dataclass(frozen=True)
class ReleasedGeometry:
    """What the tensors of a released state dict tell."""

    video: StreamGeometry
    special: StreamGeometry
    num_hsta_layers: int
    num_labels: int
    dtype: torch.dtype


def read_geometry(weights: Mapping[str, torch.Tensor]) -> ReleasedGeometry:
    """Read the geometry off a released state dict (without prefixes).

    Raises:
        ReleasedCheckpointError: if the tensors that tell it are missing or misshapen, if they differ in dtype, or if
            the HSTA layers differ in depth; the message names keys or layer.
    """
    anchors = {"head.weight": 2}
    for s in range(len(STREAMS)):
        anchors |= {f"patch_embed.{s}.proj.weight": 5, f"blocks.0.blocks.{s}.0.mlp.fc1.weight": 2}
    absent = [key for key, ndim in anchors.items() if key not in weights or weights[key].ndim != ndim]
    if absent:
        raise ReleasedCheckpointError(
            "This is no state dict of the released implementation with both streams and at least one USTA layer in "
            f"each: {_listing(absent)} missing or of another number of dimensions. Its {len(weights)} keys are "
            f"{_listing(sorted(weights))}."
        )
    dtype = _one_dtype(weights)
    depths = _depths(weights)
    streams = {}
    for s, name in enumerate(STREAMS):
        width, channels, tubelet, height, breadth = weights[f"patch_embed.{s}.proj.weight"].shape
        streams[name] = StreamGeometry(
            hidden_size=width,
            intermediate_size=weights[f"blocks.0.blocks.{s}.0.mlp.fc1.weight"].shape[0],
            patch_size=height if height == breadth else (height, breadth),
            tubelet_size=tubelet,
            num_channels=channels,
            qv_bias=f"blocks.0.blocks.{s}.0.attn.q_bias" in weights,
            num_layers=depths[0][s],
        )
    return ReleasedGeometry(
        video=streams["video"],
        special=streams["special"],
        num_hsta_layers=len(depths),
        num_labels=weights["head.weight"].shape[0],
        dtype=dtype,
    )


def _one_dtype(weights: Mapping[str, torch.Tensor]) -> torch.dtype:
    dtype = weights["head.weight"].dtype
    odd = [f"{key} ({value.dtype})" for key, value in weights.items() if value.dtype != dtype]
    if odd or not dtype.is_floating_point:
        raise ReleasedCheckpointError(
            f"head.weight is {dtype}; all tensors must be of one floating-point type. Others: {_listing(odd)}."
        )
    return dtype


def _depths(weights: Mapping[str, torch.Tensor]) -> list[tuple[int, int]]:
    """USTA layers of the special and of the video stream, by HSTA layer; all the same."""
    found: dict[int, tuple[set[int], set[int]]] = {}
    for key in weights:
        if match := re.match(r"blocks\.(\d+)\.(?:blocks\.([01])\.(\d+)\.)?", key):
            usta = found.setdefault(int(match[1]), (set(), set()))
            if match[2] is not None:
                usta[int(match[2])].add(int(match[3]))
    gaps = sorted(set(range(max(found) + 1)) - set(found))
    if gaps:
        raise ReleasedCheckpointError(f"HSTA layers {gaps} (keys blocks.{gaps[0]}.…) of {max(found) + 1} are missing.")
    depths: list[tuple[int, int]] = []
    for m in sorted(found):
        for s, numbers in enumerate(found[m]):
            # A stream without USTA layers does not run in the released implementation, whose list would then hold the
            # other stream's layers under this one's number.
            if numbers != set(range(len(numbers))) or not numbers:
                raise ReleasedCheckpointError(
                    f"HSTA layer {m}: the {STREAMS[s]} stream has USTA layers {sorted(numbers)} (keys "
                    f"blocks.{m}.blocks.{s}.…); wanted is one or more, counted from 0."
                )
        depths.append((len(found[m][0]), len(found[m][1])))
        for s, (here, first) in enumerate(zip(depths[m], depths[0], strict=True)):
            if here != first:
                raise ReleasedCheckpointError(
                    f"HSTA layer {m} has {here} USTA layers on the {STREAMS[s]} stream (keys blocks.{m}.blocks.{s}.…) "
                    f"and HSTA layer 0 has {first}; an HSTAConfig has one depth for all HSTA layers."
                )
    return depths


def released_config(
    geometry: ReleasedGeometry,
    *,
    video_heads: int | None = None,
    special_heads: int | None = None,
    image_size: int = 224,
    num_frames: int = 6,
    special_frames: int = 2,
    layer_norm_eps: float = LAYER_NORM_EPS,
    labels: Sequence[str] | None = None,
) -> HSTAConfig:
    """The configuration of a released model: its geometry, and what its tensors do not tell (see [`from_released`]).

    Raises:
        ReleasedCheckpointError: if heads are missing or do not divide a width, if there are not as many labels as the
            head has rows or one comes twice, if a stream would have no frame or no patch, or for an epsilon of 0.
        ValueError: from [`HSTAConfig`], for frame counts that do not fill the tubelets.
    """
    if video_heads is None or special_heads is None:
        missing = [f"--{n}" for n, v in (("video_heads", video_heads), ("special_heads", special_heads)) if v is None]
        raise ReleasedCheckpointError(_heads_needed(geometry, " and ".join(missing)))
    for setting, value in (("num_frames", num_frames), ("special_frames", special_frames)):
        if value < 1:
            raise ReleasedCheckpointError(f"{setting} is {value}; a stream has at least one frame.")
    if not layer_norm_eps > 0:
        raise ReleasedCheckpointError(f"layer_norm_eps is {layer_norm_eps}; it must be above 0.")
    given = {"video": (video_heads, num_frames), "special": (special_heads, special_frames)}
    streams: dict[str, Any] = {}
    for name, (heads, frames) in given.items():
        stream: StreamGeometry = getattr(geometry, name)
        if heads < 1 or stream.hidden_size % heads:
            raise ReleasedCheckpointError(
                f"{name}_heads is {heads}, which does not divide the {name} stream's width of {stream.hidden_size}."
            )
        sides = stream.patch_size if isinstance(stream.patch_size, tuple) else (stream.patch_size,)
        if image_size < max(sides):
            raise ReleasedCheckpointError(
                f"image_size is {image_size} pixels, less than one patch of the {name} stream: {stream.patch_size}."
            )
        streams[f"{name}_config"] = {
            "hidden_size": stream.hidden_size,
            "num_attention_heads": heads,
            "intermediate_size": stream.intermediate_size,
            "image_size": image_size,
            "patch_size": stream.patch_size,
            "tubelet_size": stream.tubelet_size,
            "num_channels": stream.num_channels,
            "num_frames": frames,
            "qv_bias": stream.qv_bias,
            "layer_norm_eps": layer_norm_eps,
        }
    head: dict[str, Any] = {"num_labels": geometry.num_labels}
    if labels is not None:
        if len(labels) != geometry.num_labels or len(set(labels)) != len(labels):
            raise ReleasedCheckpointError(
                f"labels are {list(labels)}; the head has {geometry.num_labels} rows, so give as many different names "
                "in the order of training."
            )
        head = {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
    return HSTAConfig(
        **streams,
        **head,
        num_hsta_layers=geometry.num_hsta_layers,
        num_video_layers=geometry.video.num_layers,
        num_special_layers=geometry.special.num_layers,
        block_style="released",
        first_patch_position=1,
        classification_loss="cross_entropy",
    )


def _heads_needed(geometry: ReleasedGeometry, missing: str) -> str:
    widths = (geometry.special.hidden_size, geometry.video.hidden_size)
    text = (
        f"The tensors do not tell the number of heads; give {missing}. The video stream is {widths[1]} wide, the "
        f"special stream {widths[0]}"
    )
    if widths in _RELEASED_HEADS:
        return f"{text}: the released implementation's model of these widths has {_RELEASED_HEADS[widths]} in both."
    if any(width % _USUAL_HEAD_SIZE for width in widths):
        return f"{text}: heads must divide these widths."
    return (
        f"{text}: heads of {_USUAL_HEAD_SIZE}, as usual, would be {widths[1] // _USUAL_HEAD_SIZE} and "
        f"{widths[0] // _USUAL_HEAD_SIZE}."
    )


def from_released(weights: Mapping[str, torch.Tensor], **settings: Any) -> HSTAForMicroExpressionClassification:
    """Turn a state dict of the released implementation into a model that gives the same outputs.

    Args:
        weights: the state dict, names as in the released model (`read_released_checkpoint` strips prefixes).
        settings: what the tensors do not tell. `video_heads`, `special_heads`: attention heads a stream, required.
            `image_size` (default 224): height and width of both streams' pictures, in pixels. `num_frames` (6) and
            `special_frames` (2): frames of the streams. `layer_norm_eps` (1e-6). `labels`: names in the order of the
            head's rows; `LABEL_0`, … without.

    Returns:
        The model in eval mode and the checkpoint's dtype: block style `released`, the [CLS] at position 0 and patches
        from 1, cross-entropy. Its head reads the two [CLS], as `--model_header_mode 2` of the released command has it;
        the means of mode 4 leave tensors of the same shapes, so nothing here can tell such a checkpoint.

    Raises:
        ReleasedCheckpointError: for a state dict with unknown, missing or misshapen tensors, all listed, or settings
            that do not fit it.
    """
    geometry = read_geometry(weights)
    model = HSTAForMicroExpressionClassification(released_config(geometry, **settings))
    places = _places(model.config)
    own = model.state_dict()
    _refuse_differences(weights, places, {name: value.shape for name, value in own.items()})
    ours: dict[str, torch.Tensor] = {}
    for key, names in places.items():
        ours |= dict(zip(names, weights[key].detach().chunk(len(names)), strict=True))
    model.to(geometry.dtype)  # type: ignore[arg-type]  # transformers' wrapper hides `self` from the checker
    model.load_state_dict(ours, strict=True)
    return model.eval()


def to_released(model: HSTAForMicroExpressionClassification) -> dict[str, torch.Tensor]:
    """The state dict that the released implementation would have for this model: its names, shapes and the dtype.

    A model made by [`from_released`] gives back the very tensors.

    Raises:
        ReleasedCheckpointError: if the released implementation has no such model; the fields are named.
    """
    config = model.config
    wanted: dict[str, Any] = {
        "block_style": "released",
        "first_patch_position": 1,
        "use_video_stream": True,
        "use_special_stream": True,
        "use_csta": True,
        "token_reduction": 0.0,
    }
    differing = [field for field, value in wanted.items() if getattr(config, field, value) != value]
    wrong = [f"{field} is {getattr(config, field)!r} (there: {wanted[field]!r})" for field in differing]
    for field in ("num_video_layers", "num_special_layers"):
        if getattr(config, field) < 1:
            wrong.append(f"{field} is {getattr(config, field)} (there: 1 or more)")
    special, video = (config.stream(name) for name in STREAMS)
    for name, stream in (("special", special), ("video", video)):
        if stream.hidden_act != "gelu":
            wrong.append(f"{name}_config.hidden_act is {stream.hidden_act!r} (there: 'gelu')")
    if video.layer_norm_eps != special.layer_norm_eps:
        wrong.append(
            f"layer_norm_eps is {video.layer_norm_eps} for the video, {special.layer_norm_eps} for the special stream "
            "(there: one for both)"
        )
    if video.image_size != special.image_size or not isinstance(video.image_size, int):
        wrong.append(
            f"image_size is {video.image_size} for the video, {special.image_size} for the special stream (there: one "
            "square for both)"
        )
    if wrong:
        raise ReleasedCheckpointError(
            f"The released implementation has no such model, and its tensors would not tell: {'; '.join(wrong)}. Only "
            f"a model trained with the released settings can go back{_training_options(differing, wanted)}."
        )
    own = model.state_dict()
    places = _places(config)
    homeless = set(own) - {name for names in places.values() for name in names}
    if homeless:
        raise ReleasedCheckpointError(f"The released layout has no place for {_listing(sorted(homeless))}.")
    return {key: torch.cat([own[name].detach() for name in names]).clone() for key, names in places.items()}


def _training_options(fields: Sequence[str], wanted: Mapping[str, Any]) -> str:
    """The options of `hsta train` that set these fields, in words; nothing for no fields."""
    options = [f"--model.{field} {str(wanted[field]).lower()}" for field in fields]
    return f": train with `{' '.join(options)}`" if options else ""


def _places(config: HSTAConfig) -> dict[str, tuple[str, ...]]:
    """Released key to the names of our tensors that make it, stacked along their first dimension."""
    places: dict[str, tuple[str, ...]] = {}

    def module(released: str, ours: str) -> None:
        for kind in _KINDS:
            places[f"{released}.{kind}"] = (f"{ours}.{kind}",)

    for s, stream in enumerate(STREAMS):
        module(f"patch_embed.{s}.proj", f"hsta.{stream}_embeddings.patch_embeddings.projection")
        places[f"cls_token.{s}"] = (f"hsta.{stream}_embeddings.cls_token",)
        depth = config.num_special_layers if stream == "special" else config.num_video_layers
        for m in range(config.num_hsta_layers):
            for i in range(depth):
                released, ours = f"blocks.{m}.blocks.{s}.{i}", f"hsta.layers.{m}.{stream}.{i}"
                attention = f"{ours}.attention.attention"
                places[f"{released}.attn.qkv.weight"] = (
                    f"{attention}.query.weight",
                    f"{attention}.key.weight",
                    f"{attention}.value.weight",
                )
                if config.stream(stream).qv_bias:
                    places[f"{released}.attn.q_bias"] = (f"{attention}.query.bias",)
                    places[f"{released}.attn.v_bias"] = (f"{attention}.value.bias",)
                for theirs, name in _USTA.items():
                    module(f"{released}.{theirs}", f"{ours}.{name}")
            for theirs, name in _CSTA.items():
                module(f"blocks.{m}.{theirs.format(s=s)}", f"hsta.layers.{m}.{stream}_cross.{name}")
        module(f"norm.{s}", f"hsta.{stream}_layernorm")
    module("head", "classifier")
    return places


def _refuse_differences(
    weights: Mapping[str, torch.Tensor], places: dict[str, tuple[str, ...]], shapes: dict[str, torch.Size]
) -> None:
    """Raise unless the state dict holds exactly the tensors of the released model, in their shapes."""
    problems = []
    if unknown := sorted(set(weights) - set(places)):
        problems.append(f"unknown: {_listing(unknown)}")
    if missing := sorted(set(places) - set(weights)):
        problems.append(f"missing: {_listing(missing)}")
    misshapen = []
    for key, names in places.items():
        first = shapes[names[0]]
        wanted = (first[0] * len(names), *first[1:])
        if key in weights and tuple(weights[key].shape) != wanted:
            misshapen.append(f"{key} is {tuple(weights[key].shape)}, wanted {wanted}")
    if misshapen:
        problems.append(f"of another shape: {'; '.join(misshapen)}")
    if problems:
        raise ReleasedCheckpointError(
            "The checkpoint is not the released model of its geometry, so nothing is converted.\n  "
            + "\n  ".join(problems)
        )


def _listing(keys: Sequence[str]) -> str:
    return ", ".join(keys) if keys else "none"


__all__ = [
    "LAYER_NORM_EPS",
    "STREAMS",
    "ReleasedCheckpointError",
    "ReleasedGeometry",
    "StreamGeometry",
    "from_released",
    "read_geometry",
    "released_config",
    "to_released",
]
