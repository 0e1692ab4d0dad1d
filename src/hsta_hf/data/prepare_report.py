"""What `hsta check` prints and `hsta prepare` writes as report.md: counts, corrections, problems by clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hsta_hf.data.clip import APEX_SPOTTED, APEX_UNKNOWN, MicroExpressionClip
from hsta_hf.data.databases import get_database
from hsta_hf.data.databases.base import NON_MICRO, LoadReport, Problem
from hsta_hf.data.databases.timing import NO_FRAME
from hsta_hf.data.frame_folders import NO_FOLDER
from hsta_hf.data.labels import LABEL_SCHEMES
from hsta_hf.data.problem_groups import group_lines
from hsta_hf.data.wording import counted, listing

# A terminal shows this many sorts of problems; report.md has all problems.
SHOWN_PROBLEMS = 10
# The released implementation cuts clips this many frames after the onset.
LONG_AFTER_ONSET = 50
# So many rows without a frame are no accident: the layout is looked at.
_MANY_WITHOUT_FRAMES = 20
# Fields with classes, and what a table calls them. A composite says which database a clip is from.
_COUNTED = {"database": "Database", "emotion": "Emotion", "objective_class": "Objective class"}
_FIELDS = ("rows", "subjects", *_COUNTED)


class ClassCount(NamedTuple):
    """How many clips there are of one class.

    Attributes:
        field: "rows", "subjects", the field of the annotation ("emotion", "objective_class", "database"), or the name
            of one of a composite's databases.
        value: The class; "all" for rows and subjects, "" for rows without a label.
        rows: How many rows of the annotation (clip folders, where there is none) have it.
        published: The owner's number of rows; None where none is published for this field.
        usable: How many usable clips have it.
    """

    field: str
    value: str
    rows: int
    published: int | None
    usable: int

    @property
    def differs(self) -> bool:
        """True if the owner published another number."""
        return self.published is not None and self.published != self.rows


def class_counts(load: LoadReport, clips: Sequence[MicroExpressionClip]) -> list[ClassCount]:
    """Rows, subjects and every class, in the order of the published counts, others after them by name."""
    usable_counts: dict[str, Mapping[str, int]] = {
        "rows": {"all": len(clips)},
        "subjects": {"all": len({(clip.database, clip.subject) for clip in clips})},
    }
    for field in _COUNTED:
        usable_counts[field] = Counter(getattr(clip, field) or "" for clip in clips)
    # A composite counts the classes and subjects of each of its databases as well, under the database's name.
    databases = [field for field in {**load.published_counts, **load.row_counts} if field not in _FIELDS]
    for database in databases:
        own = [clip for clip in clips if clip.database == database]
        usable_counts[database] = {
            **Counter(clip.emotion or "" for clip in own),
            "subjects": len({clip.subject for clip in own}),
        }
    found = []
    for field in (*_FIELDS, *databases):
        rows, published = load.row_counts.get(field, {}), load.published_counts.get(field)
        if not rows and not published:
            continue  # the database knows nothing of this field (SMIC has no objective classes)
        usable = usable_counts[field]
        for value in dict.fromkeys([*(published or {}), *sorted({*rows, *usable})]):
            wanted = None if published is None else published.get(value, 0)
            found.append(ClassCount(field, value, rows.get(value, 0), wanted, usable.get(value, 0)))
    return found


def counts_table(load: LoadReport, clips: Sequence[MicroExpressionClip]) -> list[str]:
    """Markdown table of clips by class; with a column of published row counts where those apply."""
    counts = class_counts(load, clips)
    published = any(count.published is not None for count in counts)
    # A composite's table counts what it takes of its databases' rows; the summary and the annotation line count all.
    head = ["", "rows taken" if is_composite(load) else "rows", *(["published"] if published else []), "usable clips"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for count in counts:
        if count.value == "all":
            title = "**all**" if count.field == "rows" else f"**{count.field}**"
        else:
            title = f"{_COUNTED.get(count.field, count.field)} {count.value or '(none)'}"
        cells = [title, str(count.rows)]
        if published:
            wanted = "" if count.published is None else str(count.published)
            cells.append(f"{wanted} (differs)" if count.differs else wanted)
        lines.append("| " + " | ".join([*cells, str(count.usable)]) + " |")
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
            f"{counted(long, 'clip')} {'runs' if long == 1 else 'run'} more than {LONG_AFTER_ONSET} frames past the "
            f"onset; `hsta prepare --max-frames {LONG_AFTER_ONSET + 1}` cuts {'it' if long == 1 else 'them'} there, "
            "as the released implementation does."
        )
    sources = Counter(clip.apex_source for clip in clips)
    if sources[APEX_SPOTTED]:
        lines.append(f"Apex spotted, not annotated, in {counted(sources[APEX_SPOTTED], 'clip')}.")
    if sources[APEX_UNKNOWN]:
        lines.append(f"Apex unknown in {counted(sources[APEX_UNKNOWN], 'clip')}; `hsta prepare` spots it.")
    return lines


def frames_hint(load: LoadReport) -> list[str]:
    """One line if so many rows have no frames that ROOT is likely not laid out as expected; else none."""
    database = get_database(load.database)
    line = database.layout_hint(load) if database.layout_hint is not None else _layout_hint(load, database.layout)
    return [line] if line else []


def _layout_hint(load: LoadReport, layout: str) -> str:
    """What was expected and what is there, if as many rows as that have no frame at all."""
    without = {
        problem.source or problem.clip
        for problem in load.errors
        if problem.message.startswith((NO_FOLDER, NO_FRAME)) and problem.message.endswith("the clip is left out")
    }
    if not load.num_rows or len(without) < min(load.num_rows, _MANY_WITHOUT_FRAMES):
        return ""
    which = f"{len(without)} of {load.num_rows} rows"
    if len(without) >= load.num_rows:
        which = "the only row" if load.num_rows == 1 else f"any of {load.num_rows} rows"
    return f"No frames for {which}. Expected {layout}; ROOT ({load.root}) holds: {listing(load.root)}."


def problem_lines(problems: Sequence[Problem], limit: int | None = None, rest: str = "all in report.md") -> list[str]:
    """Markdown list of problems, those of one clip under its name.

    Args:
        problems: What to list.
        limit: List at most this many sorts of problems, errors first, each with its number and few examples; None
            lists every problem by clip.
        rest: Where all problems are to be found.
    """
    if limit is not None:
        return group_lines(problems, limit, rest)
    by_clip: dict[str, list[Problem]] = {}
    for problem in problems:
        by_clip.setdefault(problem.source or problem.clip, []).append(problem)
    lines = []
    for source, found in by_clip.items():
        lines.append(f"- {found[0].clip} ({source})")
        lines.extend(f"  - {problem.severity}: {problem.field}: {problem.message}" for problem in found)
    return lines


def annotation_line(load: LoadReport) -> str:
    """Where the labels are from, how many rows that is, and which version of the frames was read."""
    rows = counted(load.num_rows, "row") if load.num_rows else "the table has no rows"
    if load.annotation is not None:
        line = f"Annotation: {load.annotation_name}, {rows}."
    elif is_composite(load):
        line = f"Annotations: those of {', '.join(load.row_counts['database'])}, {counted(load.num_rows, 'row')}."
    else:
        line = f"Annotation: none, labels are those of the folders, {counted(load.num_rows, 'clip')}."
    return f"{line} Frames: {load.variant}." if load.variant else line


def left_out_lines(load: LoadReport) -> list[str]:
    """Rows that are sound and left out on purpose, by reason; none where there are none."""
    if not load.left_out:
        return []
    rows = rows_left_out(load)
    apart = {reason: count for reason, count in load.left_out.items() if reason not in rows}
    lines = []
    if rows:
        lines += [f"Left out on purpose: {sum(rows.values())} of {counted(load.num_rows, 'row')}.", ""]
        lines += [f"- {count}: {reason}" for reason, count in rows.items()]
    if apart:
        lines += [""] if rows else []
        lines += ["Not counted as rows, and left out on purpose:", ""]
        lines += [f"- {count}: {reason}" for reason, count in apart.items()]
    return lines


def rows_left_out(load: LoadReport) -> dict[str, int]:
    """How many rows are left out on purpose, by reason; not the clips that are no rows (SMIC's non_micro)."""
    return {reason: count for reason, count in load.left_out.items() if not reason.endswith(NON_MICRO)}


def is_composite(load: LoadReport) -> bool:
    """True if the clips are those of several databases."""
    return "database" in load.row_counts


def published_line(load: LoadReport) -> str:
    """Why counts are not compared with published ones, and what would have them compared."""
    owners = get_database(load.database).owners_table
    if load.synthetic:
        return "No published counts apply: this database is synthetic."
    if not owners:
        return f"There are no published counts of {get_database(load.database).title}."
    return (
        f"Counts are not compared with the published ones: those are of the owner's annotation file, {owners}; "
        f"{load.annotation_name} is not called that."
    )


def emotion_lines(clips: Sequence[MicroExpressionClip]) -> list[str]:
    """One line if no clip at all has an emotion; else none."""
    if not clips or any(clip.emotion for clip in clips):
        return []
    schemes = ", ".join(name for name, scheme in LABEL_SCHEMES.items() if scheme.field == "emotion")
    return [f"No clip has an emotion: the label schemes of emotions ({schemes}) leave all of them out."]


def report_lines(
    load: LoadReport,
    clips: Sequence[MicroExpressionClip],
    problems: Sequence[Problem],
    limit: int | None = None,
    rest: str = "all in report.md",
    summary: Sequence[str] = (),
) -> list[str]:
    """The whole report as lines of Markdown.

    Args:
        load: What the database's loader reported.
        clips: The usable clips.
        problems: All problems.
        limit: As in `problem_lines`.
        rest: As in `problem_lines`.
        summary: Lines that come before the table of classes.
    """
    subjects = len({(clip.database, clip.subject) for clip in clips})
    lines = [f"# {load.database}: {counted(len(clips), 'clip')} of {counted(subjects, 'subject')}", ""]
    hint = frames_hint(load)
    lines += [*hint, ""] if hint else []
    if load.synthetic:
        lines += ["This database is synthetic: no number on it is a result on people.", ""]
    lines += [annotation_line(load), ""]
    lines += [*summary, ""] if summary else []
    lines += [*counts_table(load, clips), ""]
    if not load.published_counts:
        lines += [published_line(load), ""]
    elif load.count_mismatches:
        lines += ["Counts that differ from the published ones (is this the whole database?):", ""]
        lines += [*(f"- {message}" for message in load.count_mismatches), ""]
    else:
        lines += ["All counts are the published ones.", ""]
    left_out = left_out_lines(load)
    lines += [*left_out, ""] if left_out else []
    lengths = [*emotion_lines(clips), *length_lines(clips)]
    lines += [*lengths, ""] if lengths else []
    lines += [f"## Known mistakes corrected: {len(load.corrections)}", ""]
    lines += [*(f"- {correction}" for correction in load.corrections), *([""] if load.corrections else [])]
    named = len({problem.source or problem.clip for problem in problems})
    lines += [f"## Problems: {len(problems)} in {counted(named, 'clip')}", ""]
    if problems:
        lines += ["warning: nothing is lost, treated as said. error: a clip, frames or a label are lost.", ""]
        lines += [*problem_lines(problems, limit, rest), ""]
    return lines


def padded_tables(lines: Sequence[str]) -> list[str]:
    """The same Markdown with the columns of its tables as wide as their widest cell, for a terminal."""
    result: list[str] = []
    table: list[list[str]] = []

    def finish() -> None:
        widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))] if table else []
        for row in table:
            rule = all(set(cell) == {"-"} for cell in row)
            cells = ["-" * width if rule else cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            result.append("| " + " | ".join(cells) + " |")
        table.clear()

    for line in lines:
        if line.startswith("| "):
            table.append([cell.strip() for cell in line.strip("|").split(" | ")])
        else:
            finish()
            result.append(line)
    finish()
    return result
