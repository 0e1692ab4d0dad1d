"""A model's architecture in the words of its card."""

from __future__ import annotations

from typing import Any

from hsta_hf.configuration_hsta import HSTA_PRESETS, HSTAConfig
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

_INPUT_NAMES = {
    "frames": "RGB",
    "difference": "differences to the onset frame",
    "optical_flow": "optical flow and its strain",
}
_LOSS_NAMES = {"mse": "mean squared error of the scores", "cross_entropy": "cross-entropy"}


def loss_name(config: HSTAConfig) -> str:
    """The training loss."""
    binary = config.problem_type == "multi_label_classification" and config.classification_loss == "cross_entropy"
    return ("binary " if binary else "") + _LOSS_NAMES[config.classification_loss]


def architecture(config: HSTAConfig) -> str:
    """Depths, and how the streams meet: a sentence that goes on after "HSTA: "."""
    layers = f"{config.num_hsta_layers} HSTA layer{'s' if config.num_hsta_layers != 1 else ''} (M)"
    counts = [
        f"{count} on the {name} stream ({symbol})"
        for name, symbol, count, used in (
            ("video", "L_v", config.num_video_layers, config.use_video_stream),
            ("special", "L_s", config.num_special_layers, config.use_special_stream),
        )
        if used
    ]
    crossing = "ending in cross-attention between the streams" if config.crosses_streams else "without cross-attention"
    return (
        f"{layers}, each with space-time attention layers, {' and '.join(counts)}, {crossing}, in the "
        f"{config.block_style} block style."
    )


def streams(config: HSTAConfig, processor: HSTAVideoProcessor) -> list[dict[str, Any]]:
    """A row for each stream: what it sees, and its sizes."""
    rows = []
    for name, used, shows in (
        ("video", config.use_video_stream, processor.video_input),
        ("special", config.use_special_stream, processor.special_input),
    ):
        if not used:
            continue
        stream = config.stream(name)
        what = "frames over the clip" if name == "video" else f"special frames {', '.join(processor.special_frames)}"
        rows.append(
            {
                "name": name,
                "input": f"{_INPUT_NAMES.get(shows, shows)} ({what})",
                "frames": stream.num_frames,
                "image": _pair(stream.image_size),
                "patch": f"{stream.tubelet_size} x {_pair(stream.patch_size)}",
                "width": stream.hidden_size,
                "heads": stream.num_attention_heads,
            }
        )
    return rows


def _pair(size: Any) -> str:
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return f"{height} x {width}"


def preset(config: HSTAConfig) -> str:
    """The preset of the same widths and depths; image sizes and inputs are in the table of streams."""
    fields = ("hidden_size", "num_attention_heads", "intermediate_size")
    depths = ("num_hsta_layers", "num_video_layers", "num_special_layers")
    for name in HSTA_PRESETS:
        known = HSTAConfig.from_preset(name)
        alike = all(
            getattr(config.stream(stream), field) == getattr(known.stream(stream), field)
            for stream in ("video", "special")
            for field in fields
        )
        if alike and all(getattr(config, depth) == getattr(known, depth) for depth in depths):
            return f"`{name}`"
    return "none, widths and depths of its own"
