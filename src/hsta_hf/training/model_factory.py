"""From a recipe to a processor, a configuration and a model that fit each other."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from hsta_hf.configuration_hsta import HSTA_PRESETS, HSTAConfig
from hsta_hf.data.labels import LabelScheme
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.training.arguments import ModelArguments
from hsta_hf.training.recipe import RecipeError, merge
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

DEFAULT_IMAGE_SIZE = 224
# What a configuration file holds besides the model's own fields, and what the label scheme decides.
_NOT_GEOMETRY = ("id2label", "label2id", "problem_type", "architectures", "transformers_version", "model_type")


def _overrides(arguments: ModelArguments) -> dict[str, Any]:
    """`model` with `stream` spread over both streams; a stream's own fields win."""
    fields = copy.deepcopy(arguments.model or {})
    shared = fields.pop("stream", {})
    for name in ("video_config", "special_config"):
        own = merge(shared, fields.get(name) or {})
        if own:
            fields[name] = own
    return fields


def _as_size(size: Any) -> dict[str, int]:
    if isinstance(size, (list, tuple)):
        return {"height": int(size[0]), "width": int(size[1])}
    return {"height": int(size), "width": int(size)}


def build_processor(arguments: ModelArguments) -> HSTAVideoProcessor:
    """The processor of a recipe: that of `pretrained` if there is one, with the fields of `processor` put over it.

    Where the recipe does not name its sizes, they are the image sizes of the model.

    Raises:
        RecipeError: a processor field has an impossible value, or `pretrained` cannot be loaded.
    """
    fields = dict(arguments.processor or {})
    streams = _overrides(arguments)
    try:
        if arguments.pretrained:
            return HSTAVideoProcessor.from_pretrained(arguments.pretrained, **fields)
        if arguments.preset not in HSTA_PRESETS:
            raise RecipeError(f"preset is {arguments.preset!r}; use one of {', '.join(HSTA_PRESETS)}.")
        preset = HSTA_PRESETS[arguments.preset]["stream"].get("image_size", DEFAULT_IMAGE_SIZE)
        video = streams.get("video_config", {}).get("image_size", DEFAULT_IMAGE_SIZE if arguments.videomae else preset)
        special = streams.get("special_config", {}).get("image_size", video)
        fields.setdefault("size", _as_size(video))
        if special != video:
            fields.setdefault("special_size", _as_size(special))
        if isinstance(fields["size"], int):
            fields["size"] = _as_size(fields["size"])
        return HSTAVideoProcessor(**fields)
    except RecipeError:
        raise
    except OSError as error:
        raise _unreadable("pretrained", arguments.pretrained, error) from error
    except (ValueError, TypeError) as error:
        raise RecipeError(f"processor: {error}") from error


def _unreadable(field: str, name: str | Path | None, error: OSError) -> RecipeError:
    return RecipeError(f"{field}: {name} cannot be loaded; give a folder or the Hub name of a model. {error}")


def _stream_geometry(processor: HSTAVideoProcessor) -> dict[str, dict[str, Any]]:
    def image_size(size: Mapping[str, int]) -> int | list[int]:
        return size["height"] if size["height"] == size["width"] else [size["height"], size["width"]]

    special_size = processor.special_size or processor.size
    return {
        "video_config": {"image_size": image_size(dict(processor.size)), "num_frames": processor.num_frames},
        "special_config": {"image_size": image_size(special_size), "num_frames": len(processor.special_frames)},
    }


def _fields(arguments: ModelArguments, processor: HSTAVideoProcessor, scheme: LabelScheme) -> dict[str, Any]:
    """HSTAConfig fields that the recipe, the processor and the label scheme ask for."""
    fields = _overrides(arguments)
    for stream, geometry in _stream_geometry(processor).items():
        asked = fields.get(stream, {})
        for name, value in geometry.items():
            if name in asked and asked[name] != value:
                raise RecipeError(
                    f"model.{stream}.{name} is {asked[name]}, but the processor makes {value}; "
                    "set one of them, or both alike."
                )
        fields[stream] = {**asked, **geometry}
    problem = "multi_label_classification" if scheme.multi_label else "single_label_classification"
    return {**fields, "id2label": scheme.id2label, "label2id": scheme.label2id, "problem_type": problem}


def build_config(arguments: ModelArguments, processor: HSTAVideoProcessor, scheme: LabelScheme) -> HSTAConfig:
    """The configuration of a recipe that starts from no HSTA model, with nothing loaded.

    What the recipe leaves to a VideoMAE checkpoint is as in its preset.

    Raises:
        RecipeError: a model field does not fit the processor.
    """
    return HSTAConfig.from_preset(arguments.preset, **_fields(arguments, processor, scheme))


def build_model(
    arguments: ModelArguments,
    processor: HSTAVideoProcessor,
    scheme: LabelScheme,
    start: str | Path | None = None,
) -> HSTAForMicroExpressionClassification:
    """The model of a recipe. What is not loaded is drawn from torch's random state, so seed that first.

    Args:
        arguments: the model part of the recipe.
        processor: from `build_processor`.
        scheme: decides the head.
        start: folder of an HSTA model to start from in place of the recipe's `pretrained` (a pre-training's result).

    Raises:
        RecipeError: a model field has an impossible value or does not fit the processor, or weights cannot be loaded.
    """
    fields = _fields(arguments, processor, scheme)
    source = start or arguments.pretrained
    try:
        if source:
            base = HSTAConfig.from_pretrained(source).to_dict()
            config = HSTAConfig(**merge({k: v for k, v in base.items() if k not in _NOT_GEOMETRY}, fields))
            return HSTAForMicroExpressionClassification.from_pretrained(
                source, config=config, ignore_mismatched_sizes=True, dtype=torch.float32
            )
        if arguments.videomae:
            return HSTAForMicroExpressionClassification.from_videomae(arguments.videomae, **fields)
        return HSTAForMicroExpressionClassification(HSTAConfig.from_preset(arguments.preset, **fields))
    except RecipeError:
        raise
    except OSError as error:
        field = "pretrained" if source else "videomae"
        raise _unreadable(field, source or arguments.videomae, error) from error
    except (ValueError, TypeError) as error:
        raise RecipeError(f"model: {error}") from error


def streams_in_use(config: HSTAConfig) -> tuple[str, ...]:
    """Names of the inputs that the model reads."""
    return tuple(
        name
        for name, used in (
            ("pixel_values", config.use_video_stream),
            ("special_pixel_values", config.use_special_stream),
        )
        if used
    )
