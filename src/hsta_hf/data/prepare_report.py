"""What `hsta check` prints and `hsta prepare` writes as report.md: counts, corrections, problems by clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hsta_hf.data.clip import APEX_SPOTTED, APEX_UNKNOWN, MicroExpressionClip
from hsta_hf.data.databases import get_database
from hsta_hf.data.databases.base import LoadReport, Problem

if TYPE_CHECKING:
    from hsta_hf.data.prepare import PrepareReport

# A terminal shows this many problems; report.md has all.
SHOWN_PROBLEMS = 10
# The released implementation cuts clips this many frames after the onset.
LONG_AFTER_ONSET = 50
_COUNTED = {"emotion": "Emotion", "objective_class": "Objective class"}


def counts_table(load: LoadReport, clips: Sequence[MicroExpressionClip]) -> list[str]:
    """Markdown table of clips by class; with a column of published row counts where those apply."""
    published = load.published_counts
    head = ["", "rows", *(["published"] if published else []), "usable clips"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]

    def add(title: str, field: str, value: str, usable: int) -> None:
        found = load.row_counts.get(field, {}).get(value, 0)
        cells = [title, str(found)]
        if published:
            wanted = published.get(field, {}).get(value, 0)
            cells.append(f"{wanted}" if wanted == found else f"{wanted} (differs)")
        lines.append("| " + " | ".join([*cells, str(usable)]) + " |")

    add("**all**", "rows", "all", len(clips))
    add("**subjects**", "subjects", "all", len({clip.subject for clip in clips}))
    for field, title in _COUNTED.items():
        usable: Mapping[str, int] = Counter(str(getattr(clip, field)) for clip in clips)
        values = dict.fromkeys([*published.get(field, {}), *load.row_counts.get(field, {})])
        for value in sorted(values):
            add(f"{title} {value or '(none)'}", field, value, usable.get(value, 0))
    return lines


def length_lines(clips: Sequence[MicroExpressionClip]) -> list[str]:
    """Sentences about clip lengths and about where the apexes come from."""
    lengths = sorted(clip.num_frames for clip in clips)
    if not lengths:
        return []
    lines = [
        f"Frames per clip: {lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}.",
    ]
    long = sum(clip.offset - clip.onset > LONG_AFTER_ONSET for clip in clips)
    if long:
        lines.append(
            f"{long} clips run more than {LONG_AFTER_ONSET} frames past the onset; `hsta prepare --max-frames "
            f"{LONG_AFTER_ONSET + 1}` cuts them there, as the released implementation does."
        )
    sources = Counter(clip.apex_source for clip in clips)
    if sources[APEX_SPOTTED]:
        lines.append(f"Apex spotted, not annotated, in {sources[APEX_SPOTTED]} clips.")
    if sources[APEX_UNKNOWN]:
        lines.append(f"Apex unknown in {sources[APEX_UNKNOWN]} clips; `hsta prepare` spots it.")
    return lines


def frames_hint(load: LoadReport) -> list[str]:
    """One line if so many rows have no frames that ROOT is likely not laid out as expected; else none."""
    hint = get_database(load.database).layout_hint
    line = hint(load) if hint is not None else ""
    return [line] if line else []


def problem_lines(problems: Sequence[Problem], limit: int | None = None, rest: str = "all in report.md") -> list[str]:
    """Markdown list of problems, those of one clip under its name.

    Args:
        problems: What to list.
        limit: List at most this many, and say how many more there are; None lists all.
        rest: Where the others are to be found.
    """
    by_clip: dict[str, list[Problem]] = {}
    for problem in problems[:limit]:
        by_clip.setdefault(problem.source or problem.clip, []).append(problem)
    lines = []
    for source, found in by_clip.items():
        lines.append(f"- {found[0].clip} ({source})")
        lines.extend(f"  - {problem.severity}: {problem.field}: {problem.message}" for problem in found)
    if limit is not None and len(problems) > limit:
        lines.append(f"- … and {len(problems) - limit} more, {rest}")
    return lines


def report_lines(
    load: LoadReport,
    clips: Sequence[MicroExpressionClip],
    problems: Sequence[Problem],
    limit: int | None = None,
    rest: str = "all in report.md",
) -> list[str]:
    """The whole report as lines of Markdown; `limit` and `rest` are those of `problem_lines`."""
    lines = [f"# {load.database}: {len(clips)} clips of {len({clip.subject for clip in clips})} subjects", ""]
    hint = frames_hint(load)
    lines += [*hint, ""] if hint else []
    if load.synthetic:
        lines += ["This database is synthetic: no number on it is a result on people.", ""]
    rows = f"{load.num_rows} rows" if load.num_rows else "the table has no rows"
    lines += [f"Annotation: {load.annotation_name}, {rows}.", ""]
    lines += [*counts_table(load, clips), ""]
    if not load.published_counts:
        lines += ["No published counts apply: this is not the owner's annotation file.", ""]
    elif load.count_mismatches:
        lines += ["Counts that differ from the published ones (is this the whole database?):", ""]
        lines += [*(f"- {message}" for message in load.count_mismatches), ""]
    else:
        lines += ["All counts are the published ones.", ""]
    lines += [*length_lines(clips), ""]
    lines += [f"## Known mistakes corrected: {len(load.corrections)}", ""]
    lines += [*(f"- {correction}" for correction in load.corrections), *([""] if load.corrections else [])]
    named = len({problem.source or problem.clip for problem in problems})
    lines += [f"## Problems: {len(problems)} in {named} clips", ""]
    if problems:
        lines += ["warning: nothing is lost, treated as said. error: a clip, frames or a label are lost.", ""]
        lines += [*problem_lines(problems, limit, rest), ""]
    return lines


def write_report(path: Path, report: PrepareReport) -> None:
    """Write report.md of a prepared dataset."""
    lines = report_lines(report.load, report.clips, report.problems)
    path.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
