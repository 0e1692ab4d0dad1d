"""`hsta evaluate` on tables made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from hsta_hf.cli.main import main


def write(path: Path) -> None:
    labels, predictions = [0, 0, 1, 1], [0, 1, 1, 1]
    pd.DataFrame(
        {
            "clip": list("abcd"),
            "database": "casme3",
            "subject": ["s1", "s1", "s2", "s2"],
            "fold": [0, 0, 1, 1],
            "seed": 42,
            "label": labels,
            "prediction": predictions,
            "score_happy": [0.9, 0.1, 0.2, 0.3],
            "score_sad": [0.1, 0.9, 0.8, 0.7],
        }
    ).to_parquet(path)


def test_it_scores_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "mine.parquet")
    assert main(["evaluate", str(tmp_path / "mine.parquet"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["pooled"] == {
        "uf1": pytest.approx((2 / 3 + 4 / 5) / 2),
        "uar": pytest.approx(0.75),
        "acc": pytest.approx(0.75),
    }
    assert found["per_class"]["happy"] == {"f1": pytest.approx(2 / 3), "recall": pytest.approx(0.5), "clips": 2}
    assert main(["evaluate", str(tmp_path / "mine.parquet")]) == 0
    assert "happy" in capsys.readouterr().out


def test_a_wrong_table_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "mine.parquet")
    table = pd.read_parquet(tmp_path / "mine.parquet")
    table["prediction"] = [0, 1, 5, 1]
    table.to_parquet(tmp_path / "mine.parquet")
    assert main(["evaluate", str(tmp_path / "mine.parquet")]) == 1
    printed = capsys.readouterr().err
    assert "mine.parquet, " in printed and "row 3: prediction 5 is no class" in printed


def test_it_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path)]) == 1
    assert "There is no predictions table" in capsys.readouterr().err
