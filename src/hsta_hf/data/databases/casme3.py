"""CAS(ME)^3, part A, micro-expressions (Li et al. 2022): the owner's files as they come.

Frames are `<root>/<subject>/<letter>/color/<n>.jpg`, 30 frames per second, n counting from 1 through a long
recording of which several annotation rows are parts. The annotation is
`cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx` in the root; any other single .xlsx or .csv with its columns does.
"""

from __future__ import annotations

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
)
from hsta_hf.data.databases.base import Database
from hsta_hf.data.databases.known_mistakes import Known
from hsta_hf.data.labels import CASME3_EMOTIONS

FPS = 30.0
FRAMES_LAYOUT = "ROOT/<subject>/<letter>/color/<n>.jpg"

COLUMNS: Mapping[str, tuple[str, ...]] = {
    SUBJECT: ("Subject",),
    FILENAME: ("Filename", "File name"),
    ONSET: ("Onset", "Onset frame"),
    APEX: ("Apex", "Apex frame"),
    OFFSET: ("Offset", "Offset frame"),
    UNITS: ("AU", "AUs", "Action units"),
    OBJECTIVE: ("Objective class", "Objective classes"),
    EMOTION: ("emotion",),
}
# Spellings of the emotions besides the seven names themselves, case aside.
EMOTION_SPELLINGS: Mapping[str, str] = {"other": "others", "happiness": "happy", "sadness": "sad"}

_MEB = "after Varanka et al., MEB (github.com/tvaranka/meb)"

# By clip (subject, letter, onset, apex, offset) as annotated: row numbers shift between releases.
KNOWN_CORRECTIONS: Mapping[tuple[str, str, int, int, int], Known] = {
    ("spNO.149", "d", 112, 83, 358): Known("Apex", 123, _MEB),
    ("spNO.216", "d", 3647, 2668, 2694): Known("Onset", 2647, _MEB),
    ("spNO.40", "e", 2327, 2363, 0): Known("Offset", 2403, _MEB),
    ("spNO.40", "e", 1812, 1824, 0): Known("Offset", 1845, _MEB),
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

CASME3 = AnnotatedDatabase(
    name="casme3",
    title="CAS(ME)^3, part A",
    fps=FPS,
    owners_names=(
        "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
        "cas(me)3_part_A_ME_label_JpgIndex_v2.csv",
    ),
    columns=COLUMNS,
    emotions={emotion: emotion for emotion in CASME3_EMOTIONS},
    emotion_spellings=EMOTION_SPELLINGS,
    frames_layout=FRAMES_LAYOUT,
    folder_below="color",
    corrections=KNOWN_CORRECTIONS,
    counts_from_1=True,
    published=(PUBLISHED_COUNTS,),
)

DATABASES: tuple[Database, ...] = (as_database(CASME3),)
