"""A small synthetic dataset and the smallest recipe that trains on it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize


@pytest.fixture(scope="session", autouse=True)
def quick_collection() -> Iterator[None]:
    """Every training ends with a full garbage collection, which would look through all of torch and transformers.

    What is imported by now is never garbage: taken out, each of some hundred collections takes milliseconds.
    """
    gc.freeze()
    yield
    gc.unfreeze()  # what is left at exit would be reported as leaked


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """42 synthetic clips of 6 drawn subjects, six of each emotion."""
    folder = tmp_path_factory.mktemp("synthetic")
    synthesize(folder / "database", num_subjects=6, clips_per_subject=7, size=64, num_frames=(8, 10))
    prepare("casme3", folder / "database", folder / "prepared", PrepareOptions(faces="keep"), progress=False)
    return folder / "prepared"


@pytest.fixture
def tiny_recipe(prepared: Path, tmp_path: Path) -> dict[str, Any]:
    """Fields of a recipe that trains two folds of a 32-wide model within seconds."""
    return {
        "dataset": str(prepared),
        "output_dir": str(tmp_path / "run"),
        "num_folds": 2,
        "preset": "tiny",
        "model": {
            "num_hsta_layers": 1,
            "stream": {
                "hidden_size": 32,
                "num_attention_heads": 2,
                "intermediate_size": 64,
                "image_size": 32,
                "patch_size": 16,
            },
        },
        "processor": {"video_input": "difference", "special_input": "optical_flow"},
        "num_train_epochs": 2,
        "warmup_epochs": 1,
        "learning_rate": 1e-3,
        "per_device_train_batch_size": 8,
        "disable_tqdm": True,
        "use_cpu": True,
    }
