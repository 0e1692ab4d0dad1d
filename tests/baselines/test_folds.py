"""Whole runs of baselines on drawn clips: what they learn, repeat, resume and refuse."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hsta_hf.baselines.features import build_features, features_file
from hsta_hf.baselines.folds import FeatureFolds
from hsta_hf.baselines.hoof import HOOF
from hsta_hf.baselines.majority import Majority
from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.reporting.predictions import read_predictions
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.fold import FoldTask
from hsta_hf.training.recipe import Recipe, RecipeError
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

Make = Callable[..., Recipe]
CHANCE = 1 / 7
SMALL_LBP = {"radius": [1, 1, 2], "num_frames": 10}
QUICK = {"epochs": 150, "learning_rate": 2e-3, "scale": "pixels"}


def test_the_majority_baseline_is_the_reports_line_of_it(recipe_of: Make, drawn: Path) -> None:
    run = run_recipe(recipe_of("majority", num_folds=3))
    table = read_predictions(run.path)
    labels = load_labelled_clips(drawn, "casme3_7").labels
    # Every fold trains on as many clips of each class: the first of them wins everywhere, as in the report.
    assert run.metrics["pooled"] == pytest.approx(run.metrics["baselines"]["majority"])
    shares = table[[name for name in table if str(name).startswith("score_")]].to_numpy()
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert shares[0] == pytest.approx(np.bincount(labels) / len(labels), abs=0.01)


@pytest.mark.parametrize(
    ("name", "options", "factor"),
    [  # chance gets 6 of the 42 clips right, give or take 2.3
        ("lbp-top", SMALL_LBP, 1.6),
        ("hoof", {"grid": [4, 4]}, 2.4),
        ("ststnet", QUICK, 3),
        ("off-apexnet", {**QUICK, "epochs": 40}, 1.5),
    ],
)
def test_drawn_movements_are_learnt_above_chance(
    name: str, options: dict[str, Any], factor: float, recipe_of: Make
) -> None:
    run = run_recipe(recipe_of(name, options))
    assert run.metrics["pooled"]["acc"] > factor * CHANCE
    for fold in sorted((run.path / "folds").iterdir()):
        assert {"log_history.json", "metrics.json", "model", "predictions.parquet"} <= {x.name for x in fold.iterdir()}
        assert not any(file.suffix in (".pkl", ".pt", ".pth", ".bin") for file in (fold / "model").iterdir())
    report = (run.path / "report.md").read_text(encoding="utf-8")
    assert "STSTNet" in report if name == "ststnet" else "HSTA model" not in report
    assert not (run.model / "README.md").exists()


def test_the_same_seed_gives_the_same_predictions(recipe_of: Make, tmp_path: Path) -> None:
    tables = []
    for number, seed in enumerate((1, 1, 2)):
        recipe = recipe_of("ststnet", {"epochs": 5}, seeds=[seed], output_dir=str(tmp_path / str(number)))
        tables.append(read_predictions(run_recipe(recipe).path).filter(like="score_"))
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not np.allclose(tables[0], tables[2])


def test_finished_folds_are_not_done_again(recipe_of: Make) -> None:
    first = run_recipe(recipe_of("ststnet", {"epochs": 3}))
    kept, removed = (first.path / "folds" / f"fold-{number:02d}-seed-42" for number in range(2))
    weights = kept / "model" / "model.safetensors"
    before, table = weights.stat().st_mtime_ns, read_predictions(first.path)
    (removed / "metrics.json").unlink()
    again = run_recipe(recipe_of("ststnet", {"epochs": 3}))
    assert weights.stat().st_mtime_ns == before
    pd.testing.assert_frame_equal(read_predictions(again.path), table)


def test_features_go_on_where_they_stopped_and_name_a_bad_clip(
    recipe_of: Make, drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips, baseline = load_labelled_clips(drawn, "casme3_7"), HOOF(recipe_of("hoof"))
    whole = build_features(baseline, clips, "annotated", tmp_path / "whole")
    extract, seen = HOOF.extract, []

    def failing(self: HOOF, clips: Any, index: int, key: Any) -> np.ndarray:
        seen.append(index)
        if index == 7:
            raise ValueError("cannot be read")
        return extract(self, clips, index, key)

    monkeypatch.setattr("hsta_hf.baselines.features.FLUSH_EVERY", 5)
    monkeypatch.setattr(HOOF, "extract", failing)
    name = clips.column("clip_id")[7]
    with pytest.raises(ValueError, match=f"clip {name}: cannot be read"):
        build_features(baseline, clips, "annotated", tmp_path / "stopped")
    monkeypatch.setattr(HOOF, "extract", lambda self, *args: (seen.append(args[1]), extract(self, *args))[1])
    seen.clear()
    found = build_features(baseline, clips, "annotated", tmp_path / "stopped")
    np.testing.assert_array_equal(found, whole)
    assert 4 not in seen and 5 in seen  # clip 0 is looked at for its shape
    assert features_file(baseline, clips, "annotated", tmp_path / "stopped").is_file()
    assert features_file(baseline, clips, "annotated", tmp_path) != features_file(baseline, clips, "spotted", tmp_path)


def test_networks_start_from_the_pre_training(recipe_of: Make) -> None:
    drawn = {"num_subjects": 2, "clips_per_subject": 7, "size": 64, "num_frames": [8, 9], "seed": 9}
    fields = {"pretrain_synthetic": drawn, "cache_dir": None}
    run = run_recipe(recipe_of("ststnet", {"epochs": 1, "pretrain_epochs": 2, "learning_rate": 1e-6}, **fields))
    from safetensors.numpy import load_file

    before = load_file(run.path / "pretraining" / "model" / "model.safetensors")
    after = load_file(run.model / "model.safetensors")
    np.testing.assert_allclose(after["classifier.weight"], before["classifier.weight"], atol=1e-5)
    assert "pre-training" in (run.path / "report.md").read_text(encoding="utf-8")


def test_a_baseline_that_does_not_pre_train_says_so(recipe_of: Make, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_recipe(recipe_of("majority", pretrain_synthetic={"num_subjects": 2}))
    assert "does not pre-train" in capsys.readouterr().out
    assert "pre-training" not in (run.path / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["majority", "hoof", "ststnet"])
def test_clips_with_several_labels(name: str, recipe_of: Make) -> None:
    options = {"epochs": 3} if name == "ststnet" else None
    run = run_recipe(recipe_of(name, options, label_scheme="action_units_12"))
    assert set(run.metrics["pooled"]) >= {"mean_f1"}
    table = read_predictions(run.path)
    assert len(table) == run.metrics["clips"] == 42
    scores = table[[column for column in table if str(column).startswith("score_")]].to_numpy()
    predictions = np.array(table["prediction"].tolist())
    assert scores.shape == predictions.shape == (42, 12)
    np.testing.assert_array_equal(predictions, scores > 0.5)  # each unit by itself
    answers = len(np.unique(scores, axis=0))
    assert answers <= 2 if name == "majority" else answers == 42  # one a fold, or one a clip


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("ststnet", {"epoch": 3}, "ststnet has no setting 'epoch'; did you mean 'epochs'"),
        ("majority", {"epochs": 3}, "majority has no setting 'epochs'; it has none"),
        ("ststnet", {"epochs": "many"}, "baseline_options.epochs is 'many'"),
        ("ststnet", {"learning_rate": 0}, "learning_rate is 0"),
        ("ststnet", {"scale": "bytes"}, "use one of minmax, pixels"),
        ("lbp-top", {"num_frames": 8}, "num_frames is 8; a radius of 4 frames needs 9"),
        ("lbp-top", {"grid": [5]}, r"grid is \[5\]"),
        ("hoof", {"flow": {"method": "lucas"}}, "flow.method is 'lucas'"),
        ("hoof", {"flow": {"sizes": 3}}, "flow has no field 'sizes'"),
        ("videomae", {"depth": 3}, "videomae has no setting 'depth'"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    name: str, options: dict[str, Any], message: str, recipe_of: Make, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        run_recipe(recipe_of(name, options))
    assert not (tmp_path / "run").exists()


def test_options_without_a_baseline_are_refused(recipe_of: Make) -> None:
    with pytest.raises(RecipeError, match="baseline_options is set, but baseline does not say"):
        recipe_of(None, {"epochs": 3})


@pytest.mark.parametrize("name", ["majority", "ststnet", "videomae"])
@pytest.mark.parametrize("tuning", ["frozen", "lora"])
@pytest.mark.parametrize("fields", [{}, {"pretrain_synthetic": {"num_subjects": 2}}])
def test_a_part_of_a_baseline_cannot_be_tuned(name: str, tuning: str, fields: dict[str, Any], recipe_of: Make) -> None:
    message = f"baseline is '{name}', but tuning is '{tuning}', which only HSTA knows; set tuning to full"
    with pytest.raises(RecipeError, match=message):
        recipe_of(name, tuning=tuning, **fields)


def test_numbers_written_as_text_are_numbers(recipe_of: Make) -> None:
    from hsta_hf.baselines.ststnet import STSTNet

    assert STSTNet(recipe_of("ststnet", {"learning_rate": "5e-4"})).options.learning_rate == 5e-4


def test_videomae_is_trained_by_hstas_trainer(recipe_of: Make) -> None:
    from transformers import VideoMAEForVideoClassification

    stream = {
        "hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32, "patch_size": 16
    }  # fmt: skip
    fields = {
        "preset": "tiny",
        "model": {"num_hsta_layers": 1, "num_video_layers": 2, "stream": stream},
        "processor": {"video_input": "difference"},
        "num_train_epochs": 1,
        "warmup_epochs": 0,
        "learning_rate": 1e-3,
        "layer_decay": 0.9,
    }
    run = run_recipe(recipe_of("videomae", **fields))
    network = VideoMAEForVideoClassification.from_pretrained(run.model)
    assert network.config.num_hidden_layers == 2 and network.config.num_frames == 6
    assert len(read_predictions(run.path)) == 42
    assert not (run.model / "README.md").exists()
    assert "VideoMAE" in (run.path / "report.md").read_text(encoding="utf-8")


def test_clips_to_choose_an_epoch_on_train_a_baseline_and_nothing_says_else(recipe_of: Make) -> None:
    run = run_recipe(recipe_of("majority", validation_share=0.4))
    split = json.loads((run.path / "split.json").read_text(encoding="utf-8"))
    assert all(not fold["validation_indices"] for fold in split["folds"])
    for fold, folder in zip(split["folds"], sorted((run.path / "folds").iterdir()), strict=True):
        trained = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["train_clips"]
        assert trained == len(fold["train_indices"]) == 42 - len(fold["test_indices"])
    report = (run.path / "report.md").read_text(encoding="utf-8")
    assert "epoch is chosen" not in report and "set aside" not in report


def test_a_baseline_says_nothing_of_a_model_that_it_does_not_start_from(recipe_of: Make, tmp_path: Path) -> None:
    HSTAConfig(num_hsta_layers=1).save_pretrained(tmp_path / "model")
    HSTAVideoProcessor().save_pretrained(tmp_path / "model")  # by which the flow is computed
    run = run_recipe(recipe_of("ststnet", {"epochs": 1}, pretrained=str(tmp_path / "model")))
    report = (run.path / "report.md").read_text(encoding="utf-8")
    assert "Training started from random weights.\n" in report


def test_a_person_of_two_databases_with_one_cast_is_in_one_inner_fold(recipe_of: Make, drawn: Path) -> None:
    """Or C would be chosen on people whose macro-expressions the machine was fitted to."""
    clips = load_labelled_clips(drawn, "casme3_7")
    names = ["casme3" if index % 2 else "casme3_macro" for index in range(len(clips))]
    rows = clips.rows.remove_columns("database").add_column("database", names)
    clips = dataclasses.replace(clips, rows=rows)
    recipe = recipe_of("majority")
    folds = FeatureFolds(Majority(recipe), recipe, clips, np.zeros((len(clips), 0), np.float32))
    part = folds._training_part(FoldTask(drawn, "", 1, 0, range(len(clips))))
    assert len(set(part.subjects)) == 6
