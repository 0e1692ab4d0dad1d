"""What metrics need to know of a predictions table: its classes, and hits and misses of every person.

Counts are kept by person because people, not clips, are what was sampled: clips of one person resemble each other, so
whoever asks how far a score can be trusted, or whether two methods differ, has to draw or swap people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from hsta_hf.data.people import people_of
from hsta_hf.metrics.pooled import count_classes

SCORE = "score_"
SINGLE_LABEL_SCORES = ("uf1", "uar", "acc")
MULTI_LABEL_SCORES = ("mean_f1", "exact_match")

FloatArray = npt.NDArray[np.float64]


def is_multi_label(table: pd.DataFrame) -> bool:
    """Whether clips of the table have lists of labels."""
    return len(table) > 0 and not np.isscalar(table["label"].iloc[0])


def label_names(table: pd.DataFrame) -> tuple[str, ...]:
    """Names of the classes, in the order of their ids: those of the `score_…` columns."""
    return tuple(str(name)[len(SCORE) :] for name in table.columns if str(name).startswith(SCORE))


def people_in(table: pd.DataFrame) -> tuple[str, ...]:
    """The person in every row: the subject, with its database where there are several."""
    databases = table["database"].astype(str).tolist() if "database" in table.columns else [""] * len(table)
    return people_of(table["subject"].astype(str).tolist(), databases)


@dataclass(frozen=True)
class SubjectCounts:
    """Hits and misses of every person, seed and class.

    Attributes:
        people: one name a person, in order of appearance.
        seeds: the seeds, ascending.
        values: (people, seeds, 3 C + 2) float64 of whole numbers: true positives, false positives and false negatives
            of each of C classes, then clips with everything right, then clips.
        multi_label: whether clips have lists of labels.
    """

    people: tuple[str, ...]
    seeds: tuple[int, ...]
    values: FloatArray
    multi_label: bool

    @property
    def score_names(self) -> tuple[str, ...]:
        """Names of the scores that `scores_of_counts` gives for these counts."""
        return MULTI_LABEL_SCORES if self.multi_label else SINGLE_LABEL_SCORES

    def pooled(self) -> dict[str, float]:
        """Scores of all people together; the mean over seeds where there are several."""
        return {name: float(value[0]) for name, value in self.scores(np.ones((1, len(self.people)))).items()}

    def scores(self, weights: FloatArray) -> dict[str, FloatArray]:
        """Scores of weighted people, e.g. of resamples: (draws, people) -> {score: (draws,)}, mean over seeds."""
        return _mean_over_seeds(scores_of_counts(np.tensordot(weights, self.values, axes=1), self.multi_label))


def count_subjects(table: pd.DataFrame, num_classes: int) -> SubjectCounts:
    """Count hits and misses in a predictions table.

    Args:
        table: rows with `subject`, `label`, `prediction`, and `database` and `seed` where there are any. Labels are
            class ids, or lists of `num_classes` zeros and ones.
        num_classes: classes, or units of a multi-label table.

    Raises:
        ValueError: a class id is out of range, or a list has another length.
    """
    people, person_of = _codes(people_in(table))
    seeds, seed_of = np.unique(
        table["seed"].to_numpy() if "seed" in table.columns else np.zeros(len(table), np.int64), return_inverse=True
    )
    multi_label = is_multi_label(table)
    if multi_label:
        true, predicted = (_stack(table[name], num_classes, name) for name in ("label", "prediction"))
    else:
        count_classes(table["label"].to_numpy(), table["prediction"].to_numpy(), num_classes)  # checks the ids
        classes = np.arange(num_classes)
        true, predicted = (
            table[name].to_numpy().astype(np.int64)[:, None] == classes for name in ("label", "prediction")
        )
    right = (true == predicted).all(axis=1, keepdims=True)
    rows = np.concatenate(
        [true & predicted, ~true & predicted, true & ~predicted, right, np.ones_like(right)], axis=1
    ).astype(np.float64)
    values = np.zeros((len(people), len(seeds), rows.shape[1]))
    np.add.at(values, (person_of, seed_of), rows)
    return SubjectCounts(tuple(people), tuple(int(str(seed)) for seed in seeds), values, multi_label)


def scores_of_counts(values: FloatArray, multi_label: bool) -> dict[str, FloatArray]:
    """Scores of counts (…, 3 C + 2) as `SubjectCounts` lays them out: {score: (…)}, NaN where there is no clip.

    The rule is that of `unweighted_f1` and `unweighted_average_recall`: a class without hits and misses has no F1, one
    that never occurs has no recall, and what does not exist is left out of the mean.
    """
    classes = (values.shape[-1] - 2) // 3
    hits, alarms, misses = (values[..., i * classes : (i + 1) * classes] for i in range(3))
    f1 = _mean_of_ratios(2 * hits, 2 * hits + alarms + misses)
    right, clips = values[..., -2], values[..., -1]
    accuracy = np.divide(right, clips, out=np.full(clips.shape, np.nan), where=clips > 0)
    f1 = np.where(clips > 0, f1, np.nan)
    if multi_label:
        return {"mean_f1": f1, "exact_match": accuracy}
    return {"uf1": f1, "uar": _mean_of_ratios(hits, hits + misses), "acc": accuracy}


def _mean_of_ratios(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    exists = denominator > 0
    ratios = np.divide(numerator, denominator, out=np.zeros_like(numerator), where=exists)
    return _mean_where(ratios, exists)


def _mean_over_seeds(scores: dict[str, FloatArray]) -> dict[str, FloatArray]:
    return {name: _mean_where(np.nan_to_num(value), ~np.isnan(value)) for name, value in scores.items()}


def _mean_where(values: FloatArray, exists: npt.NDArray[np.bool_]) -> FloatArray:
    number = exists.sum(axis=-1)
    total = np.where(exists, values, 0.0).sum(axis=-1)
    return np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)


def _codes(names: Sequence[str]) -> tuple[list[str], npt.NDArray[np.int64]]:
    unique = list(dict.fromkeys(names))
    number = {name: index for index, name in enumerate(unique)}
    return unique, np.array([number[name] for name in names], dtype=np.int64)


def _stack(column: pd.Series, num_classes: int, name: str) -> npt.NDArray[np.bool_]:
    rows = [np.asarray(value) for value in column]
    for number, row in enumerate(rows, start=1):
        if row.shape != (num_classes,) or not np.isin(row, (0, 1)).all():
            raise ValueError(f"row {number}: {name} must be {num_classes} zeros and ones; got {row.tolist()}.")
    return np.stack(rows).astype(bool)
