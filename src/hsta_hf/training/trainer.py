"""HSTATrainer: transformers' Trainer with the paper's sampling, parameter groups, schedule and losses."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from accelerate.utils.constants import FSDP_MODEL_NAME
from torch import nn
from torch.utils.data import Dataset, Sampler
from transformers import EvalPrediction, Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.trainer_utils import EvalLoopOutput, TrainOutput

from hsta_hf.metrics import (
    accuracy,
    count_classes,
    multilabel_scores,
    unweighted_average_recall,
    unweighted_f1,
)
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.training.arguments import HSTATrainingArguments
from hsta_hf.training.best_epoch import BestEpoch
from hsta_hf.training.callbacks import EpochProgress, EveryNEpochs, MovingAverage
from hsta_hf.training.checkpoints import mark_complete
from hsta_hf.training.dataset import ClipDataset
from hsta_hf.training.frozen_dataset import FeatureDataset
from hsta_hf.training.losses import smooth_targets, soft_target_loss
from hsta_hf.training.progress import own_progress
from hsta_hf.training.samplers import ClassBalancedSampler, ShuffledSampler, WholeBatches
from hsta_hf.training.sharding import (
    fsdp_is_asked_for,
    reshard,
    settle_sharding,
    whole,
    whole_weights,
)
from hsta_hf.training.step_clock import StepClock

NOT_LOGITS = [
    f"{stream}_{kind}"
    for stream in ("video", "special")
    for kind in ("cls", "hidden_states", "attentions", "cross_attentions")
]
FSDP_WEIGHTS = f"{FSDP_MODEL_NAME}.bin"
_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")


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
        title: what progress calls this training.
        finisher: what happens to batches on the device, in training and evaluation; None leaves them as they are.
        validation_dataset: clips that choose the epoch whose weights are used; None: the last one's are.
        validate_every: epochs between looks at them.
        kwargs: see `transformers.Trainer`.
    """

    args: HSTATrainingArguments
    can_shard: ClassVar[bool] = True

    def __init__(
        self,
        *args: Any,
        title: str = "training",
        finisher: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]] | None = None,
        validation_dataset: ClipDataset | FeatureDataset | None = None,
        validate_every: int = 1,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("compute_metrics", class_metrics)
        super().__init__(*args, **kwargs)
        if fsdp_is_asked_for() and self.args.world_size > 1 and not self.can_shard:
            raise ValueError(
                f"FSDP is asked for, and {type(self).__name__} works with whole weights only. Launch without it "
                "(accelerate launch --multi_gpu)."
            )
        settle_sharding(self.accelerator, self._trained)
        self.finisher = finisher
        self._waited, self._since = 0.0, time.perf_counter()
        self.model_accepts_loss_kwargs = False  # the loss is a mean over clips, not over tokens
        self.label_smoother = None  # transformers' knows cross-entropy only; see compute_loss
        self.average: MovingAverage | None = None
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self.add_callback(EveryNEpochs())
        if self.args.ema_decay:
            self.average = MovingAverage(self._trained, self.args.ema_decay)
            self.add_callback(self.average)
        self.validation_dataset = validation_dataset
        self.best: BestEpoch | None = None
        if validation_dataset is not None:
            self.best = BestEpoch(self._validation_score, self._used_weights, validate_every)
            self.add_callback(self.best)
        self.title = title
        self.shows_progress = not self.args.disable_tqdm and self.is_world_process_zero()
        if self.shows_progress:
            self.add_callback(EpochProgress(title))
        self.clock = StepClock()
        self.add_callback(self.clock)  # last, so that what other callbacks do to the weights is part of the step

    @property
    def _network(self) -> HSTAForMicroExpressionClassification:
        wrapper: Any = self._trained
        network = wrapper.get_base_model() if hasattr(wrapper, "get_base_model") else wrapper
        assert isinstance(network, HSTAForMicroExpressionClassification)
        return network

    @property
    def _trained(self) -> nn.Module:
        """The model with what peft wraps around it, which is part of its parameters' names."""
        assert isinstance(self.model, nn.Module)
        return self.model

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        """As `Trainer.train`; shows its progress by itself where no run does."""
        with own_progress(self.title, self.shows_progress):
            return super().train(*args, **kwargs)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if not isinstance(dataset, (ClipDataset, FeatureDataset)):
            raise TypeError(f"HSTATrainer trains on a ClipDataset, not on a {type(dataset).__name__}.")
        sampler = ShuffledSampler(len(dataset), self.args.seed)
        if self.args.class_balanced:
            sampler = ClassBalancedSampler(dataset.labels, self.args.seed)  # type: ignore[arg-type]
        whole = self.args.total_batch_size
        return sampler if whole is None else WholeBatches(sampler, whole)

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
            seconds = time.perf_counter() - started
            self._waited += seconds
            self.clock.waiting += seconds

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
            network = self._trained if model is None else model
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
        self.average.swap(self._trained)
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            self.average.swap(self._trained)

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> EvalLoopOutput:
        """As `Trainer.evaluation_loop`; sharded weights are sharded again when it is over."""
        try:
            return super().evaluation_loop(*args, **kwargs)
        finally:
            reshard(self._trained)

    def predict_logits(self, dataset: Dataset) -> np.ndarray:
        """Logits (clips, num_labels) of the weights as they are now."""
        return np.asarray(self.predict(dataset, ignore_keys=NOT_LOGITS).predictions)

    def _validation_score(self) -> float:
        """UF1 on the validation clips (multi-label: mean F1), of the weights that would be used now; logs it."""
        assert self.validation_dataset is not None
        if self.average is not None:
            self.average.swap(self._trained)
        try:
            logits = self.predict_logits(self.validation_dataset)
        finally:
            if self.average is not None:
                self.average.swap(self._trained)
        labels = np.asarray(self.validation_dataset.labels)
        score = class_metrics(EvalPrediction(predictions=logits, label_ids=labels))["uf1"]
        self.log({"validation_uf1": score})
        return score

    def _used_weights(self) -> dict[str, torch.Tensor]:
        """The trainable weights that would be used now, whole: the moving average where there is one."""
        if self.average is not None:
            return {name: whole(weight) for name, weight in self.average.weights.items()}
        return {name: whole(p) for name, p in self._trained.named_parameters() if p.requires_grad}

    def use_average(self) -> None:
        """After training: put the moving average, where there is one, into the model for good."""
        if self.average is not None:
            self.average.swap(self._trained)
            self.remove_callback(self.average)
            self.average = None

    def finish(self, folder: Path) -> None:
        """After training: leave the weights that count in the model, in the form that is predicted with and saved.

        Args:
            folder: the fold's, for what is to lie beside the model.
        """
        if self.best is None:
            self.use_average()
            return
        self.best.use(self._trained)
        if self.average is not None:
            self.remove_callback(self.average)
            self.average = None

    def finished_model(self) -> HSTAForMicroExpressionClassification:
        """The whole model as it is to be saved, after `finish`."""
        return self.accelerator.unwrap_model(self.model)

    def whole_weights(self) -> dict[str, torch.Tensor] | None:
        """The weights of `finished_model` where they are sharded, for which all processes have to call this."""
        return whole_weights(self._trained)

    def parameter_counts(self) -> dict[str, int]:
        """How many numbers the training changes, and how many the whole model has."""
        return count_parameters(self._trained)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        average = None if self.average is None else self.average.whole()
        self.accelerator.wait_for_everyone()  # every process has written its random state
        if self.args.should_save:
            folder = Path(self._get_output_dir(trial)) / f"checkpoint-{self.state.global_step}"
            if self.average is not None and average is not None:
                self.average.save(folder, average)
            if self.best is not None:
                self.best.save(folder)
            self.clock.save(folder)
            mark_complete(folder)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        folder = Path(resume_from_checkpoint)
        if self.is_fsdp_enabled and not (folder / FSDP_WEIGHTS).is_file():
            raise ValueError(
                f"{folder} was written without FSDP and cannot be continued with it. Launch without FSDP, or delete "
                "the folder `checkpoints` that it lies in and start this fold anew."
            )
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.clock.load(folder)
        if self.average is not None:
            self.average.follow(self._trained)
            self.average.load(folder)
        if self.best is not None:
            self.best.load(folder)


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Numbers in a model, `all` of them and those that are `trainable`."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return {"trainable": sum(size for size, trains in sizes if trains), "all": sum(size for size, _ in sizes)}


def class_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """UF1, UAR and ACC of logits, for the learning curves; for multi-label, mean F1 and exact matches."""
    logits = prediction.predictions[0] if isinstance(prediction.predictions, tuple) else prediction.predictions
    labels = np.asarray(prediction.label_ids)
    if labels.ndim == 2:
        scores = multilabel_scores(labels.astype(int), (logits > 0).astype(int))
        return {"uf1": scores.mean_f1, "acc": scores.exact_match}
    counts = count_classes(labels, logits.argmax(-1), logits.shape[-1])
    return {"uf1": unweighted_f1(counts), "uar": unweighted_average_recall(counts), "acc": accuracy(counts)}
