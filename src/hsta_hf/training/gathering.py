"""What comes after the folds of a run: one predictions table, the scores, the report and the model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from hsta_hf.data.clip import APEX_SPOTTED
from hsta_hf.data.splits import Split
from hsta_hf.reporting.clip_pictures import pictures_of
from hsta_hf.reporting.completeness import finished_text
from hsta_hf.reporting.model_card import CARD_FILE, write_model_card
from hsta_hf.reporting.predictions import read_predictions, write_predictions
from hsta_hf.reporting.report import RunFacts, write_report
from hsta_hf.training.clips import LabelledClips, class_counts
from hsta_hf.training.fold import is_finished
from hsta_hf.training.leak_checks import what_the_start_has_seen
from hsta_hf.training.locks import held
from hsta_hf.training.methods import Method
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.run_folder import RunFolder
from hsta_hf.training.run_report import clip_facts, with_folds
from hsta_hf.training.run_setup import OpenRun, missing_classes


def finished_folds(run: OpenRun) -> list[Path]:
    """Folders of all folds of the run that have results, whoever trained them, in the order of seeds and folds."""
    folders = [run.folder.fold(fold.index, seed) for seed in run.recipe.data.seeds for fold in run.split.folds]
    return [folder for folder in folders if is_finished(folder)]


def gather(run: OpenRun) -> tuple[dict[str, Any], Path]:
    """Write predictions, scores, report and model card of all finished folds into the run folder.

    Other commands that do so wait meanwhile; the last one to come has seen all folds.

    Returns:
        The content of `metrics.json`, and the folder of the model to use.
    """
    with held(run.folder.lock("gathering"), "Waiting for the other command that writes the report.", together=False):
        return _gather(run)


def _gather(run: OpenRun) -> tuple[dict[str, Any], Path]:
    folders = finished_folds(run)
    final = run.recipe.training.final_model and is_finished(run.folder.final)
    model = (run.folder.final if final else folders[0]) / "model"
    table = pd.concat([read_predictions(folder / "predictions.parquet") for folder in folders], ignore_index=True)
    write_predictions(table, run.folder.path / "predictions.parquet")
    facts = run_facts(run)
    unfinished = finished_text(facts)
    if unfinished:
        print(unfinished, flush=True)
    pictures = pictures_of(run.clips) if facts.pictures else None
    metrics = write_report(run.folder.path, table, facts, pictures)
    if run.method.has_card and write_model_card(model, facts, metrics) is None:
        print(f"Kept the model card {model / CARD_FILE}: it was edited. Delete it to have it written anew.")
    return metrics, model


def run_facts(run: OpenRun) -> RunFacts:
    """What a report says beside the scores."""
    return facts_of(run.recipe, run.clips, run.split, run.method, run.folder)


def facts_of(recipe: Recipe, clips: LabelledClips, split: Split, method: Method, folder: RunFolder) -> RunFacts:
    """What a report says beside the scores of a run, from its parts; its folds need not be open."""
    pretraining = None
    if method.pretrains and recipe.model.pretrain_synthetic:
        fields = ", ".join(f"{name} {value}" for name, value in recipe.model.pretrain_synthetic.items())
        pretraining = f"synthetic drawn faces ({fields})"
    elif method.pretrains and recipe.model.pretrain_dataset:
        pretraining = f"the prepared dataset {recipe.model.pretrain_dataset}"
    facts = RunFacts(
        method=method.title,
        labels=clips.scheme.labels,
        protocol=split.protocol,
        protocol_description=split.description,
        label_description=clips.description,
        class_counts=class_counts([clips.labels[index] for index in split.testable], clips.scheme),
        databases=clips.databases,
        num_subjects=split.num_people,
        synthetic=clips.synthetic,
        shuffled_labels=recipe.data.shuffle_train_labels,
        apex=recipe.data.apex,
        spotted_apexes=clips.column("apex_source").count(APEX_SPOTTED),
        start=_start(recipe, clips, split, method),
        warnings=[*([clips.warning] if clips.warning else []), *missing_classes(split, clips)],
        pretraining=pretraining,
        moving_average=bool(recipe.training.ema_decay) and method.uses_trainer,
        pictures=recipe.data.report_pictures,
        num_clips=len(split.testable),
        apex_jitter=recipe.data.apex_jitter if method.uses_trainer else 0,
        **clip_facts(clips),
    )
    return with_folds(facts, recipe, folder, [fold.index for fold in split.folds])


def _start(recipe: Recipe, clips: LabelledClips, split: Split, method: Method) -> str | None:
    """Which weights training started from, and whom they have seen; a baseline does not start from `pretrained`."""
    if method.start is None or not method.uses_trainer:
        return method.start
    return f"{method.start}{what_the_start_has_seen(recipe, split, clips)}"
