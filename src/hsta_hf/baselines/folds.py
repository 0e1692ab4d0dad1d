"""Baselines that look at every clip once, in the folds of a run."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState

from hsta_hf.baselines.base import FeatureBaseline, Fitted, TrainingPart
from hsta_hf.baselines.features import build_features
from hsta_hf.data.people import cast_of
from hsta_hf.reporting.files import write_json
from hsta_hf.reporting.predictions import predictions_table, score_table, write_predictions
from hsta_hf.training.clips import LabelledClips
from hsta_hf.training.fold import FINISHED, FoldTask, is_finished, shuffled_labels
from hsta_hf.training.locks import held
from hsta_hf.training.methods import FoldTrainer, cache_folder
from hsta_hf.training.pretraining import pretrain
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.run_folder import RunFolder


class FeatureMethod:
    """A baseline of a run; see `training.methods.Method`."""

    uses_trainer, has_card = False, False

    def __init__(self, baseline: FeatureBaseline, recipe: Recipe, clips: LabelledClips) -> None:
        self.baseline, self.recipe, self.clips = baseline, recipe, clips
        self.title = baseline.title
        self.pretrains = baseline.pretrains and recipe.model.pretrains
        what = "Pre-training" if self.pretrains else "Training"
        self.start = f"{what} started from random weights." if baseline.pretrains else None

    def tell(self) -> None:
        """Which baseline it is, and what of the recipe it leaves aside."""
        print(f"Baseline: {self.title}. Settings are those of baseline_options; HSTA's own have no say.", flush=True)
        if self.recipe.model.pretrains and not self.pretrains:
            print(f"Note: {self.title} does not pre-train, so what the recipe pre-trains on is not used.", flush=True)

    def open(self, folder: RunFolder) -> FoldTrainer:
        """Pre-train where recipe and baseline say so, and compute the features of all clips."""
        pretrained = None
        if self.pretrains:
            with held(folder.lock("pretraining"), "Waiting for the other command that pre-trains."):
                pretrained = pretrain(folder, self.recipe, self.clips, self._pretraining)
        return self._folds(self.recipe, self.clips, cache_folder(self.recipe, folder), pretrained)

    def _pretraining(self, recipe: Recipe, clips: LabelledClips, cache: Path) -> FeatureFolds:
        return self._folds(recipe, clips, cache, None, pretraining=True)

    def _folds(
        self, recipe: Recipe, clips: LabelledClips, cache: Path, start: Path | None, pretraining: bool = False
    ) -> FeatureFolds:
        features = build_features(self.baseline, clips, recipe.data.apex, cache)
        return FeatureFolds(self.baseline, recipe, clips, features, start, pretraining)


@dataclass(frozen=True)
class FeatureFolds:
    """Fits a baseline to the training clips of each fold; holds what the folds share.

    Attributes:
        baseline: what is fitted.
        recipe, clips: of the run.
        features: (clips, …) of all clips.
        start: folder of the pre-training's result; None where every fold starts anew.
        pretraining: whether this is the pre-training itself.
    """

    baseline: FeatureBaseline
    recipe: Recipe
    clips: LabelledClips
    features: np.ndarray
    start: Path | None = None
    pretraining: bool = False

    def train(self, task: FoldTask) -> None:
        """Fit to some clips and predict others; does nothing if the task's folder says that this is done.

        Leaves in the folder: `model/`, `log_history.json`, `metrics.json` and, if there are test clips,
        `predictions.parquet`. Of several processes the first does the work: it is little.
        """
        state = PartialState()
        if state.is_main_process and not is_finished(task.folder):
            started = time.perf_counter()
            part = self._training_part(task)
            fitted = self.baseline.fit(part)
            steps = time.perf_counter() - started
            self._write(task, fitted, started, steps)
        state.wait_for_everyone()

    def _training_part(self, task: FoldTask) -> TrainingPart:
        # Baselines choose no epoch, so what is held back to choose one trains along.
        indices = [*task.train_indices, *task.validation_indices]
        labels = [self.clips.labels[i] for i in indices]
        if self.recipe.data.shuffle_train_labels:
            labels = shuffled_labels(labels, task.seed, task.fold)
        databases, subjects = self.clips.column("database"), self.clips.column("subject")
        return TrainingPart(
            features=self.features[np.asarray(indices, dtype=np.int64)],
            labels=labels,
            subjects=[(cast_of(databases[i]), subjects[i]) for i in indices],
            scheme=self.clips.scheme,
            seed=task.seed,
            device=self.recipe.training.device,
            start=self.start,
            pretraining=self.pretraining,
        )

    def _write(self, task: FoldTask, fitted: Fitted, started: float, steps: float) -> None:
        metrics: dict[str, Any] = {
            "fold": task.fold,
            "seed": task.seed,
            "train_clips": len(task.train_indices) + len(task.validation_indices),
        }
        task.folder.mkdir(parents=True, exist_ok=True)
        temporary, model = task.folder / ".model.partial", task.folder / "model"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        fitted.save(temporary)
        shutil.rmtree(model, ignore_errors=True)
        os.replace(temporary, model)
        if task.test_indices:
            logits = fitted.logits(self.features[np.asarray(task.test_indices, dtype=np.int64)])
            table = predictions_table(self.clips, task.test_indices, logits, task.fold, task.seed)
            metrics |= {"test_clips": len(task.test_indices), **score_table(table, self.clips.scheme.labels).summary}
            write_predictions(table, task.folder / "predictions.parquet")
        write_json(task.folder / "log_history.json", fitted.history)
        metrics["seconds"] = {"total": time.perf_counter() - started, "steps": steps}
        write_json(task.folder / FINISHED, metrics)  # last: says that the fold is finished
