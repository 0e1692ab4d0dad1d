"""`hsta score`: score predictions again, whoever made them, and test whether two methods differ.

hsta score runs/demo
hsta score predictions.parquet --by database
hsta score mine.csv --json --output scores.json
hsta score runs/hsta runs/ststnet theirs.csv

A table is a run folder, a Parquet file or a CSV with the columns clip, subject, label and prediction; database, fold,
seed and score_CLASS are used where they are. Commas, semicolons or tabs separate a CSV. Labels are names or numbers;
numbers beside another table's names count its classes from 0, in the order of its score_CLASS columns or else of the
alphabet, and the output says which is which. Of several tables every other one is
compared with the first: a paired permutation test over subjects on the clips that both have.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hsta_hf.reporting.any_table import AnyTable

BY = ("database", "subject", "seed")


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta score` to the command line."""
    parser = subparsers.add_parser(
        "score",
        help="score predictions again, and compare several",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `hsta score` takes to a parser."""
    parser.add_argument("tables", nargs="+", metavar="TABLE", help="run folder, or table (.parquet, .csv, .tsv)")
    parser.add_argument("--by", choices=BY, help="show the scores of every part, too")
    parser.add_argument("--json", action="store_true", help="print all scores as JSON")
    parser.add_argument("--output", metavar="FILE", help="write to a new file instead; JSON if it ends in .json")
    parser.add_argument("--samples", type=int, default=2000, help="resamples of an interval (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the resampling and of the test (default %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Print or write the scores; 0 when done, 1 when there is nothing to score or to write to."""
    from pathlib import Path

    from hsta_hf.metrics.uncertainty import ComparisonError
    from hsta_hf.reporting.files import write_atomically
    from hsta_hf.reporting.predictions import PredictionsError

    said = f"hsta {args.command}"
    output = Path(args.output) if args.output else None
    if args.samples < 1 or args.seed < 0:
        print(f"{said}: --samples must be 1 or more, --seed 0 or more", file=sys.stderr)
        return 2
    if output is not None and output.exists():
        print(f"{said}: {output} exists already; name another file, or remove it first", file=sys.stderr)
        return 1
    try:
        content, text = _scored(args)
    except (PredictionsError, ComparisonError) as error:
        print(f"{said}: {error}", file=sys.stderr)
        return 1
    if args.json or (output is not None and output.suffix.lower() == ".json"):
        text = json.dumps(content, indent=2, ensure_ascii=False)
    if output is None:
        print(text)
        return 0
    try:
        write_atomically(output, text + "\n")
    except OSError as error:
        print(f"{said}: {output} cannot be written: {error}", file=sys.stderr)
        return 1
    print(f"Wrote {output}")
    return 0


def _scored(args: argparse.Namespace) -> tuple[Any, str]:
    """The scores as JSON content and as text."""
    from hsta_hf.reporting.any_table import read_any_table
    from hsta_hf.reporting.score_text import comparison_text, score_text

    tables = [read_any_table(path) for path in args.tables]
    found = [_metrics(path, table, args) for path, table in zip(args.tables, tables, strict=True)]
    if len(tables) == 1:
        return found[0], score_text(found[0])
    comparisons = []
    for path, table in zip(args.tables[1:], tables[1:], strict=True):
        comparisons.append(_compared(args, path, tables[0], table))
    _correct(comparisons)
    content = {
        "tables": [{"table": path, **metrics} for path, metrics in zip(args.tables, found, strict=True)],
        "comparisons": comparisons,
    }
    return content, comparison_text(args.tables, found, comparisons)


def _metrics(path: str, table: AnyTable, args: argparse.Namespace) -> dict[str, Any]:
    from pathlib import Path

    from hsta_hf.metrics.tables import people_in
    from hsta_hf.reporting.predictions import PredictionsError
    from hsta_hf.reporting.scores import compute_metrics, per_group

    metrics = compute_metrics(table.rows, table.labels, samples=args.samples, seed=args.seed)
    place = Path(path)
    # What is known of a run lies beside its table.
    saved = (place if place.is_dir() else place.parent) / "metrics.json"
    if saved.is_file() and (place.is_dir() or place.name == "predictions.parquet"):
        noted = json.loads(saved.read_text(encoding="utf-8"))
        metrics = {key: noted[key] for key in ("protocol", "synthetic") if key in noted} | metrics
    if args.by:
        if args.by == "database" and (table.rows["database"] == "").all():
            raise PredictionsError(f"{table.path} has no column database to score by.")
        rows = table.rows.assign(subject_of=people_in(table.rows)) if args.by == "subject" else table.rows
        column = "subject_of" if args.by == "subject" else args.by
        metrics["by"] = {args.by: per_group(rows, table.labels, column, samples=args.samples, seed=args.seed)}
    return metrics


def _compared(args: argparse.Namespace, path: str, first: AnyTable, second: AnyTable) -> dict[str, Any]:
    from hsta_hf.metrics.uncertainty import ComparisonError, compare_tables
    from hsta_hf.reporting.any_table import in_one_order, numbers_read_as

    numbers = numbers_read_as(first, second)
    first, second = in_one_order(first, second)
    try:
        found = compare_tables(
            first.rows, second.rows, first.labels, second.labels, samples=args.samples, seed=args.seed
        )
    except ComparisonError as error:
        raise ComparisonError(f"{first.path} and {second.path}: {error}") from error
    content = {"first": args.tables[0], "second": path, **found.to_dict()}
    if numbers is not None:
        content["numbers"] = {"table": path if numbers[0].path == second.path else args.tables[0], "are": numbers[1]}
    return content


def _correct(comparisons: list[dict[str, Any]]) -> None:
    """Add Holm's correction of every score's p over all comparisons."""
    from hsta_hf.metrics.uncertainty import holm

    for name in comparisons[0]["scores"]:
        corrected = holm([entry["scores"][name]["p"] for entry in comparisons])
        for entry, p in zip(comparisons, corrected, strict=True):
            entry["scores"][name]["p_holm"] = p
