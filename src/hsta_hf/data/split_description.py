"""A split in words: the sentences that reports print above its numbers."""

from __future__ import annotations

from collections import Counter

from hsta_hf.data.protocol_names import BY_DATABASE, CLIP_LEVEL, CLIP_LEVEL_MACRO
from hsta_hf.data.split import Split

_UNSEEN = "No subject is in both parts of a fold: the numbers are on subjects never seen in training."


def describe(split: Split) -> str:
    """The protocol, what its numbers mean, which clips only train, how the epoch is chosen, and shared footage."""
    parts = [_protocol(split), *_training_only(split), *_validation(split), *_footage(split)]
    return " ".join(parts)


def _protocol(split: Split) -> str:
    databases = [split.databases[index] for index in split.testable] if split.databases else []
    names = sorted(set(databases))
    where = f" of the databases {', '.join(names)}" if len(names) > 1 else ""
    num_clips = len(split.testable)
    clips = f"{num_clips} clips of {split.num_people} subjects{where}"
    if split.protocol in (CLIP_LEVEL, CLIP_LEVEL_MACRO):
        return (
            f"Protocol {split.protocol}: {split.num_folds} folds by clip, stratified by label "
            f"({clips}, seed {split.seed}). On average "
            f"{100 * split.shared_subjects:.0f} % of a test fold's subjects also have clips in its "
            f"training fold, as in the published CASME3 folds: these numbers are not on unseen people."
        )
    if split.protocol == BY_DATABASE:
        counts = Counter(split.sources[index] for index in split.testable)
        parts = ", ".join(f"{source} {counts[source]} clips" for source in sorted(counts))
        return (
            f"Protocol leave-one-database-out: every database is tested once, by a model trained on the others "
            f"({parts}; {split.num_people} subjects). {_UNSEEN} Their database is unseen, too."
        )
    if split.protocol == "kfold-subjects":
        return (
            f"Protocol kfold-subjects: {split.num_folds} folds by subject, stratified by label "
            f"({clips}, seed {split.seed}). {_UNSEEN}"
        )
    if split.protocol == "loso":
        return (
            f"Protocol loso: leave one subject out, {split.num_folds} folds of one subject each "
            f"({num_clips} clips{where}). {_UNSEEN}"
        )
    fold = split.folds[0]
    return (
        f"Protocol holdout: {len(fold.test_subjects)} of {split.num_people} subjects{where} held out once, "
        f"stratified by label ({len(fold.train_indices)} training clips, {len(fold.test_indices)} test clips, "
        f"seed {split.seed}). {_UNSEEN}"
    )


def _training_only(split: Split) -> list[str]:
    if not split.training_only:
        return []
    counts = Counter(split.databases[index] for index in split.training_only) if split.databases else Counter()
    which = f" ({', '.join(f'{name} {count}' for name, count in sorted(counts.items()))})" if counts else ""
    number = len(split.training_only)
    added = f"{number} clip{'s' * (number != 1)} more{which} only train and are never tested"
    if split.protocol == CLIP_LEVEL_MACRO:
        return [
            f"{added}; those of the people that a fold tests are trained on as well, so that the model has seen far "
            "more of the people it is tested on than in kfold-clips."
        ]
    aside = set(split.training_only)
    left_out = [len(aside - set(fold.train_indices)) for fold in split.folds]
    return [
        f"{added}; a fold does not train on those of the people that it tests or chooses its epoch on "
        f"(left out: {min(left_out)} to {max(left_out)} a fold)."
    ]


def _validation(split: Split) -> list[str]:
    folds = [fold for fold in split.folds if fold.validation_indices]
    if not folds:
        return []
    people, clips, shares = [], [], []
    for fold in folds:
        aside = {split.people[index] for index in fold.validation_indices}
        everybody = aside | {split.people[index] for index in fold.train_indices}
        people.append(len(aside))
        clips.append(len(fold.validation_indices))
        shares.append(round(100 * len(aside) / len(everybody)))
    held, verbs = ("clip" if max(clips) == 1 else "clips"), ("is", "does") if max(people) == 1 else ("are", "do")
    return [
        f"The epoch is chosen inside the training part: in each fold {_range(people)} of its subjects "
        f"({_range(shares)} %), with {_range(clips)} {held}, {verbs[0]} set aside for that and "
        f"{verbs[1]} not train; test clips have no part in it."
    ]


def _range(numbers: list[int]) -> str:
    return str(numbers[0]) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


def _footage(split: Split) -> list[str]:
    sharing = split.clips_sharing_footage
    if sharing is None:
        return []
    if not sharing:
        return ["No test clip shares frames with a training clip of its fold (frame hashes compared)."]
    return [f"{sharing} of {len(split.testable)} test clips share frames with training clips of their fold."]
