"""The rows of the tables with what was measured: the content of `tableN.md`, `tableN.html` and `tableN.json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hsta_hf.ablation.claims import ClaimOutcome, judge_claims
from hsta_hf.ablation.comparability import reasons
from hsta_hf.ablation.dataset_facts import FactsReader
from hsta_hf.ablation.plan import Plan, PlannedRow
from hsta_hf.ablation.running import Outcomes
from hsta_hf.paper.tables import ALL_CLIPS, PaperTable

SCORES = ("acc", "uar", "uf1")


@dataclass(frozen=True)
class Line:
    """One row of a table under one protocol, on all clips or on those of one database.

    Attributes:
        row, title: name of the row and what it varies.
        part: `ALL_CLIPS` or a database.
        protocol: of the measured figures.
        run: name of its run folder; None where it cannot be run.
        paper: the paper's figures, in percent.
        measured: figures from 0 to 1; empty where there are none.
        intervals: 95 % intervals over people of the measured figures.
        differences: measured minus paper, in points of percent; given whether or not the two are comparable.
        notes: numbers of the table's notes that say why it is not comparable.
        state: why nothing was measured; None where something was.
    """

    row: str
    title: str
    part: str
    protocol: str
    run: str | None
    paper: Mapping[str, float]
    measured: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    differences: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[int, ...] = ()
    state: str | None = None


@dataclass(frozen=True)
class MeasuredTable:
    """A table of the paper beside what was measured.

    Attributes:
        name, title, section: of the paper's table.
        protocols: protocols of the measured figures.
        num_folds: how many folds those have, where the recipe or what was measured says it.
        lines: its lines.
        notes: reasons why figures are not comparable; a line's `notes` count them from 1.
        claims: what of the paper's text holds.
    """

    name: str
    title: str
    section: str
    published_protocol: str
    protocols: tuple[str, ...]
    num_folds: Mapping[str, int]
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    claims: tuple[ClaimOutcome, ...]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain dictionaries and lists, for JSON."""
        return dataclasses.asdict(self)


def measured_tables(plan: Plan, outcomes: Outcomes, facts: FactsReader) -> list[MeasuredTable]:
    """Put together what is known of the plan's tables.

    Raises:
        JoinError, NotPreparedError, PublishError, ValueError: see `read_facts`.
    """
    claims = judge_claims(plan, outcomes)
    found: list[MeasuredTable] = []
    for table in dict.fromkeys(planned.table.name for planned in plan.rows):
        planned_rows = [planned for planned in plan.rows if planned.table.name == table]
        notes: list[str] = []
        lines = [line for planned in planned_rows for line in _lines(planned, plan, outcomes, facts, notes)]
        first = planned_rows[0].table
        found.append(
            MeasuredTable(
                name=first.name,
                title=first.title,
                section=first.section,
                published_protocol=_published_protocol(first),
                protocols=tuple(dict.fromkeys(planned.protocol for planned in planned_rows)),
                num_folds=_num_folds(planned_rows, outcomes),
                lines=tuple(lines),
                notes=tuple(notes),
                claims=tuple(claim for claim in claims if claim.table == table),
            )
        )
    return found


def _num_folds(rows: Sequence[PlannedRow], outcomes: Outcomes) -> dict[str, int]:
    found: dict[str, int] = {}
    for planned in rows:
        if planned.recipe is None or planned.folder is None:
            continue
        metrics = outcomes.metrics.get(planned.folder, {})
        if planned.protocol.startswith("kfold"):
            found[planned.protocol] = planned.recipe.data.num_folds
        elif metrics.get("all_folds") and metrics.get("folds"):
            found[planned.protocol] = metrics["folds"]
    return found


def _published_protocol(table: PaperTable) -> str:
    return table.protocol if table.num_folds is None else f"{table.protocol}, {table.num_folds} folds"


def _lines(planned: PlannedRow, plan: Plan, outcomes: Outcomes, facts: FactsReader, notes: list[str]) -> list[Line]:
    figures = planned.row.figures
    recipe, folder = planned.recipe, planned.folder
    if recipe is None or folder is None:
        state = f"not run here: {planned.not_run}"
        return [_line(planned, part, figures[part], state=state) for part in figures]
    own = facts.of(recipe.data)
    metrics = outcomes.metrics.get(folder)
    state = _state(planned, outcomes)
    numbers = tuple(_number(note, notes) for note in reasons(planned, own, plan.options))
    if metrics is None:
        return [_line(planned, part, figures[part], notes=numbers, state=state) for part in figures]
    if not metrics.get("all_folds"):
        numbers = (*numbers, _number("Only some of the folds were run.", notes))
    parts = _measured_parts(metrics, own.databases, tuple(figures))
    lines = []
    for part in dict.fromkeys([*figures, *parts]):
        if part in parts:
            lines.append(_line(planned, part, figures.get(part, {}), *parts[part], notes=numbers))
        else:
            absent = f"no clips of {part} in the dataset"
            lines.append(_line(planned, part, figures[part], notes=numbers, state=absent))
    return lines


def _state(planned: PlannedRow, outcomes: Outcomes) -> str:
    if planned.folder in outcomes.failed:
        return f"failed: {outcomes.failed[planned.folder]}"
    return "not run yet" if planned.asked else "not asked for"


def _measured_parts(
    metrics: Mapping[str, Any], databases: Sequence[str], wanted: Sequence[str]
) -> dict[str, tuple[Mapping[str, float], Mapping[str, Sequence[float]]]]:
    """Scores and intervals by part of the clips: what the paper's parts need, and all clips where they do not fit."""
    pooled = (metrics["pooled"], metrics.get("intervals") or {})
    if ALL_CLIPS in wanted:
        return {ALL_CLIPS: pooled}
    if len(databases) == 1:
        return {databases[0] if databases[0] in wanted else ALL_CLIPS: pooled}
    parts = {
        name: ({score: own[score] for score in metrics["pooled"] if score in own}, own.get("intervals") or {})
        for name, own in metrics.get("per_database", {}).items()
    }
    return {**{name: parts[name] for name in parts if name in wanted}, ALL_CLIPS: pooled}


def _number(note: str, notes: list[str]) -> int:
    if note not in notes:
        notes.append(note)
    return notes.index(note) + 1


def _line(
    planned: PlannedRow,
    part: str,
    paper: Mapping[str, float],
    measured: Mapping[str, float] | None = None,
    intervals: Mapping[str, Sequence[float]] | None = None,
    notes: tuple[int, ...] = (),
    state: str | None = None,
) -> Line:
    measured = measured or {}
    return Line(
        row=planned.row.name,
        title=planned.row.title,
        part=part,
        protocol=planned.protocol if planned.recipe is None else planned.recipe.data.protocol,
        run=None if planned.folder is None else planned.folder.name,
        paper=dict(paper),
        measured=dict(measured),
        intervals=dict(intervals or {}),
        differences={
            score: 100 * measured[score] - paper[score] for score in SCORES if score in measured and score in paper
        },
        notes=notes,
        state=state,
    )
