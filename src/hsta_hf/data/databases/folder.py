"""A folder of one's own: a table that says which frames of which videos or frame folders are clips, and of whom.

ROOT holds `clips.csv` (or `clips.xlsx`, or any single table with the columns) and what it names. Its columns:

- `path`: a video file, or a folder of pictures, relative to ROOT with `/` between folders. Required.
- `subject`: who is seen; clips of one person share it. Required.
- `clip`: the recording's name in reports; empty: the path.
- `onset`, `apex`, `offset`: frame numbers. Frames of a video are counted from 0; pictures have the number that is the
  last run of digits in the file name. Empty: the first frame; unknown, to be spotted; the last frame.
- `emotion`: any word; the label scheme decides what it means.
- `objective_class`: I to VII; empty: what follows from the action units, where there are any.
- `action_units`: `4`, `1+2`, `L14`.
- `fps`: frames per second; empty: what the video says. Required for pictures, which do not say.

Several rows may be parts of one recording.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hsta_hf.data.action_units import OBJECTIVE_CLASSES, objective_class_of, read_action_units
from hsta_hf.data.annotation_table import AnnotationError, AnnotationRow, find_annotation, named_annotation, read_table
from hsta_hf.data.clip import APEX_ANNOTATED, APEX_UNKNOWN, MicroExpressionClip
from hsta_hf.data.databases.base import ERROR, WARNING, Database, DatabaseError, LoadReport, Problem
from hsta_hf.data.databases.synthetic import calls_itself_synthetic
from hsta_hf.data.databases.timing import frame_number, resolve_timing
from hsta_hf.data.frame_folders import FRAME_SUFFIXES, NO_FOLDER, FrameFolders, UnsafePathError, safe_name
from hsta_hf.data.labels import EMOTIONS
from hsta_hf.data.video_facts import VideoFacts, video_facts
from hsta_hf.data.wording import did_you_mean, nearest

NAME = "folder"
TITLE = "a folder of one's own"
USUAL_NAMES: tuple[str, ...] = ("clips.csv", "clips.xlsx")

REQUIRED: Mapping[str, tuple[str, ...]] = {"path": ("video", "file", "folder"), "subject": ()}
OPTIONAL: Mapping[str, tuple[str, ...]] = {
    "clip": ("clip name", "filename"),
    "onset": ("onset frame",),
    "apex": ("apex frame",),
    "offset": ("offset frame",),
    "emotion": (),
    "objective_class": ("objective classes",),
    "action_units": ("AU", "AUs"),
    "fps": ("frames per second",),
}
# What people call columns that are not read under these names, since other tools mean something else by them.
_ALSO_CALLED: Mapping[str, tuple[str, ...]] = {
    "subject": ("person", "participant"),
    "emotion": ("label", "class", "expression"),
    "onset": ("start",),
    "apex": ("peak",),
    "offset": ("end", "stop"),
}
_LAST_NUMBER = re.compile(r"(?:.*[^0-9])?([0-9]+)[^0-9]*", re.DOTALL)
_SHOWN_NAMES = 3
_TIMES = ("onset", "apex", "offset")


def load(root: str | Path, annotation: str | Path | None = None, variant: str | None = None) -> LoadReport:
    """Read a folder of one's own.

    Args:
        root: The folder that paths in the table are relative to.
        annotation: The table; None looks for it in `root`.
        variant: None: there is one version of the frames.

    Returns:
        The usable clips and everything that was found wrong, by row. No bad row raises.

    Raises:
        DatabaseError: if there is no such folder, no table that can be read, or a variant is asked for.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatabaseError(f"{root} is not a folder; give the folder that the paths in your table are relative to")
    if variant is not None:
        raise DatabaseError(f"{TITLE} has one version of its frames; leave the variant {variant!r} out")
    try:
        if annotation is not None:
            path = named_annotation(root, Path(annotation))
        else:
            path = find_annotation(root, USUAL_NAMES, REQUIRED)
        table = read_table(path, REQUIRED, OPTIONAL)
    except AnnotationError as error:
        raise DatabaseError(str(error)) from error
    reader = _Reader(root, path)
    if table.unknown:
        known = ", ".join([*REQUIRED, *OPTIONAL])
        names = ", ".join(f"{name!r}{_meant(name, table.columns)}" for name in table.unknown)
        message = f"{names} {'is' if len(table.unknown) == 1 else 'are'} not read; the columns that are: {known}"
        reader.problems.append(Problem(path.name, "columns", message, WARNING, f"{path.name} header"))
    for row in table.rows:
        reader.read(row)
    return LoadReport(
        database=NAME,
        root=root,
        annotation=path,
        num_rows=len(table.rows),
        clips=tuple(reader.clips),
        problems=tuple(reader.problems),
        corrections=(),
        synthetic=calls_itself_synthetic(root),
        row_counts=_row_counts(table.rows),
        published_counts={},
    )


@dataclass(frozen=True)
class _Recording:
    """What a row's `path` is.

    Attributes:
        fps: Frames per second that the file declares; None if it does not.
        pictures: Frame number to file; empty for a video.
        video: The video file; None for pictures.
        numbers: The frames' numbers.
    """

    fps: float | None
    pictures: Mapping[int, Path]
    video: Path | None
    numbers: tuple[int, ...]


class _Reader:
    """Turns the table's rows into clips, collecting problems on the way."""

    def __init__(self, root: Path, table: Path) -> None:
        self.root, self.table = root, table
        self.folders = FrameFolders(root)
        self.clips: list[MicroExpressionClip] = []
        self.problems: list[Problem] = []
        self._videos: dict[Path, VideoFacts | ValueError] = {}
        self._looked_at: set[Path] = set()
        self._seen: dict[tuple[str, int, int], MicroExpressionClip] = {}
        self._ids: set[str] = set()

    def read(self, row: AnnotationRow) -> None:
        """Read one row; adds a clip if it is usable."""
        cells = row.cells
        name = "/".join(text or "?" for text in (cells["subject"], _recording_name(cells), *map(cells.get, _TIMES)))
        source = f"{self.table.name} row {row.number}"

        def problem(field: str, message: str, severity: str) -> None:
            self.problems.append(Problem(name, field, message, severity, source))

        def left_out(field: str, message: str) -> None:
            problem(field, f"{message}; the clip is left out", ERROR)

        if not cells["subject"]:
            return left_out("subject", "empty; fill in who is seen")
        try:
            subject = safe_name(cells["subject"], "subject")
            if cells["clip"]:
                safe_name(cells["clip"], "clip")
        except UnsafePathError as error:
            return left_out("subject/clip", str(error))
        try:
            parts = _relative_parts(cells["path"])
            recording = self._recording(parts)
        except UnsafePathError as error:
            return left_out("path", str(error))
        except (OSError, ValueError) as error:
            return left_out("frames", str(error))
        if recording.video is None:
            self._name_odd_pictures(parts, recording, name, source)

        fps = _number(cells["fps"]) if cells["fps"] else recording.fps
        if fps is None or fps <= 0:
            what = f"{cells['fps']!r} is not a number of frames per second"
            kind = "pictures do" if recording.video is None else "this video does"
            return left_out("fps", what if cells["fps"] else f"empty, and {kind} not say: fill in the column")
        onset = frame_number(cells["onset"]) if cells["onset"] else recording.numbers[0]
        if onset is None:
            return left_out("onset", f"{cells['onset']!r} is not a frame number")
        offset = frame_number(cells["offset"]) if cells["offset"] else recording.numbers[-1]
        apex = frame_number(cells["apex"])
        timing = resolve_timing(
            onset, apex, offset, recording.numbers, fps, apex_cell=cells["apex"], offset_cell=cells["offset"]
        )
        for field, message, severity in timing.findings:
            if field != "Apex" or cells["apex"]:  # an empty cell asks for spotting
                problem(field, message, severity)
        if not timing.usable:
            return None

        units = read_action_units(cells["action_units"])
        if units.remarks and cells["action_units"]:
            used = f"action units read: {'+'.join(units.numbers) or 'none'}"
            problem("action_units", f"{'; '.join(units.remarks)}; {used}", WARNING)
        objective = _class_of(row) or None
        if objective is not None and objective not in OBJECTIVE_CLASSES:
            problem("objective_class", f"{cells['objective_class']!r} is none of I to VII; it is left out", ERROR)
            objective = None

        emotion = cells["emotion"].casefold()
        if emotion and emotion not in EMOTIONS:
            message = f"{cells['emotion']!r} is a class of no label scheme: each leaves the clip out"
            problem("emotion", message + did_you_mean(emotion, EMOTIONS), WARNING)

        filename = cells["clip"] or _joined(parts, is_video=recording.video is not None)
        clip = MicroExpressionClip(
            clip_id=self._free_id(f"{NAME}/{subject}/{filename}/{timing.onset}", timing.offset),
            database=NAME,
            subject=subject,
            filename=filename,
            onset=timing.onset,
            apex=timing.apex,
            offset=timing.offset,
            frame_paths=tuple(recording.pictures[n] for n in timing.frame_numbers) if recording.pictures else (),
            frame_numbers=timing.frame_numbers,
            fps=fps,
            emotion=emotion or None,
            objective_class=objective,
            action_units=units.numbers,
            action_units_raw=cells["action_units"],
            apex_source=APEX_UNKNOWN if timing.apex is None else APEX_ANNOTATED,
            source=source,
            video_path=recording.video,
        )
        # Two rows about the same frames would put them into training and test of a split.
        key = ("/".join(parts), timing.onset, timing.offset)
        first = self._seen.setdefault(key, clip)
        if first is not clip:
            what, severity = ("repeats", WARNING) if _says_the_same(first, clip) else ("contradicts", ERROR)
            problem("row", f"{what} {first.source} about the same frames; this row is left out", severity)
            return None
        self._ids.add(clip.clip_id)
        self.clips.append(clip)
        return None

    def _recording(self, parts: tuple[str, ...]) -> _Recording:
        """What lies at a path below the root.

        Raises:
            OSError, ValueError: if there is nothing that can be read; `UnsafePathError` if it leads out of the root.
        """
        path = self.root.joinpath(*parts)
        if path.is_file():
            if not path.resolve().is_relative_to(self.root.resolve()):
                raise UnsafePathError(f"{path} is a link out of {self.root}; it is refused (copy the video in)")
            if path.suffix.lower() in FRAME_SUFFIXES:
                raise ValueError(f"{'/'.join(parts)} is one picture; give the folder that holds a clip's pictures")
            facts = self._video_facts(path)
            return _Recording(facts.fps, {}, path, tuple(range(facts.num_frames)))
        if not path.exists():
            raise FileNotFoundError(f"{NO_FOLDER} or video {path}")
        pictures = self.folders.frames(*parts, name=_LAST_NUMBER)
        if not pictures:
            kinds = ", ".join(sorted(FRAME_SUFFIXES))
            raise ValueError(f"there is no frame in {path}: no picture ({kinds}) with a number in its name")
        return _Recording(None, pictures, None, tuple(pictures))

    def _video_facts(self, path: Path) -> VideoFacts:
        if path not in self._videos:
            try:
                self._videos[path] = video_facts(path)
            except ValueError as error:
                self._videos[path] = error
        facts = self._videos[path]
        if isinstance(facts, ValueError):
            raise facts
        return facts

    def _name_odd_pictures(self, parts: tuple[str, ...], recording: _Recording, clip: str, source: str) -> None:
        """Report, once a folder, the pictures in it that are no frames."""
        folder = self.root.joinpath(*parts)
        if folder in self._looked_at:
            return
        self._looked_at.add(folder)
        repeated = self.folders.repeated(*parts, name=_LAST_NUMBER)
        again = sorted(name for names in repeated.values() for name in names[1:])
        taken = {*again, *(path.name for path in recording.pictures.values())}
        pictures = (path.name for path in folder.iterdir() if path.suffix.lower() in FRAME_SUFFIXES)
        unnumbered = sorted(name for name in pictures if name not in taken and not name.startswith("."))
        if again:
            message = f"{_names(again)}: a number that another picture of the folder has, too; left out"
            self.problems.append(Problem(clip, "frames", message, ERROR, source))
        if unnumbered:
            message = f"{_names(unnumbered)}: no number in the name; not taken for frames"
            self.problems.append(Problem(clip, "frames", message, WARNING, source))

    def _free_id(self, clip_id: str, offset: int) -> str:
        """`clip_id`, or if it is taken with the offset, and if that is taken with a number behind it."""
        if clip_id not in self._ids:
            return clip_id
        candidate, number = f"{clip_id}-{offset}", 1
        while candidate in self._ids:
            number += 1
            candidate = f"{clip_id}-{offset}-{number}"
        return candidate


def _relative_parts(text: str) -> tuple[str, ...]:
    """The folders and the last name of a path that can only lie below the root.

    Raises:
        UnsafePathError: if it is empty, absolute, has a `..`, a drive, a backslash or a control character.
    """
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    if not parts or text.startswith("/") or ".." in parts or re.search(r"[\\:\x00-\x1f]", text):
        raise UnsafePathError(f"{text!r} is no path below ROOT with / between folders; it is refused")
    return parts


def _joined(parts: tuple[str, ...], *, is_video: bool) -> str:
    """The name of a recording that has none of its own."""
    return "_".join((*parts[:-1], Path(parts[-1]).stem if is_video else parts[-1]))


def _recording_name(cells: Mapping[str, str]) -> str:
    """The recording as its clips are called, so that a report calls it by one name; the bare path if that is none."""
    if cells["clip"]:
        return cells["clip"]
    try:
        parts = _relative_parts(cells["path"])
    except UnsafePathError:
        return cells["path"]
    # Nothing was looked at yet: a name with an ending that is no picture's is taken for a file's.
    return _joined(parts, is_video=re.fullmatch(r"\.[A-Za-z0-9]{2,4}", Path(parts[-1]).suffix) is not None)


def _meant(name: str, columns: tuple[str, ...]) -> str:
    """` (did you mean apex?)` for a column that is not read; "" if it is like none of those that are missing."""
    others = {
        alias.casefold(): column
        for column, aliases in {**REQUIRED, **OPTIONAL}.items()
        if column not in columns
        for alias in (column, *aliases, *_ALSO_CALLED.get(column, ()))
    }
    near = nearest(name, others)
    return f" (did you mean {others[near]}?)" if near else ""


def _says_the_same(first: MicroExpressionClip, second: MicroExpressionClip) -> bool:
    def said(clip: MicroExpressionClip) -> tuple[object, ...]:
        return clip.subject, clip.apex, clip.emotion, clip.objective_class, clip.action_units

    return said(first) == said(second)


def _number(text: str) -> float | None:
    """A number with a decimal point or comma; None for anything else."""
    return float(text.replace(",", ".")) if re.fullmatch(r"[0-9]+([.,][0-9]+)?", text) else None


def _names(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(names[:_SHOWN_NAMES]) + more


def _row_counts(rows: list[AnnotationRow]) -> dict[str, dict[str, int]]:
    """How often each label stands in the table, "" for none; fields that no row fills in are left out."""
    counts = {"rows": {"all": len(rows)}, "subjects": {"all": len({row.cells["subject"] for row in rows} - {""})}}
    labels = {
        "emotion": Counter(row.cells["emotion"].casefold() for row in rows),
        "objective_class": Counter(_class_of(row) for row in rows),
    }
    return counts | {name: dict(sorted(found.items())) for name, found in labels.items() if any(found)}


def _class_of(row: AnnotationRow) -> str:
    """The objective class of a row: what its cell says, else what its action units say, else ""."""
    units = read_action_units(row.cells["action_units"]).numbers
    return row.cells["objective_class"].upper() or (objective_class_of(units) if units else "")


DATABASES: tuple[Database, ...] = (
    Database(
        name=NAME,
        title=TITLE,
        layout="ROOT/clips.csv with the columns path and subject (others are optional), paths relative to ROOT",
        load=load,
    ),
)
