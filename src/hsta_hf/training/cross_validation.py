"""A whole run: from a recipe to a run folder with models, predictions, metrics and a report."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from accelerate import PartialState
from transformers.utils import logging as hf_logging

from hsta_hf.data.clip import APEX_SPOTTED
from hsta_hf.data.splits import Split, make_split
from hsta_hf.reporting.files import write_json
from hsta_hf.reporting.model_card import CARD_FILE, write_model_card
from hsta_hf.reporting.predictions import read_predictions, write_predictions
from hsta_hf.reporting.report import RunFacts, write_report
from hsta_hf.training.clips import LabelledClips, class_counts, load_labelled_clips, tell_labels
from hsta_hf.training.fold import TrainingData, is_finished, read_log_history, read_metrics, train_fold
from hsta_hf.training.model_factory import build_model, build_processor, streams_in_use
from hsta_hf.training.pretraining import pretrain
from hsta_hf.training.recipe import Recipe, RecipeError
from hsta_hf.training.run_folder import RunFolder
from hsta_hf.training.tensor_cache import build_cache
from hsta_hf.videomae_start_hsta import VideoMAEReport


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        path: the run folder.
        metrics: content of its `metrics.json`.
        model: folder of the model to use: `model/` if there is a final one, else that of the first fold and seed.
    """

    path: Path
    metrics: dict[str, Any]
    model: Path


def run_recipe(recipe: Recipe) -> RunResult:
    """Run a recipe, or what is left of it if its run folder was started before.

    Folds that are finished are not trained again; a fold that was killed goes on from its last checkpoint.

    Raises:
        RecipeError: the recipe names no dataset, folds that do not exist, or impossible values.
        RunFolderError: the run folder belongs to another recipe.
        NotPreparedError, SplitError: the dataset cannot be read or split as asked.
    """
    if not recipe.data.dataset:
        raise RecipeError("The recipe names no dataset; set `dataset:` or add --dataset FOLDER.")
    with _quiet_transformers():
        return _run(recipe)


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing a bar for every checkpoint and from remarking on their time stamps."""
    remarks = logging.getLogger("transformers.trainer_utils")
    level, bars = remarks.level, hf_logging.is_progress_bar_enabled()
    remarks.setLevel(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        remarks.setLevel(level)
        if bars:
            hf_logging.enable_progress_bar()


def _run(recipe: Recipe) -> RunResult:
    started = time.monotonic()
    assert recipe.data.dataset is not None
    state = PartialState()
    clips = load_labelled_clips(recipe.data.dataset, recipe.data.label_scheme)
    if state.is_main_process:
        # Before the split, which may be impossible just because the scheme does not know a label.
        tell_labels(clips)
    split = make_split(
        recipe.data.protocol,
        clips.column("subject"),
        clips.labels,
        num_folds=recipe.data.num_folds,
        seed=recipe.data.split_seed,
        databases=clips.column("database"),
        footage=clips.column("frame_hashes"),
        clip_ids=clips.column("clip_id"),
    )
    chosen = _chosen_folds(recipe, split)
    processor = build_processor(recipe.model)
    # An impossible model is an error before anything is written.
    first = build_model(recipe.model, processor, clips.scheme)
    videomae, streams = first.videomae_report, streams_in_use(first.config)
    del first
    started_from = _start(recipe, videomae)
    run = RunFolder(Path(recipe.training.output_dir or "runs/hsta"))
    if state.is_main_process:
        continued = run.open(recipe, {"clips": clips.fingerprint}, recipe.training.overwrite_run)
        _tell(recipe, clips, split, run, continued)
        if videomae is not None:
            print(videomae, flush=True)
        write_json(run.path / "split.json", split.to_dict())
    del videomae  # it holds the first model's weights
    state.wait_for_everyone()

    start = pretrain(run, recipe, processor, clips, streams) if recipe.model.pretrains else None
    cache_dir = Path(recipe.data.cache_dir) if recipe.data.cache_dir else run.cache
    cache = build_cache(clips, processor, recipe.data, cache_dir, streams)
    data = TrainingData(recipe, clips, cache, processor, start)
    folders = []
    for seed in recipe.data.seeds:
        for fold in (split.folds[number] for number in chosen):
            folder = run.fold(fold.index, seed)
            title = f"fold {fold.index + 1} of {split.num_folds}, seed {seed}"
            if is_finished(folder) and state.is_main_process:
                print(f"{title}: finished before", flush=True)
            train_fold(data, folder, title, seed, fold.train_indices, fold.test_indices, fold.index)
            folders.append(folder)
    if recipe.training.final_model:
        train_fold(data, run.final, "all clips", recipe.data.seeds[0], range(len(clips)))
    model = run.final / "model" if recipe.training.final_model else folders[0] / "model"
    metrics: dict[str, Any] = {}
    if state.is_main_process:
        table = pd.concat([read_predictions(folder / "predictions.parquet") for folder in folders], ignore_index=True)
        write_predictions(table, run.path / "predictions.parquet")
        facts = _facts(recipe, clips, split, folders, model, run, started_from)
        metrics = write_report(run.path, table, facts)
        if write_model_card(model, facts, metrics) is None:
            print(f"Kept the model card {model / CARD_FILE}: it was edited. Delete it to have it written anew.")
        seconds = time.monotonic() - started
        took = f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
        print(f"Took {took}.", flush=True)
    state.wait_for_everyone()
    return RunResult(run.path, metrics, model)


def _chosen_folds(recipe: Recipe, split: Split) -> list[int]:
    if recipe.data.folds is None:
        return list(range(split.num_folds))
    wrong = [number for number in recipe.data.folds if not 0 <= number < split.num_folds]
    if wrong or not recipe.data.folds:
        raise RecipeError(f"folds names {wrong}; the split has folds 0 to {split.num_folds - 1}.")
    return sorted(set(recipe.data.folds))


def _tell(recipe: Recipe, clips: LabelledClips, split: Split, run: RunFolder, continued: bool) -> None:
    """The first lines that a user sees: what is about to happen."""
    print(f"{'Continuing' if continued else 'Starting'} the run in {run.path}")
    print(split.description)
    for warning in missing_classes(split, clips):
        print(f"Note: {warning}.")
    if clips.synthetic:
        print("The clips are synthetic: no number on them is a result on people.")
    if recipe.data.shuffle_train_labels:
        print("Control: training labels are shuffled, scores should stay at chance.")
    print(end="", flush=True)


def missing_classes(split: Split, clips: LabelledClips) -> list[str]:
    """Classes, by name, that a fold tests without having a training clip of them: it cannot get those right."""
    messages = []
    for fold in split.folds:
        trained, tested = (
            class_counts([clips.labels[i] for i in part], clips.scheme)
            for part in (fold.train_indices, fold.test_indices)
        )
        unseen = [name for name, count in tested.items() if count and not trained[name]]
        if unseen:
            messages.append(f"fold {fold.index} tests {', '.join(unseen)} and has no training clip of it")
    return messages


def _start(recipe: Recipe, videomae: VideoMAEReport | None) -> str:
    """Which weights the run started from; `videomae` is what a model took from the recipe's VideoMAE."""
    what = "Pre-training" if recipe.model.pretrains else "Training"
    if recipe.model.pretrained:
        return (
            f"{what} started from the model {recipe.model.pretrained}. Whether that has seen this run's test "
            "subjects is not known here."
        )
    if videomae is not None:
        started = [stream.name for stream in videomae.streams if stream.started]
        if not started:
            return f"{what} started from random weights: nothing of the VideoMAE checkpoint {videomae.origin} fits."
        who = "Both streams" if len(started) == 2 else f"The {started[0]} stream"
        sentence = (
            f"{who} started from the VideoMAE checkpoint {videomae.origin} ({'; '.join(map(str, videomae.streams))})."
        )
        if videomae.fresh_layers:
            sentence += f" Layers that started from random weights: {', '.join(videomae.fresh_layers)}."
        return sentence
    return f"{what} started from random weights."


def _facts(
    recipe: Recipe, clips: LabelledClips, split: Split, folders: list[Path], model: Path, run: RunFolder, start: str
) -> RunFacts:
    pretraining = None
    if recipe.model.pretrain_synthetic:
        fields = ", ".join(f"{name} {value}" for name, value in recipe.model.pretrain_synthetic.items())
        pretraining = f"synthetic drawn faces ({fields})"
    elif recipe.model.pretrain_dataset:
        pretraining = f"the prepared dataset {recipe.model.pretrain_dataset}"
    complete = len(folders) == split.num_folds * len(recipe.data.seeds)
    return RunFacts(
        labels=clips.scheme.labels,
        protocol=split.protocol,
        protocol_description=split.description,
        label_description=clips.description,
        class_counts=class_counts(clips.labels, clips.scheme),
        databases=clips.databases,
        num_subjects=split.num_people,
        synthetic=clips.synthetic,
        shuffled_labels=recipe.data.shuffle_train_labels,
        apex=recipe.data.apex,
        spotted_apexes=clips.column("apex_source").count(APEX_SPOTTED),
        start=start,
        warnings=[*([clips.warning] if clips.warning else []), *missing_classes(split, clips)],
        complete=complete,
        pretraining=pretraining,
        model=str(model.relative_to(run.path)),
        final_model=recipe.training.final_model,
        moving_average=bool(recipe.training.ema_decay),
        fold_metrics=[read_metrics(folder) for folder in folders],
        log_histories={folder.name: read_log_history(folder) for folder in folders},
    )
