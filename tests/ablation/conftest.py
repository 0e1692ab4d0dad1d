"""A small prepared dataset and a recipe that trains on it within a second or two."""

from __future__ import annotations

from pathlib import Path

import pytest

from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize

RECIPE = """
num_folds: 2
preset: tiny
model:
  stream: {hidden_size: 16, num_attention_heads: 2, intermediate_size: 16, image_size: 32, patch_size: 16}
processor: {video_input: difference, special_input: difference}
num_train_epochs: 1
warmup_epochs: 0
learning_rate: 1.0e-3
per_device_train_batch_size: 8
disable_tqdm: true
use_cpu: true
"""


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """28 synthetic clips of 4 drawn subjects, four of each emotion."""
    folder = tmp_path_factory.mktemp("synthetic")
    synthesize(folder / "database", num_subjects=4, clips_per_subject=7, size=64, num_frames=(6, 7))
    prepare("casme3", folder / "database", folder / "prepared", PrepareOptions(faces="keep"), progress=False)
    return folder / "prepared"


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe for two folds of a model 16 wide."""
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path
