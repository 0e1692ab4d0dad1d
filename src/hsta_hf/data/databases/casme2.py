"""CASME II (Yan et al. 2014): the owner's files as they come.

Frames are `CASME2_RAW_selected/sub01/EP02_01f/img46.jpg` (raw, 640x480) and `Cropped/sub01/EP02_01f/reg_img46.jpg`
(cropped and registered, 280x340), 200 frames per second; ROOT may be the folder that holds both, one of the two, or
the version's own folder. The annotation `CASME2-coding-20140508.xlsx` lies in ROOT or above it; subjects are integers
there. Objective classes follow from the action units, or are read from the owner's `CASME2-ObjectiveClasses.xlsx`
where that lies beside the annotation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from hsta_hf.data.action_units import OBJECTIVE_CLASSES
from hsta_hf.data.annotation_table import AnnotationError, read_annotation
from hsta_hf.data.databases.annotated import as_database
from hsta_hf.data.databases.annotated_database import (
    APEX,
    EMOTION,
    FILENAME,
    OFFSET,
    ONSET,
    SUBJECT,
    UNITS,
    AnnotatedDatabase,
    Counts,
)
from hsta_hf.data.databases.base import Database, DatabaseError
from hsta_hf.data.databases.frame_versions import FrameVersion
from hsta_hf.data.databases.known_mistakes import Known, UnprovenOffset

FRAMES_LAYOUT = (
    "ROOT/CASME2_RAW_selected/<subNN>/<clip>/img<n>.jpg (raw) or ROOT/Cropped/<subNN>/<clip>/reg_img<n>.jpg (cropped)"
)
EMOTIONS: tuple[str, ...] = ("disgust", "fear", "happiness", "others", "repression", "sadness", "surprise")
OBJECTIVE_NAMES: tuple[str, ...] = ("CASME2-ObjectiveClasses.xlsx", "CASME2-ObjectiveClasses.csv")
_OBJECTIVE_COLUMNS: Mapping[str, tuple[str, ...]] = {
    "Subject": (),
    "Filename": ("File name",),
    "Objective Class": ("Objective Classes",),
}

COLUMNS: Mapping[str, tuple[str, ...]] = {
    SUBJECT: ("Subject",),
    FILENAME: ("Filename", "File name"),
    ONSET: ("OnsetFrame", "Onset"),
    APEX: ("ApexFrame", "Apex"),
    OFFSET: ("OffsetFrame", "Offset"),
    UNITS: ("Action Units", "AU", "AUs"),
    EMOTION: ("Estimated Emotion", "Emotion"),
}
VERSIONS: tuple[FrameVersion, ...] = (
    # "selected" is onset to offset, the other the whole recording; their frames have the same numbers.
    FrameVersion(
        "raw",
        ("CASME2_RAW_selected", "RAW_selected", "CASME2_RAW", "RAW"),
        re.compile(r"img([0-9]+)", re.IGNORECASE),
    ),
    FrameVersion(
        "cropped",
        ("Cropped", "CASME2_Cropped", "Cropped_original"),
        re.compile(r"reg_img([0-9]+)", re.IGNORECASE),
        aligned=True,
    ),
)

# By clip as annotated. The raw frames of this clip go on to its offset.
KNOWN_CORRECTIONS: Mapping[tuple[str, str, int, int, int], Known] = {
    ("sub16", "EP01_08", 73, 94, 110): Known(
        OFFSET, 96, "the owner's cropped frames of this clip end at 96", variant="cropped"
    ),
}
# MEB replaces the offset of row 60 of the version with 256 rows. Which clip that is follows from the order of the
# rows, by subject and file name (row 29 is sub04/EP12_01f, whose missing apex others report), and from the clips per
# subject (9, 13, 7, 5, 19, 5 before sub07): the third of sub07. The wrong number itself is in no public place.
UNPROVEN_OFFSETS: tuple[UnprovenOffset, ...] = (
    UnprovenOffset(
        91,
        "after Varanka et al., MEB (github.com/tvaranka/meb), the clip told by the order of the rows",
        row=60,
        of_rows=256,
        clip=("sub07", "EP06_01"),
    ),
)

# The version with 256 rows has sub24/EP02_07 besides, a disgust. Objective classes: Davison et al. 2018, 255 clips.
_EMOTIONS_OF_255: Mapping[str, int] = {
    "disgust": 63,
    "fear": 2,
    "happiness": 32,
    "others": 99,
    "repression": 27,
    "sadness": 7,
    "surprise": 25,
}
PUBLISHED_COUNTS: tuple[Counts, ...] = (
    {
        "rows": {"all": 255},
        "subjects": {"all": 26},
        "emotion": _EMOTIONS_OF_255,
        "objective_class": {"I": 25, "II": 15, "III": 99, "IV": 26, "V": 20, "VI": 1, "VII": 69},
    },
    {"rows": {"all": 256}, "subjects": {"all": 26}, "emotion": {**_EMOTIONS_OF_255, "disgust": 64}},
)


def folder_of_subject(cell: str) -> str:
    """`sub01` for `1`, `01` or `sub1`; anything else as it is."""
    match = re.fullmatch(r"(?:sub)?0*([0-9]+)", cell, re.IGNORECASE)
    return f"sub{int(match.group(1)):02d}" if match else cell


def owners_classes(folder: Path) -> dict[tuple[str, str], str]:
    """The owner's objective classes by subject's folder and filename; empty where there is no table of them.

    Raises:
        DatabaseError: if the table is there and cannot be read.
    """
    wanted = {name.casefold() for name in OBJECTIVE_NAMES}
    tables = sorted(path for path in folder.iterdir() if path.name.casefold() in wanted and path.is_file())
    if not tables:
        return {}
    try:
        rows = read_annotation(tables[0], _OBJECTIVE_COLUMNS)
    except AnnotationError as error:
        raise DatabaseError(str(error)) from error
    roman = {name: name for name in OBJECTIVE_CLASSES}
    roman.update({str(number): name for number, name in enumerate(OBJECTIVE_CLASSES, start=1)})
    classes: dict[tuple[str, str], str] = {}
    for row in rows:
        key = (folder_of_subject(row.cells["Subject"]), row.cells["Filename"])
        cell = row.cells["Objective Class"].upper()
        if cell not in roman:
            where = f"{tables[0].name} row {row.number}"
            raise DatabaseError(f"{where}: Objective Class {cell!r} is none of 1 to 7; correct it, or move the file")
        classes.setdefault(key, roman[cell])
    return classes


CASME2 = AnnotatedDatabase(
    name="casme2",
    title="CASME II",
    fps=200.0,
    owners_names=("CASME2-coding-20140508.xlsx", "CASME2-coding-20140508.csv"),
    columns=COLUMNS,
    emotions={emotion: emotion for emotion in EMOTIONS},
    emotion_spellings={"other": "others", "happy": "happiness", "sad": "sadness"},
    frames_layout=FRAMES_LAYOUT,
    folder_of_subject=folder_of_subject,
    versions=VERSIONS,
    subject_folder=re.compile(r"sub[0-9]+", re.IGNORECASE),
    corrections=KNOWN_CORRECTIONS,
    unproven_offsets=UNPROVEN_OFFSETS,
    classes_beside=owners_classes,
    published=PUBLISHED_COUNTS,
    table_above=True,
)

DATABASES: tuple[Database, ...] = (as_database(CASME2),)
