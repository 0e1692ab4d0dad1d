"""Counts of hits and misses per class, and the MEGC scores taken from them.

UF1, UAR and ACC are computed once, from true positives, false positives and false negatives summed over all
folds (MEGC 2019). They are not means of per-fold scores: with one subject a fold such a mean is meaningless.

What does not exist is left out of an average, and nothing else is. A class that never occurs among the references
has no recall. It has an F1 where it was predicted, and that is 0; where it was not predicted either, it has none.
This is scikit-learn's macro average with `zero_division=np.nan`, and what the public evaluation code of MEGC's
participants prints (STSTNet's log: UF1 0.5185 for a subject without one of the three classes). It matters for parts of
a database only: pooled over all folds every class occurs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClassCounts:
    """True positives, false positives and false negatives of each class: three int64 arrays (num_classes,).

    Counts of several folds are pooled with `+` or `sum_counts`.
    """

    true_positives: IntArray
    false_positives: IntArray
    false_negatives: IntArray

    def __add__(self, other: ClassCounts) -> ClassCounts:
        if len(self.true_positives) != len(other.true_positives):
            raise ValueError(
                f"Cannot pool counts of {len(self.true_positives)} and {len(other.true_positives)} classes: "
                "both must come from the same label scheme."
            )
        return ClassCounts(
            self.true_positives + other.true_positives,
            self.false_positives + other.false_positives,
            self.false_negatives + other.false_negatives,
        )

    @property
    def support(self) -> IntArray:
        """Number of references of each class, (num_classes,)."""
        return self.true_positives + self.false_negatives

    @property
    def f1(self) -> npt.NDArray[np.float64]:
        """F1 of each class, 2TP / (2TP + FP + FN), (num_classes,); NaN for one neither referenced nor predicted."""
        return _ratio(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def recall(self) -> npt.NDArray[np.float64]:
        """Recall of each class, TP / (TP + FN), (num_classes,); NaN for a class that never occurs."""
        return _ratio(self.true_positives, self.support)


def _ratio(numerator: IntArray, denominator: IntArray) -> npt.NDArray[np.float64]:
    return np.divide(
        numerator, denominator, out=np.full(len(numerator), np.nan, dtype=np.float64), where=denominator > 0
    )


def _as_labels(values: Sequence[int] | npt.ArrayLike, name: str) -> IntArray:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be one class id per clip, shape (clips,); got shape {array.shape}.")
    if array.size and not np.issubdtype(array.dtype, np.integer):
        if not np.all(array == np.floor(array)):
            raise ValueError(f"{name} must be whole class ids; got values such as {array.ravel()[0]!r}.")
        array = array.astype(np.int64)
    return array.astype(np.int64)


def count_classes(
    references: Sequence[int] | npt.ArrayLike,
    predictions: Sequence[int] | npt.ArrayLike,
    num_classes: int | None = None,
) -> ClassCounts:
    """Count hits and misses of each class.

    Args:
        references: true class ids, shape (clips,).
        predictions: predicted class ids, shape (clips,).
        num_classes: size of the label scheme; by default one more than the largest id seen.

    Raises:
        ValueError: shapes differ, an id is negative or not below `num_classes`.
    """
    true = _as_labels(references, "references")
    predicted = _as_labels(predictions, "predictions")
    if true.shape != predicted.shape:
        raise ValueError(
            f"references and predictions must have the same length; got {len(true)} and {len(predicted)}."
        )
    largest = int(max(true.max(initial=-1), predicted.max(initial=-1)))
    if num_classes is None:
        num_classes = largest + 1
    if largest >= num_classes or min(true.min(initial=0), predicted.min(initial=0)) < 0:
        raise ValueError(f"Class ids must lie in 0..{num_classes - 1}; got ids up to {largest}.")
    hits = np.bincount(true[true == predicted], minlength=num_classes)
    return ClassCounts(
        true_positives=hits.astype(np.int64),
        false_positives=(np.bincount(predicted, minlength=num_classes) - hits).astype(np.int64),
        false_negatives=(np.bincount(true, minlength=num_classes) - hits).astype(np.int64),
    )


def sum_counts(counts: Iterable[ClassCounts]) -> ClassCounts:
    """Pool the counts of several folds.

    Raises:
        ValueError: there are no folds, or they disagree about the number of classes.
    """
    folds = list(counts)
    if not folds:
        raise ValueError("There are no folds to pool: train or evaluate at least one fold first.")
    total = folds[0]
    for fold in folds[1:]:
        total = total + fold
    return total


def _mean_of_existing(values: npt.NDArray[np.float64]) -> float:
    existing = values[~np.isnan(values)]
    return float(existing.mean()) if len(existing) else float("nan")


def unweighted_f1(counts: ClassCounts) -> float:
    """UF1: mean of the classes' F1 over classes that occur or were predicted (MEGC 2019). NaN without clips."""
    return _mean_of_existing(counts.f1)


def unweighted_average_recall(counts: ClassCounts) -> float:
    """UAR: mean of the classes' recall over the classes that occur (MEGC 2019). NaN if there are no clips."""
    return _mean_of_existing(counts.recall)


def accuracy(counts: ClassCounts) -> float:
    """ACC: share of clips classified correctly, in 0..1. NaN if there are no clips."""
    clips = int(counts.support.sum())
    return float(counts.true_positives.sum() / clips) if clips else float("nan")


def confusion_matrix(
    references: Sequence[int] | npt.ArrayLike, predictions: Sequence[int] | npt.ArrayLike, num_classes: int
) -> IntArray:
    """Confusion matrix (num_classes, num_classes): rows are true classes, columns predicted ones."""
    count_classes(references, predictions, num_classes)  # checks shapes and ids
    matrix = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(matrix, (np.asarray(references, np.int64), np.asarray(predictions, np.int64)), 1)
    return matrix


@dataclass(frozen=True)
class MultiLabelScores:
    """Scores of several labels a clip.

    Attributes:
        f1: binary F1 of each unit, (units,); NaN where it neither occurs nor was predicted.
        recall: recall of each unit, (units,); NaN where it never occurs.
        mean_f1: mean of the F1 that exist.
        exact_match: share of clips with all units right.
    """

    f1: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    mean_f1: float
    exact_match: float


def multilabel_scores(references: npt.ArrayLike, predictions: npt.ArrayLike) -> MultiLabelScores:
    """Score a multi-label task such as action units: binary F1 of each unit over all clips, and its mean.

    Args:
        references: 0/1, shape (clips, units).
        predictions: 0/1, shape (clips, units).

    Raises:
        ValueError: shapes differ or are not two-dimensional, or values are not 0 or 1.
    """
    true, predicted = np.asarray(references), np.asarray(predictions)
    if true.ndim != 2 or true.shape != predicted.shape:
        raise ValueError(
            f"references and predictions must both be (clips, units); got {true.shape} and {predicted.shape}."
        )
    if not (np.isin(true, (0, 1)).all() and np.isin(predicted, (0, 1)).all()):
        raise ValueError("references and predictions must hold 0 and 1 only; threshold scores first.")
    true, predicted = true.astype(bool), predicted.astype(bool)
    counts = ClassCounts(
        (true & predicted).sum(0).astype(np.int64),
        (~true & predicted).sum(0).astype(np.int64),
        (true & ~predicted).sum(0).astype(np.int64),
    )
    exact = float((true == predicted).all(axis=1).mean()) if len(true) else float("nan")
    return MultiLabelScores(counts.f1, counts.recall, unweighted_f1(counts), exact)
