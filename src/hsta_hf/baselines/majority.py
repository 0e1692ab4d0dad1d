"""The most frequent class of the training fold, for every clip: what a model has to beat to have learnt anything."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hsta_hf.baselines.base import TrainingPart
from hsta_hf.baselines.options import read_options
from hsta_hf.reporting.files import write_json
from hsta_hf.training.clips import KeyFrames, LabelledClips
from hsta_hf.training.recipe import Recipe

_RAREST = 1e-9  # scores of classes that the training fold has not


@dataclass(frozen=True)
class MajorityOptions:
    """The majority class has no settings."""


class Majority:
    """Scores are the shares of the classes in the training fold; of several labels, each is judged by itself."""

    name, title, pretrains = "majority", "Majority class", False

    def __init__(self, recipe: Recipe) -> None:
        read_options(MajorityOptions, recipe.model.baseline_options, self.name)

    def settings(self) -> dict[str, Any]:
        """Empty: it looks at no clip."""
        return {}

    def extract(self, clips: LabelledClips, index: int, key: KeyFrames) -> np.ndarray:
        """No features: (0,)."""
        return np.zeros(0, dtype=np.float32)

    def fit(self, part: TrainingPart) -> FittedMajority:
        """Count classes."""
        return FittedMajority(part.targets.mean(axis=0), part.scheme.multi_label)


@dataclass
class FittedMajority:
    """Shares (classes,) of the classes in a training fold."""

    shares: np.ndarray
    multi_label: bool
    history: list[dict[str, float]] = field(default_factory=list)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """The same for all clips: softmax or sigmoids of it are the shares."""
        shares = np.clip(self.shares, _RAREST, 1 - _RAREST)
        logits = np.log(shares) - (np.log1p(-shares) if self.multi_label else 0)
        return np.tile(logits, (len(features), 1))

    def save(self, folder: Path) -> None:
        """Write the shares."""
        write_json(folder / "majority.json", {"shares": self.shares.tolist()})
