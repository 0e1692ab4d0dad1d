"""What HSTATrainer adds to transformers' training loop through callbacks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hsta_hf.training.progress import current_progress
from hsta_hf.training.sharding import is_sharded, placed_like, shard, whole

EMA_FILE = "ema.safetensors"


class MovingAverage(TrainerCallback):
    """Exponential moving average of the trainable weights.

    After step t the average moves towards the weights by 1 - min(decay, (1 + t) / (10 + t)), so that the random
    start is forgotten early on.

    Args:
        model: the model that is trained.
        decay: share of the old average that stays, in 0..1.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.weights = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def follow(self, model: torch.nn.Module) -> None:
        """Where the model was sharded since: hold shards too. To be called before the weights change."""
        for name, parameter in model.named_parameters():
            if name in self.weights and is_sharded(parameter) and not is_sharded(self.weights[name]):
                self.weights[name] = parameter.detach().clone()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """By now the model is as it will be trained, sharded or not."""
        self.follow(kwargs["model"])

    @torch.no_grad()
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move the average after each optimizer step."""
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, parameter in kwargs["model"].named_parameters():
            if name in self.weights:
                self.weights[name] = self.weights[name].to(parameter.device)
                shard(self.weights[name]).lerp_(shard(parameter), 1 - decay)

    def whole(self) -> dict[str, torch.Tensor]:
        """The average; where it is sharded, all processes have to call this."""
        return {name: whole(weight) for name, weight in self.weights.items()}

    def save(self, checkpoint: Path, average: dict[str, torch.Tensor] | None = None) -> None:
        """Keep the average, or what `whole` returned, in a checkpoint."""
        weights = self.whole() if average is None else average
        save_file({name: w.contiguous().cpu() for name, w in weights.items()}, str(checkpoint / EMA_FILE))

    def load(self, checkpoint: Path) -> None:
        """Take the average from a checkpoint; where it is sharded, all processes have to call this."""
        for name, weight in load_file(str(checkpoint / EMA_FILE)).items():
            self.weights[name] = placed_like(weight, self.weights[name])

    @torch.no_grad()
    def swap(self, model: torch.nn.Module) -> None:
        """Exchange the model's weights and the average; twice puts both back, bit for bit."""
        for name, parameter in model.named_parameters():
            if name in self.weights:
                current = parameter.detach().clone()
                shard(parameter).copy_(shard(self.weights[name]))
                self.weights[name] = current


class EveryNEpochs(TrainerCallback):
    """Checkpoint and evaluate every so many epochs; after the last epoch, always."""

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        """Thin out what transformers' default flow wants after every epoch."""
        epoch, last = round(state.epoch or 0), state.global_step >= state.max_steps
        save_every, eval_every = args.save_every_epochs, args.eval_every_epochs  # type: ignore[attr-defined]
        if control.should_save and not last:
            control.should_save = epoch % save_every == 0
        control.should_evaluate = bool(eval_every) and (last or epoch % eval_every == 0)
        return control


class EpochProgress(TrainerCallback):
    """Tells the display that is shown, if any, of a training's epochs and loss.

    Args:
        title: what is trained, such as "fold 0 (1 of 4), seed 42".
    """

    def __init__(self, title: str) -> None:
        self.title = title

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Say where training starts or resumes."""
        self._tell(args, state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count an epoch."""
        self._tell(args, state)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the latest loss."""
        if logs and "loss" in logs:
            self._tell(args, state, logs["loss"])

    def _tell(self, args: TrainingArguments, state: TrainerState, loss: float | None = None) -> None:
        progress = current_progress()
        if progress is not None:
            total = math.ceil(args.num_train_epochs)
            done = math.floor(state.global_step / max(1, state.max_steps) * args.num_train_epochs + 1e-6)
            progress.epoch(self.title, done, total, loss)
