"""CAS(ME)^3, part A, macro-expressions (Li et al. 2022): extra training data from the recordings of `casme3`.

Frames as in `casme3`. The annotation has one column more, `Expression type`; rows that are micro-expressions there are
left out, and counted: `casme3` reads those. Macro-expressions last up to seconds, and nobody can say where one ends
whose offset is unknown, so that such a row is left out rather than guessed.
"""

from __future__ import annotations

from dataclasses import replace

from hsta_hf.data.databases.annotated import as_database
from hsta_hf.data.databases.annotated_database import KIND, AnnotatedDatabase
from hsta_hf.data.databases.base import Database
from hsta_hf.data.databases.casme3 import CASME3, COLUMNS

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

DATABASES: tuple[Database, ...] = (as_database(CASME3_MACRO),)
