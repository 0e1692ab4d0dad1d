"""Clips that only train, and the validation part inside a training fold: what they may touch, and what not."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from hsta_hf.data.footage import SharedFootage
from hsta_hf.data.splits import (
    PROTOCOLS,
    DatabaseLeakError,
    Fold,
    FootageLeakError,
    Split,
    SplitError,
    SubjectLeakError,
    make_split,
)

HONEST = [name for name in PROTOCOLS if not name.startswith("kfold-clips")]


def clips_with_macro() -> tuple[list[str], list[int], list[str], list[int]]:
    """12 people of casme3 and 6 of samm with 8 clips each; then 5 macro-expressions of each person of casme3.

    Two people are in the macro-expressions alone. Returns subjects, labels, databases, positions of the macros.
    """
    rng = np.random.default_rng(0)
    subjects = [f"spNO.{n}" for n in range(1, 13) for _ in range(8)] + [
        f"{n:03d}" for n in range(6, 12) for _ in "x" * 8
    ]
    databases = ["casme3"] * 96 + ["samm"] * 48
    macros = [f"spNO.{n}" for n in range(1, 15) for _ in range(5)]
    aside = list(range(len(subjects), len(subjects) + len(macros)))
    labels = rng.integers(0, 3, len(subjects) + len(macros)).tolist()
    return subjects + macros, labels, databases + ["casme3_macro"] * len(macros), aside


@pytest.mark.parametrize("protocol", HONEST)
def test_macro_expressions_of_a_test_subject_do_not_train_and_none_is_tested(protocol: str):
    subjects, labels, databases, aside = clips_with_macro()
    split = make_split(protocol, subjects, labels, 4, databases=databases, training_only=aside)
    without = make_split(protocol, subjects[:144], labels[:144], 4, databases=databases[:144])
    assert [fold.test_indices for fold in split.folds] == [fold.test_indices for fold in without.folds]
    for fold, plain in zip(split.folds, without.folds, strict=True):
        assert [i for i in fold.train_indices if i < 144] == list(plain.train_indices)
        tested = {subjects[i] for i in fold.test_indices}
        if protocol == "leave-one-database-out" and "spNO.1" in tested:
            tested |= {"spNO.13", "spNO.14"}  # of the database that is left out, though not tested
        expected = [i for i in aside if subjects[i] not in tested]
        assert [i for i in fold.train_indices if i >= 144] == expected
    assert split.num_people == 18  # two more are in macro-expressions only
    assert "70 clips more (casme3_macro 70) only train and are never tested; a fold does not train on" in (
        split.description
    )


def test_only_the_published_variant_trains_on_macro_expressions_of_test_subjects():
    subjects, labels, databases, aside = clips_with_macro()
    options = {"databases": databases, "training_only": aside}
    with pytest.raises(SplitError, match="The protocol that adds them all the same is called 'kfold-clips-macro'"):
        make_split("kfold-clips", subjects, labels, 4, **options)
    with pytest.raises(SplitError, match="adds macro-expressions to training, but there are none"):
        make_split("kfold-clips-macro", subjects[:144], labels[:144], 4)
    published = make_split("kfold-clips-macro", subjects, labels, 4, **options)
    plain = make_split("kfold-clips", subjects[:144], labels[:144], 4, databases=databases[:144])
    for fold, without in zip(published.folds, plain.folds, strict=True):
        assert fold.test_indices == without.test_indices
        assert fold.train_indices == (*without.train_indices, *aside)
    assert "those of the people that a fold tests are trained on as well" in published.description
    assert "these numbers are not on unseen people" in published.description
    for protocol in HONEST:
        with pytest.raises(SplitError):
            replace(published, protocol=protocol)


def test_a_macro_expression_of_a_test_subject_is_refused_in_a_split_made_by_hand():
    subjects, databases = ("spNO.1", "spNO.2", "spNO.1"), ("casme3", "casme3", "casme3_macro")
    fold = Fold(0, train_indices=(1, 2), test_indices=(0,), test_subjects=("spNO.1",))
    with pytest.raises(SubjectLeakError, match=r"trains on subjects that it also tests: spNO\.1"):
        Split("holdout", (fold,), subjects, (0, 1, 0), databases=databases, training_only=(2,))
    for part in ("test_indices", "validation_indices"):
        parts = {"train_indices": (1,), "test_indices": (0,), part: (2,)}
        wrong = replace(fold, **parts)  # type: ignore[arg-type]
        with pytest.raises(SplitError, match=r"clips that are there for training only: \[2\]"):
            Split("holdout", (wrong,), subjects, (0, 1, 0), databases=databases, training_only=(2,))


@pytest.mark.parametrize(("positions", "message"), [((9,), "names clips"), ((2, 1), "increasing"), ((0, 1, 2), "all")])
def test_clips_that_only_train_are_named_by_position(positions: tuple[int, ...], message: str):
    with pytest.raises(SplitError, match=message):
        make_split("loso", ["a", "b", "c"], [0, 1, 0], training_only=positions)


def test_macro_footage_of_a_test_clip_under_another_name_is_refused():
    subjects, databases = ["a", "a", "b", "b", "c"], ["casme3"] * 4 + ["casme3_macro"]
    hashes = [[10 * i + n for n in range(8)] for i in range(5)]
    options = {"databases": databases, "clip_ids": [f"clip-{i}" for i in range(5)], "training_only": [4]}
    make_split("loso", subjects, [0, 1, 0, 1, 0], footage=hashes, **options)
    hashes[4][:5] = hashes[1][3:]
    with pytest.raises(FootageLeakError, match=r"clip-1 \(subject a\) and clip-4 \(subject c\) share 5 identical"):
        make_split("loso", subjects, [0, 1, 0, 1, 0], footage=hashes, **options)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_validation_part_is_whole_people_of_the_training_part(protocol: str):
    subjects, labels, databases, aside = clips_with_macro()
    if protocol == "kfold-clips":
        subjects, labels, databases, aside = subjects[:144], labels[:144], databases[:144], []
    options = {"databases": databases, "training_only": aside}
    split = make_split(protocol, subjects, labels, 4, validation_share=0.25, **options)
    plain = make_split(protocol, subjects, labels, 4, **options)
    for fold, without in zip(split.folds, plain.folds, strict=True):
        train, validation = set(fold.train_indices), set(fold.validation_indices)
        people = {subjects[i] for i in validation}
        assert validation and not people & {subjects[i] for i in train}  # macro-expressions included
        assert not validation & {*fold.test_indices, *aside}
        assert fold.test_indices == without.test_indices
        trained = {subjects[i] for i in without.train_indices if i not in aside}
        assert len(people) == round(0.25 * len(trained))
        lost = set(without.train_indices) - train - validation
        assert lost <= set(aside) and {subjects[i] for i in lost} <= people
        counts = Counter(labels[i] for i in validation)
        assert len(counts) == 3 and max(counts.values()) < 0.6 * len(validation)
    assert "test clips have no part in it" in split.description and "no part" not in plain.description
    again = make_split(protocol, subjects, labels, 4, validation_share=0.25, **options)
    other = make_split(protocol, subjects, labels, 4, seed=1, validation_share=0.25, **options)
    assert again == split
    assert [f.validation_indices for f in other.folds] != [f.validation_indices for f in split.folds]


def test_no_epoch_is_chosen_on_people_that_train_or_are_tested():
    subjects, labels = ("a", "a", "b", "b", "c", "c"), (0, 1, 0, 1, 0, 1)
    with pytest.raises(SplitError, match="chooses its epoch on subjects that it trains on: b"):
        Split("holdout", (Fold(0, (2, 4, 5), (0, 1), ("a",), (3,)),), subjects, labels)
    with pytest.raises(SubjectLeakError, match="also tests: a"):
        Split("holdout", (Fold(0, (2, 3), (0,), ("a",), (1,)),), subjects, labels)
    with pytest.raises(SplitError, match=r"chooses its epoch on clips that it tests: \[0\]"):
        Split("kfold-clips", (Fold(0, (2, 3, 4, 5), (0, 1), ("a",), (0,)),), subjects, labels)
    pair = (SharedFootage(0, 4, 9),)
    with pytest.raises(FootageLeakError, match=r"clip 0 \(subject a\) and clip 4 \(subject c\)"):
        Split("holdout", (Fold(0, (2, 3), (0, 1), ("a",), (4, 5)),), subjects, labels, footage=pair)
    with pytest.raises(SplitError, match="of fold 0 is of one subject, b, so that none can be set aside"):
        make_split("loso", ["a", "b"], [0, 1], validation_share=0.2)
    with pytest.raises(SplitError, match="validation_share is 1"):
        make_split("loso", ["a", "b"], [0, 1], validation_share=1)


def test_the_folds_of_a_split_made_by_hand_are_those_that_its_name_promises():
    subjects, labels = ("a", "b", "c", "d"), (0, 1, 0, 1)
    folds = (Fold(0, (2, 3), (0, 1), ("a", "b")), Fold(1, (0, 1), (2, 3), ("c", "d")))
    assert Split("kfold-subjects", folds, subjects, labels).num_folds == 2
    with pytest.raises(SplitError, match="fold 0 of a 'loso' split tests 2 subjects, a, b; each fold tests one"):
        Split("loso", folds, subjects, labels)
    with pytest.raises(SplitError, match="a 'holdout' split has one fold, this one has 2"):
        Split("holdout", folds, subjects, labels)
    by_database = "leave-one-database-out"
    named = (Fold(0, (2, 3), (0, 1), ("x/a", "x/b")), Fold(1, (0, 1), (2, 3), ("y/c", "y/d")))
    assert Split(by_database, named, subjects, labels, databases=("x", "x", "y", "y")).num_folds == 2
    one = (Fold(0, (1, 3), (0,), ("x/a",)),)
    with pytest.raises(DatabaseLeakError, match="trains on clips of the database that it tests: x"):
        Split(by_database, one, subjects, labels, databases=("x", "x", "y", "y"))
    three = (Fold(0, (3,), (0, 1, 2), ("x/a", "y/b", "x/c")),)
    with pytest.raises(SplitError, match="fold 0 leaves out several databases: x, y"):
        Split(by_database, three, subjects, labels, databases=("x", "y", "x", "z"))
    with pytest.raises(SplitError, match="needs to know the database of every clip"):
        Split(by_database, folds, subjects, labels)


def test_a_saved_split_comes_back_and_an_edited_one_that_leaks_is_refused():
    subjects, labels, databases, aside = clips_with_macro()
    ids = [f"{database}/{subject}/{i}" for i, (database, subject) in enumerate(zip(databases, subjects, strict=True))]
    split = make_split(
        "loso", subjects, labels, databases=databases, clip_ids=ids, training_only=aside, validation_share=0.2
    )
    content = json.loads(json.dumps(split.to_dict()))
    assert Split.from_dict(content, subjects, labels, databases) == split
    leaky = json.loads(json.dumps(content))
    leaky["folds"][3]["train_indices"] += [leaky["folds"][3]["test_indices"].pop()]
    with pytest.raises(SubjectLeakError, match="fold 3 of a 'loso' split"):
        Split.from_dict(leaky, subjects, labels, databases)
    renamed = json.loads(json.dumps(content))
    renamed["protocol"] = "kfold-clips"  # honest folds under the name of a published protocol: nothing to gain
    with pytest.raises(SplitError, match="kfold-clips-macro"):
        Split.from_dict(renamed, subjects, labels, databases)
    with pytest.raises(SplitError, match="no saved split: KeyError"):
        Split.from_dict({"protocol": "loso"}, subjects, labels, databases)
