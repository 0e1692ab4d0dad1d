"""Look at a database before anything is written: hsta check casme3 ROOT"""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `hsta check` to the command line."""
    parser = subparsers.add_parser(
        "check",
        help="say what is in a database, and what is wrong with it",
        description="Counts of a database beside the published ones, corrections applied, problems by clip. "
        "Exit code 1 if a clip, frames or a label would be lost (with --strict: if anything is wrong).",
    )
    parser.add_argument("database", help="name of the database: casme3")
    parser.add_argument("root", help="its folder")
    parser.add_argument("--annotation", help="annotation file (default: looked for in ROOT)")
    parser.add_argument("--decode", action="store_true", help="read every frame, too (slow on large databases)")
    parser.add_argument("--all", action="store_true", help="list every problem (default: the first 10)")
    parser.add_argument("--strict", action="store_true", help="exit code 1 on warnings as well")


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 if the database is sound, 1 if it is not, 2 if it cannot be read at all."""
    from tqdm.auto import tqdm

    from hsta_hf.data.databases import DatabaseError, get_database
    from hsta_hf.data.databases.base import ERROR
    from hsta_hf.data.decode import decode_clip
    from hsta_hf.data.prepare_report import SHOWN_PROBLEMS, report_lines

    try:
        load = get_database(args.database).load(args.root, args.annotation)
    except DatabaseError as error:
        print(f"hsta check: {error}", file=sys.stderr)
        return 2
    clips, problems = list(load.clips), list(load.problems)
    if args.decode:
        clips = []
        for clip in tqdm(load.clips, desc="Decoding clips", unit="clip"):
            decoded = decode_clip(clip, size=1)  # the pictures are not looked at: keep next to nothing of them
            found = decoded if isinstance(decoded, tuple) else decoded.problems
            problems.extend(found)
            if not isinstance(decoded, tuple):
                clips.append(decoded.clip)
    limit = None if args.all else SHOWN_PROBLEMS
    print("\n".join(report_lines(load, clips, problems, limit, "all with --all")))
    lost = [problem for problem in problems if problem.severity == ERROR]
    unsound = bool(lost or not clips or (args.strict and (problems or load.count_mismatches)))
    print(
        f"{'Not sound' if unsound else 'Sound'}: {len(clips)} usable clips, {len(lost)} errors, "
        f"{len(problems) - len(lost)} warnings, {len(load.corrections)} corrections."
        + ("" if load.num_rows else f" {load.annotation}: the table has no rows.")
    )
    return int(unsound)
