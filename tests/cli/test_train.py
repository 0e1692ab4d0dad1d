"""`hsta train` and scripts/train.py from the outside."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hsta_hf.cli.main import main
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    synthesize(folder / "database", num_subjects=4, clips_per_subject=7, size=64, num_frames=(6, 7))
    prepare("casme3", folder / "database", folder / "prepared", PrepareOptions(faces="keep"), progress=False)
    stream = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32}
    fields = {
        "dataset": str(folder / "prepared"),
        "output_dir": str(folder / "run"),
        "num_folds": 2,
        "preset": "tiny",
        "model": {"num_hsta_layers": 1, "stream": stream},
        "num_train_epochs": 1,
        "use_cpu": True,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(fields))
    return folder / "recipe.yaml"


def test_train_evaluate_and_refuse(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(["train", str(recipe), "--output_dir", str(run), "--model.num_hsta_layers", "2"]) == 0
    printed = capsys.readouterr().out
    assert "UF1" in printed and "synthetic clips" in printed and str(run / "report.html") in printed
    assert yaml.safe_load((run / "recipe.yaml").read_text())["model"]["num_hsta_layers"] == 2
    assert main(["train", str(recipe), "--output_dir", str(run)]) == 1
    assert "model: " in capsys.readouterr().err
    assert main(["evaluate", str(run)]) == 0
    again = capsys.readouterr().out
    line = next(line for line in printed.splitlines() if line.strip().startswith("UF1"))
    assert line in again and "surprise" in again


def test_a_wrong_field_is_one_helpful_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(recipe), "--num_epochs", "3"]) == 1
    assert "no field 'num_epochs'. Did you mean 'num_train_epochs'" in capsys.readouterr().err
    assert main(["train"]) == 2
    assert main(["train", "--list_fields"]) == 0
    assert "label_scheme" in capsys.readouterr().out


@pytest.mark.slow
def test_accelerate_launch_runs_the_script(recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--cpu"]
    command += [str(SCRIPTS / "train.py"), str(recipe), "--output_dir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.md").is_file() and "UF1" in done.stdout
    command = [sys.executable, str(SCRIPTS / "evaluate.py"), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300, check=False)
    assert done.returncode == 0 and "UF1" in done.stdout, done.stderr
