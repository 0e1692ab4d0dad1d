"""A small finished run, and the stand-in for the Hub to push it to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from hub_server import HubServer

from hsta_hf.cli.main import main
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two folds on 28 drawn clips of 4 subjects; only to be read."""
    folder = tmp_path_factory.mktemp("trained")
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
        "disable_tqdm": True,
        "use_cpu": True,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(fields), encoding="utf-8")
    assert main(["train", str(folder / "recipe.yaml")]) == 0
    shutil.rmtree(folder / "run" / "cache", ignore_errors=True)
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        server.point_client(monkeypatch, tmp_path / "hub_cache")
        yield server
