"""What a run asks of its split: people by database, and footage by frame hash."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import datasets
import pyarrow as pa
import pytest

from hsta_hf.data.prepared import MANIFEST
from hsta_hf.data.splits import PROTOCOLS, FootageLeakError
from hsta_hf.training.arguments import Protocol
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.recipe import RecipeError, resolve


def rewritten(prepared: Path, folder: Path, name: str, change: Callable[[list[Any]], list[Any]]) -> str:
    """A copy of the prepared dataset with another column `name`."""
    dataset = datasets.load_from_disk(str(prepared))
    assert isinstance(dataset, datasets.Dataset)
    table = dataset.data.table
    field = table.schema.field(name)
    column = pa.array(change(table.column(name).to_pylist()), type=field.type)
    changed = table.set_column(table.schema.get_field_index(name), field, column)
    datasets.Dataset(datasets.table.InMemoryTable(changed)).save_to_disk(str(folder))
    shutil.copy(prepared / MANIFEST, folder / MANIFEST)
    return str(folder)


def test_recipes_take_every_protocol_that_there_is():
    assert get_args(Protocol) == PROTOCOLS


def test_a_run_refuses_a_copied_clip_before_anything_is_written(
    prepared: Path, tiny_recipe: dict[str, Any], tmp_path: Path
):
    tiny_recipe["dataset"] = rewritten(prepared, tmp_path / "copy", "frame_hashes", lambda all_: [*all_[:-1], all_[0]])
    with pytest.raises(FootageLeakError, match=r"casme3/.*\(subject .*\) and casme3/.* share \d+ identical frames"):
        run_recipe(resolve({**tiny_recipe, "protocol": "loso"}))
    assert not Path(tiny_recipe["output_dir"]).exists()


def test_a_run_leaves_one_database_out(prepared: Path, tiny_recipe: dict[str, Any], tmp_path: Path):
    """Asking for a fold that does not exist makes the run tell how many there are, before it trains."""
    names = ["casme2", "samm", "smic_hs"]
    folder = rewritten(prepared, tmp_path / "three", "database", lambda all_: [names[i % 3] for i in range(len(all_))])
    tiny_recipe |= {"dataset": folder, "protocol": "leave-one-database-out", "folds": [9]}
    with pytest.raises(RecipeError, match=r"folds names \[9\]; the split has folds 0 to 2"):
        run_recipe(resolve(tiny_recipe))
