"""Reading a database with an annotation table, by rules that are the same for all of them.

A database of this kind is an `AnnotatedDatabase`: columns, folders, known mistakes, spellings and counts, as data.
Rows become clips in `annotated_rows.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from hsta_hf.data.annotation_table import AnnotationError, find_annotation, named_annotation, read_annotation
from hsta_hf.data.databases.annotated_database import OBJECTIVE, ONSET, AnnotatedDatabase, Counts
from hsta_hf.data.databases.annotated_rows import RowReader
from hsta_hf.data.databases.base import Database, DatabaseError, LoadReport
from hsta_hf.data.databases.frame_versions import find_version
from hsta_hf.data.databases.synthetic import calls_itself_synthetic
from hsta_hf.data.databases.timing import NO_FRAME
from hsta_hf.data.frame_folders import NO_FOLDER
from hsta_hf.data.wording import listing

# So many rows without a folder are no accident: the layout is looked at.
_MANY = 20
_NO_NAMES = {"", ".", "..", "?"}


def as_database(database: AnnotatedDatabase) -> Database:
    """What a module of such a database puts into its `DATABASES`: it is read by `load_annotated`."""
    table = f"the owner's .xlsx{f' of {database.kind}-expressions' if database.kind else ''}"
    versions = [version for version in database.versions if version.name]
    return Database(
        name=database.name,
        title=database.title,
        layout=f"{database.frames_layout} and {table} in ROOT{' or above' if database.table_above else ''}",
        load=partial(load_annotated, database),
        variants=tuple(version.name for version in versions),
        aligned_variants=tuple(version.name for version in versions if version.aligned),
        layout_hint=partial(layout_hint, database),
        owners_table=database.owners_names[0] if database.published else "",
    )


def load_annotated(
    database: AnnotatedDatabase,
    root: str | Path,
    annotation: str | Path | None = None,
    variant: str | None = None,
) -> LoadReport:
    """Read a database.

    Args:
        database: What it is.
        root: The folder that holds the frames and the annotation.
        annotation: The annotation file; None looks for it.
        variant: Which of the owner's versions of the frames; None takes the first that is there.

    Returns:
        The usable clips and everything that was found wrong, by clip. No bad row raises.

    Raises:
        DatabaseError: if there is no such folder, no frames of that version, or no annotation that can be read.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatabaseError(f"{root} is not a folder; give the folder of {database.title}")
    columns = database.table_columns
    try:
        found = named_annotation(root, Path(annotation)) if annotation is not None else None
        table = found or find_annotation(root, database.owners_names, columns, above=database.table_above)
        rows = read_annotation(table, columns)
    except AnnotationError as error:
        raise DatabaseError(str(error)) from error
    layout, title = database.frames_layout, database.title
    version, below = find_version(root, database.versions, database.subject_folder, variant, title, layout)
    classes = database.classes_beside(table.parent) if database.classes_beside is not None else {}
    reader = RowReader(database, root, table, version, below, classes)
    for place, row in enumerate(rows):
        reader.read(row, place, len(rows))
    synthetic = calls_itself_synthetic(root)
    is_owners = not synthetic and table.name.casefold() in {name.casefold() for name in database.owners_names}
    counts = reader.row_counts()
    published = database.published if is_owners else ()
    if OBJECTIVE not in database.columns and not classes:
        # Classes that follow from the action units are ours, the published ones are the owner's.
        published = tuple(
            {name: version[name] for name in version if name != "objective_class"} for version in published
        )
    return LoadReport(
        database=database.name,
        root=root,
        annotation=table,
        num_rows=len(rows),
        clips=tuple(reader.clips),
        problems=tuple(reader.problems),
        corrections=tuple(reader.corrections),
        synthetic=synthetic,
        row_counts=counts,
        published_counts=_nearest(published, counts),
        variant=version.name,
        left_out=dict(reader.left_out),
    )


def _nearest(published: Sequence[Counts], counts: Counts) -> Counts:
    """The published counts that differ least from what was counted: those of the same version of the table."""
    if not published:
        return {}
    # Fields that one version alone has say nothing of which is nearer.
    common = set(counts).intersection(*published)

    def differences(version: Counts) -> tuple[int, int]:
        values = [
            (counts[name].get(value, 0), version[name].get(value, 0))
            for name in common
            for value in {*version[name], *counts[name]}
        ]
        return sum(a != b for a, b in values), abs(counts["rows"]["all"] - version["rows"]["all"])

    return min(published, key=differences)


def layout_hint(database: AnnotatedDatabase, report: LoadReport) -> str:
    """One line about what was expected and what is there, if all rows or many have no frames; else "".

    Args:
        database: What was read.
        report: What `load_annotated` returned.
    """
    onset = database.column(ONSET)
    no_folder = {p.source for p in report.problems if p.field == "frames" and p.message.startswith(NO_FOLDER)}
    no_onset = {p.source for p in report.problems if p.field == onset and p.message.startswith(NO_FRAME)}
    total = report.num_rows - sum(report.left_out.values())
    if total and len(no_folder | no_onset) == total:
        which = "the only row" if total == 1 else f"any of {total} rows"
    elif len(no_folder) > _MANY:
        which = f"{len(no_folder)} of {total} rows"
    else:
        return ""
    root = report.root
    hint = f"No frames for {which}. Expected {database.frames_layout}; ROOT ({root}) holds: {listing(root)}."
    subjects = {problem.clip.split("/")[0] for problem in report.problems if problem.source in no_folder}
    for entry in sorted(entry for entry in root.iterdir() if not entry.name.startswith(".")):
        if entry.name not in subjects and any((entry / subject).is_dir() for subject in subjects):
            return f"{hint} Is {entry} the right folder?"
    above = root.resolve().parent
    if any((above / subject).is_dir() for subject in subjects - _NO_NAMES):
        return f"{hint} Is {above} the right folder?"
    return hint
