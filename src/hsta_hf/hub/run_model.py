"""What of a run folder goes to the Hub: one of its models, the card, the scores; and nothing that names a subject.

Predictions stay here: each row of theirs holds a clip's and a subject's name and the label that the database's owners
annotated, which are not ours to pass on. So do split.json, the reports (hardest clips, pictures) and recipe.yaml
(folders of this machine); the card says in words what they hold.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from hsta_hf.hub.client import PublishError
from hsta_hf.hub.model_folder import model_files
from hsta_hf.reporting.facts import RunFacts
from hsta_hf.reporting.model_card import (
    CARD_FILE,
    card_data,
    fields_of,
    is_untouched,
    render_card,
    signed,
    unfilled,
)
from hsta_hf.reporting.model_card_groups import without_names
from hsta_hf.reporting.publication import Publication
from hsta_hf.training.fold import is_finished
from hsta_hf.training.methods import HSTA
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.run_folder import RunFolder
from hsta_hf.training.run_report import read_run

METRICS_FILE = "metrics.json"
# What the card's template says in place of a field, and words that people leave where something is still to come.
_UNFILLED_WORDS = {
    "No licence is given here": "license",
    "hardware was not noted": "hardware",
    "time was not noted": "training_times",
    "number of parameters was not noted": "parameters",
    "[More Information Needed]": "[More Information Needed]",
    "TODO": "TODO",
}
_HOW_TO_FILL = {
    "license": "the licence of the weights is for you to choose, within the terms of the data and of the weights that "
    "training started from: --license cc-by-nc-4.0, say, or --license other --license-name NAME",
    "hardware": "what the training ran on was not noted by the version that trained: --hardware 'one NVIDIA H100'",
}


@dataclass(frozen=True)
class RunModel:
    """One model of a run, ready to be pushed.

    Attributes:
        folder: where it lies.
        origin: which of the run's models it is, in words.
        contents: what to push by its name in the repository: a file's path, or its content.
    """

    folder: Path
    origin: str
    contents: Mapping[str, Path | bytes]


def run_model(run: Path, publication: Publication, fold: int | None = None, seed: int | None = None) -> RunModel:
    """Collect what of a run is pushed, and refuse what is not fit to be.

    Args:
        run: the run folder.
        publication: what whoever pushes says of it.
        fold: number of the fold whose model it is to be; None: the final model where there is one, or else the first
            fold's.
        seed: of that fold's training; None: the first.

    Raises:
        PublishError: the folder has no such model, or the model, its card or its scores are not whole.
        RunFolderError, FactsError, ModelCardError: the run cannot be read, or its card not be written.
    """
    recipe, facts, metrics = read_run(run)
    if facts.method != HSTA:
        raise PublishError(f"{run} is a run of the baseline {facts.method}: it has no HSTA model to push")
    facts = _with_model(run, recipe, facts, fold, seed)
    finished = (metrics.get("planned") or {}).get("finished")
    if finished is not None and finished != len(facts.fold_metrics):
        raise PublishError(
            f"{run / METRICS_FILE} is about {finished} trainings, but {len(facts.fold_metrics)} are finished by now: "
            f"write the report again first, hsta report {run}"
        )
    folder = run / str(facts.model)
    contents: dict[str, Path | bytes] = {path.name: path for path in model_files(folder)}
    contents[CARD_FILE] = _card(folder, _without_folders(facts, recipe), metrics, publication).encode()
    contents[METRICS_FILE] = (json.dumps(without_names(metrics), indent=2, ensure_ascii=False) + "\n").encode()
    origin = "the final model, trained on all clips" if facts.final_model else str(facts.model).split("/")[-2]
    return RunModel(folder, origin, contents)


def _with_model(run: Path, recipe: Recipe, facts: RunFacts, fold: int | None, seed: int | None) -> RunFacts:
    """The facts, about the model that is asked for."""
    if fold is None and seed is None:
        if facts.model is None or not (run / facts.model).is_dir():
            raise PublishError(f"{run} holds no finished model; start its training again")
        return facts
    seeds = recipe.data.seeds
    asked = RunFolder(run).fold(fold or 0, seeds[0] if seed is None else seed)
    if not is_finished(asked) or not (asked / "model").is_dir():
        there = sorted(path.parent.name for path in run.glob("folds/*/model") if is_finished(path.parent))
        raise PublishError(f"{run} has no finished model {asked.name}; there are {', '.join(there) or 'none'}")
    return dataclasses.replace(facts, model=(asked / "model").relative_to(run).as_posix(), final_model=False)


def _without_folders(facts: RunFacts, recipe: Recipe) -> RunFacts:
    """The facts with the names alone of files and folders of this machine that the recipe names in full."""
    paths = sorted({text for text in _texts(recipe.as_dict()) if os.path.isabs(text)}, key=len, reverse=True)

    def shortened(text: str | None) -> str | None:
        for path in paths:
            text = text.replace(path, Path(path).name) if text else text
        return text

    return dataclasses.replace(
        facts,
        start=shortened(facts.start),
        pretraining=shortened(facts.pretraining),
        warnings=[str(shortened(warning)) for warning in facts.warnings],
    )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for entry in value.values() for text in _texts(entry)]
    return [text for entry in value for text in _texts(entry)] if isinstance(value, list) else []


def _card(folder: Path, facts: RunFacts, metrics: Mapping[str, Any], publication: Publication) -> str:
    """The card as it is pushed: filled from the run, or the one that somebody edited."""
    path = folder / CARD_FILE
    if path.is_file() and not is_untouched(path.read_text(encoding="utf-8")):
        return _edited_card(path, publication)
    fields = fields_of(folder, facts, metrics, publication)
    if names := unfilled(fields):
        raise PublishError(_unfilled_text(folder, names))
    return signed(render_card(card_data(facts, metrics, publication), fields))


def _edited_card(path: Path, publication: Publication) -> str:
    """A card that somebody wrote or edited: theirs, but for the licence where the command gives it."""
    try:
        card = ModelCard.load(path)
    except ValueError as error:
        raise PublishError(f"{path} was edited, and the Hub could not read its front matter: {error}") from error
    if publication.license:
        for name in ("license", "license_name", "license_link"):
            setattr(card.data, name, getattr(publication, name))
    names = [] if card.data.license else ["license"]
    names += [field for words, field in _UNFILLED_WORDS.items() if words in card.text and field not in names]
    if names:
        said = [f'"{words}"' for words, field in _UNFILLED_WORDS.items() if field in names and words in card.text]
        raise PublishError(
            f"{_unfilled_text(path.parent, names)}\n  The card was edited by hand, so it is pushed as it is"
            + (f": change where it says {' and '.join(said)}" if said else "")
        )
    return str(card)


def _unfilled_text(folder: Path, names: list[str]) -> str:
    how = [f"{name}: {_HOW_TO_FILL[name]}" for name in names if name in _HOW_TO_FILL]
    rest = [name for name in names if name not in _HOW_TO_FILL]
    if rest:
        how.append(f"{', '.join(rest)}: write it into {folder / CARD_FILE} by hand")
    return (
        f"a card with an unfilled field is not pushed, and of {folder} it lacks {', '.join(names)}.\n  "
        + "\n  ".join(how)
    )
