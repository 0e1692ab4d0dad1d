"""Whole runs on synthetic clips: folds, results, refusals, pre-training, use of the saved model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModelForVideoClassification, AutoVideoProcessor

import hsta_hf.training.fold as fold_module
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize
from hsta_hf.reporting import read_predictions
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.fold import shuffled_labels
from hsta_hf.training.recipe import RecipeError, merge, resolve
from hsta_hf.training.run_folder import RunFolderError


def test_a_run_leaves_models_predictions_metrics_and_a_report(
    tiny_recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = resolve({**tiny_recipe, "seeds": [42, 43], "eval_every_epochs": 1, "ema_decay": 0.5})
    result = run_recipe(recipe)
    table = read_predictions(result.path)
    clips = load_labelled_clips(tiny_recipe["dataset"], "casme3_7")
    assert len(table) == 2 * len(clips)
    for _, rows in table.groupby("seed"):
        assert sorted(rows["clip"]) == sorted(clips.column("clip_id"))  # every clip is tested exactly once
    for _, rows in table.groupby(["seed", "subject"]):
        assert rows["fold"].nunique() == 1
    scores = table[[f"score_{name}" for name in clips.scheme.labels]].to_numpy()
    assert np.allclose(scores.sum(axis=1), 1)
    assert (scores.argmax(axis=1) == table["prediction"]).all()
    label_of = dict(zip(clips.column("clip_id"), clips.labels, strict=True))
    assert [label_of[clip] for clip in table["clip"]] == table["label"].tolist()

    metrics = json.loads((result.path / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(result.metrics))
    assert set(metrics["seeds"]) == {"42", "43"} and set(metrics["pooled"]) == {"uf1", "uar", "acc"}
    assert metrics["pooled"]["acc"] == pytest.approx((table["label"] == table["prediction"]).mean())
    assert metrics["synthetic"] and metrics["protocol"] == "kfold-subjects" and metrics["all_folds"]
    assert (result.path / "confusion_matrix.png").stat().st_size > 5000
    assert (result.path / "learning_curves.png").stat().st_size > 5000
    report = (result.path / "report.md").read_text()
    for sentence in (
        "no number here is a result on people",
        "Protocol kfold-subjects: 2 folds by subject",
        "No subject is in both parts of a fold",
        "no test clip was used to choose anything",
        "Training started from random weights",
    ):
        assert sentence in report
    folder = result.path / "folds" / "fold-01-seed-43"
    assert sorted(file.name for file in folder.iterdir()) == [
        "log_history.json",
        "metrics.json",
        "model",
        "predictions.parquet",
        "tensorboard",
    ]
    assert not list(result.path.rglob("*.pt")) and not list(result.path.rglob("*.bin"))
    assert "Starting the run" in capsys.readouterr().out


def test_the_saved_model_gives_the_predictions_of_the_table(tiny_recipe: dict[str, Any]) -> None:
    result = run_recipe(resolve({**tiny_recipe, "ema_decay": 0.5, "cache_dtype": "float32", "folds": [1]}))
    folder = result.path / "folds" / "fold-01-seed-42" / "model"
    assert result.model == folder
    model = AutoModelForVideoClassification.from_pretrained(folder)
    processor = AutoVideoProcessor.from_pretrained(folder)
    table = read_predictions(result.path)
    assert not result.metrics["all_folds"] and "Only some folds" in (result.path / "report.md").read_text()
    clips = load_labelled_clips(tiny_recipe["dataset"], "casme3_7")
    place = {name: index for index, name in enumerate(clips.column("clip_id"))}
    for row in table.head(5).to_dict("records"):
        index = place[row["clip"]]
        key = clips.key_frames()[index]
        inputs = processor(clips.frames(index), onset=key.onset, apex=key.apex, offset=key.offset)
        with torch.no_grad():
            scores = model(**inputs).logits.softmax(-1)[0]
        expected = [row[f"score_{model.config.id2label[i]}"] for i in range(7)]
        assert scores.tolist() == pytest.approx(expected, abs=1e-5)


def test_runs_repeat_exactly_and_finished_folds_are_not_redone(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = resolve({**tiny_recipe, "flip_probability": 0.5, "noise_std": 0.05, "cache_dir": str(tmp_path / "c")})
    first = run_recipe(recipe)
    table = read_predictions(first.path)
    again = run_recipe(resolve({**recipe.as_dict(), "output_dir": str(tmp_path / "again")}))
    pd.testing.assert_frame_equal(read_predictions(again.path), table, check_exact=True)
    other = run_recipe(resolve({**recipe.as_dict(), "output_dir": str(tmp_path / "other"), "seeds": [7]}))
    assert not np.allclose(read_predictions(other.path)["score_happy"], table["score_happy"], atol=1e-4)

    # Without one fold's results, that fold alone is trained again, and ends where it ended before.
    trained: list[str] = []
    build = fold_module.build_trainer

    def noted(*args: Any, **kwargs: Any) -> Any:
        trained.append(args[1].folder.name)
        return build(*args, **kwargs)

    monkeypatch.setattr(fold_module, "build_trainer", noted)
    run_recipe(recipe)
    assert not trained
    (first.path / "folds" / "fold-00-seed-42" / "metrics.json").unlink()
    (first.path / "predictions.parquet").unlink()
    run_recipe(recipe)
    assert trained == ["fold-00-seed-42"]
    pd.testing.assert_frame_equal(read_predictions(first.path), table, check_exact=True)


def test_a_folder_of_another_recipe_is_refused_by_field(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    fields = {**tiny_recipe, "num_train_epochs": 1, "folds": [0]}
    run_recipe(resolve(fields))
    changed = {**fields, "learning_rate": 2e-3, "model": merge(fields["model"], {"use_csta": False})}
    with pytest.raises(RunFolderError) as caught:
        run_recipe(resolve(changed))
    assert "learning_rate: 0.001 → 0.002" in str(caught.value) and "use_csta" in str(caught.value)
    with pytest.raises(RunFolderError, match="clips: "):
        run_recipe(resolve(fields | {"dataset": _other_dataset(tmp_path)}))
    run_recipe(resolve({**fields, "save_every_epochs": 5, "disable_tqdm": False}))  # changes nothing that counts
    run_recipe(resolve({**changed, "overwrite_run": True}))
    assert "0.002" in (Path(fields["output_dir"]) / "recipe.yaml").read_text()
    occupied = tmp_path / "home"
    occupied.mkdir()
    (occupied / "thesis.txt").write_text("mine")
    with pytest.raises(RunFolderError, match="not empty"):
        run_recipe(resolve({**fields, "output_dir": str(occupied), "overwrite_run": True}))
    assert (occupied / "thesis.txt").read_text() == "mine"


def _other_dataset(folder: Path) -> str:
    synthesize(folder / "d", num_subjects=4, clips_per_subject=7, size=64, num_frames=(6, 7), seed=5)
    prepare("casme3", folder / "d", folder / "other", PrepareOptions(faces="keep"), progress=False)
    return str(folder / "other")


def test_pretraining_comes_first_and_folds_start_from_it(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    fields = {
        **tiny_recipe,
        "pretrain_synthetic": {"num_subjects": 2, "clips_per_subject": 7, "size": 64, "seed": 9, "num_frames": [6, 7]},
        "pretrain": {"num_train_epochs": 3},
        "num_train_epochs": 1,
        "learning_rate": 1e-12,  # the folds learn nothing, so they must end where the pre-training did
        "warmup_learning_rate": 1e-12,
        "min_learning_rate": 1e-12,
        "folds": [0],
    }
    fields["pretrain"] |= {"learning_rate": 1e-3, "warmup_learning_rate": 1e-6, "min_learning_rate": 1e-6}
    result = run_recipe(resolve(fields))
    pretraining = result.path / "pretraining"
    kept = sorted(file.name for file in pretraining.iterdir())
    assert kept == ["log_history.json", "metrics.json", "model", "tensorboard"]
    load = AutoModelForVideoClassification.from_pretrained
    before, after = load(pretraining / "model").state_dict(), load(result.model).state_dict()
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    assert len([e for e in json.loads((pretraining / "log_history.json").read_text()) if "loss" in e]) == 3
    assert "pre-training on synthetic drawn faces" in (result.path / "report.md").read_text()
    assert "Pre-training started from random weights" in (result.path / "report.md").read_text()
    with pytest.raises(RecipeError, match="show every fold its test subjects"):
        run_recipe(
            resolve({**tiny_recipe, "pretrain_dataset": tiny_recipe["dataset"], "output_dir": str(tmp_path / "x")})
        )
    assert not (tmp_path / "x").exists()  # so that the corrected recipe may have the folder
    with pytest.raises(RecipeError, match="pretrain_synthetic"):
        run_recipe(resolve({**tiny_recipe, "pretrain_synthetic": {"faces": 3}, "output_dir": str(tmp_path / "y")}))


def test_a_final_model_is_trained_on_all_clips(tiny_recipe: dict[str, Any]) -> None:
    result = run_recipe(resolve({**tiny_recipe, "num_train_epochs": 1, "final_model": True}))
    assert result.model == result.path / "final" / "model"
    assert json.loads((result.path / "final" / "metrics.json").read_text())["train_clips"] == 42
    assert "trained on all clips" in (result.path / "report.md").read_text()


@pytest.mark.parametrize("protocol", ["kfold-clips", "loso", "holdout"])
def test_other_protocols_say_what_they_are(tiny_recipe: dict[str, Any], protocol: str) -> None:
    result = run_recipe(resolve({**tiny_recipe, "protocol": protocol, "num_train_epochs": 1, "num_folds": 3}))
    report = (result.path / "report.md").read_text()
    assert f"Protocol {protocol}" in report
    assert ("these numbers are not on unseen people" in report) == (protocol == "kfold-clips")
    assert result.metrics["folds"] == {"kfold-clips": 3, "loso": 6, "holdout": 1}[protocol]


def test_action_units_are_a_multi_label_task(tiny_recipe: dict[str, Any]) -> None:
    result = run_recipe(resolve({**tiny_recipe, "label_scheme": "action_units", "num_train_epochs": 1, "folds": [0]}))
    table = read_predictions(result.path)
    assert len(table["label"].iloc[0]) == len(table["prediction"].iloc[0]) == 21
    assert 0 <= result.metrics["pooled"]["mean_f1"] <= 1
    config = AutoModelForVideoClassification.from_pretrained(result.model).config
    assert config.problem_type == "multi_label_classification" and config.id2label[0] == "AU1"


def test_shuffled_labels_keep_their_counts_and_the_test_labels_stay(tiny_recipe: dict[str, Any]) -> None:
    labels = [0] * 10 + [1] * 20
    mixed = shuffled_labels(labels, seed=1, fold=0)
    assert sorted(mixed) == labels and mixed != labels
    assert mixed == shuffled_labels(labels, seed=1, fold=0) != shuffled_labels(labels, seed=1, fold=1)
    fields = {**tiny_recipe, "num_train_epochs": 1, "folds": [0]}
    honest = read_predictions(run_recipe(resolve(fields)).path)
    control = run_recipe(
        resolve({**fields, "shuffle_train_labels": True, "output_dir": fields["output_dir"] + "-control"})
    )
    table = read_predictions(control.path)
    assert table["label"].tolist() == honest["label"].tolist()
    assert not np.allclose(table["score_happy"], honest["score_happy"])
    assert "training labels were shuffled" in (control.path / "report.md").read_text()


def test_what_cannot_run_is_said_before_anything_is_written(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    for change, message in (
        ({"dataset": None}, "names no dataset"),
        ({"folds": [2]}, "folds 0 to 1"),
        ({"dataset": str(tmp_path / "absent")}, "is not a folder"),
        ({"model": merge(tiny_recipe["model"], {"num_hsta_layers": 0})}, "num_hsta_layers"),
        ({"processor": {"video_input": "thermal"}}, "video_input"),
    ):
        with pytest.raises(ValueError, match=message):
            run_recipe(resolve({**tiny_recipe, **change}))
    assert not Path(tiny_recipe["output_dir"]).exists()


@pytest.mark.slow
def test_a_model_learns_what_is_there_to_learn(tiny_recipe: dict[str, Any], prepared: Path) -> None:
    """On its own training clips a model reaches what chance cannot: the loop does optimise."""
    fields = merge(tiny_recipe, {"model": {"classification_loss": "cross_entropy"}, "num_train_epochs": 40})
    result = run_recipe(resolve({**fields, "folds": [0], "learning_rate": 3e-3, "class_balanced": False}))
    history = json.loads((result.path / "folds" / "fold-00-seed-42" / "log_history.json").read_text())
    losses = [entry["loss"] for entry in history if "loss" in entry]
    assert losses[0] > 0.9 * math.log(7) and losses[-1] < 0.2 * math.log(7)
