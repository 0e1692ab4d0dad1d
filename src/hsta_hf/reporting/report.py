"""What is written into a run folder at the end: metrics.json, figures, report.md, report.html, facts.json."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from hsta_hf.metrics import confusion_matrix
from hsta_hf.reporting.clip_pictures import ClipPictures
from hsta_hf.reporting.completeness import planned
from hsta_hf.reporting.facts import RunFacts, write_facts
from hsta_hf.reporting.figures import confusion_matrix_drawing, learning_curves_drawing, reliability_drawing
from hsta_hf.reporting.figures_style import Drawing
from hsta_hf.reporting.files import write_atomically, write_json
from hsta_hf.reporting.html_report import report_html
from hsta_hf.reporting.predictions import is_multi_label
from hsta_hf.reporting.report_content import METRIC_NAMES, confusion_title
from hsta_hf.reporting.report_markdown import report_text
from hsta_hf.reporting.scores import compute_metrics
from hsta_hf.reporting.seconds import sum_of_seconds

REPORT_FILE, PAGE_FILE = "report.md", "report.html"
FIGURES = ("confusion_matrix.png", "reliability.png", "learning_curves.png")
PACKAGES = ("hsta-hf", "torch", "transformers", "accelerate", "datasets", "numpy", "opencv-python-headless")
THREADS = "torch threads"  # the order of sums depends on their number, and so do the last digits

__all__ = ["FIGURES", "METRIC_NAMES", "PAGE_FILE", "REPORT_FILE", "RunFacts", "environment", "write_report"]


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that decide results, the machine's kind, and this process's threads."""
    versions = {"python": platform.python_version(), "platform": f"{platform.system()} {platform.machine()}"}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions | {THREADS: str(torch.get_num_threads())}


def write_report(
    folder: Path,
    table: pd.DataFrame,
    facts: RunFacts,
    pictures: ClipPictures | None = None,
    software: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Write `metrics.json`, figures, `report.md`, `report.html` and `facts.json` into a run folder.

    A figure that the run has nothing for is not written, and one that an earlier report left is deleted. The run's
    `recipe.yaml`, where it has one, is quoted in full.

    Args:
        table: predictions of all finished folds.
        facts: what else is known of the run.
        pictures: where pictures of the hardest clips come from; None to show none.
        software: versions that the run was made with; by default those of this process.

    Returns:
        The content of `metrics.json`.
    """
    metrics = {
        "method": facts.method,
        "protocol": facts.protocol,
        "synthetic": facts.synthetic,
        "shuffled_train_labels": facts.shuffled_labels,
        "all_folds": facts.complete,
        "planned": planned(facts),
        **compute_metrics(table, facts.labels),
        "seconds": sum_of_seconds(facts.fold_metrics),
        "environment": dict(environment() if software is None else software),
    }
    write_json(folder / "metrics.json", metrics)
    write_facts(folder, facts)
    figures = _write_figures(folder, table, facts, metrics)
    saved = folder / "recipe.yaml"
    recipe = saved.read_text(encoding="utf-8") if saved.is_file() else ""
    write_atomically(folder / REPORT_FILE, report_text(metrics, facts, table, figures, recipe))
    write_atomically(folder / PAGE_FILE, report_html(metrics, facts, table, recipe, pictures))
    return metrics


def _write_figures(folder: Path, table: pd.DataFrame, facts: RunFacts, metrics: Mapping[str, Any]) -> list[str]:
    matrix: Drawing | None = None
    if not is_multi_label(table):
        counts = confusion_matrix(table["label"].to_numpy(), table["prediction"].to_numpy(), len(facts.labels))
        matrix = confusion_matrix_drawing(counts, facts.labels, confusion_title(facts, table))
    curves = learning_curves_drawing(facts.log_histories)
    drawings = (matrix, reliability_drawing(metrics.get("calibration") or {}), curves)
    written = []
    for name, drawing in zip(FIGURES, drawings, strict=True):
        if drawing is None:
            (folder / name).unlink(missing_ok=True)
        else:
            drawing.save_png(folder / name)
            written.append(name)
    return written
