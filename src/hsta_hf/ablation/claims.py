"""What of the paper's text holds: each of its claims as a paired test over subjects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import pandas as pd

from hsta_hf.ablation.plan import Plan, PlannedRow
from hsta_hf.ablation.running import Outcomes
from hsta_hf.metrics.uncertainty import ComparisonError, Interval, compare_tables, holm
from hsta_hf.paper.tables import ALL_CLIPS, Claim, PaperTable
from hsta_hf.reporting.predictions import read_predictions

Verdict = Literal["holds", "does not hold", "undecided", "not tested"]
SCORE = "uf1"  # the score that verdicts rest on
ALPHA = 0.05
_PAIR_STEP = 1_000_000  # apart from every seed that people give


@dataclass(frozen=True)
class PairOutcome:
    """Two rows.

    Attributes:
        better, worse: names of the rows, as the claim has them.
        paper: by how much UF1 is ahead in the paper, in points of percent; None where it gives no UF1 of all clips.
        difference: by how much UF1 is ahead here, from -1 to 1; None where a row has no results.
        interval: bootstrap interval over people of that.
    """

    better: str
    worse: str
    paper: float | None
    difference: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True)
class ClaimOutcome:
    """A claim under one protocol.

    Attributes:
        claim: what the paper says.
        table: name of the table.
        protocol: the folds that it was tested on.
        verdict: "holds" where the rows that should be ahead are so by more than chance; "does not hold" where they are
            behind by more than chance; "undecided" where neither; "not tested" where rows lack.
        pairs: its pairs of rows, each for information: the verdict is on all of them together.
        difference: by how much UF1 is ahead, the mean over the pairs.
        interval: bootstrap interval over people of that.
        p: of the paired permutation test over people; `adjusted_p` for the number of claims of the table, after Holm.
        subjects: people that were compared.
        why: why it was not tested.
        lacking: the rows for lack of which it was not tested.
    """

    claim: Claim
    table: str
    protocol: str
    verdict: Verdict
    pairs: tuple[PairOutcome, ...]
    difference: float | None = None
    interval: Interval | None = None
    p: float | None = None
    adjusted_p: float | None = None
    subjects: int = 0
    why: str | None = None
    lacking: tuple[str, ...] = ()


def judge_claims(plan: Plan, outcomes: Outcomes) -> list[ClaimOutcome]:
    """Test every claim of the plan's tables, under every protocol, on the rows that have all of their folds."""
    judged: list[ClaimOutcome] = []
    tables: dict[Path, pd.DataFrame] = {}
    groups: dict[tuple[str, str], dict[str, PlannedRow]] = {}
    for planned in plan.rows:
        groups.setdefault((planned.table.name, planned.protocol), {})[planned.row.name] = planned
    for (_, protocol), rows in groups.items():
        table = next(iter(rows.values())).table
        found = [_test(table, claim, protocol, rows, outcomes, tables) for claim in table.claims]
        adjusted = holm([outcome.p for outcome in found])
        judged += [_with_verdict(outcome, p) for outcome, p in zip(found, adjusted, strict=True)]
    return judged


def _with_verdict(outcome: ClaimOutcome, adjusted: float | None) -> ClaimOutcome:
    if outcome.difference is None:
        return outcome
    verdict: Verdict = "undecided"
    if adjusted is not None and adjusted < ALPHA:
        verdict = "holds" if outcome.difference > 0 else "does not hold"
    return replace(outcome, verdict=verdict, adjusted_p=adjusted)


def _test(
    table: PaperTable,
    claim: Claim,
    protocol: str,
    rows: Mapping[str, PlannedRow],
    outcomes: Outcomes,
    tables: dict[Path, pd.DataFrame],
) -> ClaimOutcome:
    pairs, both = [], []
    lacking: list[str] = []
    why = ""
    for better, worse in claim.pairs:
        pair = PairOutcome(better, worse, _in_the_paper(table, better, worse))
        missing = [name for name in (better, worse) if not _is_there(rows[name], outcomes)]
        if missing:
            lacking += [name for name in missing if name not in lacking]
        else:
            predictions = [_predictions(rows[name], tables) for name in (better, worse)]
            try:
                # One permutation: only the interval is shown of a pair.
                score = compare_tables(predictions[0], predictions[1], permutations=1).scores[SCORE]
            except ComparisonError as error:
                why = str(error)
            else:
                pair = replace(pair, difference=score.difference, interval=score.interval)
                both.append(predictions)
        pairs.append(pair)
    if lacking:
        why = f"no results of {', '.join(lacking)}"
    outcome = ClaimOutcome(
        claim, table.name, protocol, "not tested", tuple(pairs), why=why or None, lacking=tuple(lacking)
    )
    if why:  # a claim on some of its pairs would be another claim
        return outcome
    ahead, behind = (_stacked([pair[side] for pair in both]) for side in (0, 1))
    together = compare_tables(ahead, behind)
    score = together.scores[SCORE]
    return replace(
        outcome, difference=score.difference, interval=score.interval, p=score.p, subjects=together.subjects
    )


def _stacked(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Tables under each other, each with seeds of its own: scores become means over the tables, people stay whole."""
    parts = [table.assign(seed=table["seed"] + number * _PAIR_STEP) for number, table in enumerate(tables)]
    return pd.concat(parts, ignore_index=True)


def _in_the_paper(table: PaperTable, better: str, worse: str) -> float | None:
    figures = [table.row(name).figures.get(ALL_CLIPS, {}).get(SCORE) for name in (better, worse)]
    return None if figures[0] is None or figures[1] is None else round(figures[0] - figures[1], 1)


def _is_there(planned: PlannedRow, outcomes: Outcomes) -> bool:
    return planned.folder is not None and bool(outcomes.metrics.get(planned.folder, {}).get("all_folds"))


def _predictions(planned: PlannedRow, tables: dict[Path, pd.DataFrame]) -> pd.DataFrame:
    assert planned.folder is not None
    if planned.folder not in tables:
        tables[planned.folder] = read_predictions(planned.folder / "predictions.parquet")
    return tables[planned.folder]
