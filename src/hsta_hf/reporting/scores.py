"""All scores of a predictions table: what `metrics.json` holds, and nothing that needs the run itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from hsta_hf.metrics import accuracy, count_classes, multilabel_scores, unweighted_average_recall, unweighted_f1
from hsta_hf.metrics.calibration import calibration
from hsta_hf.metrics.tables import SCORE, count_subjects, is_multi_label, people_in
from hsta_hf.metrics.uncertainty import LEVEL, SAMPLES, subject_intervals
from hsta_hf.reporting.predictions import score_table

ONE_PERSON = "all clips are of one subject, from whom nothing follows about other people"


def baselines(table: pd.DataFrame, num_classes: int) -> dict[str, dict[str, float]]:
    """What guessing gives on these test clips: always the most frequent class, and uniformly at random (expected).

    Uniform guessing gets recall and accuracy of 1/C; its UF1 is the mean over classes of 2 n_c / (n_c C + n), for
    n_c clips of class c among n, which is F1 with counts replaced by their expectations.

    Of several labels a clip, `majority` gives each label its more frequent answer, `always_no` and `always_yes` give
    all labels one, and `chance` tosses a coin for each: F1 of n_c / (n_c + n/2), an exact match in 2^-C of clips.
    """
    if is_multi_label(table):
        return _multi_label_baselines(np.stack(table["label"].to_list()).astype(int))
    labels = table["label"].to_numpy().astype(int)
    counts = np.bincount(labels, minlength=num_classes)
    majority = count_classes(labels, np.full(len(labels), counts.argmax()), num_classes)
    chance = float(np.mean(2 * counts / (counts * num_classes + len(labels))))
    return {
        "majority": {
            "uf1": unweighted_f1(majority),
            "uar": unweighted_average_recall(majority),
            "acc": accuracy(majority),
        },
        "chance": {"uf1": chance, "uar": 1 / num_classes, "acc": 1 / num_classes},
    }


def _multi_label_baselines(labels: np.ndarray) -> dict[str, dict[str, float]]:
    clips, units = labels.shape
    counts = labels.sum(axis=0)
    answers = {
        "majority": counts * 2 > clips,
        "always_no": np.zeros(units, bool),
        "always_yes": np.ones(units, bool),
    }
    found = {}
    for name, answer in answers.items():
        scores = multilabel_scores(labels, np.broadcast_to(answer, labels.shape).astype(int))
        # Always "no" has no F1 at all where no label ever occurs.
        found[name] = {
            "mean_f1": 0.0 if math.isnan(scores.mean_f1) else scores.mean_f1,
            "exact_match": scores.exact_match,
        }
    found["chance"] = {"mean_f1": float(np.mean(counts / (counts + clips / 2))), "exact_match": 0.5**units}
    return found


def compute_metrics(
    table: pd.DataFrame, labels: Sequence[str], samples: int = SAMPLES, level: float = LEVEL, seed: int = 0
) -> dict[str, Any]:
    """All scores of a predictions table, as `metrics.json` holds them.

    `pooled` are the headline scores: counts summed over folds; with several seeds, the mean over seeds of the
    pooled scores, and `pooled_std` their standard deviation. `intervals` are bootstrap intervals of `pooled` over
    people, of `interval_level` from `interval_samples` resamples; null for one person, with `interval_note`.
    `answers` counts the predictions of each class, over all seeds. `per_database` is there where several databases
    are, `calibration` where the table has probabilities.

    Args:
        table: a predictions table; the columns fold, seed, database and `score_…` may be missing.
        labels: names of the classes.
        samples, level, seed: of the intervals.
    """
    by_seed = {seed: score_table(rows, labels) for seed, rows in _seeds(table)}
    names = list(next(iter(by_seed.values())).summary)
    per_fold = [
        {
            "fold": int(rows["fold"].iloc[0]),
            "seed": int(rows["seed"].iloc[0]) if "seed" in rows else 0,
            "clips": len(rows),
            **_known(score_table(rows, labels).summary),
        }
        for _, rows in (table.groupby([name for name in ("fold", "seed") if name in table]) if "fold" in table else ())
    ]
    counts = count_subjects(table, len(labels))
    metrics: dict[str, Any] = {
        "pooled": {name: float(np.mean([s.summary[name] for s in by_seed.values()])) for name in names},
        "seeds": {str(number): scores.summary for number, scores in by_seed.items()},
        "intervals": subject_intervals(counts, samples, level, seed),
        "interval_level": level,
        "interval_samples": samples,
        "per_class": {
            label: {
                "f1": _mean([s.f1[i] for s in by_seed.values()]),
                "recall": _mean([s.recall[i] for s in by_seed.values()]),
                "clips": int(next(iter(by_seed.values())).support[i]),
            }
            for i, label in enumerate(labels)
        },
        "answers": _answers(table, labels),
        "per_fold_for_information": per_fold,
        "per_subject": per_subject(table, labels),
        "clips": _clips(table),
        "folds": int(table["fold"].nunique()) if "fold" in table else None,
        "baselines": baselines(table, len(labels)),
    }
    if metrics["intervals"] is None:
        metrics["interval_note"] = ONE_PERSON
    if len(by_seed) > 1:
        metrics["pooled_std"] = {
            name: float(np.std([s.summary[name] for s in by_seed.values()], ddof=1)) for name in names
        }
    if "database" in table and table["database"].nunique() > 1:
        metrics["per_database"] = per_group(table, labels, "database", samples, level, seed)
    found = table_calibration(table, labels)
    if found:
        metrics["calibration"] = found
    return metrics


def per_group(
    table: pd.DataFrame,
    labels: Sequence[str],
    column: str,
    samples: int = SAMPLES,
    level: float = LEVEL,
    seed: int = 0,
) -> dict[str, dict[str, Any]]:
    """Pooled scores of every part of a table, e.g. of every database: its clips, subjects, scores and intervals."""
    parts = {}
    for name, rows in table.groupby(column):
        counts = count_subjects(rows, len(labels))
        parts[str(name)] = {
            "clips": _clips(rows),
            "subjects": len(counts.people),
            **_known(counts.pooled()),
            "intervals": subject_intervals(counts, samples, level, seed),
        }
    return parts


def per_subject(table: pd.DataFrame, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Accuracy of every subject (of several labels a clip: mean F1), mean over seeds, by database and name.

    A person in several databases with one cast has a row in each.
    """
    rows = []
    databases = table["database"].astype(str) if "database" in table else pd.Series("", index=table.index)
    score = "mean_f1" if is_multi_label(table) else "acc"
    for (database, subject), part in table.groupby([databases.to_numpy(), table["subject"].astype(str).to_numpy()]):
        value = count_subjects(part, len(labels)).pooled()[score]
        entry = {"database": str(database), "subject": str(subject), "clips": _clips(part)}
        rows.append({**entry, score: None if math.isnan(value) else value})
    return rows


def table_calibration(table: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any] | None:
    """Calibration over the predictions of all seeds; None where the table has no probabilities."""
    columns = [f"{SCORE}{label}" for label in labels]
    if any(column not in table for column in columns):
        return None
    answers = [
        np.stack(table[name].to_list()) if is_multi_label(table) else table[name].to_numpy()
        for name in ("label", "prediction")
    ]
    return calibration(table[columns].to_numpy(dtype=np.float64), answers[0], answers[1])


def num_people(table: pd.DataFrame) -> int:
    """How many people are in a table."""
    return len(set(people_in(table)))


def _seeds(table: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    if "seed" not in table:
        return [(0, table)]
    return [(int(str(seed)), rows) for seed, rows in table.groupby("seed")]


def _clips(table: pd.DataFrame) -> int:
    """Clips of a part: rows of the seed that has most of them."""
    return max(len(rows) for _, rows in _seeds(table))


def _answers(table: pd.DataFrame, labels: Sequence[str]) -> dict[str, int] | None:
    """How often each class was the answer, over all seeds; None where a clip has several labels."""
    if is_multi_label(table):
        return None
    counts = np.bincount(table["prediction"].to_numpy().astype(int), minlength=len(labels))
    return {label: int(count) for label, count in zip(labels, counts, strict=True)}


def _known(scores: dict[str, float]) -> dict[str, float | None]:
    """A score that a part of the clips does not have as None: JSON knows no NaN."""
    return {name: None if math.isnan(value) else value for name, value in scores.items()}


def _mean(values: Sequence[float]) -> float | None:
    known = [float(value) for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else None
