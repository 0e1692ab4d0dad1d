"""Pictures of a run: confusion matrix and learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hsta_hf.reporting.files import replacing


def plot_confusion_matrix(matrix: np.ndarray, labels: Sequence[str], title: str, path: Path) -> None:
    """Draw a confusion matrix (classes, classes), rows true: colour is the share of a true class, text the count."""
    size = max(4.0, 0.75 * len(labels) + 2)
    figure = Figure(figsize=(size, size), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row in range(len(labels)):
        for column in range(len(labels)):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour)
    axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, fontsize=9, wrap=True)
    _save(figure, path)


def plot_learning_curves(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> bool:
    """Draw training loss and learning rate by epoch, one line per fold; test UF1 where it was looked at.

    Returns:
        Whether there was anything to draw.
    """
    panels = [("loss", "training loss"), ("learning_rate", "learning rate"), ("eval_uf1", "UF1 on the test clips")]
    used = [
        (key, name) for key, name in panels if any(key in entry for history in histories.values() for entry in history)
    ]
    if not used:
        return False
    figure = Figure(figsize=(4.5 * len(used), 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (key, name) in enumerate(used, start=1):
        axes = figure.add_subplot(1, len(used), number)
        for title, history in histories.items():
            points = [(entry["epoch"], entry[key]) for entry in history if key in entry and "epoch" in entry]
            if points:
                axes.plot(*zip(*points, strict=True), label=title, linewidth=1, marker="." if len(points) < 3 else "")
        axes.set_xlabel("epoch")
        axes.set_title(name + (" (only looked at)" if key == "eval_uf1" else ""), fontsize=9)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if number == 1 and len(histories) <= 10:
            axes.legend(fontsize=7)
    _save(figure, path)
    return True


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
