"""Drawn clips and the recipes of baselines on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize
from hsta_hf.training.recipe import Recipe, resolve


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """42 clips of 6 drawn subjects, six of each emotion, of large movements."""
    folder = tmp_path_factory.mktemp("drawn")
    synthesize(
        folder / "database", num_subjects=6, clips_per_subject=7, size=64, num_frames=(9, 11), amplitude=(4.0, 6.0)
    )
    prepare("casme3", folder / "database", folder / "prepared", PrepareOptions(faces="keep"), progress=False)
    return folder / "prepared"


@pytest.fixture
def recipe_of(drawn: Path, tmp_path: Path) -> Callable[..., Recipe]:
    """Makes the recipe of a baseline over two folds by subject, with any field changed."""

    def make(baseline: str, options: dict[str, Any] | None = None, **fields: Any) -> Recipe:
        defaults: dict[str, Any] = {
            "dataset": str(drawn),
            "output_dir": str(tmp_path / "run"),
            "cache_dir": str(drawn.parent / "cache"),
            "num_folds": 2,
            "baseline": baseline,
            "disable_tqdm": True,
            "use_cpu": True,
        }
        if options is not None:
            defaults["baseline_options"] = options
        return resolve({**defaults, **fields})

    return make
