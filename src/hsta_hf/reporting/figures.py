"""Pictures of a run: confusion matrix, learning curves, calibration, subjects, and intervals of one or more runs."""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from hsta_hf.reporting.figures_style import Drawing, Palette, plain_axes

WIDTH = 400.0  # fits a phone
_CURVES = {"loss": "training loss", "learning_rate": "learning rate", "eval_uf1": "UF1 on the test clips"}
_LABEL_WIDTH = 26  # letters

History = Sequence[Mapping[str, float]]


def confusion_matrix_drawing(matrix: np.ndarray, labels: Sequence[str], title: str) -> Drawing:
    """A confusion matrix (classes, classes), rows true: colour is the share of a true class, text the count."""
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)

    def draw(figure: Figure, palette: Palette) -> None:
        axes = figure.add_subplot()
        axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for row in range(len(labels)):
            for column in range(len(labels)):
                colour = "white" if share[row, column] > 0.5 else "black"
                axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour)
        axes.set_xticks(range(len(labels)), labels, rotation=45, ha="right")
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xlabel("predicted")
        axes.set_ylabel("true")
        axes.set_title("\n".join(textwrap.wrap(title, 60)), fontsize=10)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)

    size = max(WIDTH, 46.0 * len(labels) + 130)
    right = int(np.trace(matrix))
    return Drawing(
        "confusion_matrix", f"Confusion matrix: {right} of {int(matrix.sum())} right. {title}", size, size, draw
    )


@dataclass(frozen=True)
class Curve:
    """A logged value by epoch over several trainings: its mean, and the lowest and highest of them.

    Attributes:
        trainings: how many trainings logged it.
    """

    key: str
    title: str
    epochs: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    trainings: int


def curves(histories: Mapping[str, History]) -> list[Curve]:
    """What trainings logged, joined by epoch; values that none of them logged are left out."""
    found = []
    for key, title in _CURVES.items():
        points: dict[float, list[float]] = {}
        trainings = 0
        for history in histories.values():
            own = {float(entry["epoch"]): float(entry[key]) for entry in history if key in entry and "epoch" in entry}
            own = {epoch: value for epoch, value in own.items() if math.isfinite(value)}
            trainings += bool(own)
            for epoch, value in own.items():
                points.setdefault(epoch, []).append(value)
        if points:
            epochs = sorted(points)
            values = [points[epoch] for epoch in epochs]
            found.append(
                Curve(
                    key,
                    title + (" (only looked at)" if key == "eval_uf1" else ""),
                    np.array(epochs),
                    np.array([np.mean(v) for v in values]),
                    np.array([min(v) for v in values]),
                    np.array([max(v) for v in values]),
                    trainings,
                )
            )
    return found


def curve_drawings(histories: Mapping[str, History]) -> list[Drawing]:
    """One drawing for each value that was logged: the mean over folds and seeds, and the band that all lie in."""
    return [_curve_drawing(curve) for curve in curves(histories)]


def learning_curves_drawing(histories: Mapping[str, History]) -> Drawing | None:
    """All learning curves side by side; None where nothing was logged."""
    found = curves(histories)
    if not found:
        return None

    def draw(figure: Figure, palette: Palette) -> None:
        for number, curve in enumerate(found, start=1):
            _draw_curve(figure.add_subplot(1, len(found), number), curve, palette)

    text = " ".join(_curve_text(curve) for curve in found)
    return Drawing("learning_curves", text, 340.0 * len(found), 250, draw)


def _curve_drawing(curve: Curve) -> Drawing:
    def draw(figure: Figure, palette: Palette) -> None:
        _draw_curve(figure.add_subplot(), curve, palette)

    return Drawing(f"curve_{curve.key}", _curve_text(curve), WIDTH, 230, draw)


def _curve_text(curve: Curve) -> str:
    first, last = (f"{curve.mean[i]:.3g}" for i in (0, -1))
    return (
        f"{curve.title[:1].upper()}{curve.title[1:]} by epoch, mean of {curve.trainings} "
        f"training{'s' if curve.trainings != 1 else ''}: {first} at epoch {curve.epochs[0]:g}, {last} at epoch "
        f"{curve.epochs[-1]:g}."
    )


def _draw_curve(axes: Any, curve: Curve, palette: Palette) -> None:
    colour = palette.second if curve.key == "eval_uf1" else palette.accent
    several = bool((curve.high > curve.low).any())
    if several:
        axes.fill_between(curve.epochs, curve.low, curve.high, color=colour, alpha=0.22, linewidth=0)
    marker = "o" if len(curve.epochs) < 3 else ""
    axes.plot(curve.epochs, curve.mean, color=colour, marker=marker)
    plain_axes(axes, palette)
    axes.set_xlabel("epoch")
    # Said in the title, since a legend would lie on the curve.
    axes.set_title(f"{curve.title}: mean and range of {curve.trainings}" if several else curve.title, loc="left")
    axes.set_ylim(bottom=0)


def reliability_drawing(calibration: Mapping[str, Any]) -> Drawing | None:
    """Share of right predictions by the score they were made with; None where no bin holds a clip.

    Args:
        calibration: the section of that name in `metrics.json`.
    """
    bins = [entry for entry in calibration.get("bins", ()) if entry["clips"]]
    if not bins:
        return None

    def draw(figure: Figure, palette: Palette) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        upper.plot([0, 1], [0, 1], color=palette.muted, linestyle="--", linewidth=1.2, label="score = share right")
        points = [[entry[name] for entry in bins] for name in ("confidence", "accuracy")]
        clips = np.array([entry["clips"] for entry in bins])
        upper.plot(*points, color=palette.accent, alpha=0.5, linewidth=1.2)
        upper.scatter(
            *points, s=16 + 100 * clips / clips.max(), color=palette.accent, label="this run", zorder=3, clip_on=False
        )
        upper.set_xlim(0, 1)
        upper.set_ylim(0, 1.02)
        upper.set_ylabel("share right")
        figure.legend(loc="outside upper left", ncols=2, fontsize=11)
        lower.bar(
            [entry["low"] for entry in bins],
            [entry["clips"] for entry in bins],
            [max(entry["high"] - entry["low"], 0.01) for entry in bins],  # a bin of equal scores has no width
            align="edge",
            color=palette.accent,
            edgecolor=palette.surface,
            linewidth=0.8,
        )
        lower.set_ylabel("answers")
        lower.set_xlabel("score of the answer")
        for axes in (upper, lower):
            plain_axes(axes, palette)

    said = ", ".join(f"{entry['accuracy']:.0%} right at score {entry['confidence']:.2f}" for entry in bins)
    return Drawing("reliability", f"Reliability diagram: {said}.", WIDTH, 330, draw)


def subjects_drawing(rows: Sequence[Mapping[str, Any]], score: str, title: str) -> Drawing | None:
    """A dot for every subject, sorted by score, as large as its number of clips; None below two subjects.

    Args:
        rows: `per_subject` of `metrics.json`.
        score: the score to show, a field of the rows.
        title: its name.
    """
    rows = sorted((row for row in rows if row.get(score) is not None), key=lambda row: float(row[score]))
    if len(rows) < 2:
        return None
    values, clips = np.array([row[score] for row in rows]), np.array([row["clips"] for row in rows])

    def draw(figure: Figure, palette: Palette) -> None:
        axes = figure.add_subplot()
        median = float(np.median(values))
        axes.axhline(median, color=palette.second, linestyle="--", linewidth=1.2, clip_on=False)
        axes.set_title(f"dashed: median, {median:.2f}", loc="left")
        axes.scatter(
            range(1, len(rows) + 1),
            values,
            s=12 + 40 * clips / clips.max(),
            color=palette.accent,
            alpha=0.75,
            linewidths=0,
            clip_on=False,
        )
        plain_axes(axes, palette)
        axes.set_ylim(0, 1.02)
        axes.set_ylabel(title)
        axes.set_xlabel(f"{len(rows)} subjects, sorted")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))

    text = (
        f"{title} of {len(rows)} subjects: {values.min():.2f} to {values.max():.2f}, median {np.median(values):.2f}."
    )
    return Drawing("subjects", text, WIDTH, 250, draw)


@dataclass(frozen=True)
class IntervalRow:
    """A line of an interval plot.

    Attributes:
        low, high: its interval; None where there is none.
        marked: drawn in the second colour, as the one that others are compared with.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    marked: bool = False


def intervals_drawing(name: str, title: str, rows: Sequence[IntervalRow]) -> Drawing:
    """A point and its interval for each row, one under the other; the axis covers what there is, in tenths."""
    edges = [bound for row in rows for bound in (row.value, row.low, row.high) if bound is not None]
    edges = [bound for bound in edges if math.isfinite(bound)] or [0.0, 1.0]
    first = max(0.0, math.floor(10 * min(edges) - 0.2) / 10)
    last = min(1.0, max(math.ceil(10 * max(edges) + 0.2) / 10, first + 0.2))
    names = ["\n".join(textwrap.wrap(row.name, _LABEL_WIDTH)) or "–" for row in rows]  # noqa: RUF001
    lines = [label.count("\n") + 1 for label in names]
    # Each row is as high as its label's lines.
    places = -np.cumsum([0.0, *((a + b) / 2 + 0.9 for a, b in itertools.pairwise(lines))])

    def draw(figure: Figure, palette: Palette) -> None:
        axes = figure.add_subplot()
        for place, row in zip(places, rows, strict=True):
            colour = palette.second if row.marked else palette.accent
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [place, place], color=colour, solid_capstyle="round", linewidth=2.4)
            axes.plot([row.value], [place], color=colour, marker="D" if row.marked else "o", markersize=7)
        plain_axes(axes, palette, "x")
        axes.spines["left"].set_visible(False)
        axes.set_yticks(places, names)
        axes.tick_params(axis="y", labelcolor=palette.ink)
        axes.set_ylim(places[-1] - 1, 1)
        axes.set_xlim(min(first, last - 0.2), last)
        axes.set_xlabel(title)

    points = "; ".join(
        f"{row.name} {row.value:.3f}" + (f" ({row.low:.3f} to {row.high:.3f})" if row.low is not None else "")
        for row in rows
    )
    return Drawing(name, f"{title}: {points}.", WIDTH, 46 + 14 * float(places[0] - places[-1] + 2), draw)
