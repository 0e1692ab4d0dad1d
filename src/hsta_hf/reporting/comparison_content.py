"""What a comparison says, before it is Markdown, HTML or lines in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from hsta_hf import __version__
from hsta_hf.data.wording import counted
from hsta_hf.reporting.caveats import FEW_SUBJECTS
from hsta_hf.reporting.comparison import ComparedRun, Comparison, ScoredRun
from hsta_hf.reporting.figures import IntervalRow, intervals_drawing
from hsta_hf.reporting.figures_style import Drawing
from hsta_hf.reporting.files import write_atomically
from hsta_hf.reporting.html_page import render
from hsta_hf.reporting.report_content import METRIC_NAMES, Table, interval, number, short_name
from hsta_hf.reporting.report_markdown import markdown_table

_NONE = "–"  # noqa: RUF001
# A file with another beginning was not written by this module, and is not overwritten.
_MARKDOWN_MARK, _PAGE_MARK = "# Comparison of ", "<!-- hsta compare -->"
_WORDS = ("method", "protocol")  # columns of words, the others are of numbers


class OutputError(ValueError):
    """A comparison that cannot be written where it was asked for."""


def p_text(p: float | None) -> str:
    """Three decimals; `< 0.001` below."""
    if p is None:
        return _NONE
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def notices(comparison: Comparison) -> list[str]:
    """What holds for every run and has to be known before any number is read."""
    said = {"synthetic clips": "All clips are synthetic: no number here is a result on people."}
    found = [said.get(note, f"Of all runs: {note}.") for note in comparison.shared_notes]
    people = int(_subjects(comparison.reference))
    if 1 < people < FEW_SUBJECTS:
        found.append(
            f"There are {people} subjects: intervals are rough and mostly too narrow, and however large a difference, "
            f"its p cannot be below {p_text(2 / 2**people)}."
        )
    return found


def score_table(comparison: Comparison) -> Table:
    """All runs with their pooled scores and intervals, the reference first; what all share is in `shared_facts`."""
    facts = _facts(comparison)
    differing = [name for name, values in facts.items() if len(set(values)) > 1]
    header = ["run", *differing]
    header += [f"{short_name(name)} ({_level(comparison)} interval)" for name in comparison.scores]
    rows = []
    for i, row in enumerate(comparison.rows):
        run = row.run
        cells = [_named(comparison, run), *(facts[name][i] for name in differing)]
        for name in comparison.scores:
            spread = run.metrics.get("pooled_std", {}).get(name)
            value = number(run.metrics["pooled"].get(name)) + (f" ± {number(spread)}" if spread is not None else "")
            cells.append(f"{value} ({interval(_bounds(run, name))})" if _bounds(run, name) else value)
        rows.append(cells)
    return Table("Scores of all runs", header, rows, 1 + sum(name in _WORDS for name in differing))


def shared_facts(comparison: Comparison) -> str | None:
    """The facts that are the same for all runs, which take no column of their own."""
    facts = {name: values[0] for name, values in _facts(comparison).items() if len(set(values)) == 1}
    return f"All runs: {', '.join(f'{name} {value}' for name, value in facts.items())}." if facts else None


def _facts(comparison: Comparison) -> dict[str, list[str]]:
    """Column by column what a run is, beside its scores."""
    runs = [row.run for row in comparison.rows]
    return {
        "method": [run.method for run in runs],
        "protocol": [run.protocol for run in runs],
        "clips": [str(run.metrics["clips"]) for run in runs],
        "subjects": [_subjects(run) for run in runs],
        "seeds": [str(len(run.metrics["seeds"])) for run in runs],
    }


def difference_tables(comparison: Comparison) -> list[Table]:
    """For each score, the difference of each run to the reference on the clips of both; none where no run has any."""
    tables: list[Table] = []
    if not any(row.paired for row in comparison.rows):
        return tables
    for name in comparison.scores:
        rows = []
        for row in comparison.rows[1:]:
            found = None if row.paired is None else row.paired.scores[name]
            if found is None or row.paired is None:
                rows.append([row.run.name, *[_NONE] * 7])
                continue
            rows.append(
                [
                    row.run.name,
                    str(row.paired.clips),
                    number(found.first),
                    number(found.second),
                    f"{found.difference:+.3f}",
                    "–" if found.interval is None else " to ".join(f"{bound:+.3f}" for bound in found.interval),  # noqa: RUF001
                    p_text(found.p),
                    p_text((row.corrected or {}).get(name)),
                ]
            )
        header = ["run", "clips of both", "run's", "reference's", "difference", f"{_level(comparison)} interval", "p"]
        caption = f"{short_name(name)}: difference to {comparison.reference.name}"
        tables.append(Table(caption, [*header, "p, corrected"], rows))
    return tables


def remark_lines(comparison: Comparison) -> list[tuple[str, str]]:
    """What makes numbers differ beside the method: (run, sentence)."""
    lines = []
    for row in comparison.rows:
        own = [note for note in row.run.notes if note not in comparison.shared_notes]
        what = own if row.run is comparison.reference else list(row.remarks)
        if row.refusal:
            what.append(f"not compared: {row.refusal.rstrip('.')}")
        lines += [(row.run.name, f"{text}.") for text in what]
    return lines


def explanation(comparison: Comparison) -> list[str]:
    """How intervals, differences and p values were computed."""
    paired = next((row.paired for row in comparison.rows if row.paired is not None), None)
    lines = [
        "Scores are computed once from hits and misses summed over all folds, as MEGC does. Their intervals are a "
        "bootstrap over subjects."
    ]
    if paired is not None:
        runs = sum(row.paired is not None for row in comparison.rows)
        lines.append(
            "Differences are run minus reference, on the clips that both were tested on. Their interval is a "
            f"bootstrap over subjects ({paired.samples} draws, the same subjects for both). p is the share of ways to "
            "swap the two runs' predictions within subjects that give at least the difference found: where it is "
            "small, two methods that are alike would rarely differ so much. Corrected p allows for "
            f"{counted(runs, 'comparison')} with the reference (Holm)."
        )
    elif len(comparison.rows) > 1:
        lines.append("No run could be compared with the reference clip by clip; why is said above.")
    return lines


def drawings(comparison: Comparison) -> list[Drawing]:
    """An interval plot of all runs for each score."""
    found = []
    for score in comparison.scores:
        rows = []
        for row in comparison.rows:
            value = row.run.metrics["pooled"].get(score)
            if value is not None:
                low, high = _bounds(row.run, score) or (None, None)
                rows.append(IntervalRow(_label(row.run), value, low, high, row.run is comparison.reference))
        found.append(intervals_drawing(f"runs_{score}", METRIC_NAMES.get(score, score), rows))
    return found


def _label(run: ScoredRun) -> str:
    return run.name if run.method == run.name else f"{run.name} ({run.method})"


def _named(comparison: Comparison, run: ScoredRun) -> str:
    return f"{run.name} (reference)" if run is comparison.reference else run.name


def _subjects(run: ScoredRun) -> str:
    return str(len(run.table[["database", "subject"]].drop_duplicates()))


def _bounds(run: ScoredRun, score: str) -> Sequence[float] | None:
    return (run.metrics.get("intervals") or {}).get(score)


def _level(comparison: Comparison) -> str:
    return f"{100 * comparison.reference.metrics.get('interval_level', 0.95):g} %"


def comparison_markdown(comparison: Comparison, figure: str | None = None) -> str:
    """The comparison in Markdown.

    Args:
        figure: name of the file with the interval plot.
    """
    lines = [f"{_MARKDOWN_MARK}{len(comparison.rows)} runs", ""]
    for text in notices(comparison):
        lines += [f"**{text}**", ""]
    lines += [*markdown_table(score_table(comparison)), ""]
    if facts := shared_facts(comparison):
        lines += [facts, ""]
    if figure:
        lines += [f"![interval plot of all runs]({figure})", ""]
    remarks = remark_lines(comparison)
    if remarks:
        lines += ["## What else differs", "", *(f"- **{name}**: {text}" for name, text in remarks), ""]
    lines += [f"## Differences to {comparison.reference.name}", ""]
    for table in difference_tables(comparison):
        lines += [f"{table.caption}:", "", *markdown_table(table), ""]
    for text in explanation(comparison):
        lines += [text, ""]
    if comparison.protocols:
        lines += ["## Where the numbers come from", ""]
        lines += [f"- {names}: {text}" for text, names in comparison.protocols.items()]
        lines.append("")
    return "\n".join(lines)


def comparison_html(comparison: Comparison) -> str:
    """The comparison as one page that holds all it shows."""
    return render(
        "comparison.html.j2",
        {
            "title": f"{len(comparison.rows)} runs compared",
            "mark": Markup(_PAGE_MARK),
            "version": __version__,
            "reference": comparison.reference.name,
            "notices": notices(comparison),
            "shared_facts": shared_facts(comparison),
            "scores": score_table(comparison),
            "drawings": drawings(comparison),
            "differences": difference_tables(comparison),
            "explanation": explanation(comparison),
            "remarks": remark_lines(comparison),
            "protocols": comparison.protocols,
        },
    )


def comparison_text(comparison: Comparison) -> str:
    """The comparison in plain lines, for a terminal: the first score only."""
    score = comparison.scores[0]
    width = max(len(_named(comparison, row.run)) for row in comparison.rows)
    lines = [*notices(comparison)]
    for row in comparison.rows:
        value, bounds = number(row.run.metrics["pooled"].get(score)), interval(_bounds(row.run, score))
        lines.append(
            f"{_named(comparison, row.run):<{width}}  {short_name(score)} {value} ({bounds}){_tail(row, score)}"
        )
    lines += [f"Note: {name}: {text}" for name, text in remark_lines(comparison)]
    return "\n".join(lines)


def _tail(row: ComparedRun, score: str) -> str:
    if row.paired is None:
        return ""
    found = row.paired.scores[score]
    return (
        f"  difference {found.difference:+.3f}, p {p_text(found.p)}, corrected {p_text((row.corrected or {})[score])}"
    )


def write_comparison(comparison: Comparison, output: Path) -> list[Path]:
    """Write the page, the Markdown beside it and its figure; an earlier comparison there is replaced.

    Args:
        output: the page, a file `.html`; Markdown and figure take its name with other endings.

    Returns:
        What was written.

    Raises:
        OutputError: the name ends otherwise, or a file of that name is no comparison.
    """
    if output.suffix != ".html":
        raise OutputError(f"--output {output} must end in .html; the Markdown is written beside it.")
    markdown, figure = output.with_suffix(".md"), output.with_suffix(".png")
    for path, mark in ((output, _PAGE_MARK), (markdown, _MARKDOWN_MARK)):
        if path.is_file() and mark not in path.read_text(encoding="utf-8", errors="replace")[:200]:
            raise OutputError(f"{path} exists and is no comparison of hsta; name another --output, or move it away.")
    drawings(comparison)[0].save_png(figure)
    write_atomically(output, comparison_html(comparison))
    write_atomically(markdown, comparison_markdown(comparison, figure.name))
    return [output, markdown, figure]
