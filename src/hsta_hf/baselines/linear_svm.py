"""A linear support vector machine on standardised features, with its C chosen by subjects of the training fold."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold
from sklearn.svm import SVC

from hsta_hf.baselines.base import TrainingPart
from hsta_hf.reporting.files import write_json

C_CHOICES = (0.1, 1.0, 10.0, 100.0, 1000.0)
_INNER_FOLDS = 4


@dataclass
class FittedSVM:
    """One hyperplane for each class against the rest.

    Attributes:
        weights, bias: (classes, features) and (classes,), for standardised features.
        mean, scale: (features,) of the training clips.
        c: the C that was used.
        choices: macro F1 of each C on the inner folds; empty where C was given.
    """

    weights: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    c: float
    choices: dict[float, float]
    history: list[dict[str, float]] = field(default_factory=list)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Distances to the hyperplanes, (clips, classes); the scores made of them are no probabilities."""
        return ((features.reshape(len(features), -1) - self.mean) / self.scale) @ self.weights.T + self.bias

    def save(self, folder: Path) -> None:
        """Write hyperplanes and standardisation, and how C was chosen."""
        arrays = {"weights": self.weights, "bias": self.bias, "mean": self.mean, "scale": self.scale}
        save_file(
            {name: np.ascontiguousarray(x, dtype=np.float32) for name, x in arrays.items()}, folder / "svm.safetensors"
        )
        write_json(
            folder / "svm.json", {"C": self.c, "inner_macro_f1": {str(c): f1 for c, f1 in self.choices.items()}}
        )


def fit_linear_svm(part: TrainingPart, c: float | None = None, choices: Sequence[float] = C_CHOICES) -> FittedSVM:
    """Fit to the training clips.

    Args:
        part: features of any shape, flattened.
        c: penalty of misses. None chooses the best macro F1 over up to four inner folds of the training subjects;
            of equal ones, the smallest. With one training subject there are no inner folds, and C is 1.
        choices: what to choose from.
    """
    flat = np.asarray(part.features, dtype=np.float64).reshape(len(part.features), -1)
    mean, scale = _standardisation(flat)
    targets, scored = part.targets, {}
    if c is None:
        scored = _inner_scores(flat, targets, part, choices)
        c = max(scored, key=lambda choice: (scored[choice], -choice)) if scored else 1.0
    x = (flat - mean) / scale
    duals, bias = _one_vs_rest(x @ x.T, targets, c)
    return FittedSVM(duals @ x, bias, mean, scale, c, scored)


def _standardisation(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale of each feature; all features together get unit variance, so that C means the same for any
    number of them."""
    mean, scale = flat.mean(axis=0), flat.std(axis=0)
    scale[scale < 1e-12] = 1.0
    return mean, scale * np.sqrt(max(1, flat.shape[1]))


def _one_vs_rest(gram: np.ndarray, targets: np.ndarray, c: float) -> tuple[np.ndarray, np.ndarray]:
    """Dual weights (classes, clips) and biases (classes,); a class that all or none have is decided by its bias."""
    duals = np.zeros((targets.shape[1], len(gram)))
    bias = np.zeros(targets.shape[1])
    for number, target in enumerate(targets.T):
        if len(np.unique(target)) < 2:
            bias[number] = 2 * target[0] - 1
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            machine = SVC(kernel="precomputed", C=c).fit(gram, target)
        duals[number, machine.support_] = machine.dual_coef_[0]
        bias[number] = machine.intercept_[0]
    return duals, bias


def _inner_scores(
    flat: np.ndarray, targets: np.ndarray, part: TrainingPart, choices: Sequence[float]
) -> dict[float, float]:
    """Macro F1 of each C, over clips of subjects that the machine was not fitted to."""
    folds = min(_INNER_FOLDS, len(set(part.subjects)))
    if folds < 2:
        return {}
    groups = [" / ".join(subject) for subject in part.subjects]
    found = {c: np.zeros(targets.shape) for c in choices}
    for train, test in GroupKFold(folds).split(flat, groups=groups):
        mean, scale = _standardisation(flat[train])
        x = (flat - mean) / scale
        gram = x @ x[train].T
        for c in choices:
            duals, bias = _one_vs_rest(gram[train], targets[train], c)
            found[c][test] = gram[test] @ duals.T + bias
    if part.scheme.multi_label:
        return {c: float(f1_score(targets, x > 0, average="macro", zero_division=0)) for c, x in found.items()}
    truth = targets.argmax(axis=1)
    return {c: float(f1_score(truth, x.argmax(axis=1), average="macro", zero_division=0)) for c, x in found.items()}
