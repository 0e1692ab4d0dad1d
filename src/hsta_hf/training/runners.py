"""Where the folds of a run are trained. Whoever trains them, the results are the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from accelerate import PartialState

from hsta_hf.training.fold import is_finished
from hsta_hf.training.locks import decided_by_main
from hsta_hf.training.progress import run_progress
from hsta_hf.training.run_setup import OpenRun
from hsta_hf.training.runners_fold import train_unless_locked, train_when_free
from hsta_hf.training.runners_ray import RayRunner


class Runner(Protocol):
    """Trains the tasks of a run that are not finished."""

    def run(self, run: OpenRun) -> None:
        """Return when every task of the run has its results; raise the first failure after the others were tried."""


class LocalRunner:
    """One fold after the other, in this process; under `accelerate launch`, each fold on all of its processes."""

    def run(self, run: OpenRun) -> None:
        """See `Runner.run`; a failure ends the run at once, and what was finished before stays.

        Folds that another command on the same run folder trains are left to it until all others are done; then they
        are waited for, and trained here if that command died.
        """
        tells = PartialState().is_main_process
        others, total = [], len(run.all_tasks)
        with run_progress(total, total - len(run.unfinished), tells and not run.recipe.training.disable_tqdm):
            for task in run.all_tasks:
                if decided_by_main(is_finished(task.folder)):
                    if tells:
                        print(f"{task.title}: finished before", flush=True)
                elif not train_unless_locked(run, task):
                    if tells:
                        print(f"{task.title}: another command trains it", flush=True)
                    others.append(task)
            for task in others:
                train_when_free(run, task)


RUNNERS: Mapping[str, Callable[[], Runner]] = {"local": LocalRunner, "ray": RayRunner}
