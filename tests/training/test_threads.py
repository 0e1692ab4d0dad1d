"""The number of threads belongs to the recipe: it is set for a run, put back after it, and counts as a change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from hsta_hf.training import cross_validation
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.recipe import RecipeError, resolve
from hsta_hf.training.run_folder import RunFolderError
from hsta_hf.training.runners import RUNNERS


def test_a_run_computes_with_the_recipes_threads(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    class Noting:
        def run(self, run: Any) -> None:
            seen.append(torch.get_num_threads())
            RUNNERS["local"]().run(run)

    monkeypatch.setattr(cross_validation, "RUNNERS", {"local": Noting})
    fields = {**tiny_recipe, "num_train_epochs": 1, "folds": [0], "num_threads": before + 1}
    run_recipe(resolve(fields))
    assert seen == [before + 1] and torch.get_num_threads() == before
    with pytest.raises(RunFolderError, match=f"num_threads: {before + 1} → None"):
        run_recipe(resolve({**fields, "num_threads": None}))
    with pytest.raises(RecipeError, match="num_threads is 0"):
        resolve({"num_threads": 0})
