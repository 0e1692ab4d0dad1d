"""Writes SAMM in its owner's layout, quirks included: see `write_published`, and `SammTree` for single clips."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from owners.files import spread, write_picture, write_table

OWNERS_NAME = "SAMM_Micro_FACS_Codes_v2.xlsx"
HEADER = (
    "Subject",
    "Filename",
    "Inducement Code",
    "Onset Frame",
    "Apex Frame",
    "Offset Frame",
    "Duration",
    "Micro",
    "Action Units",
    "Estimated Emotion",
    "Objective Classes",
    "Notes",
)
# The owner's table begins with prose; the header is its 14th row.
PROSE: tuple[tuple[Any, ...], ...] = (
    ("Spontaneous Micro-Facial Movement Dataset",),
    (),
    ("Subject", "The number of the participant"),
    ("Filename", "Participant, stimulus and movement"),
    ("Onset Frame", "The first frame of the movement"),
    ("Apex Frame", "-1 if it is not known"),
    ("Offset Frame", "The last frame"),
    ("Duration", "In frames"),
    ("Micro", "1/2 or Macro"),
    ("Action Units", "L and R are sides, A to E intensities"),
    ("Estimated Emotion",),
    ("Objective Classes", "I to VII"),
    (),
)

EMOTIONS = {
    "Anger": 57,
    "Contempt": 12,
    "Disgust": 9,
    "Fear": 8,
    "Happiness": 26,
    "Other": 26,
    "Sadness": 6,
    "Surprise": 15,
}
OBJECTIVE_CLASSES = {1: 24, 2: 13, 3: 20, 4: 8, 5: 3, 6: 7, 7: 84}
# Subjects with clips: 6 to 37 but for three.
SUBJECTS = tuple(number for number in range(6, 38) if number not in (8, 27, 29))
_ONLY_OTHER = 37
_ABSENT = 38
_DIGITS = (5, 4, 6)
_UNITS = ("AU4 + AU7", "12B", "L14", "R12C + L12B", "R12 or R15", "1+2", "4+7", 14, "AU12A + L14C", "L14 or AU12", "9")


class SammTree:
    """A SAMM folder: add recordings and rows, then `save`. Frames lie in `<root>/006/006_1_2/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[tuple[Any, ...]] = []
        root.mkdir(parents=True, exist_ok=True)

    def frame(self, filename: str, number: int, digits: int = 5, suffix: str = ".jpg") -> Path:
        subject = filename.split("_")[0]
        return self.root / subject / filename / f"{subject}_{number:0{digits}d}{suffix}"

    def recording(self, filename: str, numbers: Iterable[int], digits: int = 5) -> None:
        """Write grey frames, their numbers padded with zeros to `digits`."""
        identity = [int(part) for part in filename.split("_")]
        for number in numbers:
            write_picture(self.frame(filename, number, digits), *identity, number, grey=True)

    def row(
        self,
        filename: Any,
        onset: Any,
        apex: Any,
        offset: Any,
        au: Any = "AU4 + AU7",
        emotion: Any = "Anger",
        objective: Any = 3,
        subject: Any = None,
        micro: Any = "1/2",
    ) -> None:
        """Add an annotation row, whether or not it has frames. `subject` None takes it from the filename."""
        number = str(filename).split("_")[0] if subject is None else subject
        duration = offset - onset + 1 if isinstance(onset, int) and isinstance(offset, int) else None
        self.rows.append(
            (number, filename, 1, onset, apex, offset, duration, micro, au, emotion, objective, None),
        )

    def save(
        self,
        name: str = OWNERS_NAME,
        header: tuple[Any, ...] = HEADER,
        prose: tuple[tuple[Any, ...], ...] = PROSE,
    ) -> Path:
        """Write the table, prose above its header, as .xlsx or .csv by the name's ending."""
        write_table(self.root / name, [*prose, header, *self.rows])
        return self.root


def published_clips() -> list[tuple[int, str, str, int]]:
    """(subject, filename, emotion, objective class) of all 159 rows, with the published count of each.

    28 of the 29 subjects show one of the three MEGC classes. Which clip has which labels is made up.
    """
    left = dict(EMOTIONS)
    rows_of = {subject: 5 + (place < 159 - 5 * len(SUBJECTS)) for place, subject in enumerate(SUBJECTS)}
    left["Other"] -= rows_of[_ONLY_OTHER]
    first = (["Anger", "Happiness", "Surprise", "Contempt"] * 7)[: len(SUBJECTS) - 1]
    for emotion in first:
        left[emotion] -= 1
    pool, firsts, objective = iter(spread(left)), iter(first), iter(spread(OBJECTIVE_CLASSES))
    clips = []
    for subject in SUBJECTS:
        for place in range(rows_of[subject]):
            emotion = "Other" if subject == _ONLY_OTHER else next(firsts if place == 0 else pool)
            clips.append((subject, f"{subject:03d}_{1 + place // 3}_{1 + place % 3}", emotion, next(objective)))
    return clips


def write_published(root: Path, annotation: str = OWNERS_NAME, subject_without_clips: bool = False) -> Path:
    """Write the whole database: 159 rows, 29 subjects, the published count of each label, all quirks.

    Three rows have no apex (-1), data row 56 has the wrong offset, zero padding differs between clips, subjects have
    lost their zeros in every other row, some units are alternatives (`R12 or R15`).

    Args:
        root: The folder to write.
        annotation: Name of the table.
        subject_without_clips: The last row (emotion Other) is of a 30th subject, who has no folder.

    Returns:
        `root`.
    """
    tree = SammTree(root)
    for index, (number, filename, emotion, objective) in enumerate(published_clips()):
        onset = 5735 if index == 56 else 900 + 7 * index
        digits = _DIGITS[index % len(_DIGITS)]
        apex = -1 if index in (125, 132, 133) else onset + 2
        tree.recording(filename, range(onset, onset + 5), digits)
        offset = 573 if index == 56 else onset + 4
        subject: Any = number if index % 2 else f"{number:03d}"
        if subject_without_clips and index == 158:
            subject, filename = _ABSENT, f"{_ABSENT:03d}_1_1"
        units = _UNITS[index % len(_UNITS)]
        tree.row(filename, onset, apex, offset, units, emotion, objective, subject)
    return tree.save(annotation)
