"""How long a training takes, and how much of that is training steps."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from hsta_hf.reporting.files import write_json

SECONDS_FILE = "seconds.json"


class StepClock(TrainerCallback):
    """Seconds of a training: all, those of its steps, and those of waiting for clips.

    A step is what happens between a batch's arrival and the weights' update: last touches to the batch on the device
    (augmentation), forward, backward, clipping, optimizer, moving average. All else is overhead: building the model,
    reading clips, checkpoints, evaluation, saving, testing. On a GPU steps are timed there, by events, so that
    nothing has to wait for the clock.

    A checkpoint keeps what was counted until then. A training that goes on from it adds to that; what a killed one
    did after its last checkpoint is in no count.
    """

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.steps = self.waiting = 0.0
        self.resumed = 0
        self.known = True
        self._carried = 0.0
        self._begun: float | torch.Event = 0.0
        self._pairs: list[tuple[torch.Event, torch.Event]] = []

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """A batch is there."""
        self._begun = _now(args.device)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The weights are updated."""
        ended = _now(args.device)
        if isinstance(self._begun, float) and isinstance(ended, float):
            self.steps += ended - self._begun
        elif isinstance(self._begun, torch.Event) and isinstance(ended, torch.Event):
            self._pairs.append((self._begun, ended))

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Where a GPU keeps the time: read it, once an epoch."""
        self._read_events()

    def _read_events(self) -> None:
        if self._pairs:
            self._pairs[-1][1].synchronize()
            self.steps += sum(begun.elapsed_time(ended) for begun, ended in self._pairs) / 1000
            self._pairs.clear()

    def seconds(self) -> dict[str, float] | None:
        """`total`, `steps` and `waiting` until now, in seconds, and how often the training was `resumed`; None where
        it was resumed from a checkpoint that does not hold its time."""
        self._read_events()
        total = self._carried + time.perf_counter() - self.started
        values = {"total": total, "steps": self.steps, "waiting": self.waiting}
        return (
            {name: round(value, 3) for name, value in values.items()} | {"resumed": self.resumed}
            if self.known
            else None
        )

    def save(self, checkpoint: Path) -> None:
        """Keep the time in a checkpoint."""
        write_json(checkpoint / SECONDS_FILE, self.seconds())

    def load(self, checkpoint: Path) -> None:
        """Take the time from a checkpoint."""
        file = checkpoint / SECONDS_FILE
        saved = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
        self.known = saved is not None
        if saved is not None:
            self._carried, self.steps, self.waiting = saved["total"], saved["steps"], saved["waiting"]
            self.resumed = saved["resumed"] + 1


def _now(device: torch.device) -> float | torch.Event:
    if device.type != "cuda":
        return time.perf_counter()
    event = torch.Event(device=device, enable_timing=True)
    event.record()
    return event
