"""The contact sheet of an explanation: every map over the face, its regions, and its deletion test, on one page."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from hsta_hf.explanation.explain import METHODS, Explanation, region_table
from hsta_hf.explanation.overlay import draw_over, grey_face, strength_colours
from hsta_hf.explanation.regions import REGIONS
from hsta_hf.explanation.text import verdicts
from hsta_hf.reporting.figures_style import LIGHT, figure_style, plain_axes
from hsta_hf.reporting.files import replacing

FACE = 224  # pixels a side
_TILE, _CHART = 2.0, 3.5  # inches
_DOTS = 110  # an inch
_LETTERS = 7.5  # of the heading, an inch
_REGIONS_SHOWN = 6


def draw_contact_sheet(explanation: Explanation, title: str, notes: Sequence[str] = ()) -> Figure:
    """The page as a figure: a row with the clip and the regions, then a row per map.

    Args:
        explanation: what to draw.
        title: what to call the clip.
        notes: sentences that stand below the title, before what the deletion test says.
    """
    columns = [(stream, number) for stream, grid in explanation.clip.grids.items() for number in range(grid.tubelets)]
    rows = 1 + len(explanation.maps)
    width = _TILE * (1 + len(columns)) + 2 * _CHART
    notes = [
        line for note in (*notes, *verdicts(explanation)) for line in textwrap.wrap(note, round(_LETTERS * width))
    ]
    height = 2.55 * rows + 1.0 + 0.25 * len(notes)
    with figure_style(LIGHT):
        figure = Figure(figsize=(width, height), layout="constrained", facecolor=LIGHT.surface)
        FigureCanvasAgg(figure)
        figure.suptitle("\n".join([_heading(explanation, title), *notes]), fontsize=15, x=0.01, ha="left")
        axes = figure.subplots(
            rows, len(columns) + 3, width_ratios=[0.55 * _TILE, *[_TILE] * len(columns), _CHART, 1.1 * _CHART]
        )
        _first_row(explanation, axes[0], columns)
        for row, method in zip(axes[1:], explanation.maps, strict=True):
            _map_row(explanation, method, row, columns)
    return figure


def save_contact_sheet(explanation: Explanation, title: str, path: Path, notes: Sequence[str] = ()) -> None:
    """Write the page as a PNG file, whole or not at all."""
    with figure_style(LIGHT):
        figure = draw_contact_sheet(explanation, title, notes)
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=_DOTS, format="png")


def draw_regions(axes: Axes, numbers: bool, colour: str = "#ffffff", width: float = 0.6) -> None:
    """Outline the regions on a face of `FACE` pixels, with the numbers of their action units if wanted."""
    for region in REGIONS[:-1]:
        for left, top, right, bottom in region.boxes:
            box = Rectangle(
                (left * FACE, top * FACE),
                (right - left) * FACE,
                (bottom - top) * FACE,
                fill=False,
                edgecolor=colour,
                linewidth=width,
            )
            axes.add_patch(box)
            if numbers:
                units = "\n".join(textwrap.wrap(" ".join(map(str, region.action_units)), 8))
                axes.text(
                    (left + right) / 2 * FACE,
                    (top + bottom) / 2 * FACE,
                    units,
                    fontsize=6.5,
                    ha="center",
                    va="center",
                    bbox={"facecolor": "#ffffff", "alpha": 0.55, "linewidth": 0, "pad": 0.6},
                )


def _heading(explanation: Explanation, title: str) -> str:
    clip = explanation.clip
    best = np.argsort(-explanation.scores)[:3]
    others = ", ".join(f"{explanation.label_names[i]} {explanation.scores[i]:.2f}" for i in best)
    return (
        f"{title}: why “{explanation.label_name}”?\n"
        f"Scores: {others}. Frames {clip.onset} (onset), {clip.apex} (apex), {clip.offset} (offset)."
    )


def _first_row(explanation: Explanation, row: np.ndarray, columns: list[tuple[str, int]]) -> None:
    """The clip, the key to the regions, and the key to the deletion test."""
    clip = explanation.clip
    _words(row[0], "The clip", "the last frame of\neach group")
    for axes, (stream, number) in zip(row[1:], columns, strict=False):
        _picture(axes, grey_face(clip.frames[clip.tubelet_frames(stream)[number][-1]], FACE))
        axes.set_title(_wrapped(clip.tubelet_names(stream)[number]), fontsize=10)
    key, legend = row[-2:]
    _picture(key, grey_face(clip.frames[clip.onset], FACE))
    draw_regions(key, numbers=True, colour=LIGHT.accent, width=0.9)
    key.set_title("Regions, by action unit", fontsize=10)
    legend.set_axis_off()
    legend.set_title("How to read this page", fontsize=10, loc="left")
    text = (
        "Colour: how much a patch counted. Each row has its own scale, and per cent are of its whole relevance, "
        "over both streams. Blue, of integrated gradients only: against the class.\n"
        "Bars: the part of the relevance that lies in a region; the tick is the region's part of the picture, what it "
        "would have by chance.\n"
        "Curves: the score while patches are made still, the most relevant first. A map that means something falls "
        "faster than random orders, and its reverse more slowly."
    )
    legend.text(0, 0.98, "\n".join(textwrap.fill(line, 58) for line in text.split("\n")), va="top", fontsize=9.5)
    bar = legend.inset_axes((0.0, 0.0, 0.6, 0.06))
    bar.imshow(np.linspace(0, 1, 64)[None], cmap=ListedColormap(strength_colours()), aspect="auto")
    bar.set_xticks([0, 63], ["nothing", "the most"], fontsize=8)
    bar.set_yticks([])


def _map_row(explanation: Explanation, method: str, row: np.ndarray, columns: list[tuple[str, int]]) -> None:
    clip, found = explanation.clip, explanation.maps[method]
    shares = found.shares()
    strongest = max(float(values.max()) for values in found.streams.values())
    most = max(float(values.max()) for values in shares.values())
    _words(row[0], _wrapped(METHODS[method].capitalize(), 12), f"strongest\npatch {100 * most:.1f} %")
    for axes, (stream, number) in zip(row[1:], columns, strict=False):
        face = grey_face(clip.frames[clip.tubelet_frames(stream)[number][-1]], FACE)
        _picture(axes, draw_over(face, found.streams[stream][number], strongest))
        draw_regions(axes, numbers=False)
        axes.set_title(f"{100 * shares[stream][number].sum():.0f} %", fontsize=11)
    _bars(explanation, method, row[-2])
    _curves(explanation, method, row[-1])


def _bars(explanation: Explanation, method: str, axes: Axes) -> None:
    table = region_table(explanation, method)
    elsewhere = table["region"] == REGIONS[-1].name  # no part of the face, yet it may hold most
    table = table[elsewhere | ((~elsewhere).cumsum() <= _REGIONS_SHOWN)]
    places = np.arange(len(table))
    colours = [LIGHT.muted if name == REGIONS[-1].name else LIGHT.accent for name in table["region"]]
    axes.barh(places, 100 * table["share"], color=colours, height=0.62)
    axes.scatter(100 * table["area"], places, marker="|", s=110, color=LIGHT.second, linewidths=2, zorder=3)
    labels = {region.name: region.label.replace(" (", "\n(") for region in REGIONS}
    axes.set_yticks(places, [labels[name] for name in table["region"]], fontsize=8.5)
    axes.invert_yaxis()
    plain_axes(axes, LIGHT, grid="x")
    axes.set_xlabel("% of relevance", fontsize=9)
    axes.tick_params(axis="x", labelsize=9)


def _curves(explanation: Explanation, method: str, axes: Axes) -> None:
    test = explanation.tests[method]
    for curve, colour, style, name in (
        (test.curve, LIGHT.second, "-", "this map"),
        (test.random_curve, LIGHT.muted, "--", f"random, mean of {len(test.random_areas)}"),
        (test.reversed_curve, LIGHT.accent, ":", "reversed"),
    ):
        axes.plot(100 * curve.shares, curve.scores, style, color=colour, label=f"{name}: {curve.area:.2f}")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(0, 100)
    plain_axes(axes, LIGHT)
    axes.set_title(f"score of “{explanation.label_name}”, and area", fontsize=10, loc="left")
    axes.set_xlabel("% of patches made still", fontsize=9)
    axes.tick_params(labelsize=9)
    axes.legend(fontsize=8.5, loc="best", frameon=True, framealpha=0.85, edgecolor="none", facecolor="white")


def _picture(axes: Axes, picture: np.ndarray) -> None:
    axes.imshow(picture, extent=(0, FACE, FACE, 0), interpolation="nearest")
    axes.set_axis_off()


def _words(axes: Axes, text: str, small: str) -> None:
    axes.set_axis_off()
    axes.text(0, 0.62, text, transform=axes.transAxes, fontsize=12, fontweight="bold", va="center")
    axes.text(0, 0.28, small, transform=axes.transAxes, fontsize=9, va="center", color=LIGHT.muted)


def _wrapped(text: str, width: int = 22) -> str:
    return "\n".join(textwrap.wrap(text, width))
