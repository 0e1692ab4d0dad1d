"""benchmarks/loso_overhead.py: its tables judge by the numbers, and all of it runs. Not its times."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("loso_overhead")


@pytest.mark.parametrize(("steps", "doubled", "verdicts"), [(95.0, 20.0, "PASS PASS"), (85.0, 22.0, "FAIL FAIL")])
def test_shares_and_ratios_are_judged_by_the_numbers(
    steps: float,
    doubled: float,
    verdicts: str,
    script: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def pretended(words: Any, recipe: str, output: Path, folds: int) -> tuple[float, float]:
        for fold in range(folds):
            folder = output / "folds" / f"fold-{fold}"
            folder.mkdir(parents=True)
            seconds = {"total": 100.0, "steps": steps, "waiting": 2.0}
            (folder / "metrics.json").write_text(json.dumps({"seconds": seconds}))
        return {2: 10.0, 4: doubled}[folds], 1.0

    monkeypatch.setattr(script, "command_line_run", pretended)
    script.shares_and_ratios([], "recipe", tmp_path, 2, 3)
    text = capsys.readouterr().out
    share, ratio = verdicts.split()
    assert f"| 18 | 100.0 | {(100 - steps) / 100:.1%} " in text and f"| below 10% | {share} |" in text
    assert f"Wall, median: {doubled / 10:.2f}, wanted at most 2.1: {ratio}" in text


@pytest.mark.slow
def test_the_quick_benchmark_prints_every_table() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "loso_overhead.py"), "--quick", "--folds", "1"],
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    sections = [line for line in done.stdout.splitlines() if line.startswith("## ")]
    assert [line.split(",")[0] for line in sections] == [
        "## Overhead of a fold",
        "## 2 folds against 1",
        "## Where a fold's time goes",
        "## One model object for all folds",
        "## torch.compile",
    ]
    (compiled,) = (line for line in done.stdout.splitlines() if line.startswith("| one object |"))
    assert compiled.split("|")[-2].strip() == "0"  # the second fold compiles nothing
