"""Folds spread over a Ray cluster: `hsta train RECIPE --runner ray`.

    hsta train casme3_flow --runner ray                                     # on this machine alone
    hsta train casme3_flow --runner ray --ray_address auto --ray_gpus 0.5   # on the cluster that this machine is in

Where the cluster runs on its own (`ray start --head`), what hands out the folds lives in it and not in this command:
the same command, started again after it was ended or killed, attaches to the folds that are in training.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from typing import Any

import torch
from accelerate import PartialState

from hsta_hf import __version__
from hsta_hf.training.progress import current_progress, run_progress
from hsta_hf.training.recipe import Recipe, RecipeError
from hsta_hf.training.run_folder import RUN_FILE, RunFolder
from hsta_hf.training.run_setup import OpenRun
from hsta_hf.training.runners_fold import FoldsFailedError
from hsta_hf.training.runners_ray_head import FoldHead, WorkerPlan

NAMESPACE = "hsta-hf"
_POLL_SECONDS = 0.5
_STOP_SECONDS = 5.0
_MOST_HEADS = 3
# Through Ray go names and messages; clips come from the file system. This is about the least that Ray takes.
_OBJECT_STORE_BYTES = 100 * 2**20
# Ray asks for a token by itself where the head's machine has one in ~/.ray, and says so when the head starts; commands
# that name an address send theirs only when told to.
_TOKEN_HELP = (
    "Set RAY_AUTH_MODE=token wherever parts of the cluster and this command are started, with the same token in "
    "~/.ray/auth_token or RAY_AUTH_TOKEN; `ray get-auth-token --generate` makes one."
)


class RayRunner:
    """Spreads folds and seeds over the workers of a Ray cluster; each trains as the local runner would."""

    def run(self, run: OpenRun) -> None:
        """See `Runner.run`.

        Raises:
            RecipeError: ray is not installed, no cluster answers at `ray_address`, or no machine of the cluster has
                what a worker needs.
            FoldsFailedError: folds failed more often than `ray_retries` allows; the others have their results.
        """
        if not run.unfinished:
            return
        ray = import_ray()
        if PartialState().num_processes > 1:
            raise RecipeError(
                "runner: ray starts the processes that train itself; start it with `hsta train`, not with "
                "`accelerate launch`."
            )
        threads = torch.get_num_threads()
        cpus = run.recipe.data.ray_cpus or float(threads)
        alone = connect(ray, run.recipe, cpus)
        try:
            gpus = gpus_of(ray, run.recipe)
            places = places_in(ray, cpus, gpus)
            workers = run.recipe.data.ray_workers or places
            plan = _plan(run, threads, min(workers, len(run.unfinished)), cpus, gpus)
            print(
                f"Folds are spread over {plan.workers} workers, each with {cpus:g} CPUs and {gpus:g} GPUs. Each "
                f"computes with {threads} {'thread' if threads == 1 else 'threads'}, as this process would.",
                flush=True,
            )
            if plan.workers > places:
                print(f"The cluster has room for {places} of them; the others start when there is more.", flush=True)
            total = len(run.all_tasks)
            with run_progress(total, total - len(run.unfinished), not run.recipe.training.disable_tqdm):
                _Attached(ray, run, plan, alone).follow()
        finally:
            if alone is not None:
                ray.shutdown()


def import_ray() -> Any:
    """Ray's module.

    Raises:
        RecipeError: it is not installed.
    """
    try:
        import ray
    except ImportError:
        raise RecipeError(
            "runner is ray, but ray is not installed; install it with: pip install 'hsta-hf[ray]', or train with "
            "--runner local."
        ) from None
    return ray


def connect(ray: Any, recipe: Recipe, cpus: float) -> bool | None:
    """Connect to Ray. True: to a cluster of its own; False: to a running one; None: it was connected before.

    Raises:
        RecipeError: no cluster answers at `ray_address`.
    """
    if ray.is_initialized():
        return None
    address = recipe.data.ray_address or os.environ.get("RAY_ADDRESS")
    if not address or address == "local":
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        wanted = math.ceil((recipe.data.ray_workers or 1) * cpus)
        ray.init(
            address="local",
            num_cpus=max(wanted, os.cpu_count() or 1),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level="error",
        )
        return True
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="error")
    except ray.exceptions.RayError as error:  # it asks for a word that is not here
        raise RecipeError(f"ray_address is {address!r}, but {_first_line(error)} {_TOKEN_HELP}") from error
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RecipeError(
            f"ray_address is {address!r}, but no cluster answers there ({_first_line(error)}). Either there is none: "
            "start one with `ray start --head` on one machine and `ray start --address …` on the others, or leave "
            "ray_address out, to use this machine alone. Or it does not let this command in, as when Ray writes "
            f"InvalidAuthToken above. {_TOKEN_HELP}"
        ) from error
    return False


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _nodes(ray: Any) -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def gpus_of(ray: Any, recipe: Recipe) -> float:
    """GPUs of each worker: as the recipe says, else one where the cluster has any."""
    if recipe.data.ray_gpus is not None:
        return recipe.data.ray_gpus
    return float(not recipe.training.use_cpu and any(node.get("GPU", 0) >= 1 for node in _nodes(ray)))


def places_in(ray: Any, cpus: float, gpus: float) -> int:
    """How many workers the cluster has room for, were it empty.

    Raises:
        RecipeError: none of its machines has room for one.
    """
    found = 0
    for node in _nodes(ray):
        rooms = [node.get("CPU", 0) / cpus]
        if gpus:
            rooms.append(node.get("GPU", 0) * (1 / gpus))
        found += math.floor(min(rooms) + 1e-9)
    if not found:
        machines = "; ".join(f"{node.get('CPU', 0):g} CPUs and {node.get('GPU', 0):g} GPUs" for node in _nodes(ray))
        raise RecipeError(
            f"A worker needs {cpus:g} CPUs and {gpus:g} GPUs, and no machine of the cluster has them (there are: "
            f"{machines}). Set ray_cpus and ray_gpus."
        )
    return found


def _plan(run: OpenRun, threads: int, workers: int, cpus: float, gpus: float) -> WorkerPlan:
    data = run.recipe.data
    return WorkerPlan(
        # Of the folds, all: the next command may bring others. Nothing is deleted a second time.
        recipe=run.recipe.as_dict() | {"folds": None, "overwrite_run": False},
        working_folder=os.getcwd(),
        run_folder=os.path.abspath(run.folder.path),
        dataset=os.path.abspath(data.dataset or ""),
        threads=threads,
        workers=workers,
        cpus=cpus,
        gpus=gpus,
        retries=data.ray_retries,
        version=__version__,
    )


def head_name(folder: RunFolder) -> str:
    """Name of the actor that hands out a run's folds: the same for every command on the run folder."""
    facts = json.loads((folder.path / RUN_FILE).read_text(encoding="utf-8"))
    text = json.dumps([str(folder.path.resolve()), facts], sort_keys=True)
    return f"hsta-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class _Attached:
    """This command, following the head of its run."""

    def __init__(self, ray: Any, run: OpenRun, plan: WorkerPlan, alone: bool | None) -> None:
        self.ray, self.run, self.plan, self.alone = ray, run, plan, alone
        self.name = head_name(run.folder)
        self.epochs: dict[str, tuple[int, int, float | None]] = {}

    def follow(self) -> None:
        """Until all tasks of the run are finished or given up."""
        for _ in range(_MOST_HEADS):
            titles = {task.folder.name: task.title for task in self.run.unfinished}
            if not titles:
                return
            try:
                return self._follow(titles)
            except self.ray.exceptions.RayActorError:
                print("What handed out the folds was lost with its machine; starting another.", flush=True)
        raise RecipeError(
            f"What hands out the folds was lost {_MOST_HEADS} times. Look at the cluster with `ray status`, and start "
            "the same command again."
        )

    def _follow(self, titles: dict[str, str]) -> None:
        head = self._find()
        try:
            now = self._follow_head(head, titles)
        except KeyboardInterrupt:
            self._interrupted(head)
            raise
        if all(state in ("finished", "failed") for state in now["states"].values()):
            self.ray.kill(head)
        failed = {titles[name]: now["errors"][name] for name in titles if now["states"][name] == "failed"}
        if failed:
            raise FoldsFailedError(failed, len(self.run.all_tasks))

    def _follow_head(self, head: Any, titles: dict[str, str]) -> dict[str, Any]:
        """Show how the folds stand until all of `titles` have ended; returns the last word of the head."""
        new = self.ray.get(head.submit.remote(titles))
        seen = 0
        if new < len(titles):
            now = self.ray.get(head.look.remote(0))
            states = [now["states"][name] for name in titles]
            seen = len(now["news"])
            print(
                f"Attached to the run, which is in training with {now['workers']} workers: {states.count('training')} "
                f"folds in training, {states.count('waiting')} waiting, {states.count('failed')} failed, "
                f"{len(self.run.all_tasks) - len(titles) + states.count('finished')} finished.",
                flush=True,
            )
        while True:
            now = self.ray.get(head.look.remote(seen))
            seen += len(now["news"])
            self._show(now)
            if all(now["states"][name] in ("finished", "failed") for name in titles):
                return dict(now)
            time.sleep(_POLL_SECONDS)

    def _show(self, now: dict[str, Any]) -> None:
        """Say what is new, and let the display of the run show the folds in training."""
        progress = current_progress()
        for news in now["news"]:
            if progress is None or news.kind != "finished":
                print(news.text, flush=True)
            if progress is not None and news.kind == "started":
                progress.fold_started(news.title)
            elif progress is not None and news.kind == "finished":
                progress.fold_finished(news.title)
        if progress is None:
            return
        for task in self.run.all_tasks:
            epochs = now["epochs"].get(task.title)
            if epochs is None or now["states"].get(task.folder.name) != "training":
                continue
            if epochs != self.epochs.get(task.title):
                self.epochs[task.title] = epochs
                progress.epoch(task.title, *epochs)

    def _find(self) -> Any:
        """The head of this run: the one that is there, or a new one."""
        try:
            return self.ray.get_actor(self.name, namespace=NAMESPACE)
        except ValueError:
            options = {"name": self.name, "namespace": NAMESPACE, "lifetime": "detached", "get_if_exists": True}
            return self.ray.remote(FoldHead).options(num_cpus=0, max_restarts=0, **options).remote(self.plan)

    def _interrupted(self, head: Any) -> None:
        """Ctrl-C: leave the folds to the cluster, or with a second one, stop them."""
        if self.alone:
            return  # all ends with this command
        try:
            print(
                f"Detached: the folds go on on the cluster; the same command attaches again. Press Ctrl-C once more "
                f"within {_STOP_SECONDS:g} seconds to stop them too.",
                flush=True,
            )
            time.sleep(_STOP_SECONDS)
        except KeyboardInterrupt:
            self.ray.kill(head)
            print("Stopped; what is finished stays, and the rest goes on from its last checkpoints.", flush=True)
