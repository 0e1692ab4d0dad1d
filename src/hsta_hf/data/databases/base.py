"""What every database module is: a name, and a `load` that turns the owner's files into clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hsta_hf.data.clip import MicroExpressionClip

WARNING = "warning"
ERROR = "error"
# What SMIC holds beside its clips. It is no row of anything: reports count it apart from rows that are left out.
NON_MICRO = "clips without a micro-expression (non_micro)"


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
        annotation: The annotation file; None where labels come from folder names (SMIC) or from several files.
        num_rows: Number of annotation rows (of clip folders, where there is no annotation).
        clips: The usable clips, in the annotation's order.
        problems: What is wrong, in the annotation's order.
        corrections: The known mistakes that were corrected.
        synthetic: True if a README in `root` calls the database synthetic.
        row_counts: Per field ("rows", "subjects", "emotion", "objective_class", in a composite "database", too),
            how often each value stands in the annotation, bad rows included.
        published_counts: The owner's numbers in the same form; empty if this is not the owner's file.
        variant: Which of the owner's versions of the frames was read; "" where there is one.
        left_out: How many sound rows the database leaves out on purpose, by reason (MEGC 2019 drops `others`).
    """

    database: str
    root: Path
    annotation: Path | None
    num_rows: int
    clips: tuple[MicroExpressionClip, ...]
    problems: tuple[Problem, ...]
    corrections: tuple[Correction, ...]
    synthetic: bool
    row_counts: Mapping[str, Mapping[str, int]]
    published_counts: Mapping[str, Mapping[str, int]]
    variant: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def annotation_name(self) -> str:
        """The annotation file's name, for messages; "the folders" where there is none."""
        return "the folders" if self.annotation is None else self.annotation.name

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
        for name, published in self.published_counts.items():
            found = self.row_counts.get(name, {})
            for value in dict.fromkeys([*published, *found]):
                if found.get(value, 0) != published.get(value, 0):
                    messages.append(
                        f"{name} {value}: {found.get(value, 0)} in {self.annotation_name}, "
                        f"{published.get(value, 0)} published"
                    )
        return tuple(messages)

    def clip_counts(self, field: str) -> dict[str, int]:
        """How many usable clips have each value of `field` ("emotion", "objective_class", "subject", ...)."""
        counts = Counter(str(getattr(clip, field) or "(none)") for clip in self.clips)
        return dict(sorted(counts.items()))


@dataclass(frozen=True)
class Database:
    """A database that hsta-hf reads. Each module of `hsta_hf.data.databases` has one or more in `DATABASES`.

    Attributes:
        name: Name on the command line and in `MicroExpressionClip.database`.
        title: What reports call it.
        layout: Where frames and annotation are expected, as one line for messages.
        load: `load(root, annotation=None, variant=None)` reads the files below `root`. `annotation` None looks
            for the owner's file in `root`; `variant` None takes the first of `variants` that `root` holds. No bad
            row raises; `DatabaseError` is for a root, annotation or variant that is not there at all.
        variants: The owner's versions of the frames, the preferred one first; empty where there is one.
        aligned_variants: Those that the owner has already cropped and registered: `hsta prepare` leaves them as
            they are unless it is told otherwise.
        layout_hint: One line about what was expected and what is there, if so many rows have no frames that the
            root is likely not the right one; else "".
        owners_table: Name of the owner's annotation file, whose counts are compared with the published ones; "" if
            the database has no such file, or nothing is published about it.
    """

    name: str
    title: str
    layout: str
    load: Callable[..., LoadReport]
    variants: tuple[str, ...] = ()
    aligned_variants: tuple[str, ...] = ()
    layout_hint: Callable[[LoadReport], str] | None = None
    owners_table: str = ""
