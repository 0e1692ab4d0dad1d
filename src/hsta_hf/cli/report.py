"""`hsta report`: write a run's report again, without training.

    hsta report runs/demo                  # after an upgrade, or when other commands have finished more folds
    hsta report runs/demo --no-pictures    # report.html without faces, to be handed on

Writes metrics.json, report.md and report.html of all folds that are finished. The dataset is only read for the
pictures of the hardest clips.
"""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta report` to the command line."""
    parser = subparsers.add_parser(
        "report",
        help="write a run's report again, without training",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="run folder, the --output_dir of hsta train")
    parser.add_argument(
        "--pictures",
        action=argparse.BooleanOptionalAction,
        help="show pictures of the hardest clips in report.html; by default as the run's last report was allowed to",
    )


def run(args: argparse.Namespace) -> int:
    """Write the report; 0 when done, 1 when the folder holds no run that can be reported."""
    from pathlib import Path

    from hsta_hf.reporting.report import PAGE_FILE, REPORT_FILE
    from hsta_hf.reporting.summary import summary_text
    from hsta_hf.training.run_report import report_again

    folder = Path(args.run)
    try:
        metrics, no_pictures = report_again(folder, args.pictures)
    except (ValueError, FileNotFoundError) as error:
        print(f"hsta report: {error}", file=sys.stderr)
        return 1
    if no_pictures:
        print(f"The page shows no pictures of clips: {no_pictures}")
    print(summary_text(metrics))
    print(f"Report: {folder / REPORT_FILE}\nPage: {folder / PAGE_FILE}")
    return 0
