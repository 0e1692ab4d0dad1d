"""What a run asks of its split: people by database, and footage by frame hash."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import datasets
import numpy as np
import pyarrow as pa
import pytest
import rewritten_datasets
from rewritten_datasets import of_database
from sklearn.metrics import f1_score

from hsta_hf.data.labels import LABEL_SCHEMES
from hsta_hf.data.prepared import MANIFEST
from hsta_hf.data.splits import PROTOCOLS, FootageLeakError
from hsta_hf.reporting import read_predictions
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


@pytest.mark.slow
def test_action_units_across_databases_from_drawn_clips_to_scores(
    prepared: Path, tiny_recipe: dict[str, Any], tmp_path: Path
):
    """Two databases left out in turn; clips without any of the 12 units are tested as negatives of them all."""

    def some_without(values: list[str]) -> list[str]:
        return ["43" if index % 7 == 0 else "" if index == 1 else value for index, value in enumerate(values)]

    one = of_database(prepared, tmp_path / "one", "casme2")
    other = rewritten_datasets.rewritten(
        of_database(prepared, tmp_path / "two", "samm"),
        tmp_path / "other",
        action_units_raw=some_without,
        frame_hashes=lambda values: [[hash_ + 1 for hash_ in hashes] for hashes in values],
    )
    fields = {
        "dataset": str(one),
        "more_datasets": [str(other)],
        "label_scheme": "action_units_12",
        "protocol": "leave-one-database-out",
        "class_balanced": True,
        "model": tiny_recipe["model"] | {"classification_loss": "cross_entropy"},
        "report_pictures": False,
    }
    result = run_recipe(resolve(tiny_recipe | fields))
    table = read_predictions(result.path)
    assert table.groupby("fold")["database"].unique().map(list).tolist() == [["casme2"], ["samm"]]
    assert len(table) == 42 + 41  # the one without annotation is left out
    labels = np.stack(table["label"].to_list())
    assert labels.shape == (83, 12) and (labels.sum(axis=1) == 0).sum() >= 6
    predictions = np.stack(table["prediction"].to_list())
    scores = table[[f"score_{name}" for name in LABEL_SCHEMES["action_units_12"].labels]].to_numpy()
    assert ((scores > 0.5) == predictions).all()
    by_unit = f1_score(labels, predictions, average=None, zero_division=np.nan)
    assert result.metrics["pooled"]["mean_f1"] == pytest.approx(np.nanmean(by_unit))
    assert set(result.metrics["per_database"]) == {"casme2", "samm"}
    report = (result.path / "report.md").read_text()
    assert "every database is tested once, by a model trained on the others" in report
    none = int((labels[(table["database"] == "samm").to_numpy()].sum(axis=1) == 0).sum())
    assert f"Annotated, but with no class of the scheme: {none} clips, negatives of all classes" in report
