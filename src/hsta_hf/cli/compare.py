"""`hsta compare`: several runs in one table, with a paired test over subjects.

    hsta compare runs/hsta runs/ststnet runs/majority
    hsta compare runs/no_csta runs/hsta --reference runs/hsta --output ablation.html
    hsta compare runs/hsta theirs.csv

A table is what `hsta score` takes. Of it alone nothing is known of the protocol, and the page says so.

Writes a page, and beside it the same as Markdown; an earlier comparison of that name is replaced. Every run is
compared with the reference, the first one unless --reference says another, on the clips that both were tested on.
"""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta compare` to the command line."""
    parser = subparsers.add_parser(
        "compare",
        help="compare several runs, with a paired test over subjects",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="run folder, or a predictions table (.parquet, .csv, .tsv)"
    )
    parser.add_argument("--reference", metavar="RUN", help="the run that the others are compared with")
    parser.add_argument(
        "--output", default="comparison.html", help="the page to write (default: comparison.html, here)"
    )


def run(args: argparse.Namespace) -> int:
    """Compare and write; 0 when done, 1 when a run cannot be read or the output is taken."""
    from pathlib import Path

    from hsta_hf.reporting.comparison import compare_runs
    from hsta_hf.reporting.comparison_content import comparison_text, write_comparison

    reference = None if args.reference is None else Path(args.reference)
    replaced = Path(args.output).exists()
    try:
        comparison = compare_runs([Path(name) for name in args.runs], reference)
        written = write_comparison(comparison, Path(args.output))
    except (ValueError, OSError) as error:
        print(f"hsta compare: {error}", file=sys.stderr)
        return 1
    print(comparison_text(comparison))
    print(f"Written: {', '.join(str(path) for path in written)}{' (replacing an earlier comparison)' * replaced}")
    return 0
