"""What runs inside a Ray cluster: a head that hands out folds, and workers that train them.

The head is a detached actor with a name: it lives on when the command that started it ends, and another command finds
it by that name. Workers live as long as the head.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hsta_hf import __version__
from hsta_hf.training.runners_queue import FoldQueue, last_line

_POLL_SECONDS = 0.2
# A head whose folds are done waits this long for a command that asks how they went.
_IDLE_SECONDS = 600.0


@dataclass(frozen=True)
class WorkerPlan:
    """What the head has to know to hire workers, and each worker to open the run.

    Attributes:
        recipe: the resolved recipe as plain values.
        working_folder: where the command was started; relative paths of the recipe begin there.
        run_folder, dataset: what a worker must be able to see, as absolute paths.
        threads: torch threads of each worker.
        workers: how many workers at once.
        cpus, gpus: what each takes of the cluster.
        retries: how often a fold is tried again, and how often a worker that cannot start is replaced.
        version: of hsta-hf.
    """

    recipe: Mapping[str, Any]
    working_folder: str
    run_folder: str
    dataset: str
    threads: int
    workers: int
    cpus: float
    gpus: float
    retries: int
    version: str


class FoldWorker:
    """Opens a run once and trains many of its folds, as the local runner would."""

    def __init__(self) -> None:
        self._run: Any = None
        self._reports: Any = None

    def open(self, plan: WorkerPlan, head: Any) -> str:
        """Make ready; returns the name of this worker, whose head is told how its trainings go.

        Raises:
            RuntimeError: this machine has another version of hsta-hf, or does not see the run folder.
        """
        host = socket.gethostname()
        if __version__ != plan.version:
            raise RuntimeError(
                f"{host} has hsta-hf {__version__}, the command that spreads the folds has {plan.version}; "
                "install the same on all machines of the cluster."
            )
        if os.path.isdir(plan.working_folder):
            os.chdir(plan.working_folder)
        for what, path in (("run folder", plan.run_folder), ("dataset", plan.dataset)):
            if not Path(path).is_dir():
                raise RuntimeError(
                    f"{host} does not see the {what} {path}. All machines of the cluster have to see run folder and "
                    "dataset under the same paths, on a file system that they share (NFS, Lustre, …); put both there."
                )
        if not (Path(plan.run_folder) / "recipe.yaml").is_file():
            raise RuntimeError(
                f"{host} sees a folder {plan.run_folder}, but not the run in it: it is this machine's own and not "
                "the one of the command that spreads the folds. Put the run folder on a file system that they share."
            )
        import torch

        from hsta_hf.training.progress import shown
        from hsta_hf.training.recipe import resolve
        from hsta_hf.training.run_setup import open_run

        # The order of sums, and with it the last bits of every result, depends on the number of threads.
        torch.set_num_threads(plan.threads)
        recipe = resolve(dict(plan.recipe), "the recipe of the run")
        recipe.training.disable_tqdm = False  # what is shown is shown by whoever follows the head
        self._reports = _Reports(head)
        with shown(self._reports):
            self._run = open_run(recipe, quiet=True)
        return f"process {os.getpid()} on {host}"

    def train(self, name: str) -> tuple[str, str]:
        """Train a fold.

        Returns:
            ("finished", ""), ("locked", "") where another command trains it, or ("failed", the traceback).
        """
        from hsta_hf.training.cross_validation import quiet_transformers
        from hsta_hf.training.progress import shown
        from hsta_hf.training.runners_fold import train_unless_locked

        task = next(task for task in self._run.all_tasks if task.folder.name == name)
        try:
            with quiet_transformers(), shown(self._reports):
                return ("finished" if train_unless_locked(self._run, task) else "locked"), ""
        except Exception:
            return "failed", traceback.format_exc()


class _Reports:
    """Passes on to the head what a training tells of itself; see `progress.Progress`."""

    def __init__(self, head: Any) -> None:
        self._head = head

    def fold_started(self, title: str) -> None:
        """Known to the head, which gave it out."""

    def epoch(self, title: str, done: int, total: int, loss: float | None = None) -> None:
        """So many epochs are over."""
        self._head.report.remote(title, done, total, loss)

    def fold_finished(self, title: str) -> None:
        """Known to the head once the call returns."""


@dataclass
class _Hired:
    """A worker: its actor, its name once it has opened the run, and the fold that it trains."""

    actor: Any
    name: str = ""
    fold: str | None = None


class FoldHead:
    """Hires workers, hands them folds, and goes on when workers are lost.

    Args:
        plan: what to train and with how many workers.
    """

    def __init__(self, plan: WorkerPlan) -> None:
        self._plan = plan
        self._queue = FoldQueue(plan.retries)
        self._lock = threading.Lock()
        self._hired: list[_Hired] = []
        self._calls: dict[Any, _Hired] = {}
        self._failed_starts = 0
        self._start_error = ""
        self._last_word = time.monotonic()
        self._epochs: dict[str, tuple[int, int, float | None]] = {}
        threading.Thread(target=self._work, daemon=True).start()

    def submit(self, titles: Mapping[str, str]) -> int:
        """Take in folds by name; those that are known already go on as they do. Returns how many were new."""
        with self._lock:
            self._last_word = time.monotonic()
            return self._queue.add(titles)

    def look(self, since: int) -> dict[str, Any]:
        """How the folds stand: `news` from number `since` on, by fold `states` and `errors`, by title `epochs`."""
        with self._lock:
            self._last_word = time.monotonic()
            folds = self._queue.folds
            return {
                "news": self._queue.news[since:],
                "states": {name: fold.state for name, fold in folds.items()},
                "errors": {name: fold.error for name, fold in folds.items()},
                "epochs": dict(self._epochs),
                "workers": sum(bool(worker.name) for worker in self._hired),
            }

    def report(self, title: str, done: int, total: int, loss: float | None) -> None:
        """A worker says that `done` of the `total` epochs of a training are over."""
        with self._lock:
            if title not in self._epochs and 0 < done < total:
                self._queue.note(f"{title}: goes on after epoch {done} of {total}", title)
            before = self._epochs.get(title, (0, 0, None))[2]
            self._epochs[title] = (done, total, before if loss is None else loss)

    def _work(self) -> None:
        import ray

        while True:
            try:
                with self._lock:
                    self._hire()
                    self._hand_out()
                    calls = list(self._calls)
                ready = ray.wait(calls, timeout=_POLL_SECONDS)[0] if calls else []
                with self._lock:
                    for call in ready:
                        self._receive(call)
                    if not self._queue.unfinished:
                        for worker in list(self._hired):
                            self._dismiss(worker)
                    forgotten = not self._hired and time.monotonic() - self._last_word > _IDLE_SECONDS
                if forgotten:
                    ray.kill(ray.get_runtime_context().current_actor)
                if not calls:
                    time.sleep(_POLL_SECONDS)
            except Exception:  # the bookkeeping itself failed: say so rather than let commands wait for ever
                with self._lock:
                    self._queue.give_up(f"The head of the run failed:\n{traceback.format_exc()}")
                return

    def _hire(self) -> None:
        import ray

        wanted = min(self._plan.workers, self._queue.unfinished)
        if self._failed_starts > self._plan.retries:
            wanted = 0
            if not self._hired and self._queue.unfinished:
                self._queue.give_up(self._start_error)
        while len(self._hired) < wanted:
            actor: Any = ray.remote(FoldWorker).options(num_cpus=self._plan.cpus, num_gpus=self._plan.gpus).remote()
            worker = _Hired(actor)
            self._hired.append(worker)
            self._calls[actor.open.remote(self._plan, self._own_handle())] = worker

    @staticmethod
    def _own_handle() -> Any:
        import ray

        return ray.get_runtime_context().current_actor

    def _hand_out(self) -> None:
        for worker in self._hired:
            if worker.name and worker.fold is None:
                worker.fold = self._queue.take(worker.name, time.monotonic())
                if worker.fold is not None:
                    self._epochs.pop(self._queue.folds[worker.fold].title, None)
                    self._calls[worker.actor.train.remote(worker.fold)] = worker

    def _receive(self, call: Any) -> None:
        import ray

        worker = self._calls.pop(call, None)
        if worker is None:  # dismissed meanwhile
            return
        now = time.monotonic()
        try:
            answer = ray.get(call)
        except Exception as error:
            self._dismiss(worker)
            if worker.fold is not None:
                self._queue.fail(worker.fold, f"{_plain(error)}\nits worker, {worker.name}, was lost", now)
                return
            self._failed_starts += 1
            self._start_error = f"A worker could not start: {_plain(error)}"
            self._queue.note(last_line(self._start_error))
            return
        if worker.fold is None:
            worker.name = answer
            self._queue.note(f"Ready: {answer}")
            return
        fold, worker.fold = worker.fold, None
        outcome, detail = answer
        if outcome == "finished":
            self._queue.finish(fold, now)
        elif outcome == "locked":
            self._queue.put_back(fold, now)
        else:
            # Its process may be spoilt, as after an error on a GPU: the next try is made by a fresh one.
            self._dismiss(worker)
            self._queue.fail(fold, detail, now)

    def _dismiss(self, worker: _Hired) -> None:
        import ray

        self._hired.remove(worker)
        self._calls = {call: other for call, other in self._calls.items() if other is not worker}
        ray.kill(worker.actor)


def _plain(error: Exception) -> str:
    """What went wrong, without Ray's own traceback around it."""
    cause = getattr(error, "cause", None)
    return str(error if cause is None else cause)
