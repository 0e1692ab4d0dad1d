"""Label schemes, action units and objective classes."""

from __future__ import annotations

import pytest

from hsta_hf.data.labels import (
    LABEL_SCHEMES,
    LabelScheme,
    get_label_scheme,
    objective_class_of,
    parse_action_units,
)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("4", ("4",)),
        ("1+2", ("1", "2")),
        ("L14", ("14",)),
        ("R1+R2", ("1", "2")),
        ("T28+14", ("14", "28")),
        ("LT12+L12", ("12",)),
        ("AU4 + AU7", ("4", "7")),
        ("12B, 6c", ("6", "12")),
        ("20+4+10", ("4", "10", "20")),
        ("", ()),
    ],
)
def test_action_units_lose_side_and_part(text: str, units: tuple[str, ...]):
    assert parse_action_units(text) == (units, ())


@pytest.mark.parametrize(
    ("text", "units", "unread"),
    [("4+?", ("4",), ("?",)), ("4 or 7", ("4",), ("or 7",)), ("0", (), ("0",)), ("smile", (), ("smile",))],
)
def test_what_is_no_action_unit_is_given_back(text: str, units: tuple[str, ...], unread: tuple[str, ...]):
    assert parse_action_units(text) == (units, unread)


# Davison et al. 2018, written out once more, one set a line, to be read against the paper.
OBJECTIVE = {
    "I": ["6", "12", "6+12", "6+7+12", "7+12"],
    "II": ["1+2", "5", "25", "1+2+25", "25+26", "5+24"],
    "III": ["23", "4", "4+7", "4+5", "4+5+7", "17+24", "4+6+7", "4+38"],
    "IV": ["10", "9", "4+9", "4+40", "4+5+40", "4+7+9", "4+9+17", "4+7+10", "4+5+7+9", "7+10"],
    "V": ["1", "15", "1+4", "6+15", "15+17"],
    "VI": ["1+2+4", "20"],
    "VII": ["14", "17", "1+2+5", "4+10", "1+2+4+20", "28+14", "6+12+25"],
}


@pytest.mark.parametrize(("wanted", "units"), [(name, u) for name, sets in OBJECTIVE.items() for u in sets])
def test_objective_class_is_by_the_exact_set(wanted: str, units: str):
    assert objective_class_of(units.split("+")) == wanted
    assert objective_class_of(reversed(units.split("+"))) == wanted


def test_no_action_units_are_class_vii():
    assert objective_class_of([]) == "VII"


def test_every_scheme_numbers_its_labels_and_is_found_by_its_name():
    assert set(LABEL_SCHEMES) == {
        *("casme3_7", "casme3_objective", "casme2_5", "samm_5", "three_class", "objective", "objective_5"),
        *("action_units", "action_units_sided"),
    }
    for name, scheme in LABEL_SCHEMES.items():
        assert get_label_scheme(name) is scheme
        assert scheme.num_labels == len(set(scheme.labels))
        assert [scheme.label2id[scheme.id2label[i]] for i in range(scheme.num_labels)] == list(
            range(scheme.num_labels)
        )


def test_seven_emotions():
    scheme = LABEL_SCHEMES["casme3_7"]
    assert scheme.labels == ("anger", "disgust", "fear", "happy", "others", "sad", "surprise")
    assert scheme.label_of({"emotion": "fear"}) == 2
    assert scheme.label_of({"emotion": None}) is None


@pytest.mark.parametrize(
    ("emotion", "label"),
    [
        ("happy", "positive"),
        ("disgust", "negative"),
        ("fear", "negative"),
        ("anger", "negative"),
        ("sad", "negative"),
        ("surprise", "surprise"),
        ("others", None),
    ],
)
def test_three_classes_of_casme3(emotion: str, label: str | None):
    scheme = LABEL_SCHEMES["three_class"]
    number = scheme.label_of({"emotion": emotion})
    assert (None if number is None else scheme.labels[number]) == label  # type: ignore[index]


def test_action_units_are_several_labels_at_once():
    scheme = LABEL_SCHEMES["action_units"]
    label = scheme.label_of({"action_units": ["4", "12"]})
    assert isinstance(label, tuple)
    assert [name for name, value in zip(scheme.labels, label, strict=True) if value == 1.0] == ["AU4", "AU12"]
    assert sum(label) == 2.0
    assert scheme.label_of({"action_units": []}) is None
    assert scheme.label_of({"action_units": ["99"]}) is None


def test_assign_says_what_it_left_out():
    rows = [{"emotion": e} for e in ("happy", "others", "surprise", "others", None)]
    assigned = LABEL_SCHEMES["three_class"].assign(rows)
    assert assigned.indices == (0, 2)
    assert assigned.labels == (1, 2)
    assert assigned.dropped == {"others": 2, "(no emotion)": 1}
    assert assigned.description == (
        "Label scheme three_class: 2 of 5 clips have a label; left out: 1 (no emotion), 2 others."
    )
    assert LABEL_SCHEMES["casme3_7"].assign(rows[:4]).description == (
        "Label scheme casme3_7: all 4 clips have a label."
    )


def test_unknown_scheme_names_those_that_exist():
    with pytest.raises(ValueError, match="no label scheme is called 'casme'; there are casme3_7, casme3_obj"):
        get_label_scheme("casme")


def test_a_scheme_cannot_map_to_a_label_it_does_not_have():
    with pytest.raises(ValueError, match=r"maps to \['no'\]"):
        LabelScheme("bad", ("yes",), "emotion", {"happy": "no"})
