"""metrics.json, the pictures and report.md of a run: what the numbers are, and which protocol they come from."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hsta_hf.data.splits import CLIP_LEVEL
from hsta_hf.metrics import (
    accuracy,
    confusion_matrix,
    count_classes,
    unweighted_average_recall,
    unweighted_f1,
)
from hsta_hf.reporting.figures import plot_confusion_matrix, plot_learning_curves
from hsta_hf.reporting.files import write_atomically, write_json
from hsta_hf.reporting.predictions import is_multi_label, score_table

METRIC_NAMES = {
    "uf1": "UF1 (unweighted F1)",
    "uar": "UAR (unweighted average recall)",
    "acc": "ACC (accuracy)",
    "mean_f1": "mean F1 over labels",
    "exact_match": "clips with all labels right",
}
PACKAGES = ("hsta-hf", "torch", "transformers", "accelerate", "datasets", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class RunFacts:
    """What a report says beside the scores.

    Attributes:
        spotted_apexes: clips whose annotation has no apex of use, so that `hsta prepare` spotted one.
        start: sentence on the weights that training started from.
        pretraining: what the run itself pre-trained on, if it did.
        model: folder of the model to use, from the run folder.
        log_histories: what each training logged, by the name of its folder.
    """

    labels: Sequence[str]
    protocol: str
    protocol_description: str
    label_description: str
    class_counts: Mapping[str, int]
    databases: Sequence[str]
    num_subjects: int
    synthetic: bool = False
    shuffled_labels: bool = False
    apex: str = "annotated"
    spotted_apexes: int = 0
    start: str | None = None
    warnings: Sequence[str] = ()
    complete: bool = True
    pretraining: str | None = None
    model: str | None = None
    final_model: bool = False
    moving_average: bool = False
    fold_metrics: Sequence[Mapping[str, Any]] = ()
    log_histories: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)


def environment() -> dict[str, str]:
    """Versions of Python, of the packages that decide results, and of the machine's kind."""
    versions = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def baselines(table: pd.DataFrame, num_classes: int) -> dict[str, dict[str, float]]:
    """What guessing gives on these test clips: always the most frequent class, and uniformly at random (expected).

    Uniform guessing gets recall and accuracy of 1/C; its UF1 is the mean over classes of 2 n_c / (n_c C + n), for
    n_c clips of class c among n, which is F1 with counts replaced by their expectations.
    """
    labels = table["label"].to_numpy().astype(int)
    counts = np.bincount(labels, minlength=num_classes)
    majority = count_classes(labels, np.full(len(labels), counts.argmax()), num_classes)
    present = counts[counts > 0]
    chance = float(np.mean(2 * present / (present * num_classes + len(labels))))
    return {
        "majority": {
            "uf1": unweighted_f1(majority),
            "uar": unweighted_average_recall(majority),
            "acc": accuracy(majority),
        },
        "chance": {"uf1": chance, "uar": 1 / num_classes, "acc": 1 / num_classes},
    }


def compute_metrics(table: pd.DataFrame, labels: Sequence[str]) -> dict[str, Any]:
    """All scores of a predictions table, as `metrics.json` holds them.

    `pooled` are the headline scores: counts summed over folds; with several seeds, the mean over seeds of the
    pooled scores, and `pooled_std` their standard deviation.
    """
    by_seed = {int(str(seed)): score_table(rows, labels) for seed, rows in table.groupby("seed")}
    names = list(next(iter(by_seed.values())).summary)
    per_fold = [
        {
            "fold": int(rows["fold"].iloc[0]),
            "seed": int(rows["seed"].iloc[0]),
            "clips": len(rows),
            **score_table(rows, labels).summary,
        }
        for _, rows in table.groupby(["fold", "seed"])
    ]
    metrics: dict[str, Any] = {
        "pooled": {name: float(np.mean([s.summary[name] for s in by_seed.values()])) for name in names},
        "seeds": {str(seed): scores.summary for seed, scores in by_seed.items()},
        "per_class": {
            label: {
                "f1": _mean([s.f1[i] for s in by_seed.values()]),
                "recall": _mean([s.recall[i] for s in by_seed.values() if s.recall is not None]),
                "clips": int(next(iter(by_seed.values())).support[i]),
            }
            for i, label in enumerate(labels)
        },
        "per_fold_for_information": per_fold,
        "clips": int(len(table) / len(by_seed)),
        "folds": int(table["fold"].nunique()),
    }
    if len(by_seed) > 1:
        metrics["pooled_std"] = {
            name: float(np.std([s.summary[name] for s in by_seed.values()], ddof=1)) for name in names
        }
    if not is_multi_label(table):
        metrics["baselines"] = baselines(table, len(labels))
    return metrics


def _mean(values: Sequence[float]) -> float | None:
    known = [float(value) for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else None


def write_report(folder: Path, table: pd.DataFrame, facts: RunFacts) -> dict[str, Any]:
    """Write `metrics.json`, `confusion_matrix.png`, `learning_curves.png` and `report.md` into a run folder.

    Returns:
        The content of `metrics.json`.
    """
    metrics = {
        "protocol": facts.protocol,
        "synthetic": facts.synthetic,
        "shuffled_train_labels": facts.shuffled_labels,
        "all_folds": facts.complete,
        **compute_metrics(table, facts.labels),
        "environment": environment(),
    }
    write_json(folder / "metrics.json", metrics)
    if not is_multi_label(table):
        matrix = confusion_matrix(table["label"], table["prediction"], len(facts.labels))
        title = f"{facts.protocol}, pooled over folds{', synthetic clips' if facts.synthetic else ''}"
        if table["seed"].nunique() > 1:
            title += f", every clip counted {table['seed'].nunique()} times (once a seed)"
        plot_confusion_matrix(matrix, facts.labels, title, folder / "confusion_matrix.png")
    curves = plot_learning_curves(facts.log_histories, folder / "learning_curves.png")
    write_atomically(folder / "report.md", report_text(metrics, facts, is_multi_label(table), curves))
    return metrics


def _number(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"  # noqa: RUF001


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def report_text(metrics: Mapping[str, Any], facts: RunFacts, multi_label: bool, curves: bool) -> str:
    """The report in Markdown."""
    pooled, spread = metrics["pooled"], metrics.get("pooled_std", {})
    source = ", ".join(facts.databases)
    if facts.synthetic:
        source = f"synthetic clips in the layout of {source}"
    lines = [f"# Report: {source}, {facts.protocol}", ""]
    if facts.synthetic:
        lines += [
            "**The clips are synthetic: no person is in them, and no number here is a result on people.**",
            "",
        ]
    if facts.shuffled_labels:
        lines += ["**Control run: the training labels were shuffled, so scores should stay at chance.**", ""]
        if facts.pretraining:
            lines += ["**Pre-training kept its labels, so what it taught may show in this control.**", ""]
    if not facts.complete:
        lines += ["**Only some folds of the split were run; these numbers do not cover all clips.**", ""]
    lines += ["## Where the numbers come from", "", facts.protocol_description, "", facts.label_description, ""]
    lines += _choices(facts)
    lines += ["", "## Clips", ""]
    lines += [
        f"{sum(facts.class_counts.values())} {'labels' if multi_label else 'clips'}, {facts.num_subjects} subjects. "
        f"Database: {source}.",
        "",
        *_table(("class", "clips"), [(name, str(count)) for name, count in facts.class_counts.items()]),
        "",
        "## Scores",
        "",
        f"Computed once{' a seed' if spread else ''}, from hits and misses summed over all folds (as MEGC does), "
        "not as a mean of folds.",
        "",
    ]
    header, rows = ["score", "model"], []
    if spread:
        header[1] = f"model (mean ± standard deviation of {len(metrics['seeds'])} seeds)"
    guesses = metrics.get("baselines")
    if guesses:
        header += ["always the most frequent class", "guessing at random"]
    for name, value in pooled.items():
        cell = _number(value) + (f" ± {_number(spread[name])}" if name in spread else "")
        extra = [_number(guesses[kind][name]) for kind in ("majority", "chance")] if guesses else []
        rows.append([METRIC_NAMES.get(name, name), cell, *extra])
    lines += [*_table(header, rows), "", "By class:", ""]
    lines += _table(
        ("class", "clips tested", "recall", "F1"),
        [(name, str(s["clips"]), _number(s["recall"]), _number(s["f1"])) for name, s in metrics["per_class"].items()],
    )
    if not multi_label:
        lines += ["", "![confusion matrix](confusion_matrix.png)"]
    lines += ["", "By fold, for information only (these are not averaged anywhere):", ""]
    lines += _table(
        ("fold", "seed", "clips", *(METRIC_NAMES.get(name, name).split(" (")[0] for name in pooled)),
        [
            (str(row["fold"]), str(row["seed"]), str(row["clips"]), *(_number(row[name]) for name in pooled))
            for row in metrics["per_fold_for_information"]
        ],
    )
    if curves:
        lines += ["", "## Training", "", "![learning curves](learning_curves.png)"]
    lines += ["", "## How to use and repeat it", ""]
    if facts.model:
        lines += [
            f"Model: `{facts.model}`"
            + (
                ", trained on all clips." if facts.final_model else f", that of the first fold; {_what_it_saw(facts)}."
            ),
            "",
        ]
    lines += [
        "All settings: [recipe.yaml](recipe.yaml). Clips and subjects of each fold: [split.json](split.json).",
        "",
        "Repeat: `hsta train recipe.yaml --output_dir ANOTHER_FOLDER`. Score again: `hsta evaluate THIS_FOLDER`.",
        "The same versions on the same kind of machine, with as many threads, repeat the numbers exactly.",
        "",
        *_table(("software", "version"), list(metrics["environment"].items())),
        "",
    ]
    return "\n".join(lines)


def _what_it_saw(facts: RunFacts) -> str:
    if facts.protocol == CLIP_LEVEL:
        return "it has seen other clips of subjects that it was tested on"
    return "it was not trained on the subjects that it was tested on"


def _choices(facts: RunFacts) -> list[str]:
    weights = "the moving average of the weights after" if facts.moving_average else "the weights after"
    lines = [f"- Scored are {weights} the last epoch; no test clip was used to choose anything."]
    apex = "as annotated" if facts.apex == "annotated" else "spotted by the processor"
    if facts.apex == "annotated" and facts.spotted_apexes:
        apex += f", but spotted for {facts.spotted_apexes} clips whose annotation has none of use"
    lines.append(f"- Onset and offset are as annotated; the apex is {apex}.")
    if facts.start:
        lines.append(f"- {facts.start}")
    if facts.pretraining:
        lines.append(f"- Every fold started from a pre-training on {facts.pretraining}.")
    lines += [f"- Note: {warning}." for warning in facts.warnings]
    return lines
