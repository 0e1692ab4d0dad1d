"""CAS(ME)^3, part A, macro-expressions (Li et al. 2022): extra training data from the recordings of `casme3`.

Frames as in `casme3`. The annotation has one column more, `Expression type`; rows that are micro-expressions there are
left out, and counted: `casme3` reads those. Macro-expressions last up to seconds, and nobody can say where one ends
whose offset is unknown, so that such a row is left out rather than guessed.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from hsta_hf.data.databases import annotated
from hsta_hf.data.databases.annotated_database import KIND, AnnotatedDatabase
from hsta_hf.data.databases.base import Database, LoadReport
from hsta_hf.data.databases.casme3 import CASME3, COLUMNS, FRAMES_LAYOUT

CASME3_MACRO: AnnotatedDatabase = replace(
    CASME3,
    name="casme3_macro",
    title="CAS(ME)^3, part A, macro-expressions",
    owners_names=tuple(
        f"{stem}{suffix}"
        for stem in ("cas(me)3_part_A_MaE_label_JpgIndex_v2_emotion", "cas(me)3_part_A_MaE_label_JpgIndex_v2")
        for suffix in (".xlsx", ".csv")
    ),
    columns={**COLUMNS, KIND: ("Expression type", "Type")},
    corrections={},
    longest_seconds=None,
    kind="macro",
    # How the rows fall into emotions is not published.
    published=({"rows": {"all": 3346}, "subjects": {"all": 98}},),
)


def load(root: str | Path, annotation: str | Path | None = None, variant: str | None = None) -> LoadReport:
    """Read the macro-expressions of CAS(ME)^3 part A.

    Args:
        root: The folder that holds the subjects' folders and the annotation.
        annotation: The annotation file; None looks for it in `root`.
        variant: Must be None: there is one version of the frames.

    Returns:
        The usable clips and everything that was found wrong, by clip; `left_out` counts the micro-expressions. No bad
        row raises.

    Raises:
        DatabaseError: if there is no such folder, or no annotation that can be read.
    """
    return annotated.load_annotated(CASME3_MACRO, root, annotation, variant)


DATABASES: tuple[Database, ...] = (
    Database(
        name=CASME3_MACRO.name,
        title=CASME3_MACRO.title,
        layout=f"{FRAMES_LAYOUT} and the owner's .xlsx of macro-expressions in ROOT",
        load=load,
        layout_hint=partial(annotated.layout_hint, CASME3_MACRO),
    ),
)
