"""What all pages share: the templates, colours for light and dark, and pictures as part of the page.

A page holds everything that it shows: no style sheet, font, script or picture is fetched from anywhere.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
from markupsafe import Markup, escape

from hsta_hf.reporting.figures_style import LIGHT, Drawing

# Text colours have a contrast of 4.5 or more on `surface` and on `panel`; the others, 3 or more (WCAG 2.2, AA).
THEMES: Mapping[str, Mapping[str, str]] = {
    "light": {
        "ink": LIGHT.ink,
        "muted": LIGHT.muted,
        "line": LIGHT.line,
        "accent": LIGHT.accent,
        "second": LIGHT.second,
        "surface": LIGHT.surface,
        "panel": "#f3f5f8",
        "warn": "#fff4d6",
        "heat": "#00508c",
    },
    "dark": {
        "ink": "#e8eaed",
        "muted": "#a7b0ba",
        "line": "#39414a",
        "accent": "#56b4e9",
        "second": "#f0a04b",
        "surface": "#14171b",
        "panel": "#1e2329",
        "warn": "#3b3112",
        "heat": "#56b4e9",
    },
}
PICTURE_WIDTH = 176
_JPEG_QUALITY = 80


@cache
def environment() -> jinja2.Environment:
    """The templates of this package, with everything that they are given escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).resolve().parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["svg"] = svg
    made.filters["heat"] = heat_cell
    return made


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill a template of `templates/`."""
    return environment().get_template(template).render(themes=THEMES, **values)


def with_code(text: str) -> Markup:
    """Words of Markdown in which `backticks` mark code, and nothing else is marked."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def svg(drawing: Drawing) -> Markup:
    """A drawing as part of the page, in the page's colours."""
    return Markup(drawing.svg())


def heat_cell(share: float) -> Markup:
    """Attributes of a table cell that is coloured by a share from 0 to 1, with text that stays readable on it."""
    classes = [
        f"on-{name}" for name, theme in THEMES.items() if _dark_text(theme, share) != (luminance(theme["ink"]) < 0.5)
    ]
    return Markup('class="heat {}" style="--share: {:.3f}"').format(" ".join(classes), share)


def _dark_text(theme: Mapping[str, str], share: float) -> bool:
    """Whether black is easier to read than white on the cell."""
    cell = blend(theme["heat"], theme["surface"], share)
    return contrast("#000000", cell) >= contrast("#ffffff", cell)


def blend(over: str, under: str, share: float) -> str:
    """The colour of `over`, seen through by `1 - share`, on `under`."""
    pairs = zip(_channels(over), _channels(under), strict=True)
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def luminance(colour: str) -> float:
    """Relative luminance of `#rrggbb` (WCAG 2.2)."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (x / 255 for x in _channels(colour))
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours `#rrggbb`, 1 to 21 (WCAG 2.2)."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def picture_uri(picture: np.ndarray) -> str:
    """A picture (H, W, 3) uint8 RGB as a JPEG in a data URI, at most `PICTURE_WIDTH` pixels wide."""
    height, width = picture.shape[:2]
    scale = min(1.0, PICTURE_WIDTH / width)
    if scale < 1:
        size = (round(width * scale), max(1, round(height * scale)))
        picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    bgr = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
