"""A row of an annotation table becomes a clip, or a problem by clip: the same rules for every annotated database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hsta_hf.data.action_units import OBJECTIVE_CLASSES, ActionUnits, objective_class_of, read_action_units
from hsta_hf.data.annotation_table import AnnotationRow
from hsta_hf.data.clip import APEX_ANNOTATED, APEX_UNKNOWN, MicroExpressionClip
from hsta_hf.data.databases.annotated_database import (
    APEX,
    EMOTION,
    FILENAME,
    KIND,
    OBJECTIVE,
    OFFSET,
    ONSET,
    SUBJECT,
    UNITS,
    AnnotatedDatabase,
)
from hsta_hf.data.databases.base import ERROR, WARNING, Correction, Problem
from hsta_hf.data.databases.frame_versions import FrameVersion
from hsta_hf.data.databases.known_mistakes import Known
from hsta_hf.data.databases.timing import Timing, frame_number, resolve_timing
from hsta_hf.data.frame_folders import FrameFolders, UnsafePathError, safe_name

_KINDS = ("micro", "macro")


class RowReader:
    """Turns annotation rows into clips, collecting problems, corrections and counts on the way.

    Args:
        database: What the database is.
        root: Its folder.
        table: The annotation file, for messages.
        version: Which of the owner's versions of the frames is read.
        below: Folders below `root` that lead to the subjects' folders.
        objective_classes: Class by folder of the subject and filename, from a table of its own; may be empty.
    """

    def __init__(
        self,
        database: AnnotatedDatabase,
        root: Path,
        table: Path,
        version: FrameVersion,
        below: tuple[str, ...],
        objective_classes: Mapping[tuple[str, str], str],
    ) -> None:
        self.database = database
        self.table = table
        self.version = version
        self.below = below
        self.objective_classes = objective_classes
        self.folders = FrameFolders(root)
        self.clips: list[MicroExpressionClip] = []
        self.problems: list[Problem] = []
        self.corrections: list[Correction] = []
        self.left_out: Counter[str] = Counter()
        self._subjects: set[str] = set()
        self._num_rows = 0
        self._emotions: Counter[str] = Counter()
        self._objective: Counter[str] = Counter()
        self._seen: dict[tuple[str, str, int, int], MicroExpressionClip] = {}
        self._ids: set[str] = set()

    def read(self, row: AnnotationRow, place: int, of_rows: int) -> None:
        """Read one row; adds a clip if it is usable.

        Args:
            row: The row.
            place: Its place among the table's rows, counted from 0.
            of_rows: How many rows the table has.
        """
        database = self.database
        cells = {role: row.cells[names[0]] for role, names in database.columns.items()}
        subject, filename = database.folder_of_subject(cells[SUBJECT]), cells[FILENAME]
        name = "/".join(text or "?" for text in (subject, filename, cells[ONSET], cells[APEX], cells[OFFSET]))
        findings = _Findings(database, name, f"{self.table.name} row {row.number}")
        if self._is_left_out(cells.get(KIND), findings):
            return
        units = read_action_units(cells[UNITS])
        self._count(cells, subject, filename, units)
        clip = self._clip(cells, (subject, filename), (place, of_rows), units, findings)
        if clip is not None:
            clip = self._unless_seen(clip, findings)
        self.problems.extend(findings.problems)
        if clip is not None:
            self.clips.append(clip)
            self.corrections.extend(findings.corrections)

    def row_counts(self) -> dict[str, dict[str, int]]:
        """Counts as owners publish them: over all rows that are the database's, usable or not."""
        return {
            "rows": {"all": self._num_rows},
            "subjects": {"all": len(self._subjects)},
            "emotion": dict(sorted(self._emotions.items())),
            "objective_class": dict(sorted(self._objective.items())),
        }

    def _is_left_out(self, cell: str | None, findings: _Findings) -> bool:
        """Whether the row is of a kind that is not read here, which is then counted."""
        wanted = self.database.kind
        if cell is None or not wanted:
            return False
        kind = next((kind for kind in _KINDS if kind in cell.casefold()), None)
        if kind is None:
            findings.problem(KIND, f"{cell!r} is neither macro nor micro; the row is read as {wanted}", WARNING)
            return False
        if kind != wanted:
            self.left_out[f"{kind}-expressions"] += 1
        return kind != wanted

    def _count(self, cells: Mapping[str, str], subject: str, filename: str, units: ActionUnits) -> None:
        self._num_rows += 1
        self._subjects.add(subject)
        self._emotions[self.database.emotion_of(cells[EMOTION]) or cells[EMOTION].casefold()] += 1
        self._objective[self._annotated_class(cells, subject, filename) or objective_class_of(units.numbers)] += 1

    def _annotated_class(self, cells: Mapping[str, str], subject: str, filename: str) -> str:
        """The objective class as the owner gives it, right or not; "" where he gives none."""
        if OBJECTIVE in cells:
            return self.database.objective_class(cells[OBJECTIVE])
        return self.objective_classes.get((subject, filename), "")

    def _clip(
        self,
        cells: Mapping[str, str],
        where: tuple[str, str],
        place: tuple[int, int],
        units: ActionUnits,
        findings: _Findings,
    ) -> MicroExpressionClip | None:
        """The row's clip, None if it is not usable."""
        database = self.database
        for role in (SUBJECT, FILENAME):
            if not cells[role]:
                findings.problem(role, "empty; fill it in; the clip is left out", ERROR)
                return None
        try:
            safe_name(cells[SUBJECT], database.column(SUBJECT))
            subject, filename = (safe_name(where[0], SUBJECT), safe_name(where[1], database.column(FILENAME)))
        except UnsafePathError as error:
            findings.problem("Subject/Filename", f"{error}; the clip is left out", ERROR)
            return None
        times = self._times(cells, subject, filename, place, findings)
        onset = times[ONSET]
        if onset is None:
            findings.problem(ONSET, f"{cells[ONSET]!r} is not a frame number; the clip is left out", ERROR)
            return None
        parts = (*self.below, subject, filename, *([database.folder_below] if database.folder_below else []))
        try:
            on_disk = self.folders.frames(*parts, name=self.version.frame_name)
            repeated = self.folders.repeated(*parts, name=self.version.frame_name)
        except (OSError, UnsafePathError) as error:
            findings.problem("frames", f"{error}; the clip is left out", ERROR)
            return None
        timing = resolve_timing(
            onset,
            times[APEX],
            times[OFFSET],
            on_disk,
            database.fps,
            apex_cell=cells[APEX],
            offset_cell=cells[OFFSET],
            longest_seconds=database.longest_seconds,
            repeated=repeated,
        )
        for role, message, severity in timing.findings:
            findings.problem(role, message, severity)
        if not timing.usable:
            return None
        labels = self._labels(cells, subject, filename, units, findings)
        return self._record(cells, (subject, filename), timing, on_disk, units, labels, findings)

    def _times(
        self,
        cells: Mapping[str, str],
        subject: str,
        filename: str,
        place: tuple[int, int],
        findings: _Findings,
    ) -> dict[str, int | None]:
        """Onset, apex and offset, known mistakes corrected."""
        database = self.database
        times = {role: frame_number(cells[role]) for role in (ONSET, APEX, OFFSET)}
        onset, apex, offset = times[ONSET], times[APEX], times[OFFSET]
        found: dict[str, Known] = {}
        if onset is not None and apex is not None and offset is not None:
            known = database.corrections.get((subject, filename, onset, apex, offset))
            if known is not None and known.variant in ("", self.version.name):
                found[known.field] = known
        for unproven in database.unproven_offsets:
            if unproven.applies((subject, filename), *place, onset, apex, offset, database.fps):
                found[OFFSET] = Known(OFFSET, unproven.value, unproven.source)
        if onset == 0 and database.counts_from_1:
            found[ONSET] = Known(ONSET, 1, "frames count from 1")
        for role, known in found.items():
            findings.correct(role, cells[role], str(known.value), known.source)
            times[role] = known.value
        return times

    def _labels(
        self,
        cells: Mapping[str, str],
        subject: str,
        filename: str,
        units: ActionUnits,
        findings: _Findings,
    ) -> tuple[str | None, str]:
        """Emotion and objective class."""
        database = self.database
        emotion = database.emotion_of(cells[EMOTION])
        if emotion is None:
            words = ", ".join(dict.fromkeys(database.emotions.values()))
            findings.problem(EMOTION, f"{cells[EMOTION]!r} is none of {words}", ERROR)
        elif cells[EMOTION] not in database.emotions:
            findings.correct(EMOTION, cells[EMOTION], emotion, "spelling")
        if units.remarks:
            read = "+".join(units.numbers) or "none"
            findings.problem(UNITS, f"{'; '.join(units.remarks)}; action units read: {read}", WARNING)
        objective = self._annotated_class(cells, subject, filename)
        if objective not in OBJECTIVE_CLASSES:
            objective = objective_class_of(units.numbers)
            if OBJECTIVE in cells:
                message = f"{cells[OBJECTIVE]!r} is none of I to VII; {objective} follows from the action units"
                findings.problem(OBJECTIVE, message, WARNING)
        return emotion, objective

    def _record(
        self,
        cells: Mapping[str, str],
        where: tuple[str, str],
        timing: Timing,
        on_disk: Mapping[int, Path],
        units: ActionUnits,
        labels: tuple[str | None, str],
        findings: _Findings,
    ) -> MicroExpressionClip:
        subject, filename = where
        return MicroExpressionClip(
            clip_id=f"{self.database.name}/{subject}/{filename}/{timing.onset}",
            database=self.database.name,
            subject=subject,
            filename=filename,
            onset=timing.onset,
            apex=timing.apex,
            offset=timing.offset,
            frame_paths=tuple(on_disk[number] for number in timing.frame_numbers),
            frame_numbers=timing.frame_numbers,
            fps=self.database.fps,
            emotion=labels[0],
            objective_class=labels[1],
            action_units=units.numbers,
            action_units_raw=cells[UNITS],
            apex_source=APEX_UNKNOWN if timing.apex is None else APEX_ANNOTATED,
            corrections=tuple(f"{c.field} {c.before} -> {c.after} ({c.reason})" for c in findings.corrections),
            source=findings.source,
            variant=self.version.name,
        )

    def _unless_seen(self, clip: MicroExpressionClip, findings: _Findings) -> MicroExpressionClip | None:
        """The clip under a name of its own; None if an earlier row is about the same frames.

        Two clips of the same frames would come into training and test of a split by clips.
        """
        key = (clip.subject, clip.filename, clip.onset, clip.offset)
        first = self._seen.get(key)
        if first is not None:
            same = (first.emotion, first.objective_class, first.action_units) == (
                clip.emotion,
                clip.objective_class,
                clip.action_units,
            )
            what = "repeats" if same else "contradicts"
            message = f"{what} {first.source} about the same frames; this row is left out"
            findings.problem("row", message, WARNING if same else ERROR)
            return None
        if clip.clip_id in self._ids:
            clip = replace(clip, clip_id=f"{clip.clip_id}-{clip.offset}")
        self._ids.add(clip.clip_id)
        self._seen[key] = clip
        return clip


class _Findings:
    """What was found wrong with one row, and what was corrected; fields go by the owner's names of the columns."""

    def __init__(self, database: AnnotatedDatabase, clip: str, source: str) -> None:
        self.database, self.clip, self.source = database, clip, source
        self.problems: list[Problem] = []
        self.corrections: list[Correction] = []

    def problem(self, role: str, message: str, severity: str) -> None:
        self.problems.append(Problem(self.clip, self.database.column(role), message, severity, self.source))

    def correct(self, role: str, before: str, after: str, reason: str) -> None:
        field = self.database.column(role)
        self.corrections.append(Correction(self.clip, field, before, after, reason, self.source))
