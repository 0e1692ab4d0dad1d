"""Why a model decided as it did on one clip: maps of relevance, their shares by face region, and their deletion tests.

model = AutoModelForVideoClassification.from_pretrained(folder).eval()
processor = AutoVideoProcessor.from_pretrained(folder)
explanation = explain_clip(model, processor, frames)          # (frames, height, width, 3) uint8, aligned
print(explanation.label_name, explanation.tests["gradient_attention"].gain)
print(region_table(explanation, "gradient_attention"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from hsta_hf.explanation.clip import ExplainedClip, prepare_clip
from hsta_hf.explanation.deletion import (
    RANDOM_ORDERS,
    STEPS,
    DeletionTest,
    class_scores,
    deletion_test,
    random_order_curves,
)
from hsta_hf.explanation.gradients import gradient_attention, has_captum, integrated_gradients
from hsta_hf.explanation.maps import RelevanceMap, Streams
from hsta_hf.explanation.regions import REGIONS, region_areas, region_shares
from hsta_hf.explanation.rollout import attention_rollout, last_layer_attention, model_inputs
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

METHODS: Mapping[str, str] = {
    "rollout": "attention rollout",
    "last_layer": "attention of the last layer",
    "gradient_attention": "gradient x attention",
    "integrated_gradients": "integrated gradients",
}
"""What each map is made from, in words."""


@dataclass(frozen=True)
class Explanation:
    """What `explain_clip` found.

    Attributes:
        clip: the clip.
        label: the class that is explained.
        label_names: of all classes.
        scores: `(labels,)` probabilities.
        maps: by method.
        tests: by method, its deletion test.
    """

    clip: ExplainedClip
    label: int
    label_names: tuple[str, ...]
    scores: np.ndarray
    maps: Mapping[str, RelevanceMap]
    tests: Mapping[str, DeletionTest]

    @property
    def label_name(self) -> str:
        """Name of the class that is explained."""
        return self.label_names[self.label]

    @property
    def score(self) -> float:
        """Its probability."""
        return float(self.scores[self.label])


def usable_methods() -> tuple[str, ...]:
    """The methods whose packages are installed."""
    return tuple(name for name in METHODS if name != "integrated_gradients" or has_captum())


def relevance_maps(
    model: HSTAForMicroExpressionClassification,
    streams: Streams,
    still: Streams,
    classes: torch.Tensor,
    methods: Sequence[str],
) -> list[dict[str, RelevanceMap]]:
    """Maps of each clip of a batch, by method.

    Args:
        model: in evaluation mode.
        streams, still: by stream, `(batch, frames, channels, height, width)`.
        classes: `(batch,)` the class that is explained.
        methods: names out of `METHODS`.

    Raises:
        ValueError: if there is no such method.
        ImportError: if a method's package is not installed.
    """
    unknown = sorted(set(methods) - set(METHODS))
    if unknown:
        raise ValueError(f"There is no map called {unknown[0]!r}; use {', '.join(METHODS)}.")
    found: dict[str, list[RelevanceMap]] = {}
    for method in methods:
        if method == "rollout":
            found[method] = attention_rollout(model, streams)
        elif method == "last_layer":
            found[method] = last_layer_attention(model, streams)
        elif method == "gradient_attention":
            found[method] = gradient_attention(model, streams, classes)
        else:
            found[method] = integrated_gradients(model, streams, still, classes)
    return [{method: maps[i] for method, maps in found.items()} for i in range(len(classes))]


def explain_clip(
    model: HSTAForMicroExpressionClassification,
    processor: HSTAVideoProcessor,
    frames: np.ndarray,
    onset: int | None = None,
    apex: int | None = None,
    offset: int | None = None,
    label: int | None = None,
    methods: Sequence[str] | None = None,
    random_orders: int = RANDOM_ORDERS,
    steps: int = STEPS,
    seed: int = 0,
) -> Explanation:
    """Explain a model's decision on one clip.

    Args:
        model: a classifier; it is set to evaluation mode.
        processor: the model's.
        frames: `(frames, height, width, 3)` uint8 RGB, aligned as the model's training clips were.
        onset, apex, offset: indices into `frames`; missing ones as in the processor.
        label: the class to explain; the likeliest where none is given.
        methods: names out of `METHODS`; all that can be computed here where none are given.
        random_orders, steps, seed: of the deletion test.

    Raises:
        ValueError: if an index, the label or a method is not one that there is.
        ImportError: if a method's package is not installed.
    """
    model.eval()
    clip = prepare_clip(model.config, processor, frames, onset, apex, offset).to(model.device)
    with torch.no_grad():
        scores = class_scores(model, model(**model_inputs(clip.streams)).logits)[0].double().cpu().numpy()
    if label is None:
        label = int(scores.argmax())
    if not 0 <= label < len(scores):
        raise ValueError(f"The model has classes 0 to {len(scores) - 1}; there is no class {label}.")
    methods = usable_methods() if methods is None else methods
    maps = relevance_maps(model, clip.streams, clip.still, torch.tensor([label], device=model.device), methods)[0]
    curves = random_order_curves(model, clip.streams, clip.still, label, random_orders, steps, seed)
    tests = {
        method: deletion_test(model, clip.streams, clip.still, found.flat(), label, curves, steps)
        for method, found in maps.items()
    }
    names: Any = model.config.id2label or {}
    return Explanation(
        clip, label, tuple(str(names.get(i, f"LABEL_{i}")) for i in range(len(scores))), scores, maps, tests
    )


def region_table(explanation: Explanation, method: str) -> pd.DataFrame:
    """Shares of a map's relevance by face region and tubelet.

    Returns:
        One row per region of `REGIONS`, the largest share first: `region`, `action_units` (tuple of int), `share` of
        the relevance, `area` (share of the crop), and a column per tubelet, named as `ExplainedClip.tubelet_names`
        does. `share` and the tubelets' columns sum to 1.
    """
    table = pd.DataFrame(
        {
            "region": [region.name for region in REGIONS],
            "action_units": [region.action_units for region in REGIONS],
            "share": 0.0,
            "area": list(region_areas().values()),
        }
    )
    for stream, shares in explanation.maps[method].shares().items():
        names = explanation.clip.tubelet_names(stream)
        for name, column in zip(_unlike(names), region_shares(shares), strict=True):
            table[name] = column
            table["share"] += column
    return table.sort_values("share", ascending=False, kind="stable", ignore_index=True)


def _unlike(names: Sequence[str]) -> list[str]:
    """Names that come again (a clip shorter than the model's frames) numbered, so that columns differ."""
    return [f"{name} ({names[:i].count(name) + 1})" if names[:i].count(name) else name for i, name in enumerate(names)]
