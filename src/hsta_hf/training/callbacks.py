"""What HSTATrainer adds to transformers' training loop through callbacks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

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
    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Move the average after each optimizer step."""
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        for name, parameter in kwargs["model"].named_parameters():
            if name in self.weights:
                self.weights[name] = self.weights[name].to(parameter.device)
                self.weights[name].lerp_(parameter.detach(), 1 - decay)

    def save(self, checkpoint: Path) -> None:
        """Keep the average in a checkpoint."""
        save_file({name: w.contiguous().cpu() for name, w in self.weights.items()}, str(checkpoint / EMA_FILE))

    def load(self, checkpoint: Path) -> None:
        """Take the average from a checkpoint."""
        for name, weight in load_file(str(checkpoint / EMA_FILE)).items():
            self.weights[name] = weight.to(self.weights[name].device)

    @torch.no_grad()
    def swap(self, model: torch.nn.Module) -> None:
        """Exchange the model's weights and the average; twice puts both back, bit for bit."""
        for name, parameter in model.named_parameters():
            if name in self.weights:
                current = parameter.detach().clone()
                parameter.copy_(self.weights[name])
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
    """One progress bar for a training, counting epochs, with the loss beside it.

    Args:
        title: what is trained, such as "fold 1 of 4, seed 42".
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self.bar: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Open the bar where training starts or resumes."""
        steps_per_epoch = max(1, state.max_steps // max(1, round(args.num_train_epochs)))
        self.bar = tqdm(
            total=state.num_train_epochs,
            initial=state.global_step // steps_per_epoch,
            desc=self.title,
            unit="epoch",
            mininterval=0.5 if sys.stderr.isatty() else 10,
        )

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Count an epoch."""
        if self.bar is not None:
            self.bar.update(1)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Show the latest loss."""
        if self.bar is not None and logs and "loss" in logs:
            self.bar.set_postfix(loss=f"{logs['loss']:.4f}", refresh=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Close the bar."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
