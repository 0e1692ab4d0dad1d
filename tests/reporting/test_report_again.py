"""`hsta report`: the same report again, from what the run folder keeps."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from hsta_hf.cli.main import main
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.recipe import resolve
from hsta_hf.training.run_folder import RunFolderError
from hsta_hf.training.run_report import report_again


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prepared dataset and a run on it that has all of its two folds."""
    folder = tmp_path_factory.mktemp("again")
    synthesize(folder / "database", num_subjects=6, clips_per_subject=7, size=64, num_frames=(8, 8))
    prepare("casme3", folder / "database", folder / "prepared", PrepareOptions(faces="keep"), progress=False)
    stream = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "image_size": 32, "patch_size": 16}
    recipe = {
        "dataset": str(folder / "prepared"),
        "output_dir": str(folder / "run"),
        "num_folds": 2,
        "preset": "tiny",
        "model": {"num_hsta_layers": 1, "stream": stream},
        "num_train_epochs": 1,
        "warmup_epochs": 0,
        "disable_tqdm": True,
        "use_cpu": True,
    }
    run_recipe(resolve(recipe))
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the run, its dataset where it was."""
    return Path(shutil.copytree(finished / "run", tmp_path / "run", ignore=shutil.ignore_patterns("cache")))


def test_a_report_is_written_again_as_it_was(run: Path) -> None:
    before = {name: (run / name).read_bytes() for name in ("report.md", "report.html", "metrics.json", "facts.json")}
    assert b"data:image/jpeg" in before["report.html"] and b"data:image" not in before["report.md"]
    _, why_not = report_again(run)
    assert why_not is None
    assert {name: (run / name).read_bytes() for name in before} == before


@pytest.mark.slow
def test_pictures_stay_out_once_they_were_taken_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--no-pictures"]) == 0
    assert "report.html" in capsys.readouterr().out
    assert "data:image" not in (run / "report.html").read_text(encoding="utf-8")
    report_again(run)
    assert "data:image" not in (run / "report.html").read_text(encoding="utf-8")
    report_again(run, pictures=True)
    assert "data:image" in (run / "report.html").read_text(encoding="utf-8")


def test_without_the_dataset_only_pictures_are_missing(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = run / "recipe.yaml"
    lines = ["dataset: gone" if line.startswith("dataset:") else line for line in recipe.read_text().splitlines()]
    recipe.write_text("\n".join(lines))
    assert main(["report", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "shows no pictures of clips: gone" in printed
    assert "data:image" not in (run / "report.html").read_text(encoding="utf-8")
    (run / "facts.json").unlink()
    assert main(["report", str(run)]) == 1
    assert "gone" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_of_an_earlier_version_gets_its_facts_from_the_dataset(run: Path) -> None:
    text, facts = (run / "report.md").read_text(encoding="utf-8"), json.loads((run / "facts.json").read_text())
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "facts.json").unlink()
    old = {name: metrics[name] for name in ("protocol", "synthetic", "pooled", "environment")}
    (run / "metrics.json").write_text(json.dumps(old | {"environment": {"torch": "0.0.1"}}))
    again, _ = report_again(run)
    assert json.loads((run / "facts.json").read_text()) == facts
    assert again["environment"] == {"torch": "0.0.1"} and again["per_subject"] == metrics["per_subject"]
    assert (run / "report.md").read_text(encoding="utf-8").split("| software")[0] == text.split("| software")[0]


@pytest.mark.slow
def test_folds_that_others_finished_are_in_the_next_report(run: Path) -> None:
    aside = run.parent / "aside"
    shutil.move(run / "folds" / "fold-01-seed-42", aside)
    metrics, _ = report_again(run)
    assert not metrics["all_folds"] and metrics["clips"] < 42
    assert "missing: fold 1 of seed 42." in (run / "report.md").read_text(encoding="utf-8")
    shutil.move(aside, run / "folds" / "fold-01-seed-42")
    metrics, _ = report_again(run)
    assert metrics["all_folds"] and metrics["clips"] == 42
    shutil.rmtree(run / "folds")
    metrics, _ = report_again(run)
    assert metrics["clips"] == 42


@pytest.mark.slow
def test_what_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match=r"has no recipe\.yaml"):
        report_again(tmp_path)
    noted = run / "run.json"
    noted.write_text(json.dumps({"clips": "others"}))
    _, why_not = report_again(run)
    assert why_not is not None and "dataset has changed" in why_not
