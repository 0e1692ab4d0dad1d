"""Which clips train and which test, fold by fold, and what numbers from such a split mean."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hsta_hf.data.fold_dealing import clip_folds, subject_folds
from hsta_hf.data.footage import SharedFootage, shared_footage
from hsta_hf.data.people import people_of, sources_of

PROTOCOLS: tuple[str, ...] = ("kfold-clips", "kfold-subjects", "loso", "holdout", "leave-one-database-out")
# The one protocol whose folds share subjects. Published for CASME3; its numbers are on people already seen.
CLIP_LEVEL = "kfold-clips"
BY_DATABASE = "leave-one-database-out"


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


class FootageLeakError(SplitError):
    """A clip that a fold tests shows pictures that the same fold trains on.

    Attributes:
        test_clip: The tested clip: its id where ids are known, else its position (`clip 17`).
        train_clip: The training clip.
        num_frames: How many different pictures both show.
        num_pairs: How many pairs of clips leak in that fold.
    """

    def __init__(
        self, fold: int, protocol: str, test: tuple[str, str], train: tuple[str, str], num_frames: int, num_pairs: int
    ) -> None:
        (self.test_clip, test_subject), (self.train_clip, train_subject) = test, train
        self.num_frames, self.num_pairs = num_frames, num_pairs
        others = f" {num_pairs - 1} more pairs of clips do so in this fold." if num_pairs > 1 else ""
        super().__init__(
            f"fold {fold} of a {protocol!r} split tests footage that it also trains on: {self.test_clip} (subject "
            f"{test_subject}) and {self.train_clip} (subject {train_subject}) share {num_frames} identical "
            f"frame{'s' * (num_frames != 1)}.{others} Either one of the two is a copy under the wrong name: remove it "
            "from the database, or correct its subject, and prepare again. Or both are one person: give them one "
            f"subject name. Only the protocol {CLIP_LEVEL!r} may share footage, and its reports say how much."
        )


@dataclass(frozen=True)
class Fold:
    """One fold: positions of the clips that train and of those that test.

    Attributes:
        index: Number of the fold, from 0.
        train_indices: Positions of the training clips, in increasing order.
        test_indices: Positions of the test clips, in increasing order.
        test_subjects: People in the test clips, named as in `Split.people`.
    """

    index: int
    train_indices: tuple[int, ...]
    test_indices: tuple[int, ...]
    test_subjects: tuple[str, ...]


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

    Raises:
        SubjectLeakError: if a person tested is also in that fold's training part.
        FootageLeakError: if a clip tested shares footage with one of that fold's training part.
            Both are allowed to "kfold-clips", whose description says how much it shares.
        SplitError: if a fold is empty, a clip is on both sides, is tested twice or never, or two clips have one id.
    """

    protocol: str
    folds: tuple[Fold, ...]
    subjects: tuple[str, ...]
    labels: tuple[Hashable, ...]
    seed: int = 42
    databases: tuple[str, ...] = ()
    footage: tuple[SharedFootage, ...] | None = None
    clip_ids: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_protocol(self.protocol)
        if not self.folds:
            raise SplitError("a split needs at least one fold")
        _check_lengths(self.subjects, self.labels, self.databases, self.clip_ids)
        for pair in self.footage or ():
            if not 0 <= pair.first < pair.second < self.num_clips:
                raise SplitError(f"{pair} names no two of the {self.num_clips} clips")
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
        test_subjects = {self.people[index] for index in test}
        if test_subjects != set(fold.test_subjects):
            raise SplitError(
                f"fold {fold.index} says it tests {sorted(fold.test_subjects)}, "
                f"its clips are of {sorted(test_subjects)}"
            )
        if self.protocol == CLIP_LEVEL:
            return
        overlap = test_subjects & {self.people[index] for index in train}
        if overlap:
            raise SubjectLeakError(fold.index, sorted(overlap, key=_natural), self.protocol)
        leaks = self._leaks(fold)
        if leaks:
            tested, trained, frames = max(leaks, key=lambda leak: leak[2])
            raise FootageLeakError(
                fold.index, self.protocol, self._named(tested), self._named(trained), frames, len(leaks)
            )

    def _leaks(self, fold: Fold) -> list[tuple[int, int, int]]:
        """(test clip, training clip, shared frames) of the pairs that have a clip on either side of the fold."""
        if not self.footage:
            return []
        train, test = set(fold.train_indices), set(fold.test_indices)
        leaks = []
        for first, second, frames in self.footage:
            if first in test and second in train:
                leaks.append((first, second, frames))
            elif second in test and first in train:
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
    def num_people(self) -> int:
        """Number of different people in the clips."""
        return len(set(self.people))

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
        return " ".join([self._protocol_sentences(), *self._footage_sentences()])

    def _protocol_sentences(self) -> str:
        names = sorted(set(self.databases))
        where = f" of the databases {', '.join(names)}" if len(names) > 1 else ""
        clips = f"{self.num_clips} clips of {self.num_people} subjects{where}"
        if self.protocol == CLIP_LEVEL:
            return (
                f"Protocol kfold-clips: {self.num_folds} folds by clip, stratified by label "
                f"({clips}, seed {self.seed}). On average "
                f"{100 * self.shared_subjects:.0f} % of a test fold's subjects also have clips in its "
                f"training fold, as in the published CASME3 folds: these numbers are not on unseen people."
            )
        unseen = "No subject is in both parts of a fold: the numbers are on subjects never seen in training."
        if self.protocol == BY_DATABASE:
            counts = Counter(sources_of(self.databases))
            parts = ", ".join(f"{source} {counts[source]} clips" for source in sorted(counts))
            return (
                f"Protocol leave-one-database-out: every database is tested once, by a model trained on the others "
                f"({parts}; {self.num_people} subjects). {unseen} Their database is unseen, too."
            )
        if self.protocol == "kfold-subjects":
            return (
                f"Protocol kfold-subjects: {self.num_folds} folds by subject, stratified by label "
                f"({clips}, seed {self.seed}). {unseen}"
            )
        if self.protocol == "loso":
            return (
                f"Protocol loso: leave one subject out, {self.num_folds} folds of one subject each "
                f"({self.num_clips} clips{where}). {unseen}"
            )
        fold = self.folds[0]
        return (
            f"Protocol holdout: {len(fold.test_subjects)} of {self.num_people} subjects{where} held out once, "
            f"stratified by label ({len(fold.train_indices)} training clips, {len(fold.test_indices)} test clips, "
            f"seed {self.seed}). {unseen}"
        )

    def _footage_sentences(self) -> list[str]:
        sharing = self.clips_sharing_footage
        if sharing is None:
            return []
        if not sharing:
            return ["No test clip shares frames with a training clip of its fold (frame hashes compared)."]
        return [f"{sharing} of {self.num_clips} test clips share frames with training clips of their fold."]

    def to_dict(self) -> dict[str, Any]:
        """The split as plain lists and strings, to be saved as JSON beside the results."""
        sources = sources_of(self.databases)
        return {
            "protocol": self.protocol,
            "seed": self.seed,
            "description": self.description,
            "num_clips": self.num_clips,
            "num_subjects": self.num_people,
            "databases": sorted(set(self.databases)),
            "clips_sharing_footage": self.clips_sharing_footage,
            "clips": list(self.clip_ids),
            "folds": [
                {
                    "index": fold.index,
                    "train_indices": list(fold.train_indices),
                    "test_indices": list(fold.test_indices),
                    "test_subjects": list(fold.test_subjects),
                    "test_databases": sorted({sources[i] for i in fold.test_indices}) if sources else [],
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
    databases: Sequence[str] | None = None,
    footage: Sequence[Sequence[int]] | None = None,
    clip_ids: Sequence[str] | None = None,
) -> Split:
    """Split clips by a protocol.

    Args:
        protocol: "kfold-clips": folds of clips, stratified by label, subjects shared (as published for
            CASME3). "kfold-subjects": folds of whole subjects, as even in size and label as can be.
            "loso": every subject is a fold. "holdout": the subjects of one of `num_folds` even parts are
            tested once. "leave-one-database-out": every database is a fold.
        subjects: Subject of every clip.
        labels: Label of every clip: a class number, or a tuple for a multi-label scheme.
        num_folds: Number of folds; for "holdout" the denominator of the part held out. "loso" and
            "leave-one-database-out" ignore it.
        seed: Seed of the shuffling. The same arguments give the same split.
        databases: Database of every clip; None where all are of one. A person is then the pair of database and
            subject, except in databases that are known to show the same people (SMIC's three, CAS(ME)^3's two):
            these count as one, and are one fold of "leave-one-database-out".
        footage: Hashes of every clip's frames (the column `frame_hashes` of a prepared dataset); None leaves
            footage unchecked.
        clip_ids: Unique name of every clip.

    Returns:
        The split, checked.

    Raises:
        SplitError: if there are too few clips, subjects or databases for it, the message says how many there are;
            if a test person (SubjectLeakError) or test footage (FootageLeakError) is trained on; or if two clips
            have one id.
    """
    _check_protocol(protocol)
    subjects, labels = tuple(map(str, subjects)), tuple(_plain(label) for label in labels)
    databases, clip_ids = tuple(map(str, databases or ())), tuple(map(str, clip_ids or ()))
    _check_lengths(subjects, labels, databases, clip_ids)
    if footage is not None and len(footage) != len(subjects):
        raise SplitError(f"there are {len(subjects)} clips, but frame hashes of {len(footage)}")
    if not subjects:
        raise SplitError("there are no clips to split")
    if protocol not in ("loso", BY_DATABASE) and num_folds < 2:
        raise SplitError(f"num_folds must be 2 or more, got {num_folds}")
    people = people_of(subjects, databases)
    tests = _test_clips(protocol, people, labels, sources_of(databases), num_folds, seed)
    folds = []
    for number, test in enumerate(tests):
        tested = set(test)
        folds.append(
            Fold(
                index=number,
                train_indices=tuple(i for i in range(len(subjects)) if i not in tested),
                test_indices=tuple(sorted(tested)),
                test_subjects=tuple(sorted({people[i] for i in tested}, key=_natural)),
            )
        )
    pairs = None if footage is None else tuple(shared_footage(footage))
    return Split(protocol, tuple(folds), subjects, labels, seed, databases, pairs, clip_ids)


def _test_clips(
    protocol: str,
    people: Sequence[str],
    labels: Sequence[Hashable],
    sources: Sequence[str],
    num_folds: int,
    seed: int,
) -> list[list[int]]:
    """Positions of each fold's test clips."""
    if protocol == BY_DATABASE:
        names = sorted(set(sources))
        if len(names) < 2:
            there = f"there is {names[0]}" if names else "no clip says of which it is"
            raise SplitError(f"leaving one database out needs clips of 2 databases with different people, {there}")
        return [[i for i, source in enumerate(sources) if source == name] for name in names]
    if len(set(sources)) > 1:  # evenly from every database, too
        labels = list(zip(sources, labels, strict=True))
    if protocol == CLIP_LEVEL:
        if len(people) < num_folds:
            raise SplitError(f"{num_folds} folds need {num_folds} clips or more, there are {len(people)}")
        return clip_folds(labels, num_folds, seed)
    distinct = sorted(set(people), key=_natural)
    if protocol == "loso":
        if len(distinct) < 2:
            raise SplitError(f"leaving one subject out needs 2 subjects or more, there is {len(distinct)}")
        return [[i for i, person in enumerate(people) if person == one] for one in distinct]
    if len(distinct) < num_folds:
        raise SplitError(
            f"{protocol!r} with num_folds={num_folds} needs {num_folds} subjects or more, there are "
            f"{len(distinct)} ({', '.join(distinct)}); ask for at most {len(distinct)} folds"
        )
    tests = subject_folds(people, labels, num_folds, seed)
    return tests[:1] if protocol == "holdout" else tests


def _check_protocol(protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise SplitError(f"no protocol is called {protocol!r}; there are {', '.join(PROTOCOLS)}")


def _check_lengths(
    subjects: Sequence[str], labels: Sequence[Hashable], databases: Sequence[str], clip_ids: Sequence[str]
) -> None:
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


def _plain(label: Any) -> Hashable:
    """A label as a plain int or a tuple: rows of arrays become tuples, numpy integers become ints."""
    if isinstance(label, (list, tuple, np.ndarray)):
        return tuple(float(value) for value in label)
    return label.item() if isinstance(label, np.generic) else label


def _natural(subject: str) -> tuple[Any, ...]:
    """Sort key that puts spNO.2 before spNO.10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", subject))
