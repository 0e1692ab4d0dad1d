"""One look for all figures, and its two forms: a PNG file, and SVG for a page that may be light or dark.

Colours are Okabe and Ito's, which colour-blind readers tell apart. The SVG holds names of CSS variables in place of
colours, so that the page that it stands in decides: `templates/base.html.j2` sets them for light, dark and paper.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from hsta_hf.reporting.files import replacing

# matplotlib counts 72 units an inch; here one unit is one CSS pixel.
_UNITS = 72
_FONT_SIZE = 12


@dataclass(frozen=True)
class Palette:
    """Colours of a figure: text, quieter text, grid lines, first and second series, and what it is drawn on."""

    ink: str
    muted: str
    line: str
    accent: str
    second: str
    surface: str


LIGHT = Palette("#1a1d21", "#57606a", "#d5dae0", "#0072b2", "#b34700", "#ffffff")
# Stand for CSS variables of the same names; no figure draws in these colours.
_NAMED = Palette("#a1b001", "#a1b002", "#a1b003", "#a1b004", "#a1b005", "#a1b006")

Draw = Callable[[Figure, Palette], None]


@dataclass(frozen=True)
class Drawing:
    """A figure that is not drawn yet.

    Attributes:
        name: of its file, and of its parts in a page.
        text: what it shows, for readers who do not see it.
        width, height: in CSS pixels.
        draw: draws it into a figure of that size, with the given colours.
    """

    name: str
    text: str
    width: float
    height: float
    draw: Draw

    def figure(self, palette: Palette) -> Figure:
        """The figure, drawn with these colours."""
        figure = Figure(figsize=(self.width / _UNITS, self.height / _UNITS), layout="constrained")
        figure.set_facecolor("none")
        self.draw(figure, palette)
        return figure

    def save_png(self, path: Path) -> None:
        """Write it as PNG in light colours on white, two dots a pixel, whole or not at all."""
        with figure_style(LIGHT):
            figure = self.figure(LIGHT)
            FigureCanvasAgg(figure)
            figure.set_facecolor(LIGHT.surface)
            with replacing(path) as temporary:
                figure.savefig(temporary, dpi=2 * _UNITS, format="png")

    def svg(self) -> str:
        """An `<svg>` element to stand in a page, with the page's colours; equal drawings give equal text."""
        buffer = io.StringIO()
        with figure_style(_NAMED), matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": self.name}):
            figure = self.figure(_NAMED)
            FigureCanvasSVG(figure)
            figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
        return _for_page(buffer.getvalue(), self)


def plain_axes(axes: Axes, palette: Palette, grid: str = "y") -> None:
    """Take the box off the axes, and draw the grid behind the data."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis=grid, color=palette.line, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


@contextmanager
def figure_style(palette: Palette) -> Iterator[None]:
    """matplotlib's settings for figures in these colours."""
    settings: dict[Any, Any] = {
        "font.size": _FONT_SIZE,
        "axes.titlesize": _FONT_SIZE,
        "axes.labelsize": _FONT_SIZE,
        "xtick.labelsize": _FONT_SIZE - 1,
        "ytick.labelsize": _FONT_SIZE - 1,
        "legend.fontsize": _FONT_SIZE - 1,
        "legend.frameon": False,
        "axes.facecolor": "none",
        "text.color": palette.ink,
        "axes.labelcolor": palette.muted,
        "axes.titlecolor": palette.ink,
        "axes.edgecolor": palette.muted,
        "axes.linewidth": 0.8,
        "xtick.color": palette.muted,
        "ytick.color": palette.muted,
        "lines.linewidth": 1.8,
        "text.parse_math": False,  # names of runs and classes may hold a dollar sign
    }
    with matplotlib.rc_context(settings):
        yield


def _for_page(svg: str, drawing: Drawing) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    head, body = svg[: svg.index(">") + 1], svg[svg.index(">") + 1 :]
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None
    # Several figures in one page: their parts must not share names.
    body = re.sub(r'\bid="', f'id="{drawing.name}-', body)
    body = body.replace('href="#', f'href="#{drawing.name}-').replace("url(#", f"url(#{drawing.name}-")
    body = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    for name in ("ink", "muted", "line", "accent", "second", "surface"):
        body = body.replace(getattr(_NAMED, name), f"var(--{name})")
    text = drawing.text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return (
        f'<svg class="figure" role="img" aria-label="{text}" style="max-width: {drawing.width:.0f}px" {box[0]} '
        f'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{body}'
    )
