"""Which clips train and which test, fold by fold, and what numbers from such a split mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import StratifiedKFold

PROTOCOLS: tuple[str, ...] = ("kfold-clips", "kfold-subjects", "loso", "holdout")
# The one protocol whose folds share subjects. Published for CASME3; its numbers are on people already seen.
CLIP_LEVEL = "kfold-clips"
# Orders in which subjects are dealt to folds; the best result is taken.
_ORDERS = 256


class SplitError(ValueError):
    """A split cannot be made from these clips."""


class SubjectLeakError(SplitError):
    """A subject is in the training and in the test part of the same fold.

    Attributes:
        subjects: The subjects, in order.
    """

    def __init__(self, fold: int, subjects: Sequence[str], protocol: str) -> None:
        self.subjects = tuple(subjects)
        super().__init__(
            f"fold {fold} of a {protocol!r} split trains on subjects that it also tests: "
            f"{', '.join(self.subjects)}. Put all clips of a subject on one side, or use the protocol "
            f"{CLIP_LEVEL!r}, which says in every report that its folds share subjects."
        )


@dataclass(frozen=True)
class Fold:
    """One fold: positions of the clips that train and of those that test.

    Attributes:
        index: Number of the fold, from 0.
        train_indices: Positions of the training clips, in increasing order.
        test_indices: Positions of the test clips, in increasing order.
        test_subjects: Subjects of the test clips.
    """

    index: int
    train_indices: tuple[int, ...]
    test_indices: tuple[int, ...]
    test_subjects: tuple[str, ...]


@dataclass(frozen=True)
class Split:
    """All folds of a protocol. It refuses to exist if a fold tests a subject that it trains on.

    Attributes:
        protocol: "kfold-clips", "kfold-subjects", "loso" or "holdout".
        folds: The folds.
        subjects: Subject of every clip; positions are what the folds' indices count.
        labels: Label of every clip.
        seed: Seed of the shuffling; "loso" has nothing to shuffle and ignores it.

    Raises:
        SubjectLeakError: if a test subject is also in its fold's training part and the protocol is not
            "kfold-clips".
        SplitError: if a fold is empty, a clip is on both sides, or a clip is tested twice or never.
    """

    protocol: str
    folds: tuple[Fold, ...]
    subjects: tuple[str, ...]
    labels: tuple[Hashable, ...]
    seed: int = 42

    def __post_init__(self) -> None:
        _check_protocol(self.protocol)
        if not self.folds:
            raise SplitError("a split needs at least one fold")
        if len(self.subjects) != len(self.labels):
            raise SplitError(f"{len(self.subjects)} subjects but {len(self.labels)} labels")
        for fold in self.folds:
            self._check_fold(fold)
        tested = Counter(index for fold in self.folds for index in fold.test_indices)
        twice = sorted(index for index, count in tested.items() if count > 1)
        if twice:
            raise SplitError(f"clips {twice[:10]} are tested in more than one fold")
        never = sorted(set(range(self.num_clips)) - set(tested))
        if never and self.protocol != "holdout":
            raise SplitError(f"clips {never[:10]} are tested in no fold of a {self.protocol!r} split")

    def _check_fold(self, fold: Fold) -> None:
        train, test = set(fold.train_indices), set(fold.test_indices)
        if not train or not test:
            part = "training" if not train else "test"
            raise SplitError(f"fold {fold.index} has no {part} clips")
        outside = sorted(index for index in train | test if not 0 <= index < self.num_clips)
        if outside:
            raise SplitError(f"fold {fold.index} names clips {outside[:10]}, there are {self.num_clips} clips")
        if train & test:
            raise SplitError(f"fold {fold.index} trains on clips that it tests: {sorted(train & test)[:10]}")
        test_subjects = {self.subjects[index] for index in test}
        if test_subjects != set(fold.test_subjects):
            raise SplitError(
                f"fold {fold.index} says it tests {sorted(fold.test_subjects)}, "
                f"its clips are of {sorted(test_subjects)}"
            )
        overlap = test_subjects & {self.subjects[index] for index in train}
        if overlap and self.protocol != CLIP_LEVEL:
            raise SubjectLeakError(fold.index, sorted(overlap, key=_natural), self.protocol)

    @property
    def name(self) -> str:
        """The protocol: what the numbers of this split are called in every report."""
        return self.protocol

    @property
    def num_clips(self) -> int:
        """Number of clips, in all folds together."""
        return len(self.subjects)

    @property
    def num_folds(self) -> int:
        """Number of folds."""
        return len(self.folds)

    @property
    def shared_subjects(self) -> float:
        """Of the subjects that a fold tests, the fraction that it also trains on (mean over folds)."""
        fractions = []
        for fold in self.folds:
            trained = {self.subjects[index] for index in fold.train_indices}
            fractions.append(sum(s in trained for s in fold.test_subjects) / len(fold.test_subjects))
        return float(np.mean(fractions))

    @property
    def description(self) -> str:
        """The sentences that a report prints above numbers of this split."""
        subjects, clips = len(set(self.subjects)), self.num_clips
        if self.protocol == CLIP_LEVEL:
            return (
                f"Protocol kfold-clips: {self.num_folds} folds by clip, stratified by label "
                f"({clips} clips of {subjects} subjects, seed {self.seed}). On average "
                f"{100 * self.shared_subjects:.0f} % of a test fold's subjects also have clips in its "
                f"training fold, as in the published CASME3 folds: these numbers are not on unseen people."
            )
        unseen = "No subject is in both parts of a fold: the numbers are on subjects never seen in training."
        if self.protocol == "kfold-subjects":
            return (
                f"Protocol kfold-subjects: {self.num_folds} folds by subject, stratified by label "
                f"({clips} clips of {subjects} subjects, seed {self.seed}). {unseen}"
            )
        if self.protocol == "loso":
            return (
                f"Protocol loso: leave one subject out, {self.num_folds} folds of one subject each "
                f"({clips} clips). {unseen}"
            )
        fold = self.folds[0]
        return (
            f"Protocol holdout: {len(fold.test_subjects)} of {subjects} subjects held out once, stratified "
            f"by label ({len(fold.train_indices)} training clips, {len(fold.test_indices)} test clips, "
            f"seed {self.seed}). {unseen}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The split as plain lists and strings, to be saved as JSON beside the results."""
        return {
            "protocol": self.protocol,
            "seed": self.seed,
            "description": self.description,
            "num_clips": self.num_clips,
            "folds": [
                {
                    "index": fold.index,
                    "train_indices": list(fold.train_indices),
                    "test_indices": list(fold.test_indices),
                    "test_subjects": list(fold.test_subjects),
                }
                for fold in self.folds
            ],
        }


def make_split(
    protocol: str,
    subjects: Sequence[str],
    labels: Sequence[Hashable],
    num_folds: int = 5,
    seed: int = 42,
) -> Split:
    """Split clips by a protocol.

    Args:
        protocol: "kfold-clips": folds of clips, stratified by label, subjects shared (as published for
            CASME3). "kfold-subjects": folds of whole subjects, as even in size and label as can be.
            "loso": every subject is a fold. "holdout": the subjects of one of `num_folds` even parts are
            tested once.
        subjects: Subject of every clip.
        labels: Label of every clip: a class number, or a tuple for a multi-label scheme.
        num_folds: Number of folds; for "holdout" the denominator of the part held out. "loso" ignores it.
        seed: Seed of the shuffling. The same arguments give the same split.

    Returns:
        The split, checked.

    Raises:
        SplitError: if there are too few clips or subjects for it; the message says how many there are.
    """
    _check_protocol(protocol)
    subjects, labels = [str(subject) for subject in subjects], [_plain(label) for label in labels]
    if len(subjects) != len(labels):
        raise SplitError(
            f"subjects and labels must be equally long, got {len(subjects)} subjects and {len(labels)} labels"
        )
    if not subjects:
        raise SplitError("there are no clips to split")
    distinct = sorted(set(subjects), key=_natural)
    if protocol != "loso" and num_folds < 2:
        raise SplitError(f"num_folds must be 2 or more, got {num_folds}")
    if protocol == CLIP_LEVEL:
        if len(subjects) < num_folds:
            raise SplitError(f"{num_folds} folds need {num_folds} clips or more, there are {len(subjects)}")
        tests = _clip_folds(labels, num_folds, seed)
    elif protocol == "loso":
        if len(distinct) < 2:
            raise SplitError(f"leaving one subject out needs 2 subjects or more, there is {len(distinct)}")
        tests = [[i for i, subject in enumerate(subjects) if subject == one] for one in distinct]
    else:
        if len(distinct) < num_folds:
            raise SplitError(
                f"{protocol!r} with num_folds={num_folds} needs {num_folds} subjects or more, there are "
                f"{len(distinct)} ({', '.join(distinct)}); ask for at most {len(distinct)} folds"
            )
        tests = _subject_folds(subjects, labels, num_folds, seed)
        if protocol == "holdout":
            tests = tests[:1]
    folds = []
    for number, test in enumerate(tests):
        tested = set(test)
        folds.append(
            Fold(
                index=number,
                train_indices=tuple(i for i in range(len(subjects)) if i not in tested),
                test_indices=tuple(sorted(tested)),
                test_subjects=tuple(sorted({subjects[i] for i in tested}, key=_natural)),
            )
        )
    return Split(protocol, tuple(folds), tuple(subjects), tuple(labels), seed)


def _check_protocol(protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise SplitError(f"no protocol is called {protocol!r}; there are {', '.join(PROTOCOLS)}")


def _plain(label: Any) -> Hashable:
    """A label as a plain int or a tuple: rows of arrays become tuples, numpy integers become ints."""
    if isinstance(label, (list, tuple, np.ndarray)):
        return tuple(float(value) for value in label)
    return label.item() if isinstance(label, np.generic) else label


def _natural(subject: str) -> tuple[Any, ...]:
    """Sort key that puts spNO.2 before spNO.10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", subject))


def _strata(labels: Sequence[Hashable], num_folds: int) -> np.ndarray:
    """Class numbers to stratify by, each with at least `num_folds` clips.

    Labels rarer than the folds cannot be in every fold: they share one stratum, and where that is still
    too small, it joins the largest. With fewer clips than folds there is one stratum.
    """
    counts = Counter(labels)
    common = sorted((label for label, count in counts.items() if count >= num_folds), key=repr)
    number = {label: index for index, label in enumerate(common)}
    rare = len(common)
    if common and sum(count for label, count in counts.items() if label not in number) < num_folds:
        rare = number[max(common, key=lambda label: counts[label])]
    return np.array([number.get(label, rare) for label in labels])


def _clip_folds(labels: Sequence[Hashable], num_folds: int, seed: int) -> list[list[int]]:
    strata = _strata(labels, num_folds)
    splitter = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    return [test.tolist() for _, test in splitter.split(np.zeros(len(labels)), strata)]


def _subject_folds(subjects: Sequence[str], labels: Sequence[Hashable], num_folds: int, seed: int) -> list[list[int]]:
    """Folds of whole subjects, even in size and in labels.

    Large subjects first, each subject goes where the folds stay most even; of several seeded orders the best
    result is taken. (scikit-learn's StratifiedGroupKFold evens out labels only, and its order, and so its
    folds, hardly depend on the seed.)
    """
    strata = np.unique([repr(label) for label in labels], return_inverse=True)[1]
    names = list(dict.fromkeys(subjects))
    counts = np.zeros((len(names), int(strata.max()) + 1))
    np.add.at(counts, (np.array([names.index(subject) for subject in subjects]), strata), 1)
    # Sizes count as much as all labels together; a class is weighed by its rarity, as in a chi-square test.
    table = np.hstack([counts, counts.sum(axis=1, keepdims=True)])
    ideal = table.sum(axis=0) / num_folds
    weight = 1 / ideal
    weight[-1] *= counts.shape[1]

    rng = np.random.default_rng(seed)
    best_fold_of, best_cost = np.zeros(len(names), dtype=int), np.inf
    for _ in range(_ORDERS):
        order = np.argsort(-table[:, -1] * rng.uniform(0.7, 1.3, len(names)))
        fold_of = np.full(len(names), -1)
        filled = np.zeros((num_folds, table.shape[1]))
        for done, subject in enumerate(order):
            change = (((filled + table[subject] - ideal) ** 2 - (filled - ideal) ** 2) * weight).sum(axis=1)
            empty = ~filled.any(axis=1)
            if len(order) - done <= empty.sum():
                change[~empty] = np.inf  # every subject that is left is needed to leave no fold empty
            change += rng.uniform(0, 1e-6, num_folds)  # equal folds are equally good
            fold_of[subject] = change.argmin()
            filled[fold_of[subject]] += table[subject]
        cost = float((((filled - ideal) ** 2) * weight).sum())
        if cost < best_cost:
            best_fold_of, best_cost = fold_of, cost
    fold_of_name = dict(zip(names, best_fold_of.tolist(), strict=True))
    return [[i for i, s in enumerate(subjects) if fold_of_name[s] == fold] for fold in range(num_folds)]
