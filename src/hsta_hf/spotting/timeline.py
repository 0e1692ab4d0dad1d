"""The timeline picture of a recording: its movement curve, the threshold, and the intervals found."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from hsta_hf.reporting.figures_style import Drawing, Palette, plain_axes
from hsta_hf.spotting.intervals import Interval, strengths
from hsta_hf.spotting.rows import MovementCurve

_WIDTH = 1000.0
_LOWEST = -3.0  # of the curve: what lies below, as a slow movement does, is not looked at
_ROW_HEIGHT = 170.0
_ROW_SECONDS = 90.0
_MOST_ROWS = 10
_POINTS = 900  # that many a row are drawn: the highest of what a pixel covers
_TICK_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0)
_MOST_NAMES = 14  # in a row; more would stand on each other


def timeline_drawing(
    curve: MovementCurve, intervals: Sequence[Interval], names: Sequence[str], threshold: float, title: str
) -> Drawing:
    """The curve over time, in as many rows as the recording needs.

    Args:
        curve: of the whole recording.
        intervals: what was found.
        names: what stands at each interval, as its class; may be empty strings.
        threshold: that the intervals are above.
        title: of the picture.
    """
    strength, seconds = strengths(curve), curve.seconds()
    lasts = max(curve.num_frames / curve.fps, 1e-3)
    rows = min(_MOST_ROWS, max(1, math.ceil(lasts / _ROW_SECONDS)))
    share = lasts / rows
    highest = float(np.nanmax(strength, initial=threshold, where=np.isfinite(strength)))
    top = max(1.25 * highest, 1.5 * threshold)
    gaps = [(first / curve.fps, (last + 1) / curve.fps) for first, last in curve.faceless()]

    def draw(figure: Figure, palette: Palette) -> None:
        figure.suptitle(title, fontsize=13, x=0.01, ha="left")
        all_axes = figure.subplots(rows, 1, sharey=True, squeeze=False)[:, 0]
        for number, axes in enumerate(all_axes):
            start, end = number * share, (number + 1) * share
            inside = (seconds >= start) & (seconds < end)
            axes.plot(*_thinned(seconds[inside], strength[inside]), color=palette.accent, linewidth=1.1)
            axes.axhline(threshold, color=palette.muted, linestyle="--", linewidth=1.0, label="threshold")
            _mark(axes, palette, curve, intervals, names, (start, end), top)
            for first, last in gaps:
                if first < end and last > start:
                    axes.axvspan(
                        max(first, start), min(last, end), facecolor=palette.line, alpha=0.6, hatch="//", linewidth=0
                    )
                    if min(last, end) - max(first, start) > 0.06 * share:
                        middle = (max(first, start) + min(last, end)) / 2
                        axes.text(middle, 0.5 * top, "no face", ha="center", va="center", color=palette.muted)
            axes.set_xlim(start, end)
            axes.set_ylim(_LOWEST, top)
            axes.xaxis.set_major_locator(MultipleLocator(_tick_seconds(share)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
            plain_axes(axes, palette)
        figure.supylabel("deviations above median", fontsize=10, color=palette.muted)
        all_axes[-1].set_xlabel("time")

    said = "; ".join(f"{clock(item.apex / curve.fps)} {item.region}" for item in intervals) or "none"
    return Drawing(
        "timeline",
        f"Movement over {clock(lasts)} and {len(intervals)} intervals: {said}.",
        _WIDTH,
        60 + _ROW_HEIGHT * rows,
        draw,
    )


def _tick_seconds(lasts: float) -> float:
    """Seconds from one tick to the next, so that a row has about ten at round times."""
    return next((step for step in _TICK_SECONDS if lasts / step <= 10), 3600.0)


def clock(seconds: float, digits: int = 1) -> str:
    """12.3 s as 0:12.3, to so many digits; whole seconds without any."""
    parts = round(10**digits * max(seconds, 0))
    whole, rest = divmod(parts, 10**digits)
    text = f"{whole // 60}:{whole % 60:02d}"
    return f"{text}.{rest:0{digits}d}" if rest else text


def _mark(
    axes: Axes,
    palette: Palette,
    curve: MovementCurve,
    intervals: Sequence[Interval],
    names: Sequence[str],
    span: tuple[float, float],
    top: float,
) -> None:
    """The intervals of one row: a band from onset to offset, a dot at the apex, the name above it."""
    start, end = span
    here = [(item, name) for item, name in zip(intervals, names, strict=True) if start <= item.apex / curve.fps < end]
    for item, name in here:
        first, last = item.onset / curve.fps, (item.offset + 1) / curve.fps
        axes.axvspan(first, last, color=palette.second, alpha=0.22, linewidth=0)
        apex = (item.apex + 0.5) / curve.fps
        axes.plot([apex], [item.strength], color=palette.second, marker="o", markersize=4.5, linestyle="none")
        if name and len(here) <= _MOST_NAMES:
            axes.text(apex, item.strength + 0.03 * top, name, ha="center", va="bottom", fontsize=10, clip_on=True)


def _thinned(seconds: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `_POINTS` points, each the highest of its share, so that no peak is lost."""
    if len(seconds) <= _POINTS:
        return seconds, values
    edges = np.arange(_POINTS) * len(seconds) // _POINTS
    filled = np.where(np.isfinite(values), values, -np.inf)
    highest = np.maximum.reduceat(filled, edges)
    return seconds[edges], np.where(np.isfinite(highest), highest, np.nan)
