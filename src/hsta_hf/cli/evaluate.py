"""`hsta evaluate`: score predictions again, without any model.

hsta evaluate runs/demo
hsta evaluate predictions.parquet --json
"""

from __future__ import annotations

import argparse
import json
import sys


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta evaluate` to the command line."""
    parser = subparsers.add_parser(
        "evaluate",
        help="score a run's predictions again",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("predictions", help="run folder, or a predictions table (.parquet)")
    parser.add_argument("--json", action="store_true", help="print all scores as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the scores; 0 when done, 1 when there are no predictions to score."""
    from pathlib import Path

    from hsta_hf.reporting.predictions import PredictionsError, label_names, read_predictions
    from hsta_hf.reporting.report import compute_metrics
    from hsta_hf.reporting.summary import summary_text

    try:
        table = read_predictions(args.predictions)
        metrics = compute_metrics(table, label_names(table))
    except PredictionsError as error:
        print(f"hsta evaluate: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"hsta evaluate: {args.predictions}: {error}", file=sys.stderr)
        return 1
    saved = Path(args.predictions) / "metrics.json"
    if saved.is_file():
        noted = json.loads(saved.read_text(encoding="utf-8"))
        metrics = {key: noted[key] for key in ("protocol", "synthetic") if key in noted} | metrics
    if args.json:
        print(json.dumps(metrics, indent=2))
        return 0
    print(summary_text(metrics))
    print(f"  {'class':<16}{'clips':>6}{'recall':>8}{'F1':>8}")
    for name, scores in metrics["per_class"].items():
        cells = ("–" if scores[key] is None else f"{scores[key]:.3f}" for key in ("recall", "f1"))  # noqa: RUF001
        print(f"  {name:<16}{scores['clips']:>6}" + "".join(f"{cell:>8}" for cell in cells))
    return 0
