"""Reading a whole database and telling what is in it and what is wrong: the work of `hsta check`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from hsta_hf.data.check_footage import (
    ClipPictures,
    SharedClips,
    all_shared,
    footage_problems,
    overlapping_rows,
)
from hsta_hf.data.check_kinds import (
    DUPLICATE,
    LABEL,
    MISSING,
    ORDER,
    OUTSIDE,
    SIZE,
    UNREADABLE,
    problem_kind,
    rows_with,
)
from hsta_hf.data.clip import MicroExpressionClip
from hsta_hf.data.databases import DatabaseError, get_database
from hsta_hf.data.databases.base import ERROR, LoadReport, Problem
from hsta_hf.data.decode import DecodedClip, decode_clip
from hsta_hf.data.prepare_report import class_counts, is_composite, rows_left_out
from hsta_hf.data.wording import counted

# How often an interrupt from the keyboard is looked for while threads work, in seconds.
_LOOK_UP = 0.5


@dataclass(frozen=True)
class CheckReport:
    """What `check_database` found.

    Attributes:
        load: What the database's loader reported.
        clips: The usable clips; where frames were decoded, with those that could be read.
        problems: All problems: of the annotation and file names, of the frames, of shared footage.
        shared: The clips that show the same pictures; without decoding, those that share files.
        num_frames: How many frames were decoded; None if none was looked at.
    """

    load: LoadReport
    clips: tuple[MicroExpressionClip, ...]
    problems: tuple[Problem, ...]
    shared: tuple[SharedClips, ...]
    num_frames: int | None

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems by which something is lost, or a subject is in training and test at once."""
        return tuple(problem for problem in self.problems if problem.severity == ERROR)

    def unsound(self, strict: bool = False) -> tuple[str, ...]:
        """Why the database is not sound; empty if it is.

        Args:
            strict: Warnings count as well.
        """
        reasons = []
        if not self.load.num_rows:
            reasons.append(f"{self.load.annotation or self.load.root}: there are no rows")
        elif not self.clips:
            reasons.append("no clip is usable")
        if self.errors:
            reasons.append(counted(len(self.errors), "error"))
        if self.load.count_mismatches:
            reasons.append(f"{counted(len(self.load.count_mismatches), 'count')} not as published")
        warnings = len(self.problems) - len(self.errors)
        if strict and warnings:
            reasons.append(f"{counted(warnings, 'warning')} (--strict)")
        return tuple(reasons)

    @property
    def summary(self) -> dict[str, Any]:
        """The numbers of the summary table by name; None for what was not looked at."""
        decoded = self.num_frames is not None
        problems = self.problems
        return {
            "rows": self.load.num_rows,
            "usable_clips": len(self.clips),
            "subjects": len({(clip.database, clip.subject) for clip in self.clips}),
            "frames_read": self.num_frames,
            "clips_with_missing_frames": rows_with(problems, MISSING),
            "unreadable_frames": sum(problem_kind(p) == UNREADABLE for p in problems) if decoded else None,
            "clips_with_frames_of_another_size": rows_with(problems, SIZE) if decoded else None,
            "bad_orders": {
                "rows": rows_with(problems, ORDER),
                **{field: rows_with(problems, ORDER, field) for field in ("onset", "apex", "offset")},
            },
            "apex_unknown": sum(clip.apex is None for clip in self.clips),
            "duplicate_rows": rows_with(problems, DUPLICATE),
            "clips_sharing_footage": len({clip.clip_id for pair in self.shared for clip in (pair.first, pair.second)}),
            "paths_outside_the_root": rows_with(problems, OUTSIDE),
            "labels_in_doubt": rows_with(problems, LABEL),
            "corrections_applied": len(self.load.corrections),
            "left_out_on_purpose": sum(rows_left_out(self.load).values()),
        }

    def as_json(self, strict: bool = False) -> dict[str, Any]:
        """The whole report in plain types, for programs."""
        load = self.load
        return {
            "database": load.database,
            "root": str(load.root),
            "annotation": None if load.annotation is None else str(load.annotation),
            "variant": load.variant or None,
            "synthetic": load.synthetic,
            "decoded": self.num_frames is not None,
            "sound": not self.unsound(strict),
            "not_sound_because": list(self.unsound(strict)),
            "summary": self.summary,
            "counts": [count._asdict() for count in class_counts(load, self.clips)],
            "count_mismatches": list(load.count_mismatches),
            "left_out": dict(load.left_out),
            "corrections": [asdict(correction) for correction in load.corrections],
            "problems": [{"kind": problem_kind(problem), **asdict(problem)} for problem in self.problems],
            "shared_footage": [
                {
                    "first": pair.first.clip_id,
                    "second": pair.second.clip_id,
                    "frames": pair.frames,
                    "same_files": pair.same_files,
                    "same_subject": pair.same_subject,
                }
                for pair in self.shared
            ],
        }


def check_database(
    name: str,
    root: str | Path,
    annotation: str | Path | None = None,
    variant: str | None = None,
    *,
    quick: bool = False,
    workers: int | None = None,
    progress: Callable[[Iterator[Any], int], Iterator[Any]] | None = None,
) -> CheckReport:
    """Read everything of a database: annotation, file names and, unless `quick`, every frame of every clip.

    Args:
        name: Name of a database.
        root: Its folder; only read.
        annotation: The annotation file; None looks for it in `root`.
        variant: Which of the owner's versions of the frames; None takes the first that is there.
        quick: Look at the annotation and at file names only.
        workers: Threads that decode; None takes one per core. Memory holds one frame for each, and a few bytes for
            every frame that was read.
        progress: Wraps the iterator over decoded clips, given their number (tqdm does).

    Returns:
        What is there and what is wrong.

    Raises:
        DatabaseError: if there is no such database or variant, or it cannot be read at all.
        ValueError: if `workers` is less than 1.
    """
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    database = get_database(name)
    if variant is not None and variant not in database.variants:
        there_are = (
            f"there are {', '.join(database.variants)}" if database.variants else "it has one version of its frames"
        )
        raise DatabaseError(f"{database.name} has no variant {variant!r}; {there_are}")
    load: LoadReport = database.load(root, annotation, variant)
    if quick:
        shared = overlapping_rows(load.clips)
        problems = _one_name_each(load, (*load.problems, *footage_problems(shared)))
        return CheckReport(load, load.clips, problems, tuple(shared), None)

    steps: Iterator[tuple[int, ClipPictures | None, tuple[Problem, ...]]]
    steps = _read_all(load.clips, workers or os.cpu_count() or 1)
    if progress is not None:
        steps = progress(steps, len(load.clips))
    found: dict[int, tuple[ClipPictures | None, tuple[Problem, ...]]] = {}
    for position, shown, file_problems in steps:
        found[position] = (shown, file_problems)
    in_order = [found[position] for position in range(len(load.clips))]
    pictures = [shown for shown, _ in in_order if shown is not None]
    shared = all_shared(pictures)
    problems = (
        *load.problems,
        *(problem for _, file_problems in in_order for problem in file_problems),
        *footage_problems(shared),
    )
    problems = _one_name_each(load, problems)
    num_frames = sum(len(shown.hashes) for shown in pictures)
    return CheckReport(load, tuple(shown.clip for shown in pictures), problems, tuple(shared), num_frames)


def _one_name_each(load: LoadReport, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """The problems, those of one row under one name: the annotation's, where something was said of the row before.

    What is found in frames names a clip by its onset, apex and offset as they are used, corrections applied.
    """
    names = {correction.source: correction.clip for correction in load.corrections}
    names |= {problem.source: problem.clip for problem in load.problems if problem.source}
    return tuple(replace(problem, clip=names.get(problem.source, problem.clip)) for problem in problems)


def _read_one(clip: MicroExpressionClip) -> tuple[ClipPictures | None, tuple[Problem, ...]]:
    # The pictures are not looked at again: of each, the mean colour is kept.
    decoded = decode_clip(clip, size=1)
    if isinstance(decoded, DecodedClip):
        return ClipPictures.of(decoded), decoded.problems
    return None, decoded


def _read_all(
    clips: Sequence[MicroExpressionClip], workers: int
) -> Iterator[tuple[int, ClipPictures | None, tuple[Problem, ...]]]:
    """(position, what is kept of the clip, its problems) for every clip, as they get ready."""
    pool = ThreadPoolExecutor(workers)
    try:
        running: dict[Future[tuple[ClipPictures | None, tuple[Problem, ...]]], int] = {}
        todo: Iterator[tuple[int, MicroExpressionClip]] = iter(enumerate(clips))
        while True:
            # Few in flight: an interrupt waits for these, and for no others.
            for position, clip in todo:
                running[pool.submit(_read_one, clip)] = position
                if len(running) > workers:
                    break
            if not running:
                return
            # With a time limit, since Windows delivers no interrupt to a thread that waits without one.
            ready, _ = wait(running, timeout=_LOOK_UP, return_when=FIRST_COMPLETED)
            for future in ready:
                yield (running.pop(future), *future.result())
    finally:
        pool.shutdown(cancel_futures=True)


# Names of the summary's numbers in the printed table.
SUMMARY_TITLES: Mapping[str, str] = {
    "rows": "rows",
    "usable_clips": "usable clips",
    "subjects": "subjects",
    "frames_read": "frames read",
    "clips_with_missing_frames": "clips with missing frames",
    "unreadable_frames": "unreadable frames",
    "clips_with_frames_of_another_size": "clips with frames of another size",
    "bad_orders": "bad orders of onset, apex, offset",
    "apex_unknown": "apex unknown, to be spotted",
    "duplicate_rows": "duplicate rows",
    "clips_sharing_footage": "clips that share frames",
    "paths_outside_the_root": "paths that lead outside the root",
    "labels_in_doubt": "rows with a label in doubt",
    "corrections_applied": "corrections applied",
    "left_out_on_purpose": "rows left out on purpose",
}


def summary_table(report: CheckReport) -> list[str]:
    """The summary as a Markdown table of two columns."""
    lines = ["| what | found |", "| --- | --- |"]
    for name, value in report.summary.items():
        if name == "bad_orders":
            fields = ", ".join(f"{field} {rows}" for field, rows in value.items() if field != "rows" and rows)
            text = f"{value['rows']} ({fields})" if fields else str(value["rows"])
        else:
            text = "not looked at (--quick)" if value is None else f"{value:,}"
        title = SUMMARY_TITLES[name]
        if name == "rows" and is_composite(report.load):
            title = "rows of its databases"
        lines.append(f"| {title} | {text} |")
    return lines
