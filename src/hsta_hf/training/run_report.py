"""What a report needs of a run's clips and folder, and a finished run's report written again without training."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hsta_hf.data.databases.folder import NAME as OWN_FOOTAGE
from hsta_hf.reporting.clip_pictures import ClipPictures, pictures_of
from hsta_hf.reporting.facts import DatabaseCounts, RunFacts, read_facts
from hsta_hf.reporting.predictions import read_predictions, write_predictions
from hsta_hf.reporting.report import write_report
from hsta_hf.training.clips import LabelledClips, class_counts
from hsta_hf.training.fold import is_finished, read_log_history, read_metrics
from hsta_hf.training.joined_clips import load_run_clips
from hsta_hf.training.methods import HSTA
from hsta_hf.training.recipe import Recipe, load_recipe
from hsta_hf.training.run_folder import RECIPE_FILE, RUN_FILE, RunFolder, RunFolderError


def clip_facts(clips: LabelledClips) -> dict[str, Any]:
    """Fields of `RunFacts` that only the clips know: what of each database is tested, and whose footage it is."""
    rows = pd.DataFrame({name: clips.column(name) for name in ("database", "subject")})
    rows = rows.drop(index=list(clips.training_only))
    counts = {
        str(database): DatabaseCounts(
            subjects=int(part["subject"].nunique()),
            class_counts=class_counts([clips.labels[place] for place in part.index], clips.scheme),
        )
        for database, part in rows.groupby("database", sort=True)
    }
    return {"database_counts": counts, "own_footage": OWN_FOOTAGE in clips.databases}


def finished_folders(recipe: Recipe, folder: RunFolder, folds: Sequence[int]) -> list[Path]:
    """Folders of the folds with results, in the order of seeds and folds.

    Args:
        folds: numbers of all folds of the split.
    """
    folders = [folder.fold(fold, seed) for seed in recipe.data.seeds for fold in folds]
    return [each for each in folders if is_finished(each)]


def with_folds(facts: RunFacts, recipe: Recipe, folder: RunFolder, folds: Sequence[int]) -> RunFacts:
    """The facts with what the finished folds say: which are missing, their logs, and which model to use."""
    finished = finished_folders(recipe, folder, folds)
    missing = {
        str(seed): [fold for fold in folds if folder.fold(fold, seed) not in finished] for seed in recipe.data.seeds
    }
    final = recipe.training.final_model and is_finished(folder.final)
    models = [each / "model" for each in ([folder.final] if final else finished[:1])]
    # Most baselines leave nothing that could be loaded.
    models = [model for model in models if facts.method == HSTA or (model / "config.json").is_file()]
    return dataclasses.replace(
        facts,
        complete=not any(missing.values()),
        missing_folds={seed: numbers for seed, numbers in missing.items() if numbers},
        model=next((model.relative_to(folder.path).as_posix() for model in models if model.exists()), None),
        final_model=final,
        fold_metrics=[read_metrics(each) for each in finished],
        other_trainings={
            each.name: read_metrics(each) for each in (folder.pretraining, folder.final) if is_finished(each)
        },
        log_histories={each.name: read_log_history(each) for each in finished},
    )


def read_run(path: Path) -> tuple[Recipe, RunFacts, dict[str, Any]]:
    """A reported run: its recipe, what it says of itself by now, and its scores as last written.

    Args:
        path: the run folder.

    Raises:
        RunFolderError: the folder is no run's, or its report was never written.
        FactsError: its `facts.json` is damaged.
    """
    recipe = _recipe_of(path)
    facts, metrics, split = read_facts(path), path / "metrics.json", path / "split.json"
    if facts is None or not metrics.is_file() or not split.is_file():
        raise RunFolderError(f"{path} holds a run without a report; write it: hsta report {path}")
    facts = with_folds(facts, recipe, RunFolder(path), _fold_numbers(split))
    return recipe, facts, json.loads(metrics.read_text(encoding="utf-8"))


def _recipe_of(path: Path) -> Recipe:
    if not (path / RECIPE_FILE).is_file():
        raise RunFolderError(f"{path} has no {RECIPE_FILE}, so it is no run folder; name the --output_dir of a run.")
    return load_recipe(path / RECIPE_FILE)


def report_again(path: Path, pictures: bool | None = None) -> tuple[dict[str, Any], str | None]:
    """Write the report of a run folder again, without training anything.

    Every fold that is finished by now is in it, whichever command finished it. The dataset is only needed for
    pictures, and for the facts of a run that an earlier version made.

    Args:
        path: the run folder.
        pictures: whether report.html shows pictures of the hardest clips; None: as its last report was allowed to.

    Returns:
        The content of `metrics.json`, and why there are no pictures although they were asked for.

    Raises:
        RunFolderError: the folder is no run's, or has no results.
        PredictionsError, FactsError: a file in it cannot be read.
        NotPreparedError: the facts of a run of an earlier version have to be made anew, and its dataset is gone.
    """
    recipe, folder = _recipe_of(path), RunFolder(path)
    noted = read_facts(path)
    clips = None
    if noted is None:
        clips = load_run_clips(recipe.data)
        _refuse_other_clips(path, clips)
        noted = _facts_of_clips(recipe, folder, clips)
    table, facts = _finished(folder, recipe, noted)
    facts = dataclasses.replace(facts, pictures=facts.pictures if pictures is None else pictures)
    shown, why_not = (None, None) if not facts.pictures else _pictures(path, recipe, clips)
    write_predictions(table, path / "predictions.parquet")
    return write_report(path, table, facts, shown, _software(path)), why_not


def _finished(folder: RunFolder, recipe: Recipe, facts: RunFacts) -> tuple[pd.DataFrame, RunFacts]:
    """The predictions of all finished folds, and the facts with what these folds say."""
    saved = folder.path / "split.json"
    folds = _fold_numbers(saved) if saved.is_file() else []
    finished = finished_folders(recipe, folder, folds)
    if not finished:  # the folds' own folders were deleted: the table of all of them is left
        return read_predictions(folder.path), facts
    table = pd.concat([read_predictions(each / "predictions.parquet") for each in finished], ignore_index=True)
    return table, with_folds(facts, recipe, folder, folds)


def _fold_numbers(split: Path) -> list[int]:
    return [int(fold["index"]) for fold in json.loads(split.read_text(encoding="utf-8"))["folds"]]


def _pictures(path: Path, recipe: Recipe, clips: LabelledClips | None) -> tuple[ClipPictures | None, str | None]:
    try:
        clips = load_run_clips(recipe.data) if clips is None else clips
        _refuse_other_clips(path, clips)
    except (ValueError, OSError) as error:
        return None, str(error)
    return pictures_of(clips), None


def _refuse_other_clips(path: Path, clips: LabelledClips) -> None:
    noted = path / RUN_FILE
    before = json.loads(noted.read_text(encoding="utf-8")).get("clips") if noted.is_file() else None
    if before is not None and before != clips.fingerprint:
        raise RunFolderError(f"{path}: the dataset has changed since the run, its clips are not those of the run.")


def _software(path: Path) -> Mapping[str, str] | None:
    """The versions that the run was made with, as its last metrics.json says."""
    noted = path / "metrics.json"
    if not noted.is_file():
        return None
    found = json.loads(noted.read_text(encoding="utf-8")).get("environment")
    return None if found is None else dict(found)


def _facts_of_clips(recipe: Recipe, folder: RunFolder, clips: LabelledClips) -> RunFacts:
    from hsta_hf.training.gathering import facts_of  # which needs this module
    from hsta_hf.training.methods import method_of
    from hsta_hf.training.run_setup import split_of

    method = method_of(recipe, clips)
    return facts_of(recipe, clips, split_of(recipe, clips, method.uses_trainer), method, folder)
