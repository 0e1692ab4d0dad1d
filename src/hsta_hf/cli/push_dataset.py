"""Push a prepared dataset to a private repository of the Hub.

    hsta push-dataset data/synthetic my-lab/drawn-faces
    hsta push-dataset data/casme3 my-lab/casme3-prepared --i-hold-the-licence     # read what it says first

Interrupted, the same command continues.
"""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `hsta push-dataset` to the command line."""
    parser = subparsers.add_parser(
        "push-dataset",
        help="push a prepared dataset to a private Hub repository, if you hold its licence",
        description=f"{__doc__}\nThe repository is made if there is none, and is always private: a public one is "
        "refused. Log in with `hf auth login`,\nor set HF_TOKEN.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("prepared", help="folder that hsta prepare wrote")
    parser.add_argument("repository", metavar="ORG/NAME", help="dataset repository on the Hub")
    parser.add_argument(
        "--i-hold-the-licence",
        action="store_true",
        help="you signed the database owner's agreement, and it allows this (footage of your own: the people in it "
        "agreed to it); not needed for synthetic data",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace another dataset that the repository holds")


def run(args: argparse.Namespace) -> int:
    """Push; 0 when all has arrived, 1 when it was refused or broke off."""
    from hsta_hf.data.prepared import NotPreparedError, prepared_info
    from hsta_hf.data.publish import PublishError, licence_warning, push_prepared

    try:
        info = prepared_info(args.prepared)
        if info.synthetic or args.i_hold_the_licence:  # else it is part of the refusal
            print(licence_warning(info), file=sys.stderr, flush=True)
        pushed = push_prepared(
            args.prepared,
            args.repository,
            i_hold_the_licence=args.i_hold_the_licence,
            overwrite=args.overwrite,
        )
    except (NotPreparedError, PublishError) as error:
        print(f"hsta push-dataset: {error}", file=sys.stderr)
        return 1
    state = "a new private repository" if pushed.created else "a private repository"
    print(f"Pushed {info.num_clips} clips to {pushed.url}, {state}; commit {pushed.commit}")
    print(f"To get it on another machine: hsta pull-dataset {pushed.repo_id}")
    return 0
