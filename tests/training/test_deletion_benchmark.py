"""benchmarks/deletion_test.py: every test clip of a run, and what the table makes of it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.recipe import resolve

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "deletion_test.py"


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("deletion_test_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("special_input", ["optical_flow", "frames"])
def test_every_test_clip_is_explained_by_its_folds_model(
    tiny_recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], special_input: str
) -> None:
    processor = {**tiny_recipe["processor"], "special_input": special_input}
    result = run_recipe(resolve({**tiny_recipe, "processor": processor}))
    capsys.readouterr()
    options = ["--maps", "rollout", "--random_orders", "3", "--steps", "4", "--output", str(tmp_path / "rows.csv")]
    assert load_script().main([str(result.path), *options]) == 0
    printed = capsys.readouterr().out
    assert "42 test clips of 6 people" in printed and "| attention rollout |" in printed
    rows = pd.read_csv(tmp_path / "rows.csv")
    assert sorted(rows["map"].unique()) == ["movement", "rollout"] and len(rows) == 84
    predictions = pd.read_parquet(result.path / "predictions.parquet").set_index("clip")
    scores = predictions[[name for name in predictions if name.startswith("score_")]].max(axis=1)
    for row in rows.itertuples():  # the same model saw the same clip as in the run's own evaluation
        assert row.score == pytest.approx(scores[row.clip], abs=1e-3)
        assert row.fold == predictions["fold"][row.clip]


def test_the_table_has_the_mean_differences_and_their_intervals() -> None:
    rows = pd.DataFrame(
        {
            "map": ["rollout"] * 4,
            "subject": ["a", "a", "b", "c"],
            "area": [0.1, 0.3, 0.2, 0.2],
            "random": [0.5, 0.5, 0.6, 0.1],
            "other": [0.2, 0.3, 0.3, 0.3],
            "reversed": [0.9, 0.9, 0.9, 0.9],
        }
    )
    table = load_script().summary(rows).iloc[0]
    assert table["map"] == "attention rollout" and table["area"] == "0.200" and table["random"] == "0.425"
    assert table["better than random"] == "75 %"
    assert table["reversed - area"].startswith("0.700 (") and table["other - area"].startswith("0.075 (")


def test_what_it_cannot_measure_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_script().main([str(tmp_path)])
    assert "no folder of a finished run" in capsys.readouterr().err
