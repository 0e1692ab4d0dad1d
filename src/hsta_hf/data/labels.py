"""Label schemes: how a clip's annotation becomes a class number. Schemes are data, not branches in code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from hsta_hf.data.action_units import (
    OBJECTIVE_CLASSES,
    objective_class_of,
    parse_action_units,
    sided_action_units,
    unit_numbers,
)
from hsta_hf.data.clip import MicroExpressionClip

Label = int | tuple[float, ...]


@dataclass(frozen=True)
class LabelAssignment:
    """What a scheme made of a list of clips.

    Attributes:
        scheme: Name of the scheme.
        indices: Positions of the clips that have a label.
        labels: Their labels, in the same order.
        dropped: How many clips the scheme left out, by the value of the field that has no label.
        unused: In clips that have a label of a multi-label scheme: how many clips have a value that is no class of
            it, by value (action units that the scheme does not know).
        negatives: How many clips have the label of no class at all.
    """

    scheme: str
    indices: tuple[int, ...]
    labels: tuple[Label, ...]
    dropped: Mapping[str, int]
    unused: Mapping[str, int] = field(default_factory=dict)
    negatives: int = 0

    @property
    def description(self) -> str:
        """For a report: how many clips were kept, which were left out, which values no class stands for."""
        total = len(self.indices) + sum(self.dropped.values())
        text = f"Label scheme {self.scheme}: all {total} clips have a label."
        if self.dropped:
            left_out = ", ".join(f"{count} {value}" for value, count in sorted(self.dropped.items()))
            kept = len(self.indices)
            text = f"Label scheme {self.scheme}: {kept} of {total} clips have a label; left out: {left_out}."
        if self.negatives:
            text += f" Annotated, but with no class of the scheme: {self.negatives} clips, negatives of all classes."
        if self.unused:
            unused = ", ".join(f"{value} in {count}" for value, count in sorted(self.unused.items()))
            text += f" Annotated in clips that have a label, but no class of the scheme: {unused}."
        return text


@dataclass(frozen=True)
class LabelScheme:
    """A named mapping from one field of a clip to class numbers.

    Attributes:
        name: Name in recipes and reports.
        labels: Class names; the position is the class number.
        field: Field of the clip that is read: "emotion", "objective_class", "action_units" or "action_units_raw".
        mapping: From the field's value to a class name. Values that are not in it are left out of the
            scheme (and counted, see `assign`).
        multi_label: True if a clip may have several classes at once (action units); its label is then a
            tuple of 0.0 and 1.0, one per class.
        split: Of a multi-label scheme whose field is text: what makes values of the text.
        negatives: Of a multi-label scheme: whether a clip with an annotation, of which no value is a class, has the
            label of no class at all. Elsewhere it has no label. A clip without any annotation has none in either case.
        mirror: What a picture's flip from left to right makes of the labels: the label of class `i` becomes that of
            class `mirror[i]` (a movement of the left half of the face becomes one of the right half). None where a
            flip changes no label.

    Raises:
        ValueError: `mapping` or `mirror` does not go with `labels`.
    """

    name: str
    labels: tuple[str, ...]
    field: str
    mapping: Mapping[str, str]
    multi_label: bool = False
    split: Callable[[str], Sequence[str]] | None = None
    mirror: tuple[int, ...] | None = None
    negatives: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.mapping.values()) - set(self.labels))
        if unknown:
            raise ValueError(f"label scheme {self.name!r} maps to {unknown}, which are not among its labels")
        numbers = range(len(self.labels))
        if self.mirror is not None and (
            sorted(self.mirror) != list(numbers) or any(self.mirror[self.mirror[i]] != i for i in numbers)
        ):
            raise ValueError(
                f"label scheme {self.name!r}: mirror {self.mirror} does not swap its {len(self.labels)} classes "
                "so that flipping twice changes nothing"
            )
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
        if self.multi_label:
            names = {self.mapping[unit] for unit in self._values(clip) if unit in self.mapping}
            annotated = bool(names) or (self.negatives and bool(self._value(clip)))
            return tuple(float(label in names) for label in self.labels) if annotated else None
        value = self._value(clip)
        name = None if value is None else self.mapping.get(value)
        return None if name is None else self.labels.index(name)

    def _value(self, clip: MicroExpressionClip | Mapping[str, Any]) -> Any:
        return clip[self.field] if isinstance(clip, Mapping) else getattr(clip, self.field)

    def _values(self, clip: MicroExpressionClip | Mapping[str, Any]) -> Sequence[str]:
        """The values of a clip in a multi-label scheme."""
        value = self._value(clip) or ()
        return self.split(value) if self.split is not None and isinstance(value, str) else value

    def assign(self, clips: Iterable[MicroExpressionClip | Mapping[str, Any]]) -> LabelAssignment:
        """Label many clips (or rows); says which were left out, so that nothing disappears silently.

        Give a prepared dataset as `dataset.remove_columns("frames")`: else every frame is read on the way.
        """
        indices: list[int] = []
        labels: list[Label] = []
        dropped: Counter[str] = Counter()
        unused: Counter[str] = Counter()
        for index, clip in enumerate(clips):
            label = self.label_of(clip)
            if label is None:
                value = self._value(clip)
                text = value if isinstance(value, str) else "+".join(value or ())
                dropped[text or f"(no {self.field})"] += 1
            else:
                indices.append(index)
                labels.append(label)
                if self.multi_label:
                    unused.update(set(self._values(clip)) - set(self.mapping))
        negatives = sum(not any(label) for label in labels if isinstance(label, tuple))
        return LabelAssignment(self.name, tuple(indices), tuple(labels), dict(dropped), dict(unused), negatives)


def _same(labels: Sequence[str]) -> dict[str, str]:
    return {label: label for label in labels}


CASME3_EMOTIONS: tuple[str, ...] = ("anger", "disgust", "fear", "happy", "others", "sad", "surprise")
CASME2_5_EMOTIONS: tuple[str, ...] = ("happiness", "disgust", "repression", "surprise", "others")
SAMM_5_EMOTIONS: tuple[str, ...] = ("anger", "contempt", "happiness", "surprise", "other")
# What the action-unit schemes know: the units of the objective classes and those that CAS(ME)^3 annotates besides. The
# databases annotate more: CASME II 19 units, CAS(ME)^3 24, SAMM 27; with CASME, 4DME and MMEW there are 36, such as 8,
# 11, 13, 16, 21, 22, 30, 31, 34, 39, 43 (counts: MEB, github.com/tvaranka/meb). Units without a class are counted in
# `LabelAssignment.unused`. Trained models carry the classes' numbers: append to this list, never insert.
_ACTION_UNIT_NUMBERS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 18, 20, 23, 24, 25, 26, 28, 38, 40)
ACTION_UNITS: tuple[str, ...] = tuple(str(number) for number in _ACTION_UNIT_NUMBERS)
# The units that MEB detects across databases (`dataset_aus["cross"]` in meb/utils/utils.py of
# github.com/tvaranka/meb; Varanka et al. 2022, "Data Leakage and Evaluation Issues in Micro-Expression Analysis").
CROSS_DATABASE_UNITS: tuple[str, ...] = tuple(str(number) for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17))
# Units whose muscles are a left and a right one, which move alone as well. The others lie in the middle of the face:
# where one is annotated with a side, the side is not used.
PAIRED_ACTION_UNITS: tuple[str, ...] = tuple(str(number) for number in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 20, 38))
_THREE_CLASS: Mapping[str, str] = {
    **dict.fromkeys(("happy", "happiness", "positive"), "positive"),
    **dict.fromkeys(("disgust", "fear", "anger", "sad", "sadness", "repression", "contempt", "negative"), "negative"),
    "surprise": "surprise",
}


def _sided_scheme(name: str) -> LabelScheme:
    """Units of both sides (AU12), of the left (L12) and of the right (R12); a flip swaps left and right."""
    labels: list[str] = []
    mapping: dict[str, str] = {}
    for unit in ACTION_UNITS:
        paired = unit in PAIRED_ACTION_UNITS
        labels += [f"AU{unit}", *([f"L{unit}", f"R{unit}"] if paired else [])]
        mapping[unit] = f"AU{unit}"
        mapping.update({f"{side}{unit}": f"{side}{unit}" if paired else f"AU{unit}" for side in "LR"})
    swapped = {"L": "R", "R": "L"}
    mirror = tuple(labels.index(swapped.get(label[0], label[0]) + label[1:]) for label in labels)
    return LabelScheme(
        name, tuple(labels), "action_units_raw", mapping, multi_label=True, split=sided_action_units, mirror=mirror
    )


LABEL_SCHEMES: Mapping[str, LabelScheme] = MappingProxyType(
    {
        scheme.name: scheme
        for scheme in (
            LabelScheme("casme3_7", CASME3_EMOTIONS, "emotion", _same(CASME3_EMOTIONS)),
            # `casme3_objective` is the name of `objective` when there was one database; recipes and models carry it.
            LabelScheme("casme3_objective", OBJECTIVE_CLASSES, "objective_class", _same(OBJECTIVE_CLASSES)),
            LabelScheme("casme2_5", CASME2_5_EMOTIONS, "emotion", _same(CASME2_5_EMOTIONS)),
            LabelScheme("samm_5", SAMM_5_EMOTIONS, "emotion", _same(SAMM_5_EMOTIONS)),
            LabelScheme("three_class", ("negative", "positive", "surprise"), "emotion", _THREE_CLASS),
            LabelScheme("objective", OBJECTIVE_CLASSES, "objective_class", _same(OBJECTIVE_CLASSES)),
            # The classes of the MEGC of 2018: VI and VII are left out.
            LabelScheme("objective_5", OBJECTIVE_CLASSES[:5], "objective_class", _same(OBJECTIVE_CLASSES[:5])),
            LabelScheme(
                "action_units",
                tuple(f"AU{unit}" for unit in ACTION_UNITS),
                "action_units",
                {unit: f"AU{unit}" for unit in ACTION_UNITS},
                multi_label=True,
            ),
            _sided_scheme("action_units_sided"),
            # From the text, which says whether anything was annotated: MEB keeps every clip of its databases, and one
            # that shows none of the 12 units is a negative of them all. A clip whose database annotates no units is
            # left out.
            LabelScheme(
                "action_units_12",
                tuple(f"AU{unit}" for unit in CROSS_DATABASE_UNITS),
                "action_units_raw",
                {unit: f"AU{unit}" for unit in CROSS_DATABASE_UNITS},
                multi_label=True,
                split=unit_numbers,
                negatives=True,
            ),
        )
    }
)

# Every word for an emotion that some scheme has a class for.
EMOTIONS: frozenset[str] = frozenset(
    word for scheme in LABEL_SCHEMES.values() if scheme.field == "emotion" for word in scheme.mapping
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


__all__ = [
    "ACTION_UNITS",
    "CASME3_EMOTIONS",
    "CROSS_DATABASE_UNITS",
    "EMOTIONS",
    "LABEL_SCHEMES",
    "OBJECTIVE_CLASSES",
    "PAIRED_ACTION_UNITS",
    "Label",
    "LabelAssignment",
    "LabelScheme",
    "get_label_scheme",
    "objective_class_of",
    "parse_action_units",
]
