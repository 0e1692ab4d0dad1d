"""What a database with an annotation table is: its columns, folders, known mistakes, spellings and counts, as data.

In code, columns go by the names of `ROLES`; in messages, by the owner's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hsta_hf.data.action_units import OBJECTIVE_CLASSES
from hsta_hf.data.databases.frame_versions import FrameVersion
from hsta_hf.data.databases.known_mistakes import Known, UnprovenOffset
from hsta_hf.data.databases.timing import LONGEST_SECONDS
from hsta_hf.data.frame_folders import PLAIN_NUMBER

SUBJECT, FILENAME = "Subject", "Filename"
ONSET, APEX, OFFSET = "Onset", "Apex", "Offset"
UNITS, EMOTION = "AU", "emotion"
OBJECTIVE, KIND = "Objective class", "Expression type"
ROLES: tuple[str, ...] = (SUBJECT, FILENAME, ONSET, APEX, OFFSET, UNITS, EMOTION)

_ARABIC = {str(number): roman for number, roman in enumerate(OBJECTIVE_CLASSES, start=1)}

Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class AnnotatedDatabase:
    """What one database with an annotation table is.

    Attributes:
        name: Name of the database.
        title: What reports call it.
        fps: Frames per second.
        owners_names: The owner's names of the annotation file, the newest first.
        columns: Column of the table by role (`ROLES`, and `OBJECTIVE` and `KIND` where there are such columns): the
            owner's name of it, and other names that do.
        emotions: The owner's spelling of each emotion to ours. Other cases of letters are corrected and reported.
        emotion_spellings: Other words, in lower case, that stand for one of our emotions; corrected and reported.
        frames_layout: Where frames are, for messages.
        folder_of_subject: Name of a subject's folder from the table's cell; subjects go by it everywhere.
        folder_below: Folder below the clip's that holds the frames; "" if it is the clip's own.
        versions: The owner's versions of the frames, the preferred one first.
        subject_folder: Name of a subject's folder, by which a version's folder is told.
        corrections: Known mistakes by clip: folder of the subject, filename, onset, apex, offset as annotated.
        unproven_offsets: Wrong offsets of which the wrong value is not public.
        counts_from_1: True if there is no frame 0: an onset of 0 becomes 1.
        longest_seconds: How long after its apex an expression may last where its offset is unknown; None where
            nobody can say.
        kind: The rows that are read where the table has a column `KIND`: "macro" or "micro"; others are left out.
        arabic_classes: True if objective classes may be written 1 to 7.
        classes_beside: Where the owner has a table of objective classes of its own: reads it from the annotation's
            folder, as class ("I" to "VII") by folder of the subject and filename; empty where it is not there.
        published: The owner's counts, one for each of the versions of the table that are about.
        table_above: True if the table may lie in the folder above ROOT.
    """

    name: str
    title: str
    fps: float
    owners_names: tuple[str, ...]
    columns: Mapping[str, tuple[str, ...]]
    emotions: Mapping[str, str]
    frames_layout: str
    emotion_spellings: Mapping[str, str] = field(default_factory=dict)
    folder_of_subject: Callable[[str], str] = str
    folder_below: str = ""
    versions: tuple[FrameVersion, ...] = (FrameVersion("", (), PLAIN_NUMBER),)
    subject_folder: re.Pattern[str] = re.compile(r".+")
    corrections: Mapping[tuple[str, str, int, int, int], Known] = field(default_factory=dict)
    unproven_offsets: tuple[UnprovenOffset, ...] = ()
    counts_from_1: bool = False
    longest_seconds: float | None = LONGEST_SECONDS
    kind: str = ""
    arabic_classes: bool = False
    classes_beside: Callable[[Path], Mapping[tuple[str, str], str]] | None = None
    published: tuple[Counts, ...] = ()
    table_above: bool = False

    def __post_init__(self) -> None:
        """Refuse a database without one of the columns that every clip needs.

        Raises:
            ValueError: if one is missing; the message names it.
        """
        missing = [role for role in ROLES if not self.columns.get(role)]
        if missing:
            raise ValueError(f"{self.name}: no name is given for the columns {', '.join(missing)}")

    def column(self, role: str) -> str:
        """The owner's name of a column; of what is no column ("frames", "row"), the word itself."""
        return self.columns[role][0] if role in self.columns else role

    @property
    def table_columns(self) -> dict[str, tuple[str, ...]]:
        """The columns as `read_annotation` wants them."""
        return {names[0]: names[1:] for names in self.columns.values()}

    def emotion_of(self, cell: str) -> str | None:
        """Our word for the emotion in a cell, None if it is none."""
        ours = {spelling.casefold(): emotion for spelling, emotion in self.emotions.items()}
        return {**ours, **self.emotion_spellings}.get(cell.casefold())

    def objective_class(self, cell: str) -> str:
        """The class in a cell in Roman digits, or the cell in capitals if it is none."""
        cell = cell.upper()
        return _ARABIC.get(cell, cell) if self.arabic_classes else cell
