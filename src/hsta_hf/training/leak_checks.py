"""Refusals of what would let a fold's weights have seen whom the fold tests, by way of where training starts from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.data.footage import shared_footage
from hsta_hf.data.people import cast_of
from hsta_hf.data.protocol_names import BY_DATABASE
from hsta_hf.data.split import Split
from hsta_hf.training.clips import LabelledClips
from hsta_hf.training.recipe import Recipe, RecipeError
from hsta_hf.training.training_data import FIELD, TrainingData, seen_people, training_data_of


class StartLeakError(RecipeError):
    """Training would start from a model that was trained on people, or a database, whom the run tests.

    Attributes:
        names: the people, or the databases.
    """

    def __init__(self, message: str, names: Sequence[str]) -> None:
        self.names = tuple(names)
        super().__init__(message)


def people_seen_before(data: TrainingData, split: Split, clips: LabelledClips) -> list[str]:
    """Of the people whom a split tests, those whom a model was trained on."""
    tested = split.tested_people
    return [person for person in seen_people(data, clips, split.people) if person in tested]


def refuse_seen_people(data: TrainingData, model: str, split: Split, clips: LabelledClips) -> None:
    """Raise if a model to start from has seen whom the split tests, unless the split's protocol shares subjects.

    Args:
        data: what the model was trained on.
        model: its name in messages.
        split: the folds of the run.
        clips: the clips of the run.

    Raises:
        StartLeakError: it has seen some of them or, where whole databases are left out, others of such a database.
    """
    if split.shares_subjects:
        return
    seen = people_seen_before(data, split, clips)
    ways = (
        "Start from another model, from VideoMAE (videomae) or from random weights, or use a protocol whose reports "
        "say that subjects are shared, such as kfold-clips."
    )
    if seen:
        raise StartLeakError(
            f"pretrained: {model} was trained on {len(seen)} of the {len(split.tested_people)} subjects that this run "
            f"tests ({_some(seen)}), which a {split.protocol!r} split promises are unseen. {ways}",
            seen,
        )
    if split.protocol == BY_DATABASE:
        tested = {cast_of(split.databases[index]) for fold in split.folds for index in fold.test_indices}
        both = sorted(tested & set(data.people)) if not clips.synthetic else []
        if both:
            raise StartLeakError(
                f"pretrained: {model} was trained on clips of {_some(both)}, which a {split.protocol!r} split "
                f"promises is an unseen database when it is tested. {ways}",
                both,
            )


def start_data(recipe: Recipe) -> TrainingData | None:
    """What the model that a recipe starts from was trained on; None where it starts from no HSTA model.

    Raises:
        RecipeError: the model's configuration cannot be read, or what it says of this is damaged.
    """
    name = recipe.model.pretrained
    if name is None:
        return None
    try:
        return training_data_of(HSTAConfig.from_pretrained(name), name)
    except (OSError, ValueError) as error:
        raise RecipeError(f"pretrained: the configuration of {name} cannot be read: {error}") from error


def refuse_start(recipe: Recipe, split: Split, clips: LabelledClips) -> None:
    """Raise if a run would start from a model that has seen whom its folds test; see `refuse_seen_people`."""
    data = start_data(recipe)
    if data is not None:
        refuse_seen_people(data, str(recipe.model.pretrained), split, clips)


def refuse_pretraining(model: Path, split: Split, clips: LabelledClips) -> None:
    """Raise if a pre-trained model that lies in the run folder has seen whom the folds test: somebody put it there.

    Args:
        model: its folder; nothing is looked at where it has no configuration that says what it was trained on.
        split: the folds of the run.
        clips: the clips of the run.
    """
    config = model / "config.json"
    content = json.loads(config.read_text(encoding="utf-8")).get(FIELD) if config.is_file() else None
    if content is not None:
        refuse_seen_people(TrainingData.from_dict(content), str(model), split, clips)


def what_the_start_has_seen(recipe: Recipe, split: Split, clips: LabelledClips) -> str:
    """For the report, a sentence with a space before it: whom of the people tested the model to start from has seen.

    Empty where the recipe starts from no HSTA model. A model that is not there any more is one that is not known.
    """
    name = recipe.model.pretrained
    if name is None:
        return ""
    try:
        data = start_data(recipe) or TrainingData()
    except RecipeError:
        data = TrainingData(unknown=frozenset({name}))
    seen = people_seen_before(data, split, clips)
    if seen:
        return (
            f" It was trained on {len(seen)} of this run's {len(split.tested_people)} test subjects. Whether on the "
            "very clips that are tested is not known here."
        )
    if data.unknown:
        others = sorted(data.unknown - {name})
        of = f"{_some(others)}, which it comes from," if others else "that"
        return f" Whether {of} has seen this run's test subjects is not known here."
    names = ", ".join(sorted(data.databases)) or "nothing"
    return f" It was trained on clips of {names}, and on none of this run's test subjects."


def footage_of_others(clips: LabelledClips, others: LabelledClips) -> list[tuple[str, str]]:
    """Pairs of ids, of clips of a run and of clips to pre-train on that share footage, whatever their subjects."""
    aside = set(clips.training_only)
    tested = [index for index in range(len(clips)) if index not in aside]
    mine, ids = ([column[index] for index in tested] for column in map(clips.column, ("frame_hashes", "clip_id")))
    names = [*ids, *others.column("clip_id")]
    pairs = shared_footage([*mine, *others.column("frame_hashes")])
    return [(names[pair.first], names[pair.second]) for pair in pairs if pair.first < len(mine) <= pair.second]


def _some(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")
