"""benchmarks/token_reduction.py: a finished run's scores again, and those with fewer tokens."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.recipe import resolve

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "token_reduction.py"


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("token_reduction_benchmark", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_it_repeats_the_runs_scores_and_adds_those_with_fewer_tokens(
    tiny_recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    result = run_recipe(resolve({**tiny_recipe, "seeds": [1, 2]}))
    capsys.readouterr()
    script = load_script()
    assert script.main([str(result.path), "--ratios", "0", "0.5"]) == 0
    printed = capsys.readouterr().out
    assert "seeds 1, 2" in printed
    lines = [line for line in printed.splitlines() if line.startswith("token_reduction")]
    assert [line.split()[1] for line in lines] == ["0.000", "0.500"]
    assert f"uf1 {result.metrics['pooled']['uf1']:.3f}" in lines[0]


def test_what_it_cannot_measure_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_script().main([str(tmp_path)])
    assert "no folder of a finished run" in capsys.readouterr().err
