"""The epoch chosen inside the training fold: on whom, which weights it gives, and what a kill does to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from hsta_hf.reporting import read_predictions
from hsta_hf.training import trainer as trainer_module
from hsta_hf.training.best_epoch import BestEpoch
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.fold import read_log_history, read_metrics
from hsta_hf.training.recipe import RecipeError, merge, resolve

VALIDATED: dict[str, Any] = {
    "validation_share": 0.34,
    "num_train_epochs": 8,
    "learning_rate": 3e-3,
    "folds": [0],
    "report_pictures": False,
    "ema_decay": 0.7,
    "model": {"classification_loss": "cross_entropy", "classifier_dropout": 0.2},
}


def scripted(monkeypatch: pytest.MonkeyPatch, scores: list[float]) -> list[dict[str, torch.Tensor]]:
    """Make the validation score of each look what it is here; returns the weights of each look."""
    looks: list[dict[str, torch.Tensor]] = []
    measure = trainer_module.HSTATrainer._validation_score

    def score(self: trainer_module.HSTATrainer) -> float:
        measure(self)
        looks.append({name: w.detach().clone() for name, w in self._used_weights().items()})
        return scores[len(looks) - 1]

    monkeypatch.setattr(trainer_module.HSTATrainer, "_validation_score", score)
    return looks


def test_the_weights_of_the_best_epoch_are_used(tiny_recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    looks = scripted(monkeypatch, [0.1, 0.5, 0.5, 0.2])
    fields = merge(tiny_recipe, VALIDATED) | {"validate_every_epochs": 2}
    result = run_recipe(resolve(fields))
    folder = result.path / "folds" / "fold-00-seed-42"
    saved = load_file(folder / "model" / "model.safetensors")
    assert all(torch.equal(saved[name], looks[1][name]) for name in looks[1])
    assert not all(torch.equal(looks[3][name], looks[1][name]) for name in looks[1])
    chosen = read_metrics(folder)["validation"]
    assert (chosen["epoch"], chosen["uf1"], len(looks)) == (4, 0.5, 4)
    clips = load_labelled_clips(tiny_recipe["dataset"], "casme3_7")
    subject_of = dict(zip(clips.column("clip_id"), clips.column("subject"), strict=True))
    assert len(chosen["subjects"]) == 1 and {subject_of[name] for name in chosen["clips"]} == set(chosen["subjects"])
    tested = set(read_predictions(result.path)["clip"])
    assert not tested & set(chosen["clips"])
    assert read_metrics(folder)["train_clips"] == 42 - len(tested) - len(chosen["clips"])
    split = json.loads((result.path / "split.json").read_text())
    assert [split["clips"][i] for i in split["folds"][0]["validation_indices"]] == chosen["clips"]
    report = (result.path / "report.md").read_text()
    assert "epoch is chosen inside the training part" in report and "no test clip was used to choose" in report
    assert "after the last epoch" not in report


@pytest.mark.slow
def test_the_score_is_that_of_the_weights_on_the_validation_clips(tiny_recipe: dict[str, Any]) -> None:
    """And a run without validation neither sets clips aside nor looks."""
    result = run_recipe(resolve(merge(tiny_recipe, VALIDATED)))
    folder = result.path / "folds" / "fold-00-seed-42"
    looks = [entry["validation_uf1"] for entry in read_log_history(folder) if "validation_uf1" in entry]
    losses = [entry for entry in read_log_history(folder) if "loss" in entry]
    chosen = read_metrics(folder)["validation"]
    assert len(looks) == len(losses) == 8
    assert chosen["uf1"] == max(looks) and chosen["epoch"] == 1 + int(np.argmax(looks))
    plain = run_recipe(resolve({**tiny_recipe, "folds": [0], "output_dir": f"{tiny_recipe['output_dir']}-plain"}))
    assert "validation" not in read_metrics(plain.path / "folds" / "fold-00-seed-42")
    assert "after the last epoch" in (plain.path / "report.md").read_text()


@pytest.mark.slow
def test_a_resumed_fold_keeps_what_was_best_before_the_kill(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        pass

    fields = merge(tiny_recipe, VALIDATED) | {"validate_every_epochs": 2, "keep_checkpoints": True}
    scores = [0.1, 0.5, 0.4, 0.2]
    with monkeypatch.context() as patch:
        scripted(patch, scores)
        whole = run_recipe(resolve({**fields, "output_dir": str(tmp_path / "whole")}))
    save = trainer_module.HSTATrainer._save_checkpoint

    def killed(self: Any, *args: Any) -> None:
        save(self, *args)
        if round(self.state.epoch) == 5:  # after the best look, before the next one
            raise Killed

    with monkeypatch.context() as patch:
        scripted(patch, scores)
        patch.setattr(trainer_module.HSTATrainer, "_save_checkpoint", killed)
        with pytest.raises(Killed):
            run_recipe(resolve({**fields, "output_dir": str(tmp_path / "killed")}))
    with monkeypatch.context() as patch:
        scripted(patch, scores[2:])
        resumed = run_recipe(resolve({**fields, "output_dir": str(tmp_path / "killed")}))
    one, two = (run.path / "folds" / "fold-00-seed-42" for run in (whole, resumed))
    weights = [load_file(folder / "model" / "model.safetensors") for folder in (one, two)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert read_metrics(one)["validation"] == read_metrics(two)["validation"]
    tables = [read_predictions(run.path) for run in (whole, resumed)]
    pd.testing.assert_frame_equal(tables[0], tables[1], check_exact=True)


def test_a_score_that_is_no_number_gives_way_to_one_that_is() -> None:
    scores = iter([float("nan"), 0.1, float("nan"), 0.1])
    weight = torch.zeros(1)
    best = BestEpoch(lambda: next(scores), lambda: {"w": weight}, 1)

    class State:
        epoch, global_step, max_steps = 0, 0, 99

    class Control:
        should_log = True

    for epoch in range(1, 5):
        State.epoch = epoch
        weight += 1
        best.on_epoch_end(None, State, Control)  # type: ignore[arg-type]
    assert (best.epoch, best.score) == (2, 0.1)
    model = torch.nn.Module()
    model.w = torch.nn.Parameter(torch.zeros(1))
    best.use(model)
    assert model.w.item() == 2


def test_impossible_validation_is_refused() -> None:
    for fields, message in (
        ({"validation_share": 0.9}, "validation_share is 0.9; it must lie in 0..0.5"),
        ({"validate_every_epochs": 0}, "validate_every_epochs is 0"),
        ({"load_best_model_at_end": True}, "weights are never chosen by looking at test clips"),
    ):
        with pytest.raises(RecipeError, match=message):
            resolve(fields)
