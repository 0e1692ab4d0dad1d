"""Train one fold, resume it, and write down what it predicts."""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from transformers import set_seed

from hsta_hf.data.labels import Label
from hsta_hf.reporting.files import write_json
from hsta_hf.reporting.predictions import predictions_table, score_table, write_predictions
from hsta_hf.training.batch_finishing import BatchFinisher
from hsta_hf.training.checkpoints import last_complete_checkpoint
from hsta_hf.training.clip_streams import ClipStreams
from hsta_hf.training.clips import LabelledClips
from hsta_hf.training.dataset import ClipCollator, ClipDataset
from hsta_hf.training.model_factory import build_model, streams_in_use
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.trainer import NOT_LOGITS, HSTATrainer
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

FINISHED = "metrics.json"


@dataclass(frozen=True)
class TrainingData:
    """Everything that the folds of a run share."""

    recipe: Recipe
    clips: LabelledClips
    cache: ClipStreams
    processor: HSTAVideoProcessor
    start: Path | None = None  # model that every fold starts from, if not the recipe's


def is_finished(folder: Path) -> bool:
    """Whether a fold was trained to its end and its predictions written."""
    return (folder / FINISHED).is_file()


def shuffled_labels(labels: Sequence[Label], seed: int, fold: int) -> list[Label]:
    """The same labels handed to other clips: the control that must not beat chance."""
    order = np.random.default_rng([seed, fold, 1]).permutation(len(labels))
    return [labels[i] for i in order]


def train_fold(
    data: TrainingData,
    folder: Path,
    title: str,
    seed: int,
    train_indices: Sequence[int],
    test_indices: Sequence[int] = (),
    fold: int = 0,
) -> None:
    """Train on some clips and predict others; does nothing if `folder` says that this is done.

    Leaves in `folder`: `model/` (weights, configuration, processor), `log_history.json`, `metrics.json` and, if
    there are test clips, `predictions.parquet`. A training that was killed goes on from its last whole checkpoint,
    and ends with the same weights as one that was not.

    Args:
        data: what the folds share.
        folder: the fold's folder.
        title: what the progress bar says.
        seed: seed of initialisation, order, augmentation and dropout.
        train_indices, test_indices: positions in `data.clips`.
        fold: number of the fold, for the predictions table.
    """
    if is_finished(folder):
        return
    trainer = build_trainer(data, folder, title, seed, train_indices, test_indices, fold)
    with PartialState().main_process_first():  # it deletes what a kill cut short
        checkpoint = last_complete_checkpoint(folder / "checkpoints")
    if checkpoint is not None and trainer.is_world_process_zero():
        print(f"{title}: resuming from {checkpoint.name}")
    trainer.train(
        resume_from_checkpoint=None if checkpoint is None else str(checkpoint), ignore_keys_for_eval=NOT_LOGITS
    )
    trainer.use_average()
    _write_results(data, trainer, folder, seed, test_indices, fold)


def build_trainer(
    data: TrainingData,
    folder: Path,
    title: str,
    seed: int,
    train_indices: Sequence[int],
    test_indices: Sequence[int] = (),
    fold: int = 0,
) -> HSTATrainer:
    """The trainer of one fold, its model freshly made from `seed`."""
    recipe, clips = data.recipe, data.clips
    arguments = copy.copy(recipe.training)
    arguments.output_dir = str(folder / "checkpoints")
    arguments.seed = arguments.data_seed = seed
    arguments.dataloader_num_workers = arguments.num_workers()
    arguments.lr_scheduler_kwargs = copy.deepcopy(recipe.training.lr_scheduler_kwargs)
    if not test_indices:
        arguments.eval_every_epochs = 0
    set_seed(seed)
    model = build_model(recipe.model, data.processor, clips.scheme, data.start)
    streams = streams_in_use(model.config)
    train_labels = [clips.labels[i] for i in train_indices]
    if recipe.data.shuffle_train_labels:
        train_labels = shuffled_labels(train_labels, seed, fold)
    return HSTATrainer(
        model=model,
        args=arguments,
        title=title,
        train_dataset=ClipDataset(data.cache, train_indices, train_labels, streams),
        eval_dataset=ClipDataset(data.cache, test_indices, [clips.labels[i] for i in test_indices], streams)
        if test_indices
        else None,
        data_collator=ClipCollator(),
        finisher=BatchFinisher(data.processor, recipe.augmentation, clips.scheme.num_labels, clips.scheme.mirror),
    )


def _write_results(
    data: TrainingData, trainer: HSTATrainer, folder: Path, seed: int, test_indices: Sequence[int], fold: int
) -> None:
    state = PartialState()
    metrics: dict[str, Any] = {"fold": fold, "seed": seed, "train_clips": len(trainer.train_dataset)}  # type: ignore[arg-type]
    table = None
    if test_indices:
        logits = trainer.predict_logits(trainer.eval_dataset)  # type: ignore[arg-type]
        table = predictions_table(data.clips, test_indices, logits, fold, seed)
        metrics |= {"test_clips": len(test_indices), **score_table(table, data.clips.scheme.labels).summary}
    if state.is_main_process:
        save_model(trainer, data.processor, folder / "model")
        if table is not None:
            write_predictions(table, folder / "predictions.parquet")
        write_json(folder / "log_history.json", trainer.state.log_history)
        write_json(folder / FINISHED, metrics)  # last: says that the fold is finished
        if not data.recipe.training.keep_checkpoints:
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    state.wait_for_everyone()


def save_model(trainer: HSTATrainer, processor: HSTAVideoProcessor, folder: Path) -> None:
    """Save weights, configuration and processor as one folder that appears whole or not at all."""
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    network = trainer.accelerator.unwrap_model(trainer.model)
    network.save_pretrained(temporary)
    processor.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def read_metrics(folder: Path) -> dict[str, Any]:
    """The `metrics.json` of a finished fold."""
    return dict(json.loads((folder / FINISHED).read_text(encoding="utf-8")))


def read_log_history(folder: Path) -> list[dict[str, float]]:
    """What the fold logged: loss and learning rate by epoch, and test scores where they were asked for."""
    return list(json.loads((folder / "log_history.json").read_text(encoding="utf-8")))
