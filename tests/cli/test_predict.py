"""`hsta predict` on a saved model and a video file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prediction_helpers import LABELS, moving_clip, save_model, write_video

from hsta_hf import HSTAVideoProcessor
from hsta_hf.cli.main import main
from hsta_hf.training.finished_model import model_folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    save_model(folder / "folds" / "fold-00-seed-42" / "model")
    (folder / "recipe.yaml").write_text("preset: tiny\n")
    return folder


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", moving_clip(0, 12))


def test_it_prints_the_top_classes(run_folder: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run_folder), str(video), "--top_k", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert found["video"] == str(video) and len(found["scores"]) == 2
    assert found["scores"][0]["score"] >= found["scores"][1]["score"]
    assert {entry["label"] for entry in found["scores"]} <= set(LABELS.values())
    assert main(["predict", str(run_folder), str(video)]) == 0
    assert str(video) in capsys.readouterr().out


def test_a_bad_video_is_named_and_the_others_are_still_classified(
    run_folder: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    assert main(["predict", str(run_folder), str(bad), str(video)]) == 1
    printed = capsys.readouterr()
    assert "bad.mp4" in printed.err and str(video) in printed.out


def test_a_run_without_a_model_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text("preset: tiny\n")
    assert main(["predict", str(tmp_path), "clip.mp4"]) == 1
    assert "run folder without a finished model" in capsys.readouterr().err
    assert model_folder("somebody/some-model") == "somebody/some-model"


def test_a_baseline_is_no_model_of_hsta(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "recipe.yaml").write_text("preset: tiny\nbaseline: videomae\n")
    command = ["predict", str(tmp_path), "clip.mp4"]
    assert main(command) == 1
    assert f"predict: {tmp_path} is a run of the baseline videomae: it leaves predict" in capsys.readouterr().err
    model = tmp_path / "folds" / "fold-00-seed-42" / "model"
    model.mkdir(parents=True)
    (model / "config.json").write_text('{"model_type": "videomae"}')
    HSTAVideoProcessor().save_pretrained(model)
    assert main(command) == 1
    assert f"what lies in {model} is no HSTA" in capsys.readouterr().err
    assert main(["predict", str(model), "clip.mp4"]) == 1
    said = capsys.readouterr().err
    assert f"predict: {model} is a model of type 'videomae'; wanted is an HSTA model" in said


def test_a_long_film_is_classified_with_a_warning(
    run_folder: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = write_video(tmp_path / "long.mp4", moving_clip(0, 30), rate=10)
    assert main(["predict", str(run_folder), str(long), str(video)]) == 0
    printed = capsys.readouterr()
    assert "long.mp4 lasts 3.0 s" in printed.err
    assert str(video) not in printed.err


def test_a_folder_of_runs_is_not_taken_for_a_model(
    run_folder: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run_folder.parent), str(video)]) == 1
    printed = capsys.readouterr().err
    assert "holds neither a model nor a run" in printed and str(run_folder) in printed


def test_no_classes_asked_for_is_refused(run_folder: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run_folder), str(video), "--top_k", "0"]) == 2
    assert "--top_k is 0" in capsys.readouterr().err


def test_the_list_of_failures_of_another_table_is_not_overwritten(
    run_folder: Path, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one.mp4", "two.mp4"):
        (tmp_path / name).write_text("no video")
    command = ["predict", str(run_folder), str(video)]
    assert main([*command, str(tmp_path / "one.mp4"), "--output", str(tmp_path / "out.csv")]) == 1
    assert "1 clip could not be classified" in capsys.readouterr().err
    before = (tmp_path / "out_failures.csv").read_text()
    other = [*command, str(tmp_path / "two.mp4"), "--output", str(tmp_path / "out.parquet")]
    assert main(other) == 1
    said = capsys.readouterr().err
    assert "out_failures.csv, of another table, is there already; --overwrite replaces it" in said
    assert (tmp_path / "out_failures.csv").read_text() == before and not (tmp_path / "out.parquet").exists()
    assert main([*other, "--overwrite"]) == 1
    assert "two.mp4" in (tmp_path / "out_failures.csv").read_text()


def test_a_model_that_is_nowhere(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    gone = tmp_path / "gone"
    assert main(["predict", str(gone), str(video)]) == 1
    assert f"there is no folder {gone}, and a model on the Hub is called OWNER/NAME" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "nobody/nothing-at-all", str(video)]) == 1
    said = capsys.readouterr().err
    assert "there is no folder nobody/nothing-at-all, and no model of that name could be had from the Hub" in said


def test_a_misspelt_option_is_answered_with_the_right_one(video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["predict", "--face-detecter", "x", "model", str(video)])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "usage: hsta predict" in said and "--face-detecter" in said and "did you mean --face-detector?" in said
