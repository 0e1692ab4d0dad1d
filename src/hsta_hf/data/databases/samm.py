"""SAMM (Davison et al. 2018): the owner's files as they come.

Frames are `SAMM/006/006_1_2/006_05562.jpg`, grey, 960x650, 200 frames per second, the number padded with zeros to a
width that differs between clips; ROOT is that folder or the one above. The annotation `SAMM_Micro_FACS_Codes_v2.xlsx`
begins with prose; its header is found by the names in it. Objective classes are the annotation's own. Its column
`Micro` is not read: all 159 rows are what the owner and everybody after him counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hsta_hf.data.databases.annotated import as_database
from hsta_hf.data.databases.annotated_database import (
    APEX,
    EMOTION,
    FILENAME,
    OBJECTIVE,
    OFFSET,
    ONSET,
    SUBJECT,
    UNITS,
    AnnotatedDatabase,
    Counts,
)
from hsta_hf.data.databases.base import Database
from hsta_hf.data.databases.frame_versions import FrameVersion
from hsta_hf.data.databases.known_mistakes import UnprovenOffset

FRAMES_LAYOUT = "ROOT/<NNN>/<clip>/<NNN>_<n>.jpg (or ROOT/SAMM/<NNN>/…)"
EMOTIONS: tuple[str, ...] = ("anger", "contempt", "disgust", "fear", "happiness", "other", "sadness", "surprise")

COLUMNS: Mapping[str, tuple[str, ...]] = {
    SUBJECT: ("Subject",),
    FILENAME: ("Filename", "File name"),
    ONSET: ("Onset Frame", "Onset"),
    APEX: ("Apex Frame", "Apex"),
    OFFSET: ("Offset Frame", "Offset"),
    UNITS: ("Action Units", "AU", "AUs"),
    EMOTION: ("Estimated Emotion", "Emotion"),
    OBJECTIVE: ("Objective Classes", "Objective Class"),
}

# MEB replaces the offset of data row 56; which clip that is, and the wrong number, are in no public place.
UNPROVEN_OFFSETS: tuple[UnprovenOffset, ...] = (
    UnprovenOffset(
        5739,
        "after Varanka et al., MEB (github.com/tvaranka/meb), the clip told by its row",
        row=56,
        of_rows=159,
    ),
)

# Emotions: Davison et al. 2018 (TAFFC) and the MEGC of 2019; objective classes: Davison et al. 2018 (J. Imaging). The
# table names 30 subjects of whom 29 have clips, or those 29 alone.
_COUNTS: Counts = {
    "rows": {"all": 159},
    "emotion": {
        "anger": 57,
        "contempt": 12,
        "disgust": 9,
        "fear": 8,
        "happiness": 26,
        "other": 26,
        "sadness": 6,
        "surprise": 15,
    },
    "objective_class": {"I": 24, "II": 13, "III": 20, "IV": 8, "V": 3, "VI": 7, "VII": 84},
}
PUBLISHED_COUNTS: tuple[Counts, ...] = tuple({**_COUNTS, "subjects": {"all": subjects}} for subjects in (29, 30))


def folder_of_subject(cell: str) -> str:
    """`006` for `6` (a spreadsheet takes the zeros away); anything else as it is."""
    return f"{int(cell):03d}" if cell.isascii() and cell.isdigit() else cell


SAMM = AnnotatedDatabase(
    name="samm",
    title="SAMM",
    fps=200.0,
    owners_names=("SAMM_Micro_FACS_Codes_v2.xlsx", "SAMM_Micro_FACS_Codes_v2.csv"),
    columns=COLUMNS,
    emotions={emotion.capitalize(): emotion for emotion in EMOTIONS},
    emotion_spellings={"others": "other", "happy": "happiness", "sad": "sadness"},
    frames_layout=FRAMES_LAYOUT,
    folder_of_subject=folder_of_subject,
    versions=(FrameVersion("", ("SAMM",), re.compile(r"(?:[0-9]+_)?([0-9]+)")),),
    subject_folder=re.compile(r"[0-9]{3}"),
    unproven_offsets=UNPROVEN_OFFSETS,
    arabic_classes=True,
    published=PUBLISHED_COUNTS,
    table_above=True,
)

DATABASES: tuple[Database, ...] = (as_database(SAMM),)
