"""CAS(ME)^3, part A, micro-expressions (Li et al. 2022): the owner's files as they come.

Frames are `<root>/<subject>/<letter>/color/<n>.jpg`, 30 frames per second, n counting from 1 through a long
recording of which several annotation rows are parts. The annotation is
`cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx` in the root; any other single .xlsx or .csv with its columns does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from hsta_hf.data.annotation_table import AnnotationError, AnnotationRow, find_annotation, read_annotation
from hsta_hf.data.clip import APEX_ANNOTATED, APEX_UNKNOWN, MicroExpressionClip
from hsta_hf.data.databases.base import ERROR, WARNING, Correction, Database, DatabaseError, LoadReport, Problem
from hsta_hf.data.databases.timing import NO_FRAME, resolve_timing
from hsta_hf.data.frame_folders import NO_FOLDER, FrameFolders, UnsafePathError, safe_name
from hsta_hf.data.labels import CASME3_EMOTIONS, OBJECTIVE_CLASSES, objective_class_of, parse_action_units

NAME = "casme3"
TITLE = "CAS(ME)^3, part A"
FPS = 30.0

OWNERS_NAMES: tuple[str, ...] = (
    "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
    "cas(me)3_part_A_ME_label_JpgIndex_v2.csv",
)
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Subject": (),
    "Filename": ("File name",),
    "Onset": ("Onset frame",),
    "Apex": ("Apex frame",),
    "Offset": ("Offset frame",),
    "AU": ("AUs", "Action units"),
    "Objective class": ("Objective classes",),
    "emotion": (),
}

# Spellings of the emotions besides the seven names themselves, case aside.
_EMOTION_SPELLINGS = {"other": "others", "happiness": "happy", "sadness": "sad"}

# So many rows without a folder are no accident: the layout is looked at.
_MANY = 20
_SHOWN_ENTRIES = 5

_MEB = "after Varanka et al., MEB (github.com/tvaranka/meb)"
_COUNTS_FROM_1 = "frames count from 1"


@dataclass(frozen=True)
class _Known:
    """A known mistake: this clip's `field` becomes `value`."""

    field: str
    value: int
    source: str


# By clip (subject, letter, onset, apex, offset) as annotated: row numbers shift between releases.
KNOWN_CORRECTIONS: Mapping[tuple[str, str, int, int, int], _Known] = {
    ("spNO.149", "d", 112, 83, 358): _Known("Apex", 123, _MEB),
    ("spNO.216", "d", 3647, 2668, 2694): _Known("Onset", 2647, _MEB),
    ("spNO.40", "e", 2327, 2363, 0): _Known("Offset", 2403, _MEB),
    ("spNO.40", "e", 1812, 1824, 0): _Known("Offset", 1845, _MEB),
}

# Counts of the owner's annotation file, version 2. Emotions: "others" includes 3 rows spelled "Others".
PUBLISHED_COUNTS: Mapping[str, Mapping[str, int]] = {
    "rows": {"all": 860},
    "subjects": {"all": 94},
    "emotion": {
        "anger": 64,
        "disgust": 250,
        "fear": 86,
        "happy": 55,
        "others": 161,
        "sad": 57,
        "surprise": 187,
    },
    "objective_class": {"I": 15, "II": 151, "III": 234, "IV": 37, "V": 47, "VI": 3, "VII": 373},
}


def load(root: str | Path, annotation: str | Path | None = None, variant: str | None = None) -> LoadReport:
    """Read CAS(ME)^3 part A.

    Args:
        root: The folder that holds the subjects' folders and the annotation.
        annotation: The annotation file; None looks for it in `root`.
        variant: Not used: there is one version of the frames.

    Returns:
        The usable clips and everything that was found wrong, by clip. No bad row raises.

    Raises:
        DatabaseError: if there is no such folder, or no annotation that can be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatabaseError(f"{root} is not a folder; give the folder of {TITLE} with its spNO.* folders")
    try:
        table = Path(annotation) if annotation is not None else find_annotation(root, OWNERS_NAMES, COLUMNS)
        rows = read_annotation(table, COLUMNS)
    except AnnotationError as error:
        raise DatabaseError(str(error)) from error
    reader = _Reader(root, table)
    for row in rows:
        reader.read(row)
    synthetic = _calls_itself_synthetic(root)
    is_owners = not synthetic and table.name.casefold() in {name.casefold() for name in OWNERS_NAMES}
    return LoadReport(
        database=NAME,
        root=root,
        annotation=table,
        num_rows=len(rows),
        clips=tuple(reader.clips),
        problems=tuple(reader.problems),
        corrections=tuple(reader.corrections),
        synthetic=synthetic,
        row_counts=_row_counts(rows),
        published_counts=PUBLISHED_COUNTS if is_owners else {},
    )


def layout_hint(report: LoadReport) -> str:
    """One line about what was expected and what is there, if all rows or many have no frames; else "".

    Args:
        report: What `load` returned.
    """
    no_folder = {p.source for p in report.problems if p.field == "frames" and p.message.startswith(NO_FOLDER)}
    no_onset = {p.source for p in report.problems if p.field == "Onset" and p.message.startswith(NO_FRAME)}
    total = report.num_rows
    if total and len(no_folder | no_onset) == total:
        which = f"any of {total} rows"
    elif len(no_folder) > _MANY:
        which = f"{len(no_folder)} of {total} rows"
    else:
        return ""
    root = report.root
    entries = sorted(entry.name for entry in root.iterdir() if not entry.name.startswith("."))
    holds = ", ".join(entries[:_SHOWN_ENTRIES]) + (", …" if len(entries) > _SHOWN_ENTRIES else "")
    hint = (
        f"No frames for {which}. Expected ROOT/<subject>/<letter>/color/<n>.jpg; "
        f"ROOT ({root}) holds: {holds or 'nothing'}."
    )
    subjects = {problem.clip.split("/")[0] for problem in report.problems if problem.source in no_folder}
    for name in entries:
        if name not in subjects and any((root / name / subject).is_dir() for subject in subjects):
            return f"{hint} Is {root / name} the right folder?"
    return hint


class _Reader:
    """Turns annotation rows into clips, collecting problems and corrections on the way."""

    def __init__(self, root: Path, table: Path) -> None:
        self.table = table
        self.folders = FrameFolders(root)
        self.clips: list[MicroExpressionClip] = []
        self.problems: list[Problem] = []
        self.corrections: list[Correction] = []
        self._seen: dict[tuple[str, str, int, int], MicroExpressionClip] = {}
        self._ids: set[str] = set()

    def read(self, row: AnnotationRow) -> None:
        """Read one row; adds a clip if it is usable."""
        cells = row.cells
        name = "/".join(cells[column] or "?" for column in ("Subject", "Filename", "Onset", "Apex", "Offset"))
        source = f"{self.table.name} row {row.number}"

        def problem(field: str, message: str, severity: str) -> None:
            self.problems.append(Problem(name, field, message, severity, source))

        applied: list[Correction] = []

        def correct(field: str, before: str, after: str, reason: str) -> None:
            applied.append(Correction(name, field, before, after, reason, source))

        try:
            subject, letter = safe_name(cells["Subject"], "Subject"), safe_name(cells["Filename"], "Filename")
        except UnsafePathError as error:
            problem("Subject/Filename", f"{error}; the clip is left out", ERROR)
            return
        times = {column: _frame_number(cells[column]) for column in ("Onset", "Apex", "Offset")}
        for column, known in _known_corrections(subject, letter, times).items():
            correct(column, cells[column], str(known.value), known.source)
            times[column] = known.value
        onset, apex, offset = times["Onset"], times["Apex"], times["Offset"]
        if onset is None or onset < 1:
            problem("Onset", f"{cells['Onset']!r} is not a frame number; the clip is left out", ERROR)
            return
        try:
            on_disk = self.folders.frames(subject, letter, "color")
        except (OSError, UnsafePathError) as error:
            problem("frames", f"{error}; the clip is left out", ERROR)
            return

        timing = resolve_timing(
            onset, apex, offset, on_disk, FPS, apex_cell=cells["Apex"], offset_cell=cells["Offset"]
        )
        for field, message, severity in timing.findings:
            problem(field, message, severity)
        if not timing.usable:
            return

        emotion = cells["emotion"].casefold()
        emotion = _EMOTION_SPELLINGS.get(emotion, emotion)
        if emotion not in CASME3_EMOTIONS:
            problem("emotion", f"{cells['emotion']!r} is none of {', '.join(CASME3_EMOTIONS)}", ERROR)
        elif emotion != cells["emotion"]:
            correct("emotion", cells["emotion"], emotion, "spelling")
        units, unread = parse_action_units(cells["AU"])
        if unread or not units:
            what = f"{', '.join(unread)!r} is no action unit" if unread else "no action units are annotated"
            problem("AU", f"{what}; action units read: {'+'.join(units) or 'none'}", WARNING)
        objective = cells["Objective class"].upper()
        if objective not in OBJECTIVE_CLASSES:
            objective = objective_class_of(units)
            problem(
                "Objective class",
                f"{cells['Objective class']!r} is none of I to VII; {objective} follows from the action units",
                WARNING,
            )

        clip = MicroExpressionClip(
            clip_id=f"{NAME}/{subject}/{letter}/{timing.onset}",
            database=NAME,
            subject=subject,
            filename=letter,
            onset=timing.onset,
            apex=timing.apex,
            offset=timing.offset,
            frame_paths=tuple(on_disk[number] for number in timing.frame_numbers),
            frame_numbers=timing.frame_numbers,
            fps=FPS,
            emotion=emotion if emotion in CASME3_EMOTIONS else None,
            objective_class=objective,
            action_units=units,
            action_units_raw=cells["AU"],
            apex_source=APEX_UNKNOWN if timing.apex is None else APEX_ANNOTATED,
            corrections=tuple(f"{c.field} {c.before} -> {c.after} ({c.reason})" for c in applied),
            source=source,
        )
        # Two rows about the same frames would put them into training and test of a split by clips.
        key = (subject, letter, timing.onset, timing.offset)
        first = self._seen.get(key)
        if first is not None:
            same = (first.emotion, first.objective_class, first.action_units) == (
                clip.emotion,
                clip.objective_class,
                clip.action_units,
            )
            what = "repeats" if same else "contradicts"
            severity = WARNING if same else ERROR
            problem("row", f"{what} {first.source} about the same frames; this row is left out", severity)
            return
        if clip.clip_id in self._ids:
            clip = replace(clip, clip_id=f"{clip.clip_id}-{timing.offset}")
        self._ids.add(clip.clip_id)
        self._seen[key] = clip
        self.clips.append(clip)
        self.corrections.extend(applied)


def _frame_number(text: str) -> int | None:
    """A frame number; None for anything that is no whole number ("/", "", "-1" are how owners say unknown)."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _known_corrections(subject: str, letter: str, times: Mapping[str, int | None]) -> dict[str, _Known]:
    """The corrections that apply to a row, by column."""
    onset, apex, offset = times["Onset"], times["Apex"], times["Offset"]
    found: dict[str, _Known] = {}
    if onset is not None and apex is not None and offset is not None:
        known = KNOWN_CORRECTIONS.get((subject, letter, onset, apex, offset))
        if known is not None:
            found[known.field] = known
    if onset == 0:
        found["Onset"] = _Known("Onset", 1, _COUNTS_FROM_1)
    return found


def _row_counts(rows: list[AnnotationRow]) -> dict[str, dict[str, int]]:
    """Counts as the owner publishes them: over all rows, usable or not."""
    emotions = Counter(_EMOTION_SPELLINGS.get(e, e) for e in (row.cells["emotion"].casefold() for row in rows))
    objective = Counter(row.cells["Objective class"].upper() for row in rows)
    return {
        "rows": {"all": len(rows)},
        "subjects": {"all": len({row.cells["Subject"] for row in rows})},
        "emotion": dict(sorted(emotions.items())),
        "objective_class": dict(sorted(objective.items())),
    }


def _calls_itself_synthetic(root: Path) -> bool:
    """True if a README in the root calls the database synthetic: every report then says so, too."""
    for readme in sorted(root.glob("README*")):
        if readme.is_file() and "synthetic" in readme.read_text(encoding="utf-8", errors="replace").casefold():
            return True
    return False


DATABASES: tuple[Database, ...] = (
    Database(
        name=NAME,
        title=TITLE,
        layout="ROOT/<subject>/<letter>/color/<n>.jpg and the owner's .xlsx in ROOT",
        load=load,
        layout_hint=layout_hint,
    ),
)
