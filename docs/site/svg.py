"""Boxes, arrows and words as SVG, with colours of their own for light and for dark surroundings."""

from __future__ import annotations

from html import escape
from typing import Any

# Fill and outline by kind: in light, in dark. Words are drawn on all of them.
COLOURS = {
    "video": (("#dbeafe", "#2563eb"), ("#1e3a5f", "#7db2ff")),
    "special": (("#ffe8cc", "#c2620a"), ("#55370f", "#ffb866")),
    "cross": (("#d9f2e3", "#1f8a4c"), ("#164a2c", "#6fdc9b")),
    "plain": (("#f1f3f5", "#6b7280"), ("#31363f", "#a3abb8")),
    "group": (("#fafbfc", "#9aa2ad"), ("#22262d", "#6b7280")),
}
_WORDS = (("#1b1f24", "#4b5563"), ("#eceff3", "#b6bdc8"))
_PAPER = ("#ffffff", "#1a1d23")
_FONT = "font-family: system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"


class Drawing:
    """A picture `width` by `height`; x runs right, y down. What is drawn later lies on top."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self.width, self.height = width, height
        self.title, self.description = title, description
        self.parts: list[str] = []

    def box(self, x: float, y: float, w: float, h: float, lines: str = "", kind: str = "plain", **style: Any) -> None:
        """A box with words in its middle, a line each. `small` is the size of the lines after the first."""
        dash = ' stroke-dasharray="6 4"' if style.get("dashed") else ""
        self.parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}" rx="8"{dash}/>')
        self.words(x + w / 2, y + h / 2, lines, **style)

    def words(self, x: float, y: float, lines: str, **style: Any) -> None:
        """Words around a point. Between underscores a part is lowered: `L_v_`."""
        texts = lines.split("\n") if lines else []
        first, small = style.get("size", 15), style.get("small", 12)
        sizes = [first if number == 0 else small for number in range(len(texts))]
        heights = [size * 1.3 for size in sizes]
        place = y - sum(heights) / 2
        for number, (text, size, height) in enumerate(zip(texts, sizes, heights, strict=True)):
            place += height
            name = "word" if number == 0 and not style.get("quiet") else "word quiet"
            weight = ' font-weight="600"' if style.get("bold") and number == 0 else ""
            anchor = style.get("anchor", "middle")
            self.parts.append(
                f'<text class="{name}" x="{x}" y="{place - height * 0.26:.1f}" font-size="{size}" '
                f'text-anchor="{anchor}"{weight}>{_lowered(text, size)}</text>'
            )

    def arrow(
        self, *points: tuple[float, float], kind: str = "plain", dashed: bool = False, head: bool = True
    ) -> None:
        """A line through points, with a head at its end."""
        path = "M" + " L".join(f"{x},{y}" for x, y in points)
        dash = ' stroke-dasharray="6 4"' if dashed else ""
        end = f' marker-end="url(#head-{kind})"' if head else ""
        self.parts.append(f'<path class="line {kind}" d="{path}"{dash}{end}/>')

    def circle(self, x: float, y: float, sign: str, kind: str = "plain", radius: float = 13) -> None:
        """An operation in a circle."""
        self.parts.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius}"/>')
        self.words(x, y, sign, size=17)

    def frames(self, x: float, y: float, count: int, side: float, kind: str) -> None:
        """A fan of `count` frames, the last in front, with a face in each."""
        for number in range(count):
            left, top = x + 9 * number, y + 7 * number
            self.parts.append(f'<rect class="{kind}" x="{left}" y="{top}" width="{side}" height="{side}" rx="4"/>')
        middle, down = x + 9 * (count - 1) + side / 2, y + 7 * (count - 1) + side / 2
        self.parts.append(f'<circle class="line {kind}" cx="{middle}" cy="{down}" r="{side * 0.34:.1f}"/>')
        for shift in (-0.13, 0.13):
            self.parts.append(
                f'<circle class="dot {kind}" cx="{middle + shift * side:.1f}" cy="{down - 0.07 * side:.1f}" r="2"/>'
            )
        smile, low = side * 0.15, down + side * 0.09
        self.parts.append(
            f'<path class="line {kind}" d="M{middle - smile:.1f},{low:.1f} '
            f'Q{middle:.1f},{low + side * 0.15:.1f} {middle + smile:.1f},{low:.1f}"/>'
        )

    def tokens(self, x: float, y: float, count: int, kind: str, side: float = 18, cls: bool = True) -> None:
        """A row of tokens, the [CLS] in front and apart."""
        if cls:
            self.box(x, y, 44, side, "[CLS]", kind, size=12, bold=True)
            x += 50
        for number in range(count):
            self.parts.append(
                f'<rect class="{kind}" x="{x + number * (side + 3)}" y="{y}" width="{side}" height="{side}" rx="3"/>'
            )

    def svg(self) -> str:
        """The picture as the text of an SVG file."""
        heads = "".join(
            f'<marker id="head-{kind}" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto-start-reverse"><path class="tip {kind}" d="M0,0 L10,5 L0,10 z"/></marker>'
            for kind in COLOURS
        )
        body = "\n".join(self.parts)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" role="img" aria-labelledby="title description">\n'
            f'<title id="title">{escape(self.title)}</title>\n'
            f'<desc id="description">{escape(self.description)}</desc>\n'
            f"<style>\ntext {{ {_FONT} }}\n{_rules(0)}\n@media (prefers-color-scheme: dark) {{\n{_rules(1)}\n}}\n"
            f"</style>\n<defs>{heads}</defs>\n"
            f'<rect class="paper" x="0" y="0" width="{self.width}" height="{self.height}" rx="10"/>\n{body}\n</svg>\n'
        )


def _rules(theme: int) -> str:
    rules = [f".paper {{ fill: {_PAPER[theme]} }}"]
    for kind, themes in COLOURS.items():
        fill, outline = themes[theme]
        rules.append(f".{kind} {{ fill: {fill}; stroke: {outline}; stroke-width: 1.6 }}")
        rules.append(f".line.{kind} {{ fill: none }}")
        rules.append(f".tip.{kind}, .dot.{kind} {{ fill: {outline}; stroke: none }}")
    rules.append(f".word {{ fill: {_WORDS[theme][0]} }}")
    rules.append(f".word.quiet {{ fill: {_WORDS[theme][1]} }}")
    return "\n".join(rules)


def _lowered(text: str, size: float) -> str:
    parts = text.replace(" ", "\u00a0").split("_")  # else a space beside a lowered part is lost
    if len(parts) < 3:
        return escape(text)
    down = size * 0.25
    found = []
    for number, part in enumerate(parts):
        if number % 2:
            found.append(f'<tspan dy="{down:.1f}" font-size="{size * 0.75:.1f}">{escape(part)}</tspan>')
        else:
            back = f' dy="{-down:.1f}"' if number and part else ""
            found.append(f"<tspan{back}>{escape(part)}</tspan>" if part else "")
    return "".join(found)
