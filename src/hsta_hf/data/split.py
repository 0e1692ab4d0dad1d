"""The split itself: which clips train and which test, fold by fold. It refuses to exist if it leaks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hsta_hf.data.footage import SharedFootage
from hsta_hf.data.people import natural_order, people_of, sources_of
from hsta_hf.data.protocol_names import BY_DATABASE, CLIP_LEVEL, CLIP_LEVEL_MACRO, PROTOCOLS, SHARING_SUBJECTS
from hsta_hf.data.split_errors import DatabaseLeakError, FootageLeakError, SplitError, SubjectLeakError


@dataclass(frozen=True)
class Fold:
    """One fold: positions of the clips that train and of those that test.

    Attributes:
        index: Number of the fold, from 0.
        train_indices: Positions of the training clips, in increasing order.
        test_indices: Positions of the test clips, in increasing order.
        test_subjects: People in the test clips, named as in `Split.people`.
        validation_indices: Positions of the clips on which the epoch is chosen, in increasing order; empty where none
            is. They are of people of the training part, of whom no clip trains.
    """

    index: int
    train_indices: tuple[int, ...]
    test_indices: tuple[int, ...]
    test_subjects: tuple[str, ...]
    validation_indices: tuple[int, ...] = ()


@dataclass(frozen=True)
class Split:
    """All folds of a protocol. It refuses to exist if a fold tests a person or footage that it trains on.

    Iterating gives, as scikit-learn's splitters do, a pair of index arrays for each fold:
    `for train, test in split: ...`

    Attributes:
        protocol: One of `PROTOCOLS`.
        folds: The folds.
        subjects: Subject of every clip; positions are what the folds' indices count.
        labels: Label of every clip.
        seed: Seed of the shuffling; "loso" and "leave-one-database-out" have nothing to shuffle and ignore it.
        databases: Database of every clip; empty where all clips are of one.
        footage: The pairs of clips that share footage (`shared_footage`); None where nobody looked.
        clip_ids: Unique name of every clip, for messages and for the saved split; empty where there are none.
        training_only: Positions of the clips that no fold tests, such as macro-expressions; in increasing order.

    Raises:
        SubjectLeakError: if a person tested is also in that fold's training or validation part.
        FootageLeakError: if a clip tested shares footage with one of that fold's training or validation part.
        DatabaseLeakError: if a fold of "leave-one-database-out" trains on clips of the database that it tests.
            The first two are allowed to the protocols of `SHARING_SUBJECTS`, whose description says how much it is.
        SplitError: if a fold is empty, a clip is on both sides, is tested twice or never, two clips have one id, the
            validation part shares a person with the training part, or the folds are not those of the protocol: more
            than one person in a fold of "loso", more than one fold in "holdout".
    """

    protocol: str
    folds: tuple[Fold, ...]
    subjects: tuple[str, ...]
    labels: tuple[Hashable, ...]
    seed: int = 42
    databases: tuple[str, ...] = ()
    footage: tuple[SharedFootage, ...] | None = None
    clip_ids: tuple[str, ...] = ()
    training_only: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_protocol(self.protocol, bool(self.training_only))
        if not self.folds:
            raise SplitError("a split needs at least one fold")
        check_lengths(self.subjects, self.labels, self.databases, self.clip_ids)
        for pair in self.footage or ():
            if not 0 <= pair.first < pair.second < self.num_clips:
                raise SplitError(f"{pair} names no two of the {self.num_clips} clips")
        check_training_only(self.training_only, self.num_clips)
        if self.protocol == "holdout" and len(self.folds) > 1:
            raise SplitError(f"a 'holdout' split has one fold, this one has {len(self.folds)}")
        for fold in self.folds:
            self._check_fold(fold)
        tested = Counter(index for fold in self.folds for index in fold.test_indices)
        twice = sorted(index for index, count in tested.items() if count > 1)
        if twice:
            raise SplitError(f"clips {twice[:10]} are tested in more than one fold")
        never = sorted(set(range(self.num_clips)) - set(tested) - set(self.training_only))
        if never and self.protocol != "holdout":
            raise SplitError(f"clips {never[:10]} are tested in no fold of a {self.protocol!r} split")

    def _check_fold(self, fold: Fold) -> None:
        train, test, validation = set(fold.train_indices), set(fold.test_indices), set(fold.validation_indices)
        if not train or not test:
            part = "training" if not train else "test"
            raise SplitError(f"fold {fold.index} has no {part} clips")
        outside = sorted(index for index in train | test | validation if not 0 <= index < self.num_clips)
        if outside:
            raise SplitError(f"fold {fold.index} names clips {outside[:10]}, there are {self.num_clips} clips")
        if train & test:
            raise SplitError(f"fold {fold.index} trains on clips that it tests: {sorted(train & test)[:10]}")
        for part, clips in (("tests", test), ("validates on", validation)):
            wrong = sorted(clips & set(self.training_only))
            if wrong:
                raise SplitError(f"fold {fold.index} {part} clips that are there for training only: {wrong[:10]}")
        test_subjects = {self.people[index] for index in test}
        if test_subjects != set(fold.test_subjects):
            raise SplitError(
                f"fold {fold.index} says it tests {sorted(fold.test_subjects)}, "
                f"its clips are of {sorted(test_subjects)}"
            )
        self._check_validation(fold.index, train, test, validation)
        if self.protocol not in SHARING_SUBJECTS:
            self._check_leaks(fold, test_subjects)

    def _check_validation(self, fold: int, train: set[int], test: set[int], validation: set[int]) -> None:
        if validation & test:
            raise SplitError(f"fold {fold} chooses its epoch on clips that it tests: {sorted(validation & test)[:10]}")
        shared = {self.people[index] for index in validation} & {self.people[index] for index in train}
        if shared:
            names = ", ".join(sorted(shared, key=natural_order))
            raise SplitError(
                f"fold {fold} chooses its epoch on subjects that it trains on: {names}. Put all clips of a subject on "
                "one side."
            )

    def _check_leaks(self, fold: Fold, test_subjects: set[str]) -> None:
        """Nobody whom a fold tests, and none of their footage, may have part in making its weights."""
        seen = {*fold.train_indices, *fold.validation_indices}
        overlap = test_subjects & {self.people[index] for index in seen}
        if overlap:
            raise SubjectLeakError(fold.index, sorted(overlap, key=natural_order), self.protocol)
        leaks = self._leaks(fold)
        if leaks:
            tested, trained, frames = max(leaks, key=lambda leak: leak[2])
            raise FootageLeakError(
                fold.index, self.protocol, self._named(tested), self._named(trained), frames, len(leaks)
            )
        if self.protocol == "loso" and len(test_subjects) > 1:
            raise SplitError(
                f"fold {fold.index} of a 'loso' split tests {len(test_subjects)} subjects, "
                f"{', '.join(sorted(test_subjects, key=natural_order)[:5])}; each fold tests one"
            )
        if self.protocol == BY_DATABASE:
            if not self.databases:
                raise SplitError(f"a {BY_DATABASE!r} split needs to know the database of every clip")
            left_out = {self.sources[index] for index in fold.test_indices}
            both = left_out & {self.sources[index] for index in seen}
            if both:
                raise DatabaseLeakError(fold.index, self.protocol, sorted(both))
            if len(left_out) > 1:
                raise SplitError(f"fold {fold.index} leaves out several databases: {', '.join(sorted(left_out))}")

    def _leaks(self, fold: Fold) -> list[tuple[int, int, int]]:
        """(test clip, clip seen, shared frames) of the pairs that have a clip on either side of the fold."""
        if not self.footage:
            return []
        seen, test = {*fold.train_indices, *fold.validation_indices}, set(fold.test_indices)
        leaks = []
        for first, second, frames in self.footage:
            if first in test and second in seen:
                leaks.append((first, second, frames))
            elif second in test and first in seen:
                leaks.append((second, first, frames))
        return leaks

    def _named(self, index: int) -> tuple[str, str]:
        return (self.clip_ids[index] if self.clip_ids else f"clip {index}"), self.people[index]

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Training and test positions of each fold: two int64 arrays."""
        for fold in self.folds:
            yield np.array(fold.train_indices, np.int64), np.array(fold.test_indices, np.int64)

    def __len__(self) -> int:
        return len(self.folds)

    @cached_property
    def people(self) -> tuple[str, ...]:
        """The person in every clip: the subject, and, where databases have different casts, `database/subject`.

        Two databases may call different people by one name.
        """
        return people_of(self.subjects, self.databases)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The database of every clip, those with one cast taken as one; empty where databases are not known."""
        return sources_of(self.databases)

    @property
    def name(self) -> str:
        """The protocol: what the numbers of this split are called in every report."""
        return self.protocol

    @property
    def num_clips(self) -> int:
        """Number of clips, in all folds together, and of those that are never tested."""
        return len(self.subjects)

    @cached_property
    def testable(self) -> tuple[int, ...]:
        """Positions of all clips but those that only train."""
        aside = set(self.training_only)
        return tuple(index for index in range(self.num_clips) if index not in aside)

    @property
    def num_folds(self) -> int:
        """Number of folds."""
        return len(self.folds)

    @property
    def num_people(self) -> int:
        """Number of different people in the clips that are not for training only."""
        return len({self.people[index] for index in self.testable})

    @property
    def tested_people(self) -> frozenset[str]:
        """Everybody whom some fold tests, as in `people`."""
        return frozenset(person for fold in self.folds for person in fold.test_subjects)

    @property
    def shares_subjects(self) -> bool:
        """Whether the protocol is one whose numbers are on people already seen."""
        return self.protocol in SHARING_SUBJECTS

    @property
    def shared_subjects(self) -> float:
        """Of the people that a fold tests, the fraction that it also trains on (mean over folds)."""
        fractions = []
        for fold in self.folds:
            trained = {self.people[index] for index in fold.train_indices}
            fractions.append(sum(person in trained for person in fold.test_subjects) / len(fold.test_subjects))
        return float(np.mean(fractions))

    @property
    def clips_sharing_footage(self) -> int | None:
        """How many clips are tested by a fold that trains on some of their pictures; None where nobody looked.

        Where more than `footage.COMMON` clips are copies of one another, those of them are counted whose next copy is
        on the other side.
        """
        if self.footage is None:
            return None
        return len({tested for fold in self.folds for tested, _, _ in self._leaks(fold)})

    @property
    def description(self) -> str:
        """The sentences that a report prints above numbers of this split."""
        from hsta_hf.data.split_description import describe  # which needs this class

        return describe(self)

    def to_dict(self) -> dict[str, Any]:
        """The split as plain lists and strings, to be saved as JSON beside the results."""
        return {
            "protocol": self.protocol,
            "seed": self.seed,
            "description": self.description,
            "num_clips": self.num_clips,
            "num_subjects": self.num_people,
            "databases": sorted(set(self.databases)),
            "clips_sharing_footage": self.clips_sharing_footage,
            "clips": list(self.clip_ids),
            "training_only": list(self.training_only),
            "folds": [
                {
                    "index": fold.index,
                    "train_indices": list(fold.train_indices),
                    "validation_indices": list(fold.validation_indices),
                    "test_indices": list(fold.test_indices),
                    "test_subjects": list(fold.test_subjects),
                    "test_databases": sorted({self.sources[i] for i in fold.test_indices}) if self.sources else [],
                }
                for fold in self.folds
            ],
        }

    @classmethod
    def from_dict(
        cls,
        content: Mapping[str, Any],
        subjects: Sequence[str],
        labels: Sequence[Hashable],
        databases: Sequence[str] = (),
        footage: Sequence[SharedFootage] | None = None,
    ) -> Split:
        """A split that was saved, checked like any other: an edited file that leaks is refused.

        Args:
            content: What `to_dict` made.
            subjects: Subject of every clip, as the dataset says; the file is not asked.
            labels: Label of every clip.
            databases: Database of every clip.
            footage: The pairs of clips that share footage.

        Raises:
            SplitError: the content is no split, or not one of these clips; and see the class.
        """
        try:
            folds = tuple(
                Fold(
                    int(fold["index"]),
                    tuple(map(int, fold["train_indices"])),
                    tuple(map(int, fold["test_indices"])),
                    tuple(map(str, fold["test_subjects"])),
                    tuple(map(int, fold.get("validation_indices", ()))),
                )
                for fold in content["folds"]
            )
            protocol, seed = str(content["protocol"]), int(content["seed"])
            clip_ids = tuple(map(str, content["clips"]))
            aside = tuple(map(int, content.get("training_only", ())))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SplitError(f"this is no saved split: {error!r}; take one that a run wrote as split.json") from error
        pairs = None if footage is None else tuple(footage)
        given = (tuple(map(str, subjects)), tuple(labels))
        return cls(protocol, folds, *given, seed, tuple(databases), pairs, clip_ids, aside)


def check_protocol(protocol: str, training_only: bool) -> None:
    """Raise SplitError if there is no such protocol, or clips that only train do not go with it."""
    if protocol not in PROTOCOLS:
        raise SplitError(f"no protocol is called {protocol!r}; there are {', '.join(PROTOCOLS)}")
    if protocol == CLIP_LEVEL and training_only:
        raise SplitError(
            f"a {CLIP_LEVEL!r} split tests clips of nearly everybody in every fold, so that clips that only train, "
            f"such as macro-expressions, are of test subjects. The protocol that adds them all the same is called "
            f"{CLIP_LEVEL_MACRO!r}; one by subject, such as 'kfold-subjects' or 'loso', leaves them out where they "
            "are of a test subject."
        )
    if protocol == CLIP_LEVEL_MACRO and not training_only:
        raise SplitError(
            f"a {CLIP_LEVEL_MACRO!r} split adds macro-expressions to training, but there are none: name their "
            f"prepared dataset as `macro_dataset`, or use the protocol {CLIP_LEVEL!r}."
        )


def check_training_only(positions: Sequence[int], num_clips: int) -> None:
    """Raise SplitError unless these are positions of clips, in increasing order, and some clip is left."""
    wrong = [index for index in positions if not 0 <= index < num_clips]
    if wrong:
        raise SplitError(f"training_only names clips {wrong[:10]}, there are {num_clips} clips")
    if list(positions) != sorted(set(positions)):
        raise SplitError("training_only must name every clip once, in increasing order")
    if len(positions) == num_clips:
        raise SplitError("all clips are there for training only, none can be tested")


def check_lengths(
    subjects: Sequence[str], labels: Sequence[Hashable], databases: Sequence[str], clip_ids: Sequence[str]
) -> None:
    """Raise SplitError if what is said of the clips is of different numbers of them, or two have one id."""
    if len(subjects) != len(labels):
        raise SplitError(
            f"subjects and labels must be equally long, got {len(subjects)} subjects and {len(labels)} labels"
        )
    for what, given in (("databases", databases), ("clip ids", clip_ids)):
        if given and len(given) != len(subjects):
            raise SplitError(f"there are {len(subjects)} clips, but {what} of {len(given)}")
    first: dict[str, int] = {}
    for position, clip_id in enumerate(clip_ids):
        if first.setdefault(clip_id, position) != position:
            raise SplitError(
                f"clips {first[clip_id]} and {position} are both called {clip_id}: every clip needs an id of its own. "
                "Remove the row that is in the annotation twice, or the dataset that was joined twice."
            )
