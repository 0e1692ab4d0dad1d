"""Splits, checked by loops over folds, and the refusal of folds that share subjects."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hsta_hf.data.footage import SharedFootage
from hsta_hf.data.splits import (
    BY_DATABASE,
    CLIP_LEVEL_MACRO,
    PROTOCOLS,
    Fold,
    FootageLeakError,
    Split,
    SplitError,
    SubjectLeakError,
    make_split,
)


def drawn_clips(num_subjects: int = 24, seed: int = 0) -> tuple[list[str], list[int]]:
    """Subjects with 3 to 17 clips each, classes as uneven as in the real databases."""
    rng = np.random.default_rng(seed)
    subjects, labels = [], []
    for number in range(num_subjects):
        for _ in range(int(rng.integers(3, 18))):
            subjects.append(f"spNO.{number + 1}")
            labels.append(int(rng.choice(7, p=[0.3, 0.22, 0.19, 0.1, 0.08, 0.06, 0.05])))
    return subjects, labels


OF_ONE_DATABASE = [protocol for protocol in PROTOCOLS if protocol not in (BY_DATABASE, CLIP_LEVEL_MACRO)]


@pytest.mark.parametrize("protocol", OF_ONE_DATABASE)
def test_every_clip_is_tested_once_and_never_trained_on_in_that_fold(protocol: str):
    subjects, labels = drawn_clips()
    split = make_split(protocol, subjects, labels, num_folds=4, seed=3)
    tested: list[int] = []
    for number, fold in enumerate(split.folds):
        assert fold.index == number
        assert not set(fold.train_indices) & set(fold.test_indices)
        assert set(fold.train_indices) | set(fold.test_indices) == set(range(len(subjects)))
        assert set(fold.test_subjects) == {subjects[i] for i in fold.test_indices}
        tested += fold.test_indices
    if protocol == "holdout":
        assert split.num_folds == 1
        assert 0.2 < len(tested) / len(subjects) < 0.3
    else:
        assert sorted(tested) == list(range(len(subjects)))


@pytest.mark.parametrize("protocol", ["kfold-subjects", "loso", "holdout"])
def test_no_subject_is_on_both_sides(protocol: str):
    subjects, labels = drawn_clips()
    for fold in make_split(protocol, subjects, labels, num_folds=4).folds:
        for i in fold.train_indices:
            for j in fold.test_indices:
                assert subjects[i] != subjects[j]


@pytest.mark.parametrize("protocol", ["kfold-clips", "kfold-subjects", "holdout"])
def test_the_seed_decides(protocol: str):
    subjects, labels = drawn_clips()
    assert make_split(protocol, subjects, labels, seed=1) == make_split(protocol, subjects, labels, seed=1)
    first, second = (make_split(protocol, subjects, labels, seed=seed) for seed in (1, 2))
    assert first.folds != second.folds


@pytest.mark.parametrize("seed", range(5))
def test_subject_folds_are_even_in_size_and_in_labels(seed: int):
    subjects, labels = drawn_clips(seed=seed)
    split = make_split("kfold-subjects", subjects, labels, num_folds=4, seed=seed)
    sizes = [len(fold.test_indices) for fold in split.folds]
    assert max(sizes) - min(sizes) <= 0.1 * np.mean(sizes)
    for label, count in Counter(labels).items():
        per_fold = [sum(labels[i] == label for i in fold.test_indices) for fold in split.folds]
        assert max(abs(n - count / 4) for n in per_fold) <= max(3, 0.35 * count / 4)


def test_clip_folds_hold_every_label_evenly():
    subjects, labels = drawn_clips()
    split = make_split("kfold-clips", subjects, labels, num_folds=4)
    for label in set(labels):
        per_fold = [sum(labels[i] == label for i in fold.test_indices) for fold in split.folds]
        assert max(per_fold) - min(per_fold) <= 1


def test_loso_goes_through_subjects_in_their_numbers_order():
    subjects = ["spNO.10", "spNO.2", "spNO.1", "spNO.2"]
    split = make_split("loso", subjects, [0, 1, 0, 1])
    assert [fold.test_subjects for fold in split.folds] == [("spNO.1",), ("spNO.2",), ("spNO.10",)]
    assert split.folds[1].test_indices == (1, 3)


def test_a_subject_on_both_sides_is_refused_by_name():
    fold = Fold(0, train_indices=(0, 1, 3), test_indices=(2, 4), test_subjects=("b", "a"))
    with pytest.raises(SubjectLeakError) as error:
        Split("kfold-subjects", (fold,), ("a", "c", "a", "b", "b"), (0, 1, 0, 1, 1))
    assert error.value.subjects == ("a", "b")
    assert "fold 0 of a 'kfold-subjects' split trains on subjects that it also tests: a, b" in str(error.value)


def test_only_kfold_clips_may_share_subjects_and_says_so():
    folds = (Fold(0, (0, 1), (2, 3), ("a", "b")), Fold(1, (2, 3), (0, 1), ("a", "c")))
    subjects, labels = ("a", "c", "a", "b"), (0, 1, 0, 1)
    with pytest.raises(SubjectLeakError):
        Split("loso", folds, subjects, labels)
    split = Split("kfold-clips", folds, subjects, labels)
    assert split.shared_subjects == 0.5
    assert "50 % of a test fold's subjects also have clips in its training fold" in split.description
    assert "not on unseen people" in split.description


@pytest.mark.parametrize(
    ("protocol", "sentence"),
    [
        ("kfold-subjects", "Protocol kfold-subjects: 4 folds by subject"),
        ("loso", "Protocol loso: leave one subject out, 24 folds of one subject each"),
        ("holdout", "Protocol holdout: "),
    ],
)
def test_descriptions_name_the_protocol_and_the_unseen_subjects(protocol: str, sentence: str):
    subjects, labels = drawn_clips()
    split = make_split(protocol, subjects, labels, num_folds=4)
    assert split.description.startswith(sentence)
    assert "No subject is in both parts of a fold" in split.description
    assert split.name == protocol


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ((), "at least one fold"),
        ((Fold(0, (0,), (), ()),), "fold 0 has no test clips"),
        ((Fold(0, (), (0,), ("a",)),), "fold 0 has no training clips"),
        ((Fold(0, (0, 7), (1,), ("b",)),), r"names clips \[7\], there are 3 clips"),
        ((Fold(0, (0, 1), (1, 2), ("b", "c")),), r"trains on clips that it tests: \[1\]"),
        ((Fold(0, (0,), (1, 2), ("b",)),), r"says it tests \['b'\], its clips are of \['b', 'c'\]"),
        ((Fold(0, (0,), (1, 2), ("b", "c")),), r"clips \[0\] are tested in no fold"),
        (
            (Fold(0, (0,), (1, 2), ("b", "c")), Fold(1, (2,), (0, 1), ("a", "b"))),
            r"clips \[1\] are tested in more than one fold",
        ),
    ],
)
def test_an_impossible_split_is_refused(folds: tuple[Fold, ...], message: str):
    with pytest.raises(SplitError, match=message):
        Split("kfold-subjects", folds, ("a", "b", "c"), (0, 1, 0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("kfold", ["a", "b"], [0, 1]), "no protocol is called 'kfold'; there are kfold-clips, kfold-subj"),
        (("loso", ["a", "b"], [0]), "equally long, got 2 subjects and 1 labels"),
        (("loso", [], []), "no clips to split"),
        (("loso", ["a", "a"], [0, 1]), "needs 2 subjects or more, there is 1"),
        (("kfold-subjects", ["a", "b", "c"], [0, 1, 0]), r"needs 5 subjects or more, there are 3 \(a, b, c\)"),
        (("holdout", ["a", "b", "c"], [0, 1, 0]), "ask for at most 3 folds"),
        (("kfold-clips", ["a", "b", "c"], [0, 1, 0]), "5 folds need 5 clips or more, there are 3"),
        (("kfold-clips", ["a", "b", "c"], [0, 1, 0], 1), "num_folds must be 2 or more, got 1"),
    ],
)
def test_errors_say_what_is_there_and_what_is_needed(arguments: tuple, message: str):
    with pytest.raises(SplitError, match=message):
        make_split(*arguments)


@pytest.mark.parametrize("protocol", ["kfold-clips", "kfold-subjects"])
def test_labels_rarer_than_the_folds_are_split_without_a_warning_of_scikit_learn(protocol: str):
    subjects = [f"s{i % 8}" for i in range(24)]
    labels = [0] * 20 + [1, 1, 2, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        split = make_split(protocol, subjects, labels, num_folds=4)
    assert split.num_folds == 4


def test_one_subject_with_most_of_the_clips_still_leaves_no_fold_empty():
    subjects = ["big"] * 90 + ["a", "b", "c"]
    split = make_split("kfold-subjects", subjects, [i % 2 for i in range(93)], num_folds=4)
    assert sorted(len(fold.test_indices) for fold in split.folds) == [1, 1, 1, 90]


def test_multi_label_and_numpy_labels_are_taken():
    subjects = [f"s{i % 6}" for i in range(30)]
    vectors = [np.array([i % 2, 1.0]) for i in range(30)]
    split = make_split("kfold-subjects", subjects, vectors, num_folds=3)  # type: ignore[arg-type]
    assert split.labels[1] == (1.0, 1.0)
    numbers = make_split("kfold-clips", np.array(subjects), np.arange(30) % 3, num_folds=3)  # type: ignore[arg-type]
    assert {type(label) for label in numbers.labels} == {int}


def composite() -> tuple[list[str], list[str], list[int]]:
    """Three databases that all call people s1, s2, …, as the real ones do: databases, subjects and labels."""
    rng = np.random.default_rng(1)
    databases, subjects, labels = [], [], []
    for database, people in (("smic_hs", 8), ("casme2", 12), ("samm", 14)):
        for person in range(people):
            for _ in range(int(rng.integers(2, 9))):
                databases.append(database)
                subjects.append(f"s{person + 1}")
                labels.append(int(rng.choice(3, p=[0.5, 0.25, 0.25])))
    return databases, subjects, labels


def test_every_database_is_a_fold_once():
    databases, subjects, labels = composite()
    split = make_split(BY_DATABASE, subjects, labels, databases=databases)
    for fold, database, people in zip(split.folds, ["casme2", "samm", "smic_hs"], [12, 14, 8], strict=True):
        assert fold.test_indices == tuple(i for i, name in enumerate(databases) if name == database)
        assert set(fold.train_indices) | set(fold.test_indices) == set(range(len(subjects)))
        assert fold.test_subjects == tuple(f"{database}/s{number + 1}" for number in range(people))
    assert split.num_people == 34
    counts = Counter(databases)
    parts = f"casme2 {counts['casme2']} clips, samm {counts['samm']} clips, smic_hs {counts['smic_hs']} clips; 34 subj"
    assert f"every database is tested once, by a model trained on the others ({parts}ects)" in split.description
    assert "No subject is in both parts of a fold" in split.description
    assert [fold["test_databases"] for fold in split.to_dict()["folds"]] == [["casme2"], ["samm"], ["smic_hs"]]


@pytest.mark.parametrize("databases", [None, ["casme2"] * 4, ["smic_hs", "smic_vis"] * 2])
def test_one_database_cannot_be_left_out_nor_can_one_cast_under_two_names(databases: list[str] | None):
    with pytest.raises(SplitError, match="needs clips of 2 databases with different people, "):
        make_split(BY_DATABASE, ["a", "b", "c", "d"], [0, 1, 0, 1], databases=databases)


@pytest.mark.parametrize("protocol", ["kfold-subjects", "loso", "holdout"])
def test_a_name_in_two_databases_is_two_people(protocol: str):
    databases, subjects, labels = composite()
    split = make_split(protocol, subjects, labels, num_folds=4, databases=databases)
    persons = list(zip(databases, subjects, strict=True))
    for fold in split.folds:
        assert not {persons[i] for i in fold.train_indices} & {persons[i] for i in fold.test_indices}
        assert {f"{d}/{s}" for d, s in (persons[i] for i in fold.test_indices)} == set(fold.test_subjects)
    if protocol == "loso":
        assert split.num_folds == 34  # 14 names
    if protocol == "kfold-subjects":
        first = split.folds[0]
        assert {subjects[i] for i in first.train_indices} & {subjects[i] for i in first.test_indices}
        for fold in split.folds:  # every database is spread over the folds
            assert {persons[i][0] for i in fold.test_indices} == {"smic_hs", "casme2", "samm"}
        assert "34 subjects of the databases casme2, samm, smic_hs, seed 42" in split.description


def test_databases_that_show_the_same_people_do_not_make_them_others():
    databases = ["casme3", "casme3_macro", "casme3", "casme3_macro", "samm", "samm"]
    subjects = ["spNO.1", "spNO.1", "spNO.2", "spNO.2", "006", "spNO.1"]
    split = make_split("loso", subjects, [0] * 6, databases=databases)
    assert [fold.test_indices for fold in split.folds] == [(0, 1), (2, 3), (4,), (5,)]
    assert split.people[1] == "casme3+casme3_macro/spNO.1"
    two = make_split(BY_DATABASE, subjects, [0] * 6, databases=databases)
    assert [fold.test_indices for fold in two.folds] == [(0, 1, 2, 3), (4, 5)]
    fold = Fold(0, train_indices=(1, 2, 3), test_indices=(0,), test_subjects=("spNO.1",))
    with pytest.raises(SubjectLeakError, match=r"trains on subjects that it also tests: spNO\.1"):
        Split("holdout", (fold,), tuple(subjects[:4]), (0,) * 4, databases=tuple(databases[:4]))


@pytest.mark.parametrize("protocol", OF_ONE_DATABASE)
def test_naming_the_one_database_changes_nothing(protocol: str):
    subjects, labels = drawn_clips()
    without = make_split(protocol, subjects, labels, num_folds=4)
    split = make_split(protocol, subjects, labels, num_folds=4, databases=["casme3"] * len(labels))
    assert (split.folds, split.description) == (without.folds, without.description)


def hashes_of(num_clips: int, overlaps: dict[int, int]) -> list[list[int]]:
    """Frame hashes of clips of ten frames; `overlaps[i] = j` gives clip i the last six frames of clip j."""
    clips = [[100 * i + n for n in range(10)] for i in range(num_clips)]
    for later, earlier in overlaps.items():
        clips[later][:6] = clips[earlier][-6:]
    return clips


@pytest.mark.parametrize("protocol", ["kfold-subjects", "loso", "leave-one-database-out"])
def test_a_test_clip_with_footage_of_a_training_clip_is_refused_by_name(protocol: str):
    subjects = ["a", "a", "b", "b", "c", "c", "d", "d"]
    databases = ["one"] * 4 + ["two"] * 4
    ids = [f"{database}/{subject}/{i}" for i, (database, subject) in enumerate(zip(databases, subjects, strict=True))]
    options = {"num_folds": 4, "databases": databases, "clip_ids": ids}
    sound = make_split(protocol, subjects, [0, 1] * 4, footage=hashes_of(8, {1: 0, 7: 6}), **options)
    assert sound.clips_sharing_footage == 0
    assert sound.description.endswith(
        "No test clip shares frames with a training clip of its fold (frame hashes compared)."
    )
    with pytest.raises(FootageLeakError) as error:
        make_split(protocol, subjects, [0, 1] * 4, footage=hashes_of(8, {5: 2}), **options)
    assert {error.value.test_clip, error.value.train_clip} == {"one/b/2", "two/c/5"}
    assert (error.value.num_frames, error.value.num_pairs) == (6, 1)
    message = str(error.value)
    for part in ("one/b/2 (subject one/b)", "two/c/5 (subject two/c)", "share 6 identical frames", "remove it from"):
        assert part in message


def test_clips_without_ids_are_named_by_position_and_other_pairs_are_counted():
    hashes = hashes_of(4, {2: 1, 3: 0})
    hashes[2] = hashes[1]
    with pytest.raises(FootageLeakError) as error:
        make_split("kfold-subjects", ["a", "a", "b", "b"], [0, 1, 0, 1], num_folds=2, footage=hashes)
    assert {error.value.test_clip, error.value.train_clip} == {"clip 1", "clip 2"}  # the pair that shares most
    assert "share 10 identical frames. 1 more pairs of clips do so in this fold." in str(error.value)


def test_kfold_clips_exists_with_shared_footage_and_says_how_much():
    subjects = [f"s{i // 4}" for i in range(40)]
    hashes = hashes_of(40, {i + 1: i for i in range(0, 20, 2)})
    split = make_split("kfold-clips", subjects, [i % 2 for i in range(40)], num_folds=4, footage=hashes)
    sharing = 0
    for train, test in split:
        for i in test:
            sharing += any(len(set(hashes[i]) & set(hashes[j])) > 1 for j in train)
    assert 0 < sharing <= 20
    assert split.clips_sharing_footage == sharing
    assert f"{sharing} of 40 test clips share frames with training clips of their fold." in split.description
    assert split.to_dict()["clips_sharing_footage"] == sharing


def test_footage_that_nobody_compared_is_not_said_to_be_sound():
    subjects, labels = drawn_clips()
    split = make_split("kfold-subjects", subjects, labels)
    assert split.clips_sharing_footage is None
    assert "share" not in split.description


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_ids": ["x", "y", "x"]}, "clips 0 and 2 are both called x: every clip needs an id of its own"),
        ({"clip_ids": ["x", "y"]}, "there are 3 clips, but clip ids of 2"),
        ({"databases": ["x", "y"]}, "there are 3 clips, but databases of 2"),
        ({"footage": [[1, 2]]}, "there are 3 clips, but frame hashes of 1"),
    ],
)
def test_what_is_said_of_the_clips_must_fit_them(options: dict, message: str):
    with pytest.raises(SplitError, match=message):
        make_split("loso", ["a", "b", "c"], [0, 1, 0], **options)


def test_footage_of_clips_that_do_not_exist_is_refused():
    fold = Fold(0, (0,), (1,), ("b",))
    with pytest.raises(SplitError, match=r"SharedFootage\(first=1, second=2, frames=9\) names no two of the 2 clips"):
        Split("holdout", (fold,), ("a", "b"), (0, 1), footage=(SharedFootage(1, 2, 9),))


def test_a_split_is_an_iterable_of_index_arrays_as_scikit_learn_takes_it():
    from sklearn.dummy import DummyClassifier
    from sklearn.model_selection import cross_val_predict

    subjects, labels = drawn_clips()
    split = make_split("kfold-subjects", subjects, labels, num_folds=4)
    assert len(split) == 4
    for fold, (train, test) in zip(split.folds, split, strict=True):
        assert (train.tolist(), test.tolist()) == (list(fold.train_indices), list(fold.test_indices))
    guesses = cross_val_predict(
        DummyClassifier(strategy="most_frequent"), np.zeros((len(labels), 1)), labels, cv=split
    )
    for train, test in split:
        counts = Counter(labels[i] for i in train)
        assert {counts[guess] for guess in guesses[test]} == {max(counts.values())}


def test_a_split_is_saved_as_json():
    subjects, labels = drawn_clips()
    ids = [f"casme3/{subject}/{i}" for i, subject in enumerate(subjects)]
    split = make_split("kfold-subjects", subjects, labels, num_folds=4, databases=["casme3"] * len(ids), clip_ids=ids)
    content = json.loads(json.dumps(split.to_dict()))
    assert content["protocol"] == "kfold-subjects"
    assert (content["num_subjects"], content["databases"], content["clips"]) == (24, ["casme3"], ids)
    assert content["clips_sharing_footage"] is None
    assert [tuple(fold["test_indices"]) for fold in content["folds"]] == [f.test_indices for f in split.folds]


def test_ict_me_gives_four_even_folds(shared_dir: Path):
    import pandas as pd

    table = pd.read_excel(shared_dir / "data" / "ict_me" / "annotation.xlsx")
    split = make_split("kfold-subjects", list(table["Subject"]), list(table["emotion"]), num_folds=4)
    assert [len(fold.test_indices) for fold in split.folds] == [80, 80, 80, 80]
    assert [len(fold.test_subjects) for fold in split.folds] == [8, 8, 8, 8]
