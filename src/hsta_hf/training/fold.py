"""Train one fold, resume it, and write down what it predicts."""

from __future__ import annotations

import copy
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from torch.utils.data import Dataset

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.data.labels import Label
from hsta_hf.data.prepared import face_alignment
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.reporting.files import write_json
from hsta_hf.reporting.predictions import predictions_table, score_table, write_predictions
from hsta_hf.training.arguments import HSTATrainingArguments
from hsta_hf.training.batch_finishing import BatchFinisher
from hsta_hf.training.checkpoints import last_complete_checkpoint
from hsta_hf.training.clip_streams import ClipStreams
from hsta_hf.training.clips import LabelledClips
from hsta_hf.training.dataset import ClipCollator, ClipDataset
from hsta_hf.training.hardware import hardware
from hsta_hf.training.locks import decided_by_main
from hsta_hf.training.lora import add_adapters
from hsta_hf.training.lora_trainer import LoRATrainer
from hsta_hf.training.model_factory import build_model, streams_in_use
from hsta_hf.training.model_reuse import ReusedModel
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.sharding import read_weights_everywhere
from hsta_hf.training.tracking import track_fold
from hsta_hf.training.trainer import NOT_LOGITS, HSTATrainer
from hsta_hf.training.training_data import TrainingData, trained_on, training_data_of
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

FINISHED = "metrics.json"


@dataclass(frozen=True)
class FoldTask:
    """One training: which clips train, which are tested, and where the results go.

    Attributes:
        folder: the fold's folder.
        title: what progress says.
        seed: seed of initialisation, order, augmentation and dropout.
        fold: number of the fold, for the predictions table.
        train_indices, test_indices: positions in the run's clips; without test clips, nothing is predicted.
        validation_indices: positions of the clips that choose the epoch; without any, the last one's weights are used.
    """

    folder: Path
    title: str
    seed: int
    fold: int
    train_indices: Sequence[int]
    test_indices: Sequence[int] = ()
    validation_indices: Sequence[int] = ()


@dataclass(frozen=True)
class HSTAFolds:
    """Trains HSTA models on the folds of a run; holds what the folds share.

    Attributes:
        start: model that every fold starts from, if not the recipe's.
        model: the one model object that all folds train, one after the other.
    """

    recipe: Recipe
    clips: LabelledClips
    cache: ClipStreams
    processor: HSTAVideoProcessor
    start: Path | None = None
    model: ReusedModel[HSTAForMicroExpressionClassification] = field(
        default_factory=ReusedModel, repr=False, compare=False
    )

    def train(self, task: FoldTask) -> None:
        """Train on some clips and predict others; does nothing if the task's folder says that this is done.

        Leaves in the folder: `model/` (weights, configuration, processor), `log_history.json`, `metrics.json` and, if
        there are test clips, `predictions.parquet`. A training that was killed goes on from its last whole
        checkpoint, and ends with the same weights as one that was not.
        """
        if decided_by_main(is_finished(task.folder)):
            return
        started = time.perf_counter()
        trainer = self.make_trainer(task)
        trainer.clock.started = started
        # Checkpoints carry the configuration, too; of a reused model it would say whom the fold before trained on.
        network: Any = trainer.model
        network.config.training_data = self.training_data(task).to_dict()
        run = self.recipe.training.run_name or Path(self.recipe.training.output_dir or "").name
        track_fold(trainer, task.folder, f"{run}/{task.folder.name}")
        with PartialState().main_process_first():  # it deletes what a kill cut short
            checkpoint = last_complete_checkpoint(task.folder / "checkpoints")
        if checkpoint is not None and trainer.is_world_process_zero():
            print(f"{task.title}: resuming from {checkpoint.name}")
        trainer.train(
            resume_from_checkpoint=None if checkpoint is None else str(checkpoint), ignore_keys_for_eval=NOT_LOGITS
        )
        facts = {"parameters": trainer.parameter_counts(), "hardware": hardware(trainer.args.device)}
        trainer.finish(task.folder)
        _write_results(self, trainer, task, {**facts, **_validation_facts(self, trainer, task)})

    def training_data(self, task: FoldTask) -> TrainingData:
        """What the fold's model was trained on, and the models that it started from."""
        seen = trained_on(
            self.clips,
            [*task.train_indices, *task.validation_indices],
            self.recipe.data.protocol if task.test_indices else "all clips",
        )
        start = self.start or self.recipe.model.pretrained
        return seen if start is None else seen | training_data_of(HSTAConfig.from_pretrained(start), str(start))

    def make_trainer(self, task: FoldTask) -> HSTATrainer:
        """The trainer of one fold, see `build_trainer`."""
        return build_trainer(self, task)


def is_finished(folder: Path) -> bool:
    """Whether a fold was trained to its end and its predictions written."""
    return (folder / FINISHED).is_file()


def shuffled_labels(labels: Sequence[Label], seed: int, fold: int) -> list[Label]:
    """The same labels handed to other clips: the control that must not beat chance."""
    order = np.random.default_rng([seed, fold, 1]).permutation(len(labels))
    return [labels[i] for i in order]


def train_labels(data: HSTAFolds, task: FoldTask) -> list[Label]:
    """Labels of a fold's training clips, shuffled where the recipe asks for that control."""
    labels = [data.clips.labels[i] for i in task.train_indices]
    return shuffled_labels(labels, task.seed, task.fold) if data.recipe.data.shuffle_train_labels else labels


def fold_arguments(recipe: Recipe, task: FoldTask) -> HSTATrainingArguments:
    """The recipe's training arguments, as one fold needs them."""
    arguments = copy.copy(recipe.training)
    arguments.output_dir = str(task.folder / "checkpoints")
    arguments.seed = arguments.data_seed = task.seed
    arguments.dataloader_num_workers = arguments.num_workers()
    arguments.share_batches()
    arguments.lr_scheduler_kwargs = copy.deepcopy(recipe.training.lr_scheduler_kwargs)
    if not task.test_indices:
        arguments.eval_every_epochs = 0
    return arguments


def build_trainer(data: HSTAFolds, task: FoldTask) -> HSTATrainer:
    """The trainer of one fold, its model as the task's seed starts it.

    The model object is that of the trainer made before from the same `data`, which is therefore of no more use.
    """
    recipe, clips = data.recipe, data.clips
    read_weights_everywhere()
    model = data.model.fresh(task.seed, lambda: build_model(recipe.model, data.processor, clips.scheme, data.start))
    streams = streams_in_use(model.config)
    lora = recipe.model.tuning == "lora"
    return (LoRATrainer if lora else HSTATrainer)(
        model=add_adapters(model, recipe.model.lora or {}, task.seed) if lora else model,
        args=fold_arguments(recipe, task),
        title=task.title,
        train_dataset=ClipDataset(data.cache, task.train_indices, train_labels(data, task), streams),
        eval_dataset=ClipDataset(data.cache, task.test_indices, [clips.labels[i] for i in task.test_indices], streams)
        if task.test_indices
        else None,
        validation_dataset=ClipDataset(
            data.cache, task.validation_indices, [clips.labels[i] for i in task.validation_indices], streams
        )
        if task.validation_indices
        else None,
        validate_every=recipe.data.validate_every_epochs,
        data_collator=ClipCollator(),
        finisher=BatchFinisher(data.processor, recipe.augmentation, clips.scheme.num_labels, clips.scheme.mirror),
    )


def _validation_facts(data: HSTAFolds, trainer: HSTATrainer, task: FoldTask) -> dict[str, Any]:
    """What chose the fold's epoch, for its metrics.json; nothing where the last epoch was taken."""
    if trainer.best is None:
        return {}
    names, subjects = data.clips.column("clip_id"), data.clips.column("subject")
    return {
        "validation": {
            "epoch": trainer.best.epoch,
            "uf1": trainer.best.score,
            "clips": [names[i] for i in task.validation_indices],
            "subjects": sorted({subjects[i] for i in task.validation_indices}),
        }
    }


def _write_results(data: HSTAFolds, trainer: HSTATrainer, task: FoldTask, facts: dict[str, Any]) -> None:
    state = PartialState()
    metrics: dict[str, Any] = {"fold": task.fold, "seed": task.seed, "train_clips": len(task.train_indices), **facts}
    table = None
    if task.test_indices:
        assert isinstance(trainer.eval_dataset, Dataset)
        logits = trainer.predict_logits(trainer.eval_dataset)
        table = predictions_table(data.clips, task.test_indices, logits, task.fold, task.seed)
        metrics |= {"test_clips": len(task.test_indices), **score_table(table, data.clips.scheme.labels).summary}
    weights = trainer.whole_weights()
    if state.is_main_process:
        save_model(
            trainer,
            processor_to_save(data.processor, data.clips),
            task.folder / "model",
            data.training_data(task),
            weights,
        )
        if table is not None:
            write_predictions(table, task.folder / "predictions.parquet")
        write_json(task.folder / "log_history.json", trainer.state.log_history)
        metrics["seconds"] = trainer.clock.seconds()
        write_json(task.folder / FINISHED, metrics)  # last: says that the fold is finished
        if not data.recipe.training.keep_checkpoints:
            shutil.rmtree(task.folder / "checkpoints", ignore_errors=True)
    state.wait_for_everyone()


def processor_to_save(processor: HSTAVideoProcessor, clips: LabelledClips) -> HSTAVideoProcessor:
    """The processor, saying how faces were aligned in the clips that its model was trained on.

    The datasets of a run are all prepared alike; what a model was pre-trained on before does not count.
    """
    saved = copy.copy(processor)
    saved.face_alignment = face_alignment(clips.preparation.get("faces"))
    return saved


def save_model(
    trainer: HSTATrainer,
    processor: HSTAVideoProcessor,
    folder: Path,
    seen: TrainingData,
    weights: dict[str, torch.Tensor] | None = None,
) -> None:
    """Save weights, configuration and processor as one folder that appears whole or not at all.

    Args:
        trainer: holds the weights.
        processor: is saved beside them.
        folder: where to.
        seen: what they were trained on, which their configuration will say.
        weights: what `trainer.whole_weights` returned; None: those of the model itself.
    """
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    model = trainer.finished_model()
    model.config.training_data = seen.to_dict()
    model.save_pretrained(temporary, state_dict=weights)
    processor.save_pretrained(temporary)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def read_metrics(folder: Path) -> dict[str, Any]:
    """The `metrics.json` of a finished fold."""
    return dict(json.loads((folder / FINISHED).read_text(encoding="utf-8")))


def read_log_history(folder: Path) -> list[dict[str, float]]:
    """What the fold logged: loss and learning rate by epoch, and test scores where they were asked for."""
    return list(json.loads((folder / "log_history.json").read_text(encoding="utf-8")))
