"""A whole run: from a recipe to a run folder with models, predictions, metrics and a report."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers.utils import logging as hf_logging

from hsta_hf.training.gathering import finished_folds, gather
from hsta_hf.training.model_reuse import short_collections
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.run_setup import open_run
from hsta_hf.training.runners import RUNNERS
from hsta_hf.training.runners_fold import FoldsFailedError
from hsta_hf.training.threads import threads_put_back


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        path: the run folder.
        metrics: content of its `metrics.json`.
        model: folder of the model to use: `model/` if there is a final one, else that of the first fold and seed.
    """

    path: Path
    metrics: dict[str, Any]
    model: Path


def run_recipe(recipe: Recipe) -> RunResult:
    """Run a recipe, or what is left of it if its run folder was started before.

    Folds that are finished are not trained again; a fold that was killed goes on from its last checkpoint.

    Raises:
        RecipeError: the recipe names no dataset, folds that do not exist, or impossible values.
        RunFolderError: the run folder belongs to another recipe.
        NotPreparedError, SplitError: the dataset cannot be read or split as asked.
        FoldsFailedError: folds failed; the report is of the others.
    """
    started = time.monotonic()
    state = PartialState()
    with quiet_transformers(), threads_put_back():
        run = open_run(recipe)
        failed = None
        try:
            with short_collections():
                RUNNERS[recipe.data.runner]().run(run)
        except FoldsFailedError as error:
            failed = error
        metrics: dict[str, Any] = {}
        model = run.folder.final / "model" if recipe.training.final_model else run.tasks[0].folder / "model"
        if state.is_main_process:
            if failed is None or finished_folds(run):  # what succeeded is reported before the failure
                metrics, model = gather(run)
            seconds = time.monotonic() - started
            took = f"{seconds / 60:.1f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
            print(f"Took {took}.", flush=True)
        state.wait_for_everyone()
        if failed is not None:
            raise failed
    return RunResult(run.folder.path, metrics, model)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers from drawing a bar for every checkpoint and from remarking on their time stamps."""
    remarks = logging.getLogger("transformers.trainer_utils")
    level, bars = remarks.level, hf_logging.is_progress_bar_enabled()
    remarks.setLevel(logging.ERROR)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        remarks.setLevel(level)
        if bars:
            hf_logging.enable_progress_bar()
