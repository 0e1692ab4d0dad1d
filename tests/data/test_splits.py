"""Splits, checked by loops over folds, and the refusal of folds that share subjects."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hsta_hf.data.splits import PROTOCOLS, Fold, Split, SplitError, SubjectLeakError, make_split


def drawn_clips(num_subjects: int = 24, seed: int = 0) -> tuple[list[str], list[int]]:
    """Subjects with 3 to 17 clips each, classes as uneven as in the real databases."""
    rng = np.random.default_rng(seed)
    subjects, labels = [], []
    for number in range(num_subjects):
        for _ in range(int(rng.integers(3, 18))):
            subjects.append(f"spNO.{number + 1}")
            labels.append(int(rng.choice(7, p=[0.3, 0.22, 0.19, 0.1, 0.08, 0.06, 0.05])))
    return subjects, labels


@pytest.mark.parametrize("protocol", PROTOCOLS)
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


def test_a_split_is_saved_as_json():
    subjects, labels = drawn_clips()
    split = make_split("kfold-subjects", subjects, labels, num_folds=4)
    content = json.loads(json.dumps(split.to_dict()))
    assert content["protocol"] == "kfold-subjects"
    assert [tuple(fold["test_indices"]) for fold in content["folds"]] == [f.test_indices for f in split.folds]


def test_ict_me_gives_four_even_folds(shared_dir: Path):
    import pandas as pd

    table = pd.read_excel(shared_dir / "data" / "ict_me" / "annotation.xlsx")
    split = make_split("kfold-subjects", list(table["Subject"]), list(table["emotion"]), num_folds=4)
    assert [len(fold.test_indices) for fold in split.folds] == [80, 80, 80, 80]
    assert [len(fold.test_subjects) for fold in split.folds] == [8, 8, 8, 8]
