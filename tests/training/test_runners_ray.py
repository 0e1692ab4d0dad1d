"""Folds spread over Ray: the local runner's numbers, whoever is killed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import yaml
from ray_word import WORD

from hsta_hf import __version__
from hsta_hf.reporting import read_predictions
from hsta_hf.training import runners_ray
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.locks import is_held
from hsta_hf.training.recipe import RecipeError, resolve
from hsta_hf.training.run_folder import RunFolder
from hsta_hf.training.runners_fold import FoldsFailedError
from hsta_hf.training.runners_ray_head import FoldWorker, WorkerPlan

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'hsta-hf[ray]'")
needs_sigkill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
# Clusters of these tests let in who knows this word. It also tells their processes from others.
ENVIRONMENT |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": WORD}


def started_here() -> list[psutil.Process]:
    """Processes that these tests started, and that those started."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            ours = process.pid != os.getpid() and process.environ().get("RAY_AUTH_TOKEN") == WORD
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No process of a test outlives it, be it because the test failed; where it would have, the test fails."""
    yield
    deadline = time.monotonic() + 20
    while (left := started_here()) and time.monotonic() < deadline:
        time.sleep(0.2)
    names = []
    for process in left:
        with contextlib.suppress(psutil.Error):
            names.append(f"{process.pid} {' '.join(process.cmdline())[:80]}")
            process.kill()
    psutil.wait_procs(left, timeout=20)
    assert not names, f"still running, and killed now: {names}"


@pytest.fixture
def spread(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    """The tiny recipe, its folds spread over two workers of a cluster that ends with the command."""
    return {**tiny_recipe, "runner": "ray", "ray_address": "local", "ray_workers": 2, "ray_cpus": 1}


def start(fields: dict[str, Any], folder: Path) -> subprocess.Popen[str]:
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(fields))
    command = [sys.executable, "-m", "hsta_hf.cli.main", "train", str(recipe)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT, start_new_session=True
    )


def read_until(process: subprocess.Popen[str], pattern: str) -> tuple[str, re.Match[str]]:
    """What the command says up to a line that matches."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if match := re.search(pattern, line):
            return said, match
    raise AssertionError(f"ended before {pattern!r}:\n{said}")


def wait_for(pattern: str, folder: Path, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not list(folder.glob(pattern)):
        assert time.monotonic() < deadline, f"{pattern} did not appear"
        time.sleep(0.01)


def same_predictions(one: Path, two: Path) -> None:
    pd.testing.assert_frame_equal(read_predictions(one), read_predictions(two), check_exact=True)


def local(fields: dict[str, Any], folder: Path) -> Path:
    """The same recipe, trained by the local runner as the command line would, with one thread."""
    own = {**fields, "runner": "local", "output_dir": str(folder / "local")}
    process = start(own, folder)
    text = process.communicate(timeout=300)[0]
    assert process.returncode == 0, text
    return folder / "local"


def test_without_ray_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RecipeError, match=r"pip install 'hsta-hf\[ray\]'"):
        runners_ray.import_ray()


@pytest.mark.parametrize(
    ("field", "value"),
    [("ray_workers", 0), ("ray_gpus", 1.5), ("ray_gpus", -0.1), ("ray_cpus", 0), ("ray_retries", -1)],
)
def test_impossible_values_are_refused_by_name(field: str, value: float) -> None:
    with pytest.raises(RecipeError, match=f"{field} is"):
        resolve({field: value})


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ConnectionError("no route"),
            r"^ray_address is '10\.0\.0\.9:6379', but no cluster answers there \(no route\)",
        ),
        (
            ray.exceptions.RayError("No token.\nSee the manual."),
            r"^ray_address is '10\.0\.0\.9:6379', but No token\. Set",
        ),
    ],
)
def test_a_cluster_that_does_not_let_in_is_named_with_the_remedy(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(RecipeError, match=said) as caught:
        runners_ray.connect(ray, resolve({"ray_address": "10.0.0.9:6379"}), 1)
    assert "Set RAY_AUTH_MODE=token wherever" in str(caught.value)


class Nodes:
    """As much of ray as tells what the machines of a cluster have."""

    def __init__(self, *resources: dict[str, float]) -> None:
        self._nodes = [{"Resources": each, "Alive": True} for each in resources]
        self._nodes.append({"Resources": {"CPU": 99.0, "GPU": 99.0}, "Alive": False})

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes


def test_workers_are_counted_by_what_each_machine_has_room_for() -> None:
    cluster = Nodes({"CPU": 8, "GPU": 2}, {"CPU": 3})
    assert runners_ray.places_in(cluster, 2, 0) == 5
    assert runners_ray.places_in(cluster, 2, 0.5) == 4
    assert runners_ray.places_in(cluster, 0.5, 1 / 3) == 6
    assert runners_ray.places_in(cluster, 4, 1) == 2
    with pytest.raises(RecipeError, match=r"9 CPUs and 0 GPUs, and no machine .* 8 CPUs and 2 GPUs; 3 CPUs and 0"):
        runners_ray.places_in(cluster, 9, 0)
    assert runners_ray.gpus_of(cluster, resolve({"use_cpu": True})) == 0
    assert runners_ray.gpus_of(cluster, resolve({})) == 1
    assert runners_ray.gpus_of(Nodes({"CPU": 3}), resolve({})) == 0
    assert runners_ray.gpus_of(cluster, resolve({"ray_gpus": 0.25})) == 0.25


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "0.0.1"}, r"has hsta-hf .*, the command that spreads the folds has 0\.0\.1; install the same"),
        (
            {"run_folder": "gone"},
            "does not see the run folder gone. All machines of the cluster have to see run folder",
        ),
        ({"dataset": "gone"}, "does not see the dataset gone"),
        ({}, "but not the run in it: it is this machine's own"),
    ],
)
def test_a_machine_that_cannot_train_the_run_says_why(change: dict[str, str], said: str, tmp_path: Path) -> None:
    places = {"working_folder": "gone", "run_folder": str(tmp_path), "dataset": str(tmp_path), "version": __version__}
    plan = WorkerPlan({}, threads=1, workers=1, cpus=1, gpus=0, retries=0, **{**places, **change})
    with pytest.raises(RuntimeError, match=rf"^{re.escape(socket.gethostname())} .*{said}"):
        FoldWorker().open(plan, None)


@pytest.fixture
def cluster_of_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_AUTH_TOKEN", WORD)  # else Ray would write one into the home folder
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="error",
    )
    yield
    ray.shutdown()


@pytest.mark.slow
def test_workers_that_cannot_start_are_named_with_the_reason(
    spread: dict[str, Any], cluster_of_this_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runners_ray, "__version__", "0.0.1")
    with pytest.raises(FoldsFailedError, match=r"has hsta-hf .*, the command that spreads the folds has 0\.0\.1") as e:
        run_recipe(resolve({**spread, "ray_retries": 0, "ray_workers": 1}))
    assert list(e.value.failed) == ["fold 0 (1 of 2), seed 42", "fold 1 (2 of 2), seed 42"]
    assert ray.is_initialized()  # what the caller started is the caller's to stop


@pytest.mark.slow
def test_two_workers_give_the_predictions_of_the_local_runner(spread: dict[str, Any], tmp_path: Path) -> None:
    fields = {**spread, "seeds": [42, 7], "ema_decay": 0.9, "flip_probability": 0.5, "final_model": True}
    process = start(fields, tmp_path)
    text = process.communicate(timeout=400)[0]
    assert process.returncode == 0, text
    assert "spread over 2 workers, each with 1 CPUs and 0 GPUs. Each computes with 1 thread" in text
    assert len(set(re.findall(r"in training by (process \d+)", text))) == 2
    run = Path(spread["output_dir"])
    assert (run / "final" / "model" / "config.json").is_file()
    same_predictions(run, local(fields, tmp_path))


@pytest.mark.slow
@needs_sigkill
def test_a_killed_worker_costs_what_came_after_its_last_checkpoint(spread: dict[str, Any], tmp_path: Path) -> None:
    fields = {**spread, "num_train_epochs": 40, "ema_decay": 0.9, "flip_probability": 0.5}
    process = start(fields, tmp_path)
    said, match = read_until(process, r"fold 0 \(1 of 2\), seed 42: in training by process (\d+)")
    run = Path(spread["output_dir"])
    wait_for("folds/fold-00-seed-42/checkpoints/checkpoint-*/complete.json", run)
    assert not (run / "folds" / "fold-00-seed-42" / "metrics.json").exists()
    os.kill(int(match[1]), signal.SIGKILL)
    text = said + process.communicate(timeout=400)[0]
    assert process.returncode == 0, text
    assert re.search(r"fold 0 \(1 of 2\), seed 42: is tried again, 2 tries left: its worker, process \d+", text), text
    again = re.search(r"fold 0 \(1 of 2\), seed 42: in training by process (\d+) .*try 2 of 3", text)
    assert again is not None and again[1] != match[1], text
    assert re.search(r"fold 0 \(1 of 2\), seed 42: goes on after epoch [1-9]\d* of 40", text), text
    same_predictions(run, local(fields, tmp_path))


@pytest.mark.slow
def test_a_fold_that_keeps_failing_is_named_and_the_others_are_done(spread: dict[str, Any], tmp_path: Path) -> None:
    run = Path(spread["output_dir"])
    fields = {**spread, "num_folds": 3, "ray_retries": 1, "num_train_epochs": 1}
    run_recipe(resolve({**fields, "runner": "local", "folds": [2]}))
    (run / "folds" / "fold-01-seed-42").write_text("a file where the fold's folder should be")
    process = start({**fields, "folds": [0, 1]}, tmp_path)
    text = process.communicate(timeout=400)[0]
    assert process.returncode == 1, text
    assert "1 of 2 folds could not be trained: fold 1 (2 of 3), seed 42. The others have their results" in text
    assert "fold 1 (2 of 3), seed 42: is tried again, 1 tries left" in text
    assert "Error" in text.split("The first failure:")[1]
    assert "2 of 3 trainings (3 folds, 1 seed) are finished; missing: fold 1 of seed 42." in text
    assert set(read_predictions(run)["fold"]) == {0, 2}
    (run / "folds" / "fold-01-seed-42").unlink()
    assert run_recipe(resolve({**fields, "runner": "local"})).metrics["all_folds"]


@contextlib.contextmanager
def cluster() -> Iterator[str]:
    """A Ray cluster that runs on its own; gives its address."""
    with socket.socket() as probe, socket.socket() as other:
        probe.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        port, client_port = probe.getsockname()[1], other.getsockname()[1]
    folder = tempfile.mkdtemp(prefix="hsta-ray-")  # names of sockets in it must be short
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats"]
    command += [f"--port={port}", f"--temp-dir={folder}", "--num-cpus=2", "--include-dashboard=false"]
    command += [
        "--object-store-memory=100000000",
        "--node-ip-address=127.0.0.1",
        f"--ray-client-server-port={client_port}",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRONMENT, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None and time.monotonic() < deadline, "the cluster did not start"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@needs_sigkill
def test_a_killed_command_attaches_again_to_the_folds_in_training(spread: dict[str, Any], tmp_path: Path) -> None:
    with cluster() as address:
        fields = {**spread, "num_train_epochs": 20, "ray_address": address, "ray_workers": 1}
        run = Path(spread["output_dir"])
        first = start(fields, tmp_path)
        _, match = read_until(first, r"fold 0 \(1 of 2\), seed 42: in training by process (\d+)")
        wait_for("folds/fold-00-seed-42/checkpoints/checkpoint-*/complete.json", run)
        worker = int(match[1])
        os.kill(worker, signal.SIGSTOP)  # its fold stays in training until the others were seen to attach
        assert not (run / "folds" / "fold-00-seed-42" / "metrics.json").exists()
        first.kill()
        first.communicate()
        attached = "Attached to the run, which is in training with 1 workers: 1 folds in training, 1 waiting, 0 failed"
        second = start(fields, tmp_path)
        read_until(second, attached)
        second.send_signal(signal.SIGINT)
        read_until(second, "Detached: the folds go on")
        assert second.wait(60) == 130
        third = start(fields, tmp_path)
        said, _ = read_until(third, attached)
        os.kill(worker, signal.SIGCONT)
        text = said + third.communicate(timeout=300)[0]
        assert third.returncode == 0, text
        # One process trained all: nothing was started a second time, and nothing went back to a checkpoint.
        assert re.search(rf"fold 1 \(2 of 2\), seed 42: in training by process {worker}\b", text), text
        assert not re.search(rf"in training by process (?!{worker}\b)", text), text
        assert "is tried again" not in text and "goes on after epoch" not in text
    same_predictions(run, local(fields, tmp_path))


@pytest.mark.slow
@needs_sigkill
def test_ctrl_c_pressed_twice_stops_the_folds_too(spread: dict[str, Any], tmp_path: Path) -> None:
    with cluster() as address:
        fields = {**spread, "num_train_epochs": 5000, "ray_address": address, "ray_workers": 1}
        process = start(fields, tmp_path)
        _, match = read_until(process, r"fold 0 \(1 of 2\), seed 42: in training by process (\d+)")
        run = RunFolder(Path(spread["output_dir"]))
        wait_for("folds/fold-00-seed-42/checkpoints/checkpoint-*/complete.json", run.path)
        assert is_held(run.lock("fold-00-seed-42"))
        process.send_signal(signal.SIGINT)
        read_until(process, "Detached: the folds go on")
        assert is_held(run.lock("fold-00-seed-42"))
        process.send_signal(signal.SIGINT)
        read_until(process, "Stopped; what is finished stays")
        assert process.wait(60) == 130
        psutil.wait_procs([psutil.Process(int(match[1]))] if psutil.pid_exists(int(match[1])) else [], timeout=30)
        assert not is_held(run.lock("fold-00-seed-42"))
        assert not list(run.path.glob("folds/*/metrics.json"))


@pytest.mark.slow
@needs_sigkill
def test_ctrl_c_ends_the_cluster_of_this_machine_alone(spread: dict[str, Any], tmp_path: Path) -> None:
    process = start({**spread, "num_train_epochs": 5000}, tmp_path)
    read_until(process, r"fold 0 \(1 of 2\), seed 42: in training by process (\d+)")
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all that the command started
    text = process.communicate(timeout=60)[0]
    assert process.returncode == 130, text
    assert "Detached" not in text and "is tried again" not in text
    # That nothing of it lives on is what `nothing_is_left` looks for.


@pytest.mark.slow
def test_a_lost_head_is_replaced(
    spread: dict[str, Any], cluster_of_this_process: None, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder(Path(spread["output_dir"]))

    def lose_it() -> None:
        wait_for("folds/fold-00-seed-42/checkpoints/checkpoint-*/complete.json", run.path)
        ray.kill(ray.get_actor(runners_ray.head_name(run), namespace=runners_ray.NAMESPACE))

    thief = threading.Thread(target=lose_it)
    thief.start()
    fields = {**spread, "num_train_epochs": 30, "ray_workers": 1, "num_threads": 1}
    result = run_recipe(resolve(fields))
    thief.join(10)
    text = capsys.readouterr().out
    assert text.count("What handed out the folds was lost with its machine; starting another.") == 1, text
    assert re.search(r"fold 0 \(1 of 2\), seed 42: goes on after epoch [1-9]\d* of 30", text), text
    undisturbed = run_recipe(resolve({**fields, "runner": "local", "output_dir": str(run.path.parent / "local")}))
    same_predictions(result.path, undisturbed.path)
