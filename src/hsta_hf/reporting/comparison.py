"""Several runs beside each other: scores with intervals, and differences to one of them with a paired test.

The test is paired over people: see `hsta_hf.metrics.uncertainty.compare_tables`. What makes two runs' numbers
different by itself (another protocol, other clips, other labels) is said beside every number.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from hsta_hf.data.wording import counted
from hsta_hf.metrics.uncertainty import ComparisonError, PairedComparison, compare_tables, holm
from hsta_hf.reporting.any_table import AnyTable, in_one_order, numbers_read_as, read_any_table
from hsta_hf.reporting.facts import read_facts
from hsta_hf.reporting.predictions import is_multi_label, label_names, read_predictions
from hsta_hf.reporting.score_text import numbers_text, seeds_text
from hsta_hf.reporting.scores import compute_metrics

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ScoredRun:
    """A run to compare.

    Attributes:
        name: what to call it: its folder, as much of the path as tells it from the others.
        method: "HSTA", or a baseline's title.
        protocol, protocol_description: of its split; `UNKNOWN` and "" where only a predictions table is there.
        notes: what else its numbers depend on: synthetic clips, folds that are missing, shuffled labels.
        source: its predictions with the names of their classes.
        metrics: scores of the predictions.
    """

    name: str
    method: str
    protocol: str
    protocol_description: str
    notes: Sequence[str]
    source: AnyTable
    metrics: Mapping[str, Any]

    @property
    def table(self) -> pd.DataFrame:
        """Its predictions."""
        return self.source.rows

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.source.labels


@dataclass(frozen=True)
class ComparedRun:
    """A run beside the reference.

    Attributes:
        paired: the comparison on the clips of both; None for the reference itself, and where there can be none.
        corrected: p of each score, corrected for the number of runs (Holm).
        remarks: what differs from the reference beside the method.
        refusal: why there is no comparison; None where there is one.
    """

    run: ScoredRun
    paired: PairedComparison | None = None
    corrected: Mapping[str, float | None] | None = None
    remarks: Sequence[str] = ()
    refusal: str | None = None


@dataclass(frozen=True)
class Comparison:
    """Several runs; the first row is the reference.

    Attributes:
        scores: names of the reference's scores.
    """

    rows: Sequence[ComparedRun]
    scores: Sequence[str]

    @property
    def reference(self) -> ScoredRun:
        """What the others are compared with."""
        return self.rows[0].run

    @property
    def shared_notes(self) -> list[str]:
        """What the numbers of all runs depend on alike."""
        return [note for note in self.reference.notes if all(note in row.run.notes for row in self.rows)]

    @property
    def protocols(self) -> dict[str, str]:
        """Every description of a protocol with the names of its runs."""
        found: dict[str, list[str]] = {}
        for row in self.rows:
            if row.run.protocol_description:
                found.setdefault(row.run.protocol_description, []).append(row.run.name)
        return {text: ", ".join(names) for text, names in found.items()}


def load_run(path: Path, name: str | None = None) -> ScoredRun:
    """Read a run folder, or a predictions table alone (as `read_any_table` does), and score it.

    Raises:
        PredictionsError: there is no predictions table.
        FactsError: the run's facts.json is damaged.
    """
    source = _source(path)
    metrics = compute_metrics(source.rows, source.labels)
    facts = read_facts(path) if path.is_dir() else None
    if facts is None:
        noted = _noted(path)
        notes = [
            text
            for key, wanted, text in (
                ("synthetic", True, "synthetic clips"),
                ("shuffled_train_labels", True, "training labels were shuffled"),
                ("all_folds", False, "some folds only"),
            )
            if noted.get(key) is wanted
        ]
        protocol, description = str(noted.get("protocol", UNKNOWN)), _noted(path, "split.json").get("description", "")
        method = str(noted.get("method", "HSTA" if noted else UNKNOWN))
    else:
        notes = [*(["synthetic clips"] if facts.synthetic else [])]
        notes += ["training labels were shuffled"] if facts.shuffled_labels else []
        notes += [] if facts.complete else ["some folds only"]
        method, protocol, description = facts.method, facts.protocol, facts.protocol_description
    return ScoredRun(name or path.resolve().name, method, protocol, description, notes, source, metrics)


def _source(path: Path) -> AnyTable:
    if not path.is_dir():
        return read_any_table(path)
    table = read_predictions(path)
    return AnyTable(path / "predictions.parquet", table, label_names(table), numbered=False)


def _noted(path: Path, name: str = "metrics.json") -> dict[str, Any]:
    saved = path / name
    return dict(json.loads(saved.read_text(encoding="utf-8"))) if path.is_dir() and saved.is_file() else {}


def run_names(paths: Sequence[Path]) -> list[str]:
    """The last part of each path, with as many parts before it as tell the runs apart."""
    parts = [path.resolve().parts for path in paths]
    for length in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def compare_runs(paths: Sequence[Path], reference: Path | None = None, **options: Any) -> Comparison:
    """Read several runs and compare each with the reference.

    Args:
        paths: run folders, or predictions tables (.parquet, .csv, .tsv).
        reference: one of them; by default the first.
        options: of `compare_tables`.

    Raises:
        ComparisonError: fewer than two runs, one named twice, or a reference that is none of them.
        PredictionsError, FactsError: a run cannot be read.
    """
    places = [path.resolve() for path in paths]
    twice = [str(place) for place, count in Counter(places).items() if count > 1]
    if twice:
        raise ComparisonError(f"{twice[0]} is named twice; a run is not compared with itself.")
    if len(paths) < 2:
        raise ComparisonError(
            "Name two runs or more: run folders of hsta train, or predictions tables (.parquet, .csv, .tsv)."
        )
    first = places[0] if reference is None else reference.resolve()
    if first not in places:
        named = ", ".join(str(path) for path in paths)
        raise ComparisonError(f"The reference {reference} is none of the runs {named}; name it there too.")
    runs = [load_run(path, name) for path, name in zip(paths, run_names(paths), strict=True)]
    base = runs.pop(places.index(first))
    rows = [_compared(run, base, options) for run in runs]
    scores = list(base.metrics["pooled"])
    corrected: list[dict[str, float | None]] = [{} for _ in rows]
    for score in scores:
        p_values = [None if row.paired is None else row.paired.scores[score].p for row in rows]
        for values, p in zip(corrected, holm(p_values), strict=True):
            values[score] = p
    done = [
        ComparedRun(row.run, row.paired, values if row.paired else None, row.remarks, row.refusal)
        for row, values in zip(rows, corrected, strict=True)
    ]
    return Comparison([ComparedRun(base), *done], scores)


def _compared(run: ScoredRun, base: ScoredRun, options: Mapping[str, Any]) -> ComparedRun:
    remarks = _differences(run, base)
    numbers = numbers_read_as(run.source, base.source)
    if numbers is not None:
        whose = "its" if numbers[0] is run.source else "the reference's"
        remarks.append(f"{whose} labels are numbers, read as {numbers_text(numbers[1])}")
    one, other = in_one_order(run.source, base.source)
    try:
        paired = compare_tables(one.rows, other.rows, one.labels, other.labels, **options)
    except ComparisonError as error:
        return ComparedRun(run, remarks=remarks, refusal=str(error))
    if paired.left_out_first or paired.left_out_second:
        remarks.append(
            f"compared on the {counted(paired.clips, 'clip')} of both: {counted(paired.left_out_first, 'clip')} of "
            f"this run and {paired.left_out_second} of the reference are in one only"
        )
    if note := seeds_text(paired.seeds, "this run", "the reference"):
        remarks.append(note)
    lonely = paired.seeds_left_out_first + paired.seeds_left_out_second
    if lonely:
        remarks.append(f"seeds without a partner were left out of the comparison: {', '.join(map(str, lonely))}")
    return ComparedRun(run, paired, None, remarks)


def _differences(run: ScoredRun, base: ScoredRun) -> list[str]:
    """What differs from the reference and makes for other numbers, whatever the method."""
    found = []
    if run.protocol != base.protocol:
        found.append(f"protocol {run.protocol}, the reference's is {base.protocol}")
    elif _folds_differ(run.table, base.table):
        found.append("its folds are not the reference's, so models were trained on other clips")
    if numbers_read_as(run.source, base.source) is None and set(run.labels) != set(base.labels):
        found.append(f"classes {', '.join(run.labels)}; the reference's are {', '.join(base.labels)}")
    if is_multi_label(run.table) != is_multi_label(base.table):
        found.append("it gives a clip " + ("several labels" if is_multi_label(run.table) else "one label"))
    found += [note for note in run.notes if note not in base.notes]
    return [*found, *(f"not as the reference: {note}" for note in base.notes if note not in run.notes)]


def _folds_differ(one: pd.DataFrame, other: pd.DataFrame) -> bool:
    known = "fold" in one.columns and "fold" in other.columns
    return known and _fold_of(one) != _fold_of(other)


def _fold_of(table: pd.DataFrame) -> set[frozenset[tuple[str, str]]]:
    """Which clips are tested together, whatever their fold's number."""
    pairs = table[["database", "clip", "fold"]].drop_duplicates()
    return {
        frozenset(zip(rows["database"].astype(str), rows["clip"].astype(str), strict=True))
        for _, rows in pairs.groupby("fold")
    }
