"""Optical flow from onset to apex: what HOOF, OFF-ApexNet and STSTNet see of a clip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hsta_hf.baselines.features import apex_of
from hsta_hf.data.prepared import flow_at
from hsta_hf.optical_flow_hsta import FLOW_METHODS, special_flows
from hsta_hf.training.clips import KeyFrames, LabelledClips
from hsta_hf.training.model_factory import build_processor
from hsta_hf.training.recipe import Recipe, RecipeError

DEFAULT_FLOW: dict[str, Any] = {
    "method": "farneback",
    "size": {"height": 192, "width": 192},
    "remove_head_motion": True,
}


def flow_settings(recipe: Recipe, asked: Mapping[str, Any] | None) -> dict[str, Any]:
    """How the flow is computed: arguments of `optical_flow_hsta.special_flows`, and fit for JSON.

    It is the flow that HSTA would see by the same recipe, so that both start from the same measurement; where the
    recipe shows HSTA no flow, `DEFAULT_FLOW`.

    Args:
        recipe: its `processor` is asked.
        asked: `flow` of `baseline_options`, fields that differ.

    Raises:
        RecipeError: a field is unknown or has an impossible value.
    """
    settings = dict(DEFAULT_FLOW)
    processor = build_processor(recipe.model)
    if "optical_flow" in (processor.special_input, processor.video_input):
        settings = {name: processor.flow_settings()[name] for name in DEFAULT_FLOW}
    for name, value in (asked or {}).items():
        if name not in DEFAULT_FLOW:
            raise RecipeError(f"baseline_options.flow has no field {name!r}; it has {', '.join(DEFAULT_FLOW)}.")
        settings[name] = {"height": value, "width": value} if name == "size" and isinstance(value, int) else value
    size = settings["size"]
    if size is not None and not (
        isinstance(size, Mapping)
        and set(size) == {"height", "width"}
        and all(isinstance(side, int) and side >= 28 for side in size.values())
    ):
        raise RecipeError(f"baseline_options.flow.size is {size}; give a number of pixels, 28 or more.")
    if settings["method"] not in FLOW_METHODS:
        raise RecipeError(
            f"baseline_options.flow.method is {settings['method']!r}; use one of {', '.join(FLOW_METHODS)}."
        )
    if not isinstance(settings["remove_head_motion"], bool):
        raise RecipeError("baseline_options.flow.remove_head_motion must be true or false.")
    return settings


def onset_to_apex(clips: LabelledClips, index: int, key: KeyFrames, settings: Mapping[str, Any]) -> np.ndarray:
    """Flow and strain from onset to apex, (height, width, 3) float32: u and v in pixels, strain in pixels a pixel.

    What `hsta prepare` stored is taken where it was computed with these settings between these frames.
    """
    if key.apex is not None and clips.flow is not None and dict(clips.flow) == dict(settings):
        stored = flow_at(clips.rows, index)
        if stored is not None:
            return stored[0]
    frames, apex = clips.frames(index), apex_of(clips, index, key)
    return special_flows(frames[[key.onset, apex, key.offset]], **settings)[0]
