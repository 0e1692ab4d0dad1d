"""Download a prepared dataset from the Hub, and print the folder that it is in.

hsta pull-dataset my-lab/casme3-prepared
hsta train casme3_paper --dataset "$(hsta pull-dataset my-lab/casme3-prepared)"
"""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `hsta pull-dataset` to the command line."""
    parser = subparsers.add_parser(
        "pull-dataset",
        help="download a dataset that hsta push-dataset pushed",
        description=f"{__doc__}\nThe folder is in the Hub's cache (HF_HOME); what is there already is not downloaded "
        "again.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("repository", metavar="ORG/NAME", help="dataset repository on the Hub")
    parser.add_argument("--revision", help="branch, tag or commit (default: the newest)")


def run(args: argparse.Namespace) -> int:
    """Pull; 0 when the dataset is there and whole, 1 when it is not."""
    from hsta_hf.data.publish import PublishError, pull_prepared

    try:
        print(pull_prepared(args.repository, args.revision))
    except PublishError as error:
        print(f"hsta pull-dataset: {error}", file=sys.stderr)
        return 1
    return 0
