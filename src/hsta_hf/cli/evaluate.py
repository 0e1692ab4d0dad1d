"""`hsta evaluate`: the earlier name of `hsta score`, kept for scripts that use it."""

from __future__ import annotations

import argparse

from hsta_hf.cli import score

run = score.run


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta evaluate` to the command line; without a help line, so that the list of commands does not name it."""
    parser = subparsers.add_parser(
        "evaluate", description=score.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    score.add_arguments(parser)
