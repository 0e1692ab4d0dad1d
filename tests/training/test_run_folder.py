"""What a run folder refuses, deletes and continues."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsta_hf.training.arguments import HSTATrainingArguments
from hsta_hf.training.recipe import resolve
from hsta_hf.training.run_folder import LOCK_FOLDER, RunFolder, RunFolderError
from hsta_hf.training.run_setup import _batch

FACTS = {"clips": "abc"}


def test_overwriting_deletes_the_run_and_nothing_else(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    assert run.open(resolve({"num_folds": 3}), FACTS) is False
    run.fold(0, 42).mkdir(parents=True)
    (run.path / "report.md").write_text("old")
    (run.path / "notes.txt").write_text("mine")
    (run.path / "figures").mkdir()
    assert run.open(resolve({"num_folds": 4}), FACTS, overwrite=True) is False
    left = sorted(entry.name for entry in run.path.iterdir() if entry.name != LOCK_FOLDER)
    assert left == ["figures", "notes.txt", "recipe.yaml", "run.json"]
    assert run.open(resolve({"num_folds": 4}), FACTS) is True


def test_a_folder_with_the_users_own_recipe_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("num_folds: 3\n")
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="no run folder"):
        RunFolder(tmp_path).open(resolve({"num_folds": 4}), FACTS, overwrite=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "recipe.yaml").read_text() == "num_folds: 3\n"


def test_a_run_killed_while_it_was_started_is_started_again(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / ".recipe.yaml.123").write_text("num_fo")
    assert RunFolder(tmp_path).open(resolve({}), FACTS) is False
    assert RunFolder(tmp_path).open(resolve({}), FACTS) is True


def test_folds_of_another_batch_size_are_not_added_to_a_run(tmp_path: Path) -> None:
    """More processes make larger batches where the recipe does not fix their total, which is another training."""
    run = RunFolder(tmp_path / "run")
    run.open(resolve({}), {**FACTS, "batch": 32})
    assert run.open(resolve({}), {**FACTS, "batch": 32}) is True
    with pytest.raises(RunFolderError, match="batch: 32 → 64"):
        run.open(resolve({}), {**FACTS, "batch": 64})
    older = RunFolder(tmp_path / "older")
    older.open(resolve({}), FACTS)
    assert older.open(resolve({}), {**FACTS, "batch": 64}) is True


def test_the_batch_is_that_of_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HSTATrainingArguments, "world_size", 4)
    assert _batch(resolve({"per_device_train_batch_size": 8, "gradient_accumulation_steps": 2, "use_cpu": True})) == 64
    assert _batch(resolve({"per_device_train_batch_size": 8, "total_batch_size": 16, "use_cpu": True})) == 16
