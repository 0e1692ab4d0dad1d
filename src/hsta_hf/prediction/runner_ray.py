"""Prediction spread over a Ray cluster: `hsta predict … --runner ray --output OUT`.

Workers load the model once and take one share of the clips after the other. Videos come from the file system, so all
machines have to see them, and the model, under the same paths; what comes back through Ray are scores, which this
command alone writes.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hsta_hf import __version__
from hsta_hf.prediction.clips import ClipRequest, Prediction
from hsta_hf.prediction.parts import Share
from hsta_hf.training.recipe import resolve
from hsta_hf.training.runners_queue import last_line
from hsta_hf.training.runners_ray import connect, gpus_of, import_ray, places_in

_RETRIES = 2  # of a share whose worker was lost, and of workers that cannot start


class RayPredictionError(RuntimeError):
    """Shares of the clips could not be classified; what was finished is kept."""


@dataclass(frozen=True)
class RayOptions:
    """Where prediction is spread to; as `hsta train` has them.

    Attributes:
        address: of the cluster; None or "local" is this machine alone.
        workers: how many at once; None fills the cluster.
        cpus, gpus: what each takes of the cluster; None: a CPU for each thread and each process that reads clips, and
            a GPU where there is one.
    """

    address: str | None = None
    workers: int | None = None
    cpus: float | None = None
    gpus: float | None = None


@dataclass(frozen=True)
class WorkerPlan:
    """What a worker has to know.

    Attributes:
        predictor: arguments of `Predictor.from_pretrained`.
        fingerprint: of the driver's `Predictor`, which the worker's must have, but for the number format.
        readers: processes that read clips, of each worker.
        threads: torch threads of each worker.
        working_folder: where the command was started; relative paths begin there.
        version: of hsta-hf.
    """

    predictor: Mapping[str, Any]
    fingerprint: Mapping[str, Any]
    readers: int
    threads: int
    working_folder: str = field(default_factory=os.getcwd)
    version: str = __version__


class ShareWorker:
    """Loads the model once and classifies many shares, as the local runner would."""

    def __init__(self) -> None:
        self._predictor: Any = None
        self._readers = 0

    def open(self, plan: WorkerPlan) -> str:
        """Make ready; returns the name of this worker.

        Raises:
            RuntimeError: this machine has another version of hsta-hf, or another model under the same name.
        """
        host = socket.gethostname()
        if __version__ != plan.version:
            raise RuntimeError(
                f"{host} has hsta-hf {__version__}, the command that spreads the clips has {plan.version}; install "
                "the same on all machines of the cluster."
            )
        if os.path.isdir(plan.working_folder):
            os.chdir(plan.working_folder)
        import torch

        from hsta_hf.prediction.predictor import Predictor

        # The order of sums, and with it the last bits of every score, depends on the number of threads.
        torch.set_num_threads(plan.threads)
        self._predictor = Predictor.from_pretrained(**plan.predictor)
        self._readers = plan.readers
        if {**self._predictor.fingerprint(), "dtype": None} != {**plan.fingerprint, "dtype": None}:
            raise RuntimeError(
                f"{host} finds another model or face detector under {plan.predictor['model']} than the command that "
                "spreads the clips; put them on a file system that all machines share."
            )
        return f"process {os.getpid()} on {host}"

    def classify(self, requests: Sequence[ClipRequest]) -> list[Prediction]:
        """Predictions of one share, in order."""
        return list(self._predictor.predict(requests, workers=self._readers))


def predict_on_ray(
    plan: WorkerPlan, shares: Sequence[Share], options: RayOptions
) -> Iterator[tuple[Share, list[Prediction]]]:
    """Classify shares on the workers of a cluster.

    Yields:
        Shares with their predictions, as they are finished.

    Raises:
        RecipeError: ray is not installed, no cluster answers, or no machine has what a worker needs.
        RayPredictionError: no worker can start, or a share failed more often than it is tried again; others are
            finished before.
    """
    ray = import_ray()
    fields = {"address": options.address, "workers": options.workers, "gpus": options.gpus, "cpus": options.cpus}
    recipe = resolve({f"ray_{name}": value for name, value in fields.items() if value is not None}, "the command line")
    cpus = options.cpus or float(plan.threads + plan.readers)
    alone = connect(ray, recipe, cpus)
    spread = None
    try:
        gpus = gpus_of(ray, recipe)
        workers = min(options.workers or places_in(ray, cpus, gpus), len(shares))
        places_in(ray, cpus, gpus)  # refuses where there is no room for one
        spread = _Spread(ray, plan, shares, workers, cpus, gpus)
        yield from spread.run()
    finally:
        if spread is not None:
            spread.dismiss_all()
        if alone:
            ray.shutdown()


class _Spread:
    """Hires workers, hands them shares, and goes on when workers are lost."""

    def __init__(
        self, ray: Any, plan: WorkerPlan, shares: Sequence[Share], workers: int, cpus: float, gpus: float
    ) -> None:
        self.ray, self.plan, self.workers = ray, plan, workers
        self.options = {"num_cpus": cpus, "num_gpus": gpus}
        self.waiting = list(reversed(shares))
        self.tries: dict[int, int] = {}
        self.failed: dict[int, str] = {}
        self.failed_starts, self.start_error = 0, ""
        self.calls: dict[Any, tuple[Any, Share | None]] = {}  # the actor, and its share; None while it starts

    def run(self) -> Iterator[tuple[Share, list[Prediction]]]:
        while self.waiting or any(share for _, share in self.calls.values()):
            self._hire()
            ready, _ = self.ray.wait(list(self.calls), num_returns=1)
            for call in ready:
                actor, share = self.calls.pop(call)
                try:
                    answer = self.ray.get(call)
                except Exception as error:
                    self._lost(actor, share, str(getattr(error, "cause", None) or error))
                    continue
                self._hand_out(actor)
                if share is not None:
                    yield share, answer
        if self.failed:
            clips = ", ".join(f"{64 * number + 1} and following" for number in sorted(self.failed)[:3])
            raise RayPredictionError(
                f"{len(self.failed)} shares of the clips failed ({clips}): {next(iter(self.failed.values()))}. The "
                "others are kept; the same command tries these again"
            )

    def dismiss_all(self) -> None:
        for actor, _ in self.calls.values():
            self.ray.kill(actor)
        self.calls.clear()

    def _hire(self) -> None:
        busy = sum(share is not None for _, share in self.calls.values())
        wanted = min(self.workers, busy + len(self.waiting))
        if self.failed_starts > _RETRIES:
            if not self.calls:
                raise RayPredictionError(f"no worker can start: {self.start_error}")
            return
        while len(self.calls) < wanted:
            actor: Any = self.ray.remote(ShareWorker).options(**self.options).remote()
            self.calls[actor.open.remote(self.plan)] = (actor, None)

    def _hand_out(self, actor: Any) -> None:
        if self.waiting:
            share = self.waiting.pop()
            self.calls[actor.classify.remote(share.requests)] = (actor, share)
        else:
            self.ray.kill(actor)

    def _lost(self, actor: Any, share: Share | None, error: str) -> None:
        self.ray.kill(actor)
        if share is None:
            self.failed_starts += 1
            self.start_error = last_line(error)
            return
        self.tries[share.number] = self.tries.get(share.number, 0) + 1
        if self.tries[share.number] > _RETRIES:
            self.failed[share.number] = last_line(error)
        else:
            self.waiting.append(share)
