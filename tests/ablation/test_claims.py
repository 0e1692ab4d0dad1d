"""Verdicts on the paper's claims, from predictions whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hsta_hf.ablation.claims import ClaimOutcome, judge_claims
from hsta_hf.ablation.plan import AblationOptions, make_plan
from hsta_hf.ablation.running import Outcomes
from hsta_hf.data.labels import CASME3_EMOTIONS

ROWS = ("a1", "a2", "a3", "a4", "a5", "a6")


def predictions(right: float, seed: int, labels: tuple[str, ...] = CASME3_EMOTIONS) -> pd.DataFrame:
    """20 subjects with 14 clips each; a share `right` predicted as labelled, the rest as the next class."""
    draw = np.random.default_rng(seed)
    label = np.tile(np.arange(len(labels)), 40)
    table = pd.DataFrame(
        {
            "clip": [f"clip{i}" for i in range(len(label))],
            "database": "casme3",
            "subject": [f"s{i // 14}" for i in range(len(label))],
            "fold": 0,
            "seed": 42,
            "label": label,
            "prediction": np.where(draw.random(len(label)) < right, label, (label + 1) % len(labels)),
        }
    )
    for position, name in enumerate(labels):
        table[f"score_{name}"] = (table["prediction"] == position).astype(float)
    return table


def judge(folder: Path, shares: dict[str, float], all_folds: bool = True) -> dict[str, ClaimOutcome]:
    """Claims of table 2 for rows that are right on these shares of the clips."""
    plan = make_plan(AblationOptions(tables=("table2",), dataset="x", output=folder))
    outcomes = Outcomes()
    for number, planned in enumerate(plan.rows):
        if planned.row.name in shares and planned.folder is not None:
            planned.folder.mkdir(parents=True)
            predictions(shares[planned.row.name], number).to_parquet(planned.folder / "predictions.parquet")
            outcomes.metrics[planned.folder] = {"all_folds": all_folds}
    return {outcome.claim.name: outcome for outcome in judge_claims(plan, outcomes)}


def test_a_claim_holds_fails_or_stays_open_by_the_test(tmp_path: Path):
    found = judge(tmp_path, {"a1": 0.4, "a2": 0.8, "a3": 0.4, "a4": 0.4, "a5": 0.8, "a6": 0.8})
    assert {name: outcome.verdict for name, outcome in found.items()} == {
        "csta-helps": "undecided",  # a6 and a5 alike
        "csta-alone-helps": "holds",
        "usta-over-csta": "does not hold",
        "both-over-one": "holds",  # clearly over a3 and a4, not over a2: of all pairs together
        "no-fusion-harms": "does not hold",
        "video-over-special": "undecided",
    }
    helps = found["csta-alone-helps"]
    assert helps.subjects == 20 and helps.interval is not None and helps.p is not None
    assert helps.difference == pytest.approx(0.4, abs=0.1) and helps.interval[0] > 0.2
    assert helps.adjusted_p is not None and helps.adjusted_p >= helps.p
    assert helps.pairs[0].paper == pytest.approx(28.2 - 16.1)


def test_the_difference_of_a_claim_is_the_mean_over_its_pairs(tmp_path: Path):
    both = judge(tmp_path, dict.fromkeys(ROWS, 0.5) | {"a6": 0.9, "a4": 0.7})["both-over-one"]
    apart = [pair.difference for pair in both.pairs]
    assert None not in apart
    assert both.difference == pytest.approx(np.mean([d for d in apart if d is not None]))


def test_a_claim_whose_rows_lack_is_not_tested(tmp_path: Path):
    found = judge(tmp_path, {"a1": 0.4, "a2": 0.8, "a6": 0.8})
    assert found["csta-alone-helps"].verdict == "holds"
    assert found["both-over-one"].verdict == "not tested"
    assert found["both-over-one"].why == "no results of a3, a4"
    assert found["both-over-one"].pairs[0].difference is not None  # a6 over a2, for information


def test_rows_that_lack_folds_are_no_evidence(tmp_path: Path):
    assert {o.verdict for o in judge(tmp_path, dict.fromkeys(ROWS, 0.5), all_folds=False).values()} == {"not tested"}


def test_scores_in_other_classes_are_not_compared(tmp_path: Path):
    plan = make_plan(AblationOptions(tables=("table7",), dataset="x", output=tmp_path))
    outcomes = Outcomes()
    for planned in plan.rows:
        if planned.folder is not None:
            planned.folder.mkdir(parents=True, exist_ok=True)
            labels = ("I", "II", "III", "IV", "V", "VI", "VII") if "oc" in planned.row.name else CASME3_EMOTIONS
            predictions(0.5, 1, labels).to_parquet(planned.folder / "predictions.parquet")
            outcomes.metrics[planned.folder] = {"all_folds": True}
    found = {outcome.claim.name: outcome for outcome in judge_claims(plan, outcomes)}
    assert found["objective-classes-help"].verdict == "not tested"
    assert "other classes" in (found["objective-classes-help"].why or "")
