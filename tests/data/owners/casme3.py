"""Writes CAS(ME)^3 part A's micro-expressions as their owner ships them, with the published counts of every label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from owners.files import spread, write_picture, write_table

OWNERS_NAME = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
HEADER = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")

# Three of the 161 `others` are spelled `Others`.
EMOTIONS = {
    "disgust": 250,
    "surprise": 187,
    "others": 158,
    "Others": 3,
    "fear": 86,
    "anger": 64,
    "sad": 57,
    "happy": 55,
}
OBJECTIVE_CLASSES = {"VII": 373, "III": 234, "II": 151, "V": 47, "IV": 37, "I": 15, "VI": 3}
NUM_ROWS, NUM_SUBJECTS = 860, 94
APEX_IS_ONSET, SHORT, LONG = 55, 7, 99
# Rows with a known mistake, and the frames that they are about: subject, letter, onset, apex, offset, first, last.
MISTAKEN = (
    ("spNO.149", "d", 112, 83, 358, 112, 358),
    ("spNO.216", "d", 3647, 2668, 2694, 2647, 2694),
    ("spNO.40", "e", 2327, 2363, 0, 2327, 2403),
    ("spNO.40", "e", 1812, 1824, 0, 1812, 1845),
)
ONSET_0 = 1  # rows whose onset is 0, and their first frame 1
_UNITS = (4, "1+2", "L14", "R1+R2", "T28+14", "4+7", "12")


def write_published(root: Path, long_rows: int = LONG) -> Path:
    """Write the whole database: 860 rows, 94 subjects, the published count of each label, all quirks.

    Rows of a letter are parts of one recording. 55 have their apex at the onset, 7 are shorter than 6 frames, 99 run
    more than 50 frames past the onset (two of them are among the four with a known mistake), one has onset 0. Which
    row has which label is made up.

    Args:
        root: The folder to write.
        long_rows: How many rows run more than 50 frames past the onset.

    Returns:
        `root`.
    """
    labels = list(zip(spread(EMOTIONS), spread(OBJECTIVE_CLASSES), strict=True))
    known = {subject for subject, *_ in MISTAKEN}
    others = [name for name in (f"spNO.{number}" for number in range(1, 200)) if name not in known]
    others = others[: NUM_SUBJECTS - len(known)]
    rows: list[tuple[Any, ...]] = []

    def add(subject: str, letter: str, timing: tuple[int, int, int], first: int, last: int) -> None:
        for number in range(first, last + 1):
            path = root / subject / letter / "color" / f"{number}.jpg"
            write_picture(path, int(subject.rpartition(".")[2]), ord(letter), number)
        emotion, objective = labels[len(rows)]
        rows.append((subject, letter, *timing, _UNITS[len(rows) % len(_UNITS)], objective, emotion))

    long_ones = long_rows - sum(last - first > 50 for *_, first, last in MISTAKEN)
    num_plain = NUM_ROWS - len(MISTAKEN)
    for index in range(num_plain):
        subject, place = others[index % len(others)], index // len(others)
        onset = 1 + 100 * (place // 2)
        length = 52 if index < long_ones else 4 if index >= num_plain - SHORT else 6
        # The last rows before the short ones.
        apex_is_onset = num_plain - SHORT - APEX_IS_ONSET <= index < num_plain - SHORT
        apex, offset = onset if apex_is_onset else onset + 2, onset + length - 1
        annotated = 0 if index < ONSET_0 else onset
        add(subject, "ab"[place % 2], (annotated, apex, offset), onset, offset)
    for subject, letter, onset, apex, offset, first, last in MISTAKEN:
        add(subject, letter, (onset, apex, offset), first, last)
    assert len(rows) == NUM_ROWS
    write_table(root / OWNERS_NAME, [HEADER, *rows])
    return root
