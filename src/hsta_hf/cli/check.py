"""Look at a database before anything is written: hsta check casme3 ROOT

    hsta check casme3 ROOT                   # reads everything, every frame included
    hsta check casme3 ROOT --quick           # annotation and file names only
    hsta check samm ROOT --json samm.json    # the report for programs, too

Exit code: 0 the database is sound, 1 it is not, 2 it cannot be read at all, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `hsta check` to the command line."""
    from hsta_hf.data.databases import DATABASES

    parser = subparsers.add_parser(
        "check",
        help="say what is in a database, and what is wrong with it",
        description="Reads a database with every frame, and prints what is in it: counts beside the published ones, "
        "corrections applied, problems by clip.",
        epilog="Exit code: 0 the database is sound; 1 it is not: a clip, frames or a label would be lost, two "
        "subjects share footage, or counts are not the published ones (with --strict: anything is wrong); 2 it "
        "cannot be read at all.",
    )
    parser.add_argument("database", help=f"name of the database: {', '.join(DATABASES)}")
    parser.add_argument("root", help="its folder; only read")
    parser.add_argument("--annotation", help="annotation file (default: looked for in ROOT)")
    parser.add_argument("--variant", help="the owner's version of the frames (raw, cropped), where there are several")
    parser.add_argument("--quick", action="store_true", help="do not open frames: annotation and file names only")
    parser.add_argument("--workers", type=int, help="threads that decode (default: one per core)")
    parser.add_argument("--all", action="store_true", help="list all problems by clip (default: sorts, with examples)")
    parser.add_argument("--strict", action="store_true", help="exit code 1 on warnings as well")
    parser.add_argument("--json", metavar="FILE", help="write the whole report to FILE, for programs")


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 if the database is sound, 1 if it is not, 2 if it cannot be read at all."""
    from tqdm.auto import tqdm

    from hsta_hf.data.check import check_database, summary_table
    from hsta_hf.data.databases import DatabaseError
    from hsta_hf.data.prepare_report import SHOWN_PROBLEMS, annotation_line, padded_tables, problem_lines, report_lines
    from hsta_hf.data.wording import counted

    def progress(steps: Iterator[Any], total: int) -> Iterator[Any]:
        return iter(tqdm(steps, total=total, desc="Decoding clips", unit="clip"))

    json_file = Path(args.json) if args.json else None
    try:
        if json_file is not None:
            _check_writable(json_file)
        _check_no_recipe(args.database)
        report = check_database(
            args.database,
            args.root,
            args.annotation,
            args.variant,
            quick=args.quick,
            workers=args.workers,
            progress=progress,
        )
        if json_file is not None:
            text = json.dumps(report.as_json(args.strict), indent=2, ensure_ascii=False)
            json_file.write_text(text + "\n", encoding="utf-8")
    except (DatabaseError, OSError, ValueError) as error:
        print(f"hsta check: {error}", file=sys.stderr)
        return 2
    limit = None if args.all else SHOWN_PROBLEMS
    if not report.load.num_rows:  # nothing to count: tables of zeros would hide it
        print("\n".join([annotation_line(report.load), *problem_lines(report.problems, limit, "all with --all")]))
        print(f"Not sound: {'; '.join(report.unsound(args.strict))}.")
        return 1
    lines = report_lines(report.load, report.clips, report.problems, limit, "all with --all", summary_table(report))
    print("\n".join(padded_tables(lines)))
    reasons = report.unsound(args.strict)
    warnings = len(report.problems) - len(report.errors)
    verdict = f"Not sound: {'; '.join(reasons)}." if reasons else "Sound: nothing is lost."
    if not reasons and not warnings:
        verdict = "Sound."
    numbers = {
        "usable clip": len(report.clips),
        "error": len(report.errors),
        "warning": warnings,
        "correction": len(report.load.corrections),
    }
    print(f"{verdict} {', '.join(counted(number, what) for what, number in numbers.items())}.")
    return int(bool(reasons))


def _check_no_recipe(name: str) -> None:
    """Say so where a recipe's name is given for a database's: `hsta prepare` takes both.

    Raises:
        DatabaseError: `name` is that of a recipe that comes with hsta-hf, or a recipe's file.
    """
    from hsta_hf.data.databases import DATABASES, DatabaseError

    if name.casefold() in DATABASES:
        return
    from hsta_hf.training.recipe import RecipeError, read_recipe_file, shipped_recipes

    if name not in shipped_recipes() and not name.endswith((".yaml", ".yml")):
        return
    try:
        database = (read_recipe_file(name).get("prepare") or {}).get("database")
    except (RecipeError, AttributeError):
        database = None
    meant = f"did you mean {database}?" if database in DATABASES else f"there are {', '.join(DATABASES)}"
    raise DatabaseError(f"{name} is a recipe, and check takes databases; {meant}")


def _check_writable(path: Path) -> None:
    """Refuse a report file that cannot be written before hours of decoding, not after.

    Raises:
        ValueError: if it is a folder, or its folder does not exist.
    """
    if path.is_dir():
        raise ValueError(f"--json {path} is a folder; give a file")
    if not path.parent.is_dir():
        raise ValueError(f"--json {path}: there is no folder {path.parent}; make it first")
