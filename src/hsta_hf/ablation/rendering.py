"""A measured table as Markdown, as a page of HTML and as JSON; all three say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment

from hsta_hf.ablation.claims import ALPHA, ClaimOutcome
from hsta_hf.ablation.results import SCORES, Line, MeasuredTable
from hsta_hf.data.wording import counted
from hsta_hf.paper.tables import ALL_CLIPS
from hsta_hf.reporting.files import write_atomically, write_json

PERCENT_NOTE = (
    "All figures in percent; in square brackets the 95 % interval of a bootstrap over subjects. The difference is "
    "measured minus paper, of UF1; it stands in round brackets where notes say that the two are not comparable."
)
CLAIMS_NOTE = (
    "Each claim is tested on UF1 by a paired permutation test over subjects, all of its pairs of rows together; p is "
    f"corrected for the number of claims of the table (Holm). A claim holds, or does not, where that p is below "
    f"{ALPHA}; else it is undecided, which is no evidence against it. In the pairs, the row that the claim has ahead "
    "comes first; the number is by how many points of UF1 it is ahead, with its 95 % interval, and in the paper."
)


@dataclass(frozen=True)
class Grid:
    """A table of text: header, rows, and which columns hold numbers."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def scores_grid(table: MeasuredTable) -> Grid:
    """The table's lines as text."""
    parts = any(line.part != ALL_CLIPS for line in table.lines)
    scores = [score for score in SCORES if any(score in line.paper for line in table.lines)]
    header = ["row", "what"]
    header += ["clips of"] if parts else []
    header += ["folds"] if len(table.protocols) > 1 else []
    header += [f"paper {score.upper()}" for score in scores]
    header += [f"measured {score.upper()}" for score in scores]
    header += ["difference", "notes"]
    rows = []
    for line in table.lines:
        row = [line.row, line.title]
        row += [line.part] if parts else []
        row += [line.protocol] if len(table.protocols) > 1 else []
        row += [_percent(line.paper.get(score)) for score in scores]
        row += [_measured(line, score) for score in scores]
        row += [_difference(line), _notes(line)]
        rows.append(tuple(row))
    return Grid(tuple(header), tuple(rows))


def claims_grid(table: MeasuredTable) -> Grid:
    """What of the paper's text holds, as text; `untested` has the claims that rows lack for."""
    header = ["claim", "where", "verdict", "UF1 ahead by", "p", "pairs of rows"]
    several = len(table.protocols) > 1
    rows = []
    for outcome in table.claims:
        if outcome.lacking:
            continue
        row = [_claim(outcome), outcome.claim.where, _verdict(outcome)]
        row += [_points(outcome.difference, outcome.interval), _p(outcome.adjusted_p), _pairs(outcome)]
        rows.append(tuple([*row[:2], outcome.protocol, *row[2:]] if several else row))
    if several:
        header.insert(2, "folds")
    return Grid(tuple(header), tuple(rows))


def untested(table: MeasuredTable) -> str | None:
    """One sentence on the claims that are not tested because rows have no results; None where there are none."""
    parts = []
    for protocol in table.protocols:
        lacking = [outcome for outcome in table.claims if outcome.lacking and outcome.protocol == protocol]
        if lacking:
            rows = ", ".join(dict.fromkeys(row for outcome in lacking for row in outcome.lacking))
            where = f" ({protocol})" if len(table.protocols) > 1 else ""
            parts.append(f"{counted(len(lacking), 'claim')}{where}, for which there are no results of {rows}")
    return f"Not tested: {'; '.join(parts)}." if parts else None


def intro(table: MeasuredTable) -> list[str]:
    """Sentences above the table."""
    return [
        f"{table.title} (section {table.section} of the paper). Folds of the paper's figures: "
        f"{table.published_protocol}; of the measured ones: {_and_folds(table)}.",
        PERCENT_NOTE,
    ]


def _and_folds(table: MeasuredTable) -> str:
    known = table.num_folds
    names = [f"{name}, {counted(known[name], 'fold')}" if name in known else name for name in table.protocols]
    return "; ".join(names)


def as_markdown(table: MeasuredTable) -> str:
    """The table, its notes and its claims as Markdown."""
    lines = [f"# Table {table.name.removeprefix('table')}: {table.title}", ""]
    for sentence in intro(table):
        lines += [sentence, ""]
    lines += [*_markdown(scores_grid(table)), ""]
    if table.notes:
        lines += ["## Why figures are not comparable", ""]
        lines += [f"{number}. {note}" for number, note in enumerate(table.notes, 1)] + [""]
    if table.claims:
        lines += ["## What of the paper's text holds here", ""]
        grid, left = claims_grid(table), untested(table)
        lines += [CLAIMS_NOTE, "", *_markdown(grid), ""] if grid.rows else []
        lines += [left, ""] if left else []
    return "\n".join(lines)


def write_tables(folder: Path, tables: Sequence[MeasuredTable]) -> list[Path]:
    """Write `tableN.md`, `tableN.html` and `tableN.json` of every table; returns the Markdown files."""
    written = []
    for table in tables:
        path = folder / f"{table.name}.md"
        write_atomically(path, as_markdown(table))
        write_atomically(path.with_suffix(".html"), as_html(table))
        write_json(path.with_suffix(".json"), table.to_dict())
        written.append(path)
    return written


def _markdown(grid: Grid) -> list[str]:
    cells = [[cell.replace("|", "\\|").replace("\n", "<br>") for cell in row] for row in (grid.header, *grid.rows)]
    lines = ["| " + " | ".join(row) + " |" for row in cells]
    return [lines[0], "|" + " --- |" * len(grid.header), *lines[1:]]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"  # noqa: RUF001


def _measured(line: Line, score: str) -> str:
    if score not in line.measured:
        return "–"  # noqa: RUF001
    text = f"{100 * line.measured[score]:.1f}"
    if score in line.intervals:
        low, high = line.intervals[score]
        text += f" [{100 * low:.1f}, {100 * high:.1f}]"
    return text


def _difference(line: Line) -> str:
    value = line.differences.get("uf1")
    if value is None:
        return "–"  # noqa: RUF001
    return f"({value:+.1f})" if line.notes else f"{value:+.1f}"


def _notes(line: Line) -> str:
    numbers = ", ".join(map(str, line.notes))
    return "; ".join(filter(None, [line.state, numbers]))


def _claim(outcome: ClaimOutcome) -> str:
    claim = outcome.claim
    quoted = f'"{claim.quote}"' if claim.quote else None
    return " ".join(filter(None, [claim.says, quoted]))


def _verdict(outcome: ClaimOutcome) -> str:
    if outcome.verdict == "not tested":
        return f"not tested: {outcome.why}"
    return outcome.verdict


def _points(difference: float | None, interval: Sequence[float] | None) -> str:
    if difference is None:
        return "–"  # noqa: RUF001
    text = f"{100 * difference:+.1f}"
    return text if interval is None else f"{text} [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"  # noqa: RUF001


def _pairs(outcome: ClaimOutcome) -> str:
    texts = []
    for pair in outcome.pairs:
        text = f"{pair.better} over {pair.worse}: {_points(pair.difference, pair.interval)}"
        texts.append(text if pair.paper is None else f"{text}, paper {pair.paper:+.1f}")
    return "\n".join(texts)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Table {{ number }}: {{ table.title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto; padding: 0 1rem;
  color: light-dark(#1c1d21, #e4e4e8); background: light-dark(#fff, #17181c); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: .3rem .7rem; white-space: pre-line;
  border-bottom: 1px solid light-dark(#d9dadf, #36383f); }
th { font-weight: 600; border-bottom-width: 2px; }
</style>
</head>
<body>
<h1>Table {{ number }}: {{ table.title }}</h1>
{% for sentence in intro %}<p>{{ sentence }}</p>
{% endfor %}{{ grid(scores) }}
{% if table.notes %}<h2>Why figures are not comparable</h2>
<ol>{% for note in table.notes %}<li>{{ note }}</li>{% endfor %}</ol>
{% endif %}{% if table.claims %}<h2>What of the paper's text holds here</h2>
{% if claims.rows %}<p>{{ claims_note }}</p>
{{ grid(claims) }}
{% endif %}{% if untested %}<p>{{ untested }}</p>
{% endif %}{% endif %}</body>
</html>
"""
_GRID = """{% macro grid(g) %}<div class="wide"><table>
<thead><tr>{% for cell in g.header %}<th scope="col">{{ cell }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in g.rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>{% endmacro %}"""


def as_html(table: MeasuredTable) -> str:
    """The same as one self-contained page."""
    page = Environment(autoescape=True).from_string(_GRID + _PAGE)
    return page.render(
        table=table,
        number=table.name.removeprefix("table"),
        intro=intro(table),
        scores=scores_grid(table),
        claims=claims_grid(table),
        claims_note=CLAIMS_NOTE,
        untested=untested(table),
    )
