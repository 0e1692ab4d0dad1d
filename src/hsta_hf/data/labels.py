"""Label schemes: how a clip's annotation becomes a class number. Schemes are data, not branches in code."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hsta_hf.data.clip import MicroExpressionClip

Label = int | tuple[float, ...]

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

# A unit as annotators write it: side (L, R), part (T, B, U, D), "AU", the number, an intensity (A to E).
_UNIT = re.compile(r"^(?:AU)?[LRTBUD]{0,2}(?:AU)?(\d{1,2})[A-E]?$", re.IGNORECASE)


def parse_action_units(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Read an annotation of action units such as `4`, `1+2`, `L14`, `R1+R2` or `T28+14`.

    Args:
        text: Units joined by `+` (commas, semicolons and spaces are understood as well).

    Returns:
        The unit numbers, each once and in increasing order, and the parts that are no action unit.
    """
    numbers: set[int] = set()
    unknown: list[str] = []
    for part in filter(None, re.split(r"[+,;\s]+", text.strip())):
        match = _UNIT.match(part)
        if match and int(match.group(1)) > 0:
            numbers.add(int(match.group(1)))
        else:
            unknown.append(part)
    return tuple(str(number) for number in sorted(numbers)), tuple(unknown)


def objective_class_of(action_units: Iterable[str]) -> str:
    """The objective class ("I" to "VII") of a set of action units (Davison et al. 2018).

    Classes are defined by exact sets; every other set, the empty one included, is class VII.
    """
    return _CLASS_OF_UNITS.get(frozenset(action_units), "VII")


@dataclass(frozen=True)
class LabelAssignment:
    """What a scheme made of a list of clips.

    Attributes:
        scheme: Name of the scheme.
        indices: Positions of the clips that have a label.
        labels: Their labels, in the same order.
        dropped: How many clips the scheme left out, by the value of the field that has no label.
    """

    scheme: str
    indices: tuple[int, ...]
    labels: tuple[Label, ...]
    dropped: Mapping[str, int]

    @property
    def description(self) -> str:
        """One sentence for a report: how many clips were kept, and which were left out."""
        total = len(self.indices) + sum(self.dropped.values())
        if not self.dropped:
            return f"Label scheme {self.scheme}: all {total} clips have a label."
        left_out = ", ".join(f"{count} {value}" for value, count in sorted(self.dropped.items()))
        return f"Label scheme {self.scheme}: {len(self.indices)} of {total} clips have a label; left out: {left_out}."


@dataclass(frozen=True)
class LabelScheme:
    """A named mapping from one field of a clip to class numbers.

    Attributes:
        name: Name in recipes and reports.
        labels: Class names; the position is the class number.
        field: Field of the clip that is read: "emotion", "objective_class" or "action_units".
        mapping: From the field's value to a class name. Values that are not in it are left out of the
            scheme (and counted, see `assign`).
        multi_label: True if a clip may have several classes at once (action units); its label is then a
            tuple of 0.0 and 1.0, one per class.
    """

    name: str
    labels: tuple[str, ...]
    field: str
    mapping: Mapping[str, str]
    multi_label: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.mapping.values()) - set(self.labels))
        if unknown:
            raise ValueError(f"label scheme {self.name!r} maps to {unknown}, which are not among its labels")
        object.__setattr__(self, "mapping", MappingProxyType(dict(self.mapping)))

    @property
    def num_labels(self) -> int:
        """Number of classes."""
        return len(self.labels)

    @property
    def id2label(self) -> dict[int, str]:
        """Class number to class name, as transformers configurations keep it."""
        return dict(enumerate(self.labels))

    @property
    def label2id(self) -> dict[str, int]:
        """Class name to class number."""
        return {label: index for index, label in enumerate(self.labels)}

    def label_of(self, clip: MicroExpressionClip | Mapping[str, Any]) -> Label | None:
        """The label of a clip, or of a row of the prepared dataset.

        Returns:
            A class number; for a multi-label scheme a tuple of `num_labels` zeros and ones; None if the
            scheme has no label for this clip.
        """
        value = clip[self.field] if isinstance(clip, Mapping) else getattr(clip, self.field)
        if self.multi_label:
            names = {self.mapping[unit] for unit in value or () if unit in self.mapping}
            return tuple(float(label in names) for label in self.labels) if names else None
        name = None if value is None else self.mapping.get(value)
        return None if name is None else self.labels.index(name)

    def assign(self, clips: Iterable[MicroExpressionClip | Mapping[str, Any]]) -> LabelAssignment:
        """Label many clips (or rows); says which were left out, so that nothing disappears silently.

        Give a prepared dataset as `dataset.remove_columns("frames")`: else every frame is read on the way.
        """
        indices: list[int] = []
        labels: list[Label] = []
        dropped: Counter[str] = Counter()
        for index, clip in enumerate(clips):
            label = self.label_of(clip)
            if label is None:
                value = clip[self.field] if isinstance(clip, Mapping) else getattr(clip, self.field)
                text = value if isinstance(value, str) else "+".join(value or ())
                dropped[text or f"(no {self.field})"] += 1
            else:
                indices.append(index)
                labels.append(label)
        return LabelAssignment(self.name, tuple(indices), tuple(labels), dict(dropped))


def _same(labels: Sequence[str]) -> dict[str, str]:
    return {label: label for label in labels}


CASME3_EMOTIONS: tuple[str, ...] = ("anger", "disgust", "fear", "happy", "others", "sad", "surprise")
# The units of the objective classes, and those that CAS(ME)^3 annotates besides.
_ACTION_UNIT_NUMBERS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 28, 38, 40)
ACTION_UNITS: tuple[str, ...] = tuple(str(number) for number in _ACTION_UNIT_NUMBERS)
_THREE_CLASS: Mapping[str, str] = {
    **dict.fromkeys(("happy", "happiness", "positive"), "positive"),
    **dict.fromkeys(("disgust", "fear", "anger", "sad", "sadness", "repression", "contempt", "negative"), "negative"),
    "surprise": "surprise",
}

LABEL_SCHEMES: Mapping[str, LabelScheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (
            LabelScheme("casme3_7", CASME3_EMOTIONS, "emotion", _same(CASME3_EMOTIONS)),
            LabelScheme("casme3_objective", OBJECTIVE_CLASSES, "objective_class", _same(OBJECTIVE_CLASSES)),
            LabelScheme("three_class", ("negative", "positive", "surprise"), "emotion", _THREE_CLASS),
            LabelScheme(
                "action_units",
                tuple(f"AU{unit}" for unit in ACTION_UNITS),
                "action_units",
                {unit: f"AU{unit}" for unit in ACTION_UNITS},
                multi_label=True,
            ),
        )
    }
)


def get_label_scheme(name: str) -> LabelScheme:
    """The label scheme of that name.

    Raises:
        ValueError: if there is none; the message lists those that exist.
    """
    try:
        return LABEL_SCHEMES[name]
    except KeyError:
        raise ValueError(f"no label scheme is called {name!r}; there are {', '.join(LABEL_SCHEMES)}") from None
