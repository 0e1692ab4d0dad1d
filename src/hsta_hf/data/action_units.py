"""Reading the owners' spellings of FACS action units, and the objective classes that follow from a set of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Davison et al. 2018, "Objective Classes for Micro-Facial Expression Recognition", by the exact set of units.
_OBJECTIVE_UNITS: Mapping[str, str] = {
    "I": "6, 12, 6+12, 6+7+12, 7+12",
    "II": "1+2, 5, 25, 1+2+25, 25+26, 5+24",
    "III": "23, 4, 4+7, 4+5, 4+5+7, 17+24, 4+6+7, 4+38",
    "IV": "10, 9, 4+9, 4+40, 4+5+40, 4+7+9, 4+9+17, 4+7+10, 4+5+7+9, 7+10",
    "V": "1, 15, 1+4, 6+15, 15+17",
    "VI": "1+2+4, 20",
}
OBJECTIVE_CLASSES: tuple[str, ...] = ("I", "II", "III", "IV", "V", "VI", "VII")
_CLASS_OF_UNITS: Mapping[frozenset[str], str] = {
    frozenset(units.split("+")): name for name, sets in _OBJECTIVE_UNITS.items() for units in sets.split(", ")
}

# A unit as annotators write it: side (L, R) and part (T, B, U, D) before or after "AU", the number, an intensity
# (A to E), and a mark of doubt.
_UNIT = re.compile(r"^([LRTBUD]{0,2})(?:AU)?([LRTBUD]{0,2})(\d{1,2})[A-E]?(\??)$", re.IGNORECASE)
_OR = "or"


@dataclass(frozen=True)
class ActionUnits:
    """What an annotation of action units says.

    Attributes:
        numbers: Unit numbers, each once and in increasing order.
        sided: The same with their sides: "12" of both sides, "L12" of the left, "R12" of the right alone; by number.
        unread: Parts that are no action unit.
        alternatives: Units after an "or", which are not used: the first of the alternatives is.
        doubtful: Units with a question mark, which are used.
    """

    numbers: tuple[str, ...]
    sided: tuple[str, ...]
    unread: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """One sentence for each sort of thing that a reader of the annotation should look at."""
        found = []
        if self.unread:
            found.append(f"{', '.join(self.unread)!r} is no action unit")
        if self.alternatives:
            found.append(f"of alternatives the first is used, not {', '.join(self.alternatives)}")
        if self.doubtful:
            found.append(f"{', '.join(self.doubtful)} has a mark of doubt and is used")
        if not self.numbers and not self.unread:
            found.append("no action units are annotated")
        return tuple(found)


def read_action_units(text: str) -> ActionUnits:
    """Read an annotation of action units such as `4`, `1+2`, `L14`, `R1+R2`, `T28+14`, `AU12B + L14C`, `15?`.

    `or` stands between two units of which the annotator could not tell which it is, as in `R12 or R15`: the first is
    used, so `1 + R12 or R15` is `1 + R12`. A question mark alone stands for a unit that nobody could tell.

    Args:
        text: Units joined by `+` (commas, semicolons and spaces are understood as well, and the full-width forms of
            these and of digits, as Chinese keyboards write them).
    """
    text = unicodedata.normalize("NFKC", text)
    read: dict[tuple[int, str], None] = {}
    unread: list[str] = []
    alternatives: list[str] = []
    doubtful: list[str] = []
    after_or = False
    joined = re.sub(r"\bAU\s+(?=\d)", "AU", text.strip(), flags=re.IGNORECASE)
    for part in filter(None, re.split(r"[+,;、\s]+", joined)):
        if part.casefold() == _OR:
            after_or = bool(read) or bool(alternatives)
            if not after_or:
                unread.append(part)
            continue
        match = _UNIT.match(part)
        if match is None or int(match.group(3)) == 0:
            unread.append(part)
        elif after_or:
            alternatives.append(part)
        else:
            sides = {letter for letter in (match.group(1) + match.group(2)).upper() if letter in "LR"}
            read[int(match.group(3)), sides.pop() if len(sides) == 1 else ""] = None
            if match.group(4):
                doubtful.append(part)
        after_or = False
    if after_or:
        unread.append(_OR)
    return ActionUnits(
        tuple(str(number) for number in sorted({number for number, _ in read})),
        tuple(f"{side}{number}" for number, side in sorted(read)),
        tuple(unread),
        tuple(alternatives),
        tuple(doubtful),
    )


def parse_action_units(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The unit numbers of an annotation, each once and in increasing order, and the parts that were not used.

    Args:
        text: As for `read_action_units`, which tells more.
    """
    units = read_action_units(text)
    return units.numbers, (*units.unread, *(f"{_OR} {unit}" for unit in units.alternatives))


def sided_action_units(text: str) -> tuple[str, ...]:
    """The units of an annotation with their sides ("12", "L12", "R12"), by number."""
    return read_action_units(text).sided


def unit_numbers(text: str) -> tuple[str, ...]:
    """The units of an annotation without their sides, each once and in increasing order."""
    return read_action_units(text).numbers


def objective_class_of(action_units: Iterable[str]) -> str:
    """The objective class ("I" to "VII") of a set of action units (Davison et al. 2018).

    Classes are defined by exact sets; every other set, the empty one included, is class VII.
    """
    return _CLASS_OF_UNITS.get(frozenset(action_units), "VII")
