"""Which clips train and which test, fold by fold, and what numbers from such a split mean."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from hsta_hf.data.fold_dealing import clip_folds, subject_folds, validation_subjects
from hsta_hf.data.footage import shared_footage
from hsta_hf.data.people import natural_order, people_of, sources_of
from hsta_hf.data.protocol_names import BY_DATABASE, CLIP_LEVEL, CLIP_LEVEL_MACRO, PROTOCOLS, SHARING_SUBJECTS
from hsta_hf.data.split import Fold, Split, check_lengths, check_protocol, check_training_only
from hsta_hf.data.split_errors import DatabaseLeakError, FootageLeakError, SplitError, SubjectLeakError


def make_split(
    protocol: str,
    subjects: Sequence[str],
    labels: Sequence[Hashable],
    num_folds: int = 5,
    seed: int = 42,
    databases: Sequence[str] | None = None,
    footage: Sequence[Sequence[int]] | None = None,
    clip_ids: Sequence[str] | None = None,
    training_only: Sequence[int] = (),
    validation_share: float = 0.0,
) -> Split:
    """Split clips by a protocol.

    Args:
        protocol: "kfold-clips": folds of clips, stratified by label, subjects shared (as published for
            CASME3). "kfold-clips-macro": the same with the clips of `training_only` in every fold's training,
            whoever is in them. "kfold-subjects": folds of whole subjects, as even in size and label as can be.
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
        training_only: Positions of clips that are never tested, such as macro-expressions. They do not change which
            clips a fold tests; a fold trains on those that are of none of its test subjects (in
            "leave-one-database-out": of no clip of its test database).
        validation_share: Share of each training part's subjects on whom the fold's epoch is to be chosen; 0 for none.
            In every protocol they are whole subjects, none of whose clips trains.

    Returns:
        The split, checked.

    Raises:
        SplitError: if there are too few clips, subjects or databases for it, the message says how many there are;
            if a test person (SubjectLeakError) or test footage (FootageLeakError) is trained on; or if two clips
            have one id.
    """
    check_protocol(protocol, bool(len(training_only)))
    subjects, labels = tuple(map(str, subjects)), tuple(_plain(label) for label in labels)
    databases, clip_ids = tuple(map(str, databases or ())), tuple(map(str, clip_ids or ()))
    check_lengths(subjects, labels, databases, clip_ids)
    if footage is not None and len(footage) != len(subjects):
        raise SplitError(f"there are {len(subjects)} clips, but frame hashes of {len(footage)}")
    if not subjects:
        raise SplitError("there are no clips to split")
    if protocol not in ("loso", BY_DATABASE) and num_folds < 2:
        raise SplitError(f"num_folds must be 2 or more, got {num_folds}")
    if not 0 <= validation_share < 1:
        raise SplitError(f"validation_share is {validation_share}; it must be 0 or more and below 1")
    aside = tuple(map(int, training_only))
    check_training_only(aside, len(subjects))

    tested = sorted(set(range(len(subjects))) - set(aside))
    some_databases = [databases[i] for i in tested] if databases else []
    tests = _test_clips(
        protocol,
        people_of([subjects[i] for i in tested], some_databases),
        [labels[i] for i in tested],
        sources_of(some_databases),
        num_folds,
        seed,
    )
    people, sources = people_of(subjects, databases), sources_of(databases)
    folds = []
    for number, test in enumerate(tests):
        clips = {tested[i] for i in test}
        train = _training_clips(protocol, clips, aside, people, sources)
        validation: list[int] = []
        if validation_share:
            train, validation = _without_validation(
                number, train, aside, people, labels, sources, validation_share, seed
            )
        test_subjects = sorted({people[i] for i in clips}, key=natural_order)
        folds.append(
            Fold(
                number, tuple(train), tuple(sorted(clips)), tuple(test_subjects), validation_indices=tuple(validation)
            )
        )
    pairs = None if footage is None else tuple(shared_footage(footage))
    return Split(protocol, tuple(folds), subjects, labels, seed, databases, pairs, clip_ids, aside)


def _training_clips(
    protocol: str, test: set[int], aside: Sequence[int], people: Sequence[str], sources: Sequence[str]
) -> list[int]:
    """Positions of all clips that are not tested, those left out that only train and are of a test subject."""
    left_out = set(test)
    if protocol != CLIP_LEVEL_MACRO:
        who = sources if protocol == BY_DATABASE else people
        tested = {who[i] for i in test}
        left_out |= {i for i in aside if who[i] in tested}
    return [i for i in range(len(people)) if i not in left_out]


def _without_validation(
    fold: int,
    train: list[int],
    aside: Sequence[int],
    people: Sequence[str],
    labels: Sequence[Hashable],
    sources: Sequence[str],
    share: float,
    seed: int,
) -> tuple[list[int], list[int]]:
    """Training and validation clips: whole people go, with those of their clips that only train."""
    only_train = set(aside)
    candidates = [i for i in train if i not in only_train]
    distinct = sorted({people[i] for i in candidates}, key=natural_order)
    if len(distinct) < 2:
        raise SplitError(
            f"the training part of fold {fold} is of one subject, {distinct[0]}, so that none can be set aside to "
            "choose the epoch; set validation_share to 0"
        )
    strata = [(sources[i] if sources else "", labels[i]) for i in candidates]
    chosen = validation_subjects([people[i] for i in candidates], strata, share, (seed, fold))
    validation = [i for i in candidates if people[i] in chosen]
    return [i for i in train if people[i] not in chosen], validation


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
    if protocol in SHARING_SUBJECTS:
        if len(people) < num_folds:
            raise SplitError(f"{num_folds} folds need {num_folds} clips or more, there are {len(people)}")
        return clip_folds(labels, num_folds, seed)
    distinct = sorted(set(people), key=natural_order)
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


def _plain(label: Any) -> Hashable:
    """A label as a plain int or a tuple: rows of arrays become tuples, numpy integers become ints."""
    if isinstance(label, (list, tuple, np.ndarray)):
        return tuple(float(value) for value in label)
    return label.item() if isinstance(label, np.generic) else label


__all__ = [
    "BY_DATABASE",
    "CLIP_LEVEL",
    "CLIP_LEVEL_MACRO",
    "PROTOCOLS",
    "SHARING_SUBJECTS",
    "DatabaseLeakError",
    "Fold",
    "FootageLeakError",
    "Split",
    "SplitError",
    "SubjectLeakError",
    "make_split",
]
