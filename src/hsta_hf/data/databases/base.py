"""What every database module is: a name, and a `load` that turns the owner's files into clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hsta_hf.data.clip import MicroExpressionClip

WARNING = "warning"
ERROR = "error"


class DatabaseError(ValueError):
    """A database cannot be read at all: no folder, no annotation, no columns."""


@dataclass(frozen=True)
class Problem:
    """Something wrong with one clip or annotation row, and what was done about it.

    Attributes:
        clip: The clip as the annotation names it: `subject/filename/onset/apex/offset`, or the row.
        field: The field of the annotation, or "frames".
        message: What is wrong, and what was done about it.
        severity: "warning": nothing is lost, treated as the message says.
            "error": the clip was left out, or some of its frames or labels are lost.
        source: The file and row.
    """

    clip: str
    field: str
    message: str
    severity: str
    source: str = ""

    def __str__(self) -> str:
        where = f" ({self.source})" if self.source else ""
        return f"{self.severity}: {self.clip}{where}: {self.field}: {self.message}"


@dataclass(frozen=True)
class Correction:
    """A known annotation mistake that was corrected.

    Attributes:
        clip: The clip as the annotation names it: `subject/filename/onset/apex/offset`.
        field: The field that was corrected.
        before: What the annotation says.
        after: What is used.
        reason: Whose correction this is.
        source: The file and row.
    """

    clip: str
    field: str
    before: str
    after: str
    reason: str
    source: str = ""

    def __str__(self) -> str:
        where = f" ({self.source})" if self.source else ""
        return f"{self.clip}{where}: {self.field} {self.before} -> {self.after}: {self.reason}"


@dataclass(frozen=True)
class LoadReport:
    """What loading a database gave.

    Attributes:
        database: Name of the database module.
        root: The folder.
        annotation: The annotation file.
        num_rows: Number of annotation rows.
        clips: The usable clips, in the annotation's order.
        problems: What is wrong, in the annotation's order.
        corrections: The known mistakes that were corrected.
        synthetic: True if a README in `root` calls the database synthetic.
        row_counts: Per field ("rows", "subjects", "emotion", "objective_class"), how often each value
            stands in the annotation, bad rows included.
        published_counts: The owner's numbers in the same form; empty if this is not the owner's file.
    """

    database: str
    root: Path
    annotation: Path
    num_rows: int
    clips: tuple[MicroExpressionClip, ...]
    problems: tuple[Problem, ...]
    corrections: tuple[Correction, ...]
    synthetic: bool
    row_counts: Mapping[str, Mapping[str, int]]
    published_counts: Mapping[str, Mapping[str, int]]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems by which something is lost."""
        return tuple(problem for problem in self.problems if problem.severity == ERROR)

    @property
    def subjects(self) -> tuple[str, ...]:
        """Subjects of the usable clips, in the annotation's order."""
        return tuple(dict.fromkeys(clip.subject for clip in self.clips))

    @property
    def count_mismatches(self) -> tuple[str, ...]:
        """Where the annotation's counts differ from the published ones; empty if none are published."""
        messages = []
        for field, published in self.published_counts.items():
            found = self.row_counts.get(field, {})
            for value in dict.fromkeys([*published, *found]):
                if found.get(value, 0) != published.get(value, 0):
                    messages.append(
                        f"{field} {value}: {found.get(value, 0)} in {self.annotation.name}, "
                        f"{published.get(value, 0)} published"
                    )
        return tuple(messages)

    def clip_counts(self, field: str) -> dict[str, int]:
        """How many usable clips have each value of `field` ("emotion", "objective_class", "subject", ...)."""
        counts = Counter(str(getattr(clip, field) or "(none)") for clip in self.clips)
        return dict(sorted(counts.items()))


class Database(Protocol):
    """A module of `hsta_hf.data.databases`."""

    NAME: str
    TITLE: str

    def load(self, root: str | Path, annotation: str | Path | None = None) -> LoadReport:
        """Read the database below `root`."""
        ...
