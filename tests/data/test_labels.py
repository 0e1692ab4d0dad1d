"""Label schemes, action units and objective classes."""

from __future__ import annotations

import pytest

from hsta_hf.data.action_units import read_action_units
from hsta_hf.data.databases.casme2 import EMOTIONS as CASME2_EMOTIONS
from hsta_hf.data.databases.samm import EMOTIONS as SAMM_EMOTIONS
from hsta_hf.data.labels import (
    ACTION_UNITS,
    LABEL_SCHEMES,
    PAIRED_ACTION_UNITS,
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
        ("AU12A + L14C", ("12", "14")),
        ("LAU12", ("12",)),
        ("AU 6 + au 12", ("6", "12")),
        ("15?", ("15",)),
    ],
)
def test_action_units_lose_side_and_part(text: str, units: tuple[str, ...]):
    assert parse_action_units(text) == (units, ())


@pytest.mark.parametrize(
    ("text", "units", "unread"),
    [
        ("4+?", ("4",), ("?",)),
        ("4 or 7", ("4",), ("or 7",)),
        ("or 7", ("7",), ("or",)),
        ("4 or", ("4",), ("or",)),
        ("0", (), ("0",)),
        ("smile", (), ("smile",)),
        ("112", (), ("112",)),
    ],
)
def test_what_is_no_action_unit_is_given_back(text: str, units: tuple[str, ...], unread: tuple[str, ...]):
    assert parse_action_units(text) == (units, unread)


@pytest.mark.parametrize(
    ("text", "sided"),
    [
        ("12", ("12",)),
        ("L12", ("L12",)),
        ("AU12 + R14B", ("12", "R14")),
        ("R1+L1", ("L1", "R1")),
        ("LT12", ("L12",)),
        ("LR12", ("12",)),
        ("T28+14", ("14", "28")),
        ("RAU4", ("R4",)),
        ("L12 or R12", ("L12",)),
    ],
)
def test_sides_are_kept_where_they_are_asked_for(text: str, sided: tuple[str, ...]):
    assert read_action_units(text).sided == sided


def test_what_a_reader_should_look_at_is_said():
    read = read_action_units("15? + 4 or 7 + smile")
    assert (read.numbers, read.doubtful, read.alternatives) == (("4", "15"), ("15?",), ("7",))
    assert read.remarks == (
        "'smile' is no action unit",
        "of alternatives the first is used, not 7",
        "15? has a mark of doubt and is used",
    )
    assert read_action_units("").remarks == ("no action units are annotated",)
    assert read_action_units("4+7").remarks == ()


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
        *("action_units", "action_units_sided", "action_units_12"),
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


@pytest.mark.parametrize(
    ("scheme", "emotions", "left_out"),
    [
        ("casme2_5", CASME2_EMOTIONS, {"sadness", "fear"}),
        ("samm_5", SAMM_EMOTIONS, {"disgust", "fear", "sadness"}),
        ("three_class", CASME2_EMOTIONS, {"others"}),
        ("three_class", SAMM_EMOTIONS, {"other"}),
        ("three_class", ("negative", "positive", "surprise"), set()),
    ],
)
def test_which_emotions_a_scheme_leaves_out(scheme: str, emotions: tuple[str, ...], left_out: set[str]):
    found = {emotion for emotion in emotions if LABEL_SCHEMES[scheme].label_of({"emotion": emotion}) is None}
    assert found == left_out


def test_five_emotions_in_the_order_of_the_papers():
    assert LABEL_SCHEMES["casme2_5"].labels == ("happiness", "disgust", "repression", "surprise", "others")
    assert LABEL_SCHEMES["samm_5"].labels == ("anger", "contempt", "happiness", "surprise", "other")


def test_objective_classes_seven_and_five():
    seven, five, old = (LABEL_SCHEMES[name] for name in ("objective", "objective_5", "casme3_objective"))
    assert seven.labels == old.labels == ("I", "II", "III", "IV", "V", "VI", "VII")
    assert five.labels == seven.labels[:5]
    assert [five.label_of({"objective_class": name}) for name in seven.labels] == [0, 1, 2, 3, 4, None, None]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("12", {"AU12"}),
        ("L12", {"L12"}),
        ("L12 + R14 + 4", {"L12", "R14", "AU4"}),
        ("R12 + L12", {"L12", "R12"}),
        ("L17", {"AU17"}),
        ("T28+14", {"AU28", "AU14"}),
    ],
)
def test_sided_units_have_classes_of_their_own_where_muscles_are_paired(text: str, wanted: set[str]):
    scheme = LABEL_SCHEMES["action_units_sided"]
    label = scheme.label_of({"action_units_raw": text})
    assert isinstance(label, tuple)
    assert {name for name, value in zip(scheme.labels, label, strict=True) if value == 1.0} == wanted


def test_a_clip_without_a_known_unit_has_no_sided_label():
    scheme = LABEL_SCHEMES["action_units_sided"]
    assert scheme.label_of({"action_units_raw": ""}) is None
    assert scheme.label_of({"action_units_raw": "43"}) is None
    assert scheme.assign([{"action_units_raw": "43"}, {"action_units_raw": "4"}]).dropped == {"43": 1}


def test_a_flip_swaps_left_and_right_and_nothing_else():
    scheme = LABEL_SCHEMES["action_units_sided"]
    assert scheme.mirror is not None and len(scheme.mirror) == scheme.num_labels
    assert scheme.num_labels == len(ACTION_UNITS) + 2 * len(PAIRED_ACTION_UNITS)
    for number, mirrored in enumerate(scheme.mirror):
        name, other = scheme.labels[number], scheme.labels[mirrored]
        assert other == {"L": "R" + name[1:], "R": "L" + name[1:], "A": name}[name[0]]
    label = scheme.label_of({"action_units_raw": "L12+R14+4"})
    assert isinstance(label, tuple)
    flipped = tuple(label[number] for number in scheme.mirror)
    assert flipped == scheme.label_of({"action_units_raw": "R12+L14+4"})


def test_a_flip_changes_no_label_of_the_other_schemes():
    assert {name for name, scheme in LABEL_SCHEMES.items() if scheme.mirror is not None} == {"action_units_sided"}


@pytest.mark.parametrize("mirror", [(0,), (0, 0), (1, 2, 0), (0, 3, 1)])
def test_a_mirror_that_is_no_swap_is_refused(mirror: tuple[int, ...]):
    labels = ("a", "b", "c") if len(mirror) == 3 else ("a", "b")
    with pytest.raises(ValueError, match="does not swap its"):
        LabelScheme("bad", labels, "emotion", {}, mirror=mirror)


def test_units_that_no_class_stands_for_are_said():
    assigned = LABEL_SCHEMES["action_units"].assign([{"action_units": u} for u in (["4", "43"], ["43", "8"], ["1"])])
    assert (assigned.indices, assigned.dropped, assigned.unused) == ((0, 2), {"43+8": 1}, {"43": 1})
    assert assigned.description.endswith(
        "left out: 1 43+8. Annotated in clips that have a label, but no class of the scheme: 43 in 1."
    )
    sided = LABEL_SCHEMES["action_units_sided"].assign([{"action_units_raw": "L12+L43"}])
    assert sided.unused == {"L43": 1}


def test_action_units_keep_their_numbers_in_trained_models():
    assert LABEL_SCHEMES["action_units"].labels[:3] == ("AU1", "AU2", "AU4")
    assert LABEL_SCHEMES["action_units"].num_labels == 21


def test_action_units_are_several_labels_at_once():
    scheme = LABEL_SCHEMES["action_units"]
    label = scheme.label_of({"action_units": ["4", "12"]})
    assert isinstance(label, tuple)
    assert [name for name, value in zip(scheme.labels, label, strict=True) if value == 1.0] == ["AU4", "AU12"]
    assert sum(label) == 2.0
    assert scheme.label_of({"action_units": []}) is None
    assert scheme.label_of({"action_units": ["99"]}) is None


def test_the_12_units_across_databases_have_negatives_but_no_clip_without_annotation():
    scheme = LABEL_SCHEMES["action_units_12"]
    assert scheme.labels == tuple(f"AU{n}" for n in (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17))
    label = scheme.label_of({"action_units_raw": "L12+R12+43"})
    assert isinstance(label, tuple) and label[8] == 1.0 == sum(label)
    for text in ("43", "?", "T28+38"):
        assert scheme.label_of({"action_units_raw": text}) == (0.0,) * 12
    assert scheme.label_of({"action_units_raw": ""}) is None
    assigned = scheme.assign([{"action_units_raw": text} for text in ("4", "43", "", "12+43")])
    assert (assigned.indices, assigned.negatives, assigned.dropped) == ((0, 1, 3), 1, {"(no action_units_raw)": 1})
    assert "left out: 1 (no action_units_raw). Annotated, but with no class of the scheme: 1 clips, negatives" in (
        assigned.description
    )
    assert LABEL_SCHEMES["action_units"].assign([{"action_units": ["4"]}]).negatives == 0


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
