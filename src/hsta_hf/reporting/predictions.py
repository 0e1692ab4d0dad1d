"""The predictions table: the only thing that metrics and reports read. Any run can be re-scored from it.

One row is one test clip of one fold and seed, with the columns clip, database, subject, fold, seed, label,
prediction and `score_<label name>` per class (softmax or, for several labels a clip, sigmoid). In a multi-label
table, label and prediction are lists of zeros and ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hsta_hf.metrics import (
    ClassCounts,
    accuracy,
    count_classes,
    multilabel_scores,
    unweighted_average_recall,
    unweighted_f1,
)
from hsta_hf.metrics.tables import SCORE, is_multi_label, label_names
from hsta_hf.reporting.files import replacing

if TYPE_CHECKING:
    from hsta_hf.training.clips import LabelledClips

COLUMNS = ("clip", "database", "subject", "fold", "seed", "label", "prediction")


class PredictionsError(ValueError):
    """A file that is no predictions table; the message names the file and what is wrong."""


@dataclass(frozen=True)
class TableScores:
    """Scores of a predictions table: for single-label tables UF1, UAR and ACC, for multi-label mean F1.

    Attributes:
        summary: {"uf1", "uar", "acc"}, or {"mean_f1", "exact_match"} for multi-label tables.
        f1: F1 of each class, NaN where the class neither occurs nor was predicted.
        recall: recall of each class, NaN where the class never occurs.
        support: number of clips of each class.
        counts: the counts behind them; None for multi-label tables.
    """

    summary: dict[str, float]
    f1: np.ndarray
    recall: np.ndarray
    support: np.ndarray
    counts: ClassCounts | None


def scores_of_logits(logits: np.ndarray, multi_label: bool) -> np.ndarray:
    """Softmax over classes, or a sigmoid of each, in float64; (clips, classes)."""
    x = logits.astype(np.float64)
    if multi_label:
        return 1 / (1 + np.exp(-x))
    x = np.exp(x - x.max(axis=1, keepdims=True))
    return x / x.sum(axis=1, keepdims=True)


def predictions_table(
    clips: LabelledClips, indices: Sequence[int], logits: np.ndarray, fold: int, seed: int
) -> pd.DataFrame:
    """The rows of one fold.

    Args:
        clips: all clips of the run.
        indices: positions of the test clips.
        logits: (len(indices), classes).
        fold, seed: written into every row.
    """
    scheme = clips.scheme
    scores = scores_of_logits(logits, scheme.multi_label)
    names, databases, subjects = (clips.column(name) for name in ("clip_id", "database", "subject"))
    label: list[Any]
    prediction: list[Any]
    if scheme.multi_label:
        label = [[int(x) for x in clips.labels[i]] for i in indices]  # type: ignore[union-attr]
        prediction = (scores > 0.5).astype(int).tolist()
    else:
        label, prediction = [clips.labels[i] for i in indices], scores.argmax(axis=1).tolist()
    table = pd.DataFrame(
        {
            "clip": [names[i] for i in indices],
            "database": [databases[i] for i in indices],
            "subject": [subjects[i] for i in indices],
            "fold": fold,
            "seed": seed,
            "label": label,
            "prediction": prediction,
        }
    )
    for number, name in enumerate(scheme.labels):
        table[f"{SCORE}{name}"] = scores[:, number]
    return table


def write_predictions(table: pd.DataFrame, path: Path) -> None:
    """Write a table as Parquet, whole or not at all."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read a predictions table.

    Args:
        path: a Parquet file, or a run folder that has `predictions.parquet`.

    Raises:
        PredictionsError: there is no such file, it is no Parquet file, it has no rows, or columns are missing.
    """
    path = Path(path)
    file = path / "predictions.parquet" if path.is_dir() else path
    if not file.is_file():
        hint = " The run may not have finished; start it again to continue." if path.is_dir() else ""
        raise PredictionsError(f"There is no predictions table {file}.{hint}")
    try:
        table = pd.read_parquet(file)
    except Exception as error:
        raise PredictionsError(f"{file} cannot be read as Parquet: {error}") from error
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing or not label_names(table):
        raise PredictionsError(
            f"{file} is no predictions table: it has no column {', '.join(missing) or SCORE + '<label name>'}."
        )
    if table.empty:
        raise PredictionsError(f"{file} has no rows: there is nothing to score.")
    return table


def score_table(table: pd.DataFrame, labels: Sequence[str] | None = None) -> TableScores:
    """Score all rows of a table together: counts are summed over its folds, as MEGC does.

    Rows of several seeds should be scored seed by seed, since each holds every clip once.
    """
    names = label_names(table) if labels is None else tuple(labels)
    if is_multi_label(table):
        references = np.stack(table["label"].to_list()).astype(int)
        found = multilabel_scores(references, np.stack(table["prediction"].to_list()).astype(int))
        summary = {"mean_f1": found.mean_f1, "exact_match": found.exact_match}
        return TableScores(summary, found.f1, found.recall, references.sum(axis=0), None)
    counts = count_classes(table["label"].to_numpy(), table["prediction"].to_numpy(), len(names))
    summary = {
        "uf1": unweighted_f1(counts),
        "uar": unweighted_average_recall(counts),
        "acc": accuracy(counts),
    }
    return TableScores(summary, counts.f1, counts.recall, counts.support, counts)
