"""The weights of the epoch with the best score on validation clips, which a kill does not lose."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hsta_hf.training.sharding import placed_like, shard

BEST_FILE = "best_epoch.safetensors"


class BestEpoch(TrainerCallback):
    """Measures after every few epochs, and after the last, and keeps the trainable weights of the best.

    Of epochs with equal scores the first is taken.

    Args:
        measure: the score of the weights as they would be used now; the higher the better.
        weights: these weights, by name, whole.
        every: epochs between looks.

    Attributes:
        score: the best score so far; None before the first look.
        epoch: its epoch, counted from 1.
    """

    def __init__(
        self, measure: Callable[[], float], weights: Callable[[], dict[str, torch.Tensor]], every: int = 1
    ) -> None:
        self.measure, self.weights, self.every = measure, weights, every
        self.score: float | None = None
        self.epoch = 0
        self._kept: dict[str, torch.Tensor] = {}

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Look; the checkpoint that may follow holds what is best so far."""
        epoch, last = round(state.epoch or 0), state.global_step >= state.max_steps
        if not last and epoch % self.every:
            return
        logs = control.should_log  # logging the score takes back what the end of an epoch asked for
        score = self.measure()
        control.should_log = logs
        if self.score is None or score > self.score or (math.isnan(self.score) and not math.isnan(score)):
            self.score, self.epoch = score, epoch
            self._kept = {name: weight.detach().to("cpu", copy=True) for name, weight in self.weights().items()}

    @torch.no_grad()
    def use(self, model: torch.nn.Module) -> None:
        """Put the best epoch's weights into the model."""
        for name, parameter in model.named_parameters():
            if name in self._kept:
                shard(parameter).copy_(shard(placed_like(self._kept[name], parameter)))

    def save(self, checkpoint: Path) -> None:
        """Keep what is best so far in a checkpoint; nothing before the first look."""
        if self.score is not None:
            facts = {"score": repr(self.score), "epoch": str(self.epoch)}
            tensors = {name: weight.contiguous() for name, weight in self._kept.items()}
            save_file(tensors, str(checkpoint / BEST_FILE), metadata=facts)

    def load(self, checkpoint: Path) -> None:
        """Take what was best so far from a checkpoint."""
        if not (checkpoint / BEST_FILE).is_file():  # written before the first look
            self.score, self.epoch, self._kept = None, 0, {}
            return
        with safe_open(str(checkpoint / BEST_FILE), "pt") as file:
            facts = file.metadata()
            self.score, self.epoch = float(facts["score"]), int(facts["epoch"])
            self._kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
