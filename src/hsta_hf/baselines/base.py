"""What a baseline is: how it looks at a clip, and how it is fitted to the clips of a training fold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from hsta_hf.data.labels import Label, LabelScheme
from hsta_hf.training.clips import KeyFrames, LabelledClips


@dataclass(frozen=True)
class TrainingPart:
    """The clips that a baseline is fitted to, and no others.

    Attributes:
        features: (clips, …) what `FeatureBaseline.extract` made of each.
        labels: their labels.
        subjects: who each shows, as cast (`data.people.cast_of`) and subject, for splits inside the training fold.
        scheme: the label scheme.
        seed: of everything drawn at random.
        device: where networks are trained.
        start: folder of a fitted baseline to start from; None to start anew.
        pretraining: whether this is the pre-training.
    """

    features: np.ndarray
    labels: Sequence[Label]
    subjects: Sequence[tuple[str, str]]
    scheme: LabelScheme
    seed: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    start: Path | None = None
    pretraining: bool = False

    @property
    def targets(self) -> np.ndarray:
        """(clips, classes) float64 of 0 and 1, whether a clip has one label or several."""
        if self.scheme.multi_label:
            return np.asarray(self.labels, dtype=np.float64).reshape(-1, self.scheme.num_labels)
        return np.eye(self.scheme.num_labels)[np.asarray(self.labels, dtype=np.int64)]


class Fitted(Protocol):
    """A baseline after its training.

    Attributes:
        history: what it logged, entries with "epoch", "loss" and "learning_rate"; empty where nothing is iterated.
    """

    history: list[dict[str, float]]

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(clips, classes) float64, of which softmax or sigmoids are the scores."""

    def save(self, folder: Path) -> None:
        """Write what was learnt into a folder that exists, as safetensors and JSON."""


class FeatureBaseline(Protocol):
    """A baseline that looks at every clip once.

    Attributes:
        name: as recipes have it.
        title: as reports have it.
        pretrains: whether it takes part in the recipe's pre-training.
    """

    name: str
    title: str
    pretrains: bool

    def settings(self) -> dict[str, Any]:
        """All that decides what `extract` gives, fit for JSON; empty where the baseline does not look at clips."""

    def extract(self, clips: LabelledClips, index: int, key: KeyFrames) -> np.ndarray:
        """Features of one clip, float32, of one shape for all clips.

        Raises:
            ValueError: the clip does not allow it; the message says why, the caller names the clip.
        """

    def fit(self, part: TrainingPart) -> Fitted:
        """Learn from the training clips."""
