"""Trackers: one run a fold, named after it, closed after it, and nothing double where a fold is resumed."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.fold import read_log_history, read_metrics
from hsta_hf.training.recipe import RecipeError, resolve
from hsta_hf.training.tracking import check_trackers
from hsta_hf.training.trainer import HSTATrainer


def events_of(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Steps and values by name, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """Let trainings fail as soon as they have logged the loss of an epoch."""
    log = HSTATrainer.log

    def failing(self: HSTATrainer, logs: dict[str, float], *args: Any) -> None:
        log(self, logs, *args)
        if "loss" in logs and round(self.state.epoch or 0) == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr(HSTATrainer, "log", failing)


def test_tensorboard_is_the_default_and_a_resumed_fold_has_nothing_double(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    fields = {**tiny_recipe, "num_train_epochs": 4, "save_every_epochs": 2, "eval_every_epochs": 2}
    recipe = resolve({**fields, "cache_dir": str(tmp_path / "cache")})
    for epoch in (1, 3):  # before the first checkpoint, and after it
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            interrupt_after(patch, epoch)
            run_recipe(recipe)
    run = run_recipe(recipe)
    for fold in (0, 1):
        folder = run.path / "folds" / f"fold-{fold:02d}-seed-42"
        events = events_of(folder)
        wanted = [(log["step"], log["loss"]) for log in read_log_history(folder) if "loss" in log]
        assert len(wanted) == 4
        np.testing.assert_allclose(events["train/loss"], wanted, rtol=1e-5)
        assert [step for step, _ in events["eval/uf1"]] == [wanted[1][0], wanted[3][0]]
    first, second = (read_metrics(run.path / "folds" / f"fold-0{n}-seed-42")["seconds"] for n in (0, 1))
    assert first["resumed"] == 1 and second["resumed"] == 0
    assert 0 < first["steps"] < first["total"]
    sums = run.metrics["seconds"]
    assert sums["folds"] == 2 and sums["resumed"] == 1
    assert sums["total"] == pytest.approx(first["total"] + second["total"], abs=0.01)
    assert sums["steps"] == pytest.approx(first["steps"] + second["steps"], abs=0.01)


def test_nothing_is_tracked_where_the_recipe_says_so(tiny_recipe: dict[str, Any]) -> None:
    run = run_recipe(resolve({**tiny_recipe, "num_train_epochs": 1, "folds": [0], "report_to": "none"}))
    assert not list(run.path.rglob("*tfevents*")) and not list(run.path.rglob("tracking.json"))


def test_a_tracker_that_is_missing_is_named_before_anything_is_trained(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "wandb" else object())
    with pytest.raises(RecipeError, match=r"wandb, which is not installed.*pip install 'hsta-hf\[wandb\]'"):
        run_recipe(resolve({**tiny_recipe, "report_to": ["tensorboard", "wandb"]}))
    assert not (tmp_path / "run").exists()
    with pytest.raises(RecipeError, match=r"'tensorbord'; use none, .*tensorboard"):
        check_trackers(["tensorbord"])


SCRIPT = """
import sys
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.recipe import load_recipe
from hsta_hf.training.trainer import HSTATrainer
recipe, stop = sys.argv[1], int(sys.argv[2])
log = HSTATrainer.log
def failing(self, logs, *args):
    log(self, logs, *args)
    if "loss" in logs and round(self.state.epoch) == stop:
        raise KeyboardInterrupt
HSTATrainer.log = failing
run_recipe(load_recipe(recipe))
"""


def run_in_processes(fields: dict[str, Any], tmp_path: Path, tracker: str, **environment: str) -> None:
    """A run that is interrupted after its third epoch of four and started again, in processes of their own: these
    packages keep state in a process."""
    recipe = tmp_path / "recipe.yaml"
    changes = {"num_train_epochs": 4, "save_every_epochs": 2, "report_to": tracker, "project": "faces"}
    recipe.write_text(yaml.safe_dump({**fields, **changes}))
    for stop, ending in (("3", "KeyboardInterrupt"), ("-1", None)):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(recipe), stop],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
        )
        expected = done.returncode == 0 if ending is None else done.stderr.strip().endswith(ending)
        assert expected, done.stdout + done.stderr


@pytest.mark.slow
def test_trackio_has_one_run_a_fold_with_every_epoch_once(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("trackio")
    run_in_processes(tiny_recipe, tmp_path, "trackio", TRACKIO_DIR=str(tmp_path / "trackio"))
    (file,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(file) as database:
        rows = database.execute("select run_name, metrics from metrics order by timestamp").fetchall()
    losses: dict[str, list[int]] = {}
    for name, text in rows:
        values = yaml.safe_load(text)
        if "train/loss" in values:
            losses.setdefault(name, []).append(values["train/global_step"])
    assert sorted(losses) == ["run/fold-00-seed-42", "run/fold-01-seed-42"]
    assert all(len(steps) == 4 and steps == sorted(set(steps)) for steps in losses.values()), losses


@pytest.mark.slow
def test_wandb_has_one_run_a_fold(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    run_in_processes(tiny_recipe, tmp_path, "wandb", WANDB_MODE="offline")
    for fold, parts in ((0, 2), (1, 1)):  # an offline run that went on has a folder for each part, of one id
        folder = tmp_path / "run" / "folds" / f"fold-{fold:02d}-seed-42"
        found = sorted((folder / "wandb").glob("offline-run-*"))
        assert len(found) == parts and len({path.name.rpartition("-")[2] for path in found}) == 1
        names = [file.read_bytes() for path in found for file in path.glob("*.wandb")]
        assert len(names) == parts and all(f"run/fold-{fold:02d}-seed-42".encode() in name for name in names)
    assert not (tmp_path / "wandb").exists()
