"""TensorBoard, trackio and wandb for folds that are trained one after the other, killed, and resumed.

transformers' own callbacks know of one training a process. Here each fold has a run of its own, named after run
folder, fold and seed, which is closed when the fold is trained; a resumed fold goes on in its run, and what was sent
before is not sent again.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from hsta_hf.reporting.files import write_json
from hsta_hf.training.recipe import RecipeError

TENSORBOARD_FOLDER = "tensorboard"
SENT_FILE = "tracking.json"
_EXTRAS = ("trackio", "wandb")


def check_trackers(report_to: Sequence[str]) -> None:
    """Refuse trackers that do not exist or are not installed, before anything is trained.

    Raises:
        RecipeError: there is such a one; the message says how to install it.
    """
    for name in report_to:
        if name not in INTEGRATION_TO_CALLBACK:
            raise RecipeError(f"report_to names {name!r}; use none, {', '.join(sorted(INTEGRATION_TO_CALLBACK))}.")
        if name in ("tensorboard", *_EXTRAS) and importlib.util.find_spec(name) is None:
            package = f"'hsta-hf[{name}]'" if name in _EXTRAS else name
            raise RecipeError(
                f"report_to names {name}, which is not installed; install it with: pip install {package}, or take it "
                "out of report_to."
            )


def track_fold(trainer: Trainer, folder: Path, run_name: str) -> None:
    """Give a fold's trainer the trackers of this module in place of transformers' own.

    Args:
        trainer: not trained yet.
        folder: the fold's; TensorBoard's and wandb's files go there.
        run_name: what trackio and wandb call the fold.
    """
    trainer.args.run_name = run_name
    for theirs, ours in _REPLACEMENTS.items():
        if any(type(callback) is theirs for callback in trainer.callback_handler.callbacks):
            trainer.remove_callback(theirs)
            trainer.add_callback(ours(folder))


class FoldTensorBoard(TensorBoardCallback):
    """Events in `tensorboard/` of the fold's folder: `tensorboard --logdir RUN` lists the folds by name."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder / TENSORBOARD_FOLDER
        self.logging_dir = str(self._folder)
        self._over = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start anew, or go on behind the checkpoint's step: TensorBoard drops what a killed training wrote after."""
        if not state.is_world_process_zero:
            return
        self._over = state.global_step >= state.max_steps  # killed between its last step and its results
        if state.global_step:
            self.tb_writer = self._SummaryWriter(log_dir=self.logging_dir, purge_step=state.global_step + 1)
            return
        shutil.rmtree(self._folder, ignore_errors=True)
        super().on_train_begin(args, state, control, **kwargs)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        """Write the numbers, once."""
        if not self._over:
            super().on_log(args, state, control, logs=logs, **kwargs)


class _Sent:
    """What of a fold a tracker has, in a file of the fold's folder, so that a resumed fold sends the rest alone."""

    def __init__(self, folder: Path, tracker: str) -> None:
        self.file, self.tracker = folder / SENT_FILE, tracker
        self.steps: dict[str, int] = {}
        self.run_id: str | None = None

    def begin(self, state: TrainerState) -> bool:
        """Read what was sent, or forget it where the training starts from its first step; whether it is resumed."""
        mine = self._all().get(self.tracker) if state.global_step else None
        self.steps, self.run_id = (mine["steps"], mine["run_id"]) if mine else ({}, None)
        return mine is not None

    def is_new(self, state: TrainerState, logs: Mapping[str, Any]) -> bool:
        """Whether these numbers were not sent before; from then on they were."""
        kind = "loss" if "loss" in logs else "eval" if any(name.startswith("eval_") for name in logs) else "end"
        if state.global_step <= self.steps.get(kind, -1):
            return False
        self.steps[kind] = state.global_step
        self.write()
        return True

    def write(self) -> None:
        """Keep it for a training that goes on after a kill."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, self._all() | {self.tracker: {"steps": self.steps, "run_id": self.run_id}})

    def _all(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.file.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}


class _Once(TrainerCallback):
    """For a tracker's callback: numbers are sent once, however often a fold was resumed, and no test scores."""

    _sent: _Sent

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        logs: Any = None,
        **kwargs: Any,
    ) -> None:
        """Send the numbers, once."""
        if state.is_world_process_zero and self._sent.is_new(state, logs):
            super().on_log(args, state, control, model=model, logs=logs, **kwargs)

    def on_predict(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: Any, **kwargs: Any
    ) -> None:
        """Nothing: the run is closed by then, and test scores of single folds are no result."""


class FoldTrackio(_Once, TrackioCallback):
    """A trackio run for each fold, in the recipe's `project`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._sent, self._resumed = _Sent(folder, "trackio"), False

    def setup(self, args: TrainingArguments, state: TrainerState, model: Any, **kwargs: Any) -> None:
        """As transformers' own, but a fold that starts anew never goes on in an older run of the same name."""
        trackio: Any = self._trackio
        init = trackio.init
        if not self._resumed:
            trackio.init = lambda **fields: init(**{**fields, "resume": "never"})
        try:
            super().setup(args, state, model, **kwargs)
        finally:
            trackio.init = init

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Open the fold's run."""
        if state.is_world_process_zero:
            self._resumed = self._sent.begin(state)
            self._sent.write()
            super().on_train_begin(args, state, control, model=model, **kwargs)


class FoldWandb(_Once, WandbCallback):
    """A wandb run for each fold, grouped by run folder; WANDB_PROJECT or the recipe's `project` names the project."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder, self._sent, self._own = folder, _Sent(folder, "wandb"), False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **kwargs: Any
    ) -> None:
        """Open the fold's run, or go on in it; a run that the caller opened is used as it is."""
        if not state.is_world_process_zero:
            return
        self._sent.begin(state)
        if self._wandb.run is None:
            self._sent.run_id = self._sent.run_id or secrets.token_hex(4)
            self._sent.write()
            self._own = True
            self._folder.mkdir(parents=True, exist_ok=True)
            self._wandb.init(
                project=os.getenv("WANDB_PROJECT", args.project),
                name=args.run_name,
                group=str(args.run_name).rpartition("/")[0] or None,
                id=self._sent.run_id,
                resume="allow",
                dir=str(self._folder),
            )
        super().on_train_begin(args, state, control, model=model, **kwargs)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        processing_class: Any = None,
        **kwargs: Any,
    ) -> None:
        """Close the fold's run, so that the next fold has its own."""
        super().on_train_end(args, state, control, model=model, processing_class=processing_class, **kwargs)
        if self._own and state.is_world_process_zero:
            self._wandb.finish()
            self._own = False


_REPLACEMENTS: Mapping[type[TrainerCallback], Callable[[Path], TrainerCallback]] = {
    TensorBoardCallback: FoldTensorBoard,
    TrackioCallback: FoldTrackio,
    WandbCallback: FoldWandb,
}
