"""HSTATrainer: transformers' Trainer with the paper's sampling, parameter groups, schedule and losses."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, Sampler
from transformers import EvalPrediction, Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from hsta_hf.metrics import (
    accuracy,
    count_classes,
    multilabel_scores,
    unweighted_average_recall,
    unweighted_f1,
)
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.training.arguments import HSTATrainingArguments
from hsta_hf.training.batch_finishing import BatchFinisher
from hsta_hf.training.callbacks import EpochProgress, EveryNEpochs, MovingAverage
from hsta_hf.training.checkpoints import mark_complete
from hsta_hf.training.dataset import ClipDataset
from hsta_hf.training.losses import smooth_targets, soft_target_loss
from hsta_hf.training.samplers import ClassBalancedSampler, ShuffledSampler

NOT_LOGITS = [
    f"{stream}_{kind}"
    for stream in ("video", "special")
    for kind in ("cls", "hidden_states", "attentions", "cross_attentions")
]
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def layer_of_parameter(name: str, num_hsta_layers: int) -> int:
    """Depth of a parameter: 0 for embeddings, m + 1 for HSTA layer m, M + 1 for the final norms and the head."""
    match = _LAYER.search(name)
    if match:
        return int(match.group(1)) + 1
    return 0 if "embeddings" in name else num_hsta_layers + 1


class HSTATrainer(Trainer):
    """Trains `HSTAForMicroExpressionClassification` on `ClipDataset`s.

    Differs from `Trainer` in: class-balanced or keyed shuffling; no weight decay on biases, LayerNorms and [CLS];
    one learning-rate step per HSTA layer; warm-up counted in epochs and starting above zero; label smoothing and
    mixup for both losses; an optional moving average of the weights; checkpoints that survive a kill.

    Args:
        title: what the progress bar calls this training.
        finisher: what happens to batches on the device, in training and evaluation; None leaves them as they are.
        kwargs: see `transformers.Trainer`.
    """

    args: HSTATrainingArguments

    def __init__(
        self, *args: Any, title: str = "training", finisher: BatchFinisher | None = None, **kwargs: Any
    ) -> None:
        kwargs.setdefault("compute_metrics", class_metrics)
        super().__init__(*args, **kwargs)
        self.finisher = finisher
        self._waited, self._since = 0.0, time.perf_counter()
        self.model_accepts_loss_kwargs = False  # the loss is a mean over clips, not over tokens
        self.label_smoother = None  # transformers' knows cross-entropy only; see compute_loss
        self.average: MovingAverage | None = None
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self.add_callback(EveryNEpochs())
        if self.args.ema_decay:
            self.average = MovingAverage(self._network, self.args.ema_decay)
            self.add_callback(self.average)
        if not self.args.disable_tqdm and self.is_world_process_zero():
            self.add_callback(EpochProgress(title))

    @property
    def _network(self) -> HSTAForMicroExpressionClassification:
        assert isinstance(self.model, HSTAForMicroExpressionClassification)
        return self.model

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if not isinstance(dataset, ClipDataset):
            raise TypeError(f"HSTATrainer trains on a ClipDataset, not on a {type(dataset).__name__}.")
        if self.args.class_balanced:
            return ClassBalancedSampler(dataset.labels, self.args.seed)  # type: ignore[arg-type]
        return ShuffledSampler(len(dataset), self.args.seed)

    def _prepare_inputs(self, inputs: dict[str, torch.Tensor | Any]) -> dict[str, torch.Tensor | Any]:
        """Batches of stored numbers go to the device as they are, and are finished there."""
        inputs = super()._prepare_inputs(inputs)
        return inputs if self.finisher is None else self.finisher(inputs)

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | int | None]:
        """As in `Trainer`; how long it takes is how long the training waits for its loader."""
        started = time.perf_counter()
        try:
            return super().get_batch_samples(epoch_iterator, num_batches, device)
        finally:
            self._waited += time.perf_counter() - started

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """With each training loss, log which share of the time since the last one went into waiting for clips."""
        if "loss" in logs:
            now = time.perf_counter()
            logs["waited_for_clips"] = round(self._waited / max(now - self._since, 1e-9), 4)
            self._waited, self._since = 0.0, now
        super().log(logs, start_time)

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """Weights that decay: all but biases, LayerNorms and [CLS]."""
        return [name for name in super().get_decay_parameter_names(model) if "cls_token" not in name]

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW with one parameter group per depth and weight decay; deeper groups learn faster."""
        if self.optimizer is None:
            network = self._network if model is None else model
            decaying = set(self.get_decay_parameter_names(network))
            depth = self._network.config.num_hsta_layers
            groups: dict[tuple[int, bool], list[nn.Parameter]] = {}
            for name, parameter in network.named_parameters():
                if parameter.requires_grad:
                    key = (layer_of_parameter(name, depth), name in decaying)
                    groups.setdefault(key, []).append(parameter)
            cls, kwargs = self.get_optimizer_cls_and_kwargs(self.args, self._network)
            self.optimizer = cls(
                [
                    {
                        "params": parameters,
                        "weight_decay": self.args.weight_decay if decays else 0.0,
                        "lr": self.args.learning_rate * self.args.layer_decay ** (depth + 1 - layer),
                    }
                    for (layer, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
                ],
                **kwargs,
            )
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """The paper's schedule is transformers' `cosine_warmup_with_min_lr`, with rates as shares of the base rate."""
        if self.args.lr_scheduler_type == "cosine_warmup_with_min_lr" and not self.args.lr_scheduler_kwargs:
            self.args.lr_scheduler_kwargs = {
                "min_lr_rate": self.args.min_learning_rate / self.args.learning_rate,
                "warmup_lr_rate": self.args.warmup_learning_rate / self.args.learning_rate,
            }
        return super().create_scheduler(num_training_steps, optimizer)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The model's own loss; in training, with label smoothing or mixup, the same loss for soft targets."""
        labels, config = inputs["labels"], self._network.config
        multi_label = config.problem_type == "multi_label_classification"
        mixed = labels.ndim == 2 and not multi_label
        smoothing = self.args.label_smoothing_factor if model.training else 0.0
        if not mixed and not smoothing:
            outputs = model(**inputs)
            return (outputs.loss, outputs) if return_outputs else outputs.loss
        outputs = model(**{name: value for name, value in inputs.items() if name != "labels"})
        targets = smooth_targets(labels, outputs.logits.shape[-1], smoothing, multi_label)
        loss = soft_target_loss(outputs.logits, targets, config.classification_loss, multi_label)
        return (loss, outputs) if return_outputs else loss

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """As `Trainer.evaluate`, with the weights that would be used: the moving average where there is one."""
        if self.average is None:
            return super().evaluate(*args, **kwargs)
        self.average.swap(self._network)
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self.average.swap(self._network)

    def predict_logits(self, dataset: ClipDataset) -> np.ndarray:
        """Logits (clips, num_labels) of the weights as they are now."""
        return np.asarray(self.predict(dataset, ignore_keys=NOT_LOGITS).predictions)

    def use_average(self) -> None:
        """After training: put the moving average, where there is one, into the model for good."""
        if self.average is not None:
            self.average.swap(self._network)
            self.remove_callback(self.average)
            self.average = None

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()  # every process has written its random state
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
            if self.average is not None:
                self.average.save(folder)
            mark_complete(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.average is not None:
            self.average.load(Path(resume_from_checkpoint))


def class_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """UF1, UAR and ACC of logits, for the learning curves; for multi-label, mean F1 and exact matches."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    labels = np.asarray(prediction.label_ids)
    if labels.ndim == 2:
        scores = multilabel_scores(labels.astype(int), (logits > 0).astype(int))
        return {"uf1": scores.mean_f1, "acc": scores.exact_match}
    counts = count_classes(labels, logits.argmax(-1), logits.shape[-1])
    return {"uf1": unweighted_f1(counts), "uar": unweighted_average_recall(counts), "acc": accuracy(counts)}
