"""Make a dataset of a database: hsta prepare casme3 ROOT OUT"""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `hsta prepare` to the command line."""
    parser = subparsers.add_parser(
        "prepare",
        help="turn a database into one dataset that training reads",
        description="Reads the owner's files, corrects known annotation mistakes, and writes a memory-mapped "
        "dataset with a report.md. Bad clips are reported together at the end. Interrupted, it resumes.",
    )
    parser.add_argument("database", help="name of the database: casme3")
    parser.add_argument("root", help="its folder; only read")
    parser.add_argument("out", help="folder of the dataset; must not exist yet")
    parser.add_argument("--annotation", help="annotation file (default: looked for in ROOT)")
    parser.add_argument("--size", type=int, help="resize frames to SIZE x SIZE pixels (default: as they are)")
    parser.add_argument("--max-frames", type=int, help="cut clips to this many frames (default: no cut)")
    parser.add_argument("--workers", type=int, help="threads that decode (default: one per core)")
    parser.add_argument(
        "--no-spotting", action="store_true", help="leave an unknown apex unknown instead of spotting it"
    )
    parser.add_argument("--strict", action="store_true", help="fail if anything at all is wrong")
    parser.add_argument("--overwrite", action="store_true", help="replace an OUT that was prepared before")


def run(args: argparse.Namespace) -> int:
    """Prepare; 0 when OUT is written, 1 when --strict refused, 2 when it cannot be done at all."""
    from hsta_hf.data.databases import DatabaseError
    from hsta_hf.data.prepare import PrepareError, StrictError, prepare
    from hsta_hf.data.prepare_report import SHOWN_PROBLEMS, frames_hint, problem_lines

    try:
        report = prepare(
            args.database,
            args.root,
            args.out,
            annotation=args.annotation,
            size=args.size,
            max_frames=args.max_frames,
            spot_missing_apex=not args.no_spotting,
            strict=args.strict,
            overwrite=args.overwrite,
            workers=args.workers,
        )
    except (DatabaseError, PrepareError, OSError) as error:
        print(f"hsta prepare: {error}", file=sys.stderr)
        return 1 if isinstance(error, StrictError) else 2
    for line in frames_hint(report.load):
        print(line)
    for correction in report.corrections:
        print(f"corrected: {correction}")
    if report.problems:
        print(f"{len(report.problems)} problems, by clip:")
        print("\n".join(problem_lines(report.problems, SHOWN_PROBLEMS)))
    for message in report.load.count_mismatches:
        print(f"count differs from the published one: {message}")
    print(
        f"{report.num_clips} of {report.load.num_rows} rows are clips of {report.out} "
        f"({report.resumed} from an earlier run); see {report.out / 'report.md'}"
    )
    return 0
