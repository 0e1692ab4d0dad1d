"""Make a dataset of a database: hsta prepare DATABASE ROOT OUT, or as a recipe wants it: hsta prepare RECIPE ROOT OUT

    hsta prepare casme3 ~/casme3/part_A data/casme3               # faces aligned, 224 pixels
    hsta prepare casme3_flow ~/casme3/part_A data/casme3_flow     # as that recipe's `prepare:` section says
    hsta prepare casme2 ~/CASME2 data/casme2 --faces keep --size 224 --flow dis --flow-size 192

Interrupted, the same command continues.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from hsta_hf.cli.termination import terminated_as_interrupted

if TYPE_CHECKING:
    from hsta_hf.data.prepare import PrepareOptions, PrepareReport


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `hsta prepare` to the command line."""
    parser = subparsers.add_parser(
        "prepare",
        help="turn a database into one dataset that training reads",
        description=f"{__doc__}\nReads the owner's files, corrects known annotation mistakes, aligns faces, and "
        "writes a memory-mapped dataset with\na report.md and pictures of every class. Bad clips are reported "
        "together at the end.",
        epilog="Exit code: 0 OUT is written (problems, if any, are listed; hsta check tells whether a database is "
        "sound);\n1 --strict refused, since something is wrong; 2 it cannot be done at all; 130 interrupted (Ctrl-C, "
        "SIGTERM).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", metavar="RECIPE-or-DATABASE", help="name of a database, name or file of a recipe")
    parser.add_argument("root", help="the database's folder; only read")
    parser.add_argument("out", help="folder of the dataset; must not exist yet")
    parser.add_argument("--annotation", help="annotation file (default: looked for in ROOT)")
    parser.add_argument("--variant", help="which of the owner's versions of the frames, as in raw or cropped")
    frames = parser.add_argument_group("faces and frames (default: what the recipe says, else as named here)")
    frames.add_argument(
        "--faces",
        choices=("auto", "align", "keep"),
        help="align them by five landmarks of the onset frame, or keep frames as they are; auto aligns what the "
        "owner has not cropped already (default: auto)",
    )
    frames.add_argument("--size", type=int, help="side of the frames in pixels (default: 224 if aligned, else as is)")
    frames.add_argument("--face-detector", metavar="PATH", help="YuNet's ONNX file (default: the Hub's)")
    frames.add_argument(
        "--stabilise",
        action=argparse.BooleanOptionalAction,
        help="also undo the head's motion within a clip (default: where faces are aligned)",
    )
    frames.add_argument("--max-frames", type=int, help="cut clips to this many frames (default: no cut)")
    frames.add_argument(
        "--no-spotting", action="store_true", help="leave an unknown apex unknown instead of spotting it"
    )
    flow = parser.add_argument_group("optical flow, onset to apex and apex to offset")
    flow.add_argument("--flow", choices=("farneback", "dis", "tvl1", "none"), help="store it (default: none)")
    flow.add_argument("--flow-size", type=int, help="side in pixels at which it is computed (default: 224)")
    flow.add_argument(
        "--keep-head-motion", action="store_true", help="leave in the motion that the whole picture shares"
    )
    parser.add_argument("--workers", type=int, help="threads (default: one per core)")
    parser.add_argument("--strict", action="store_true", help="write nothing if anything at all is wrong")
    parser.add_argument("--overwrite", action="store_true", help="replace an OUT that was prepared before")


def run(args: argparse.Namespace) -> int:
    """Prepare; 0 when OUT is written, 1 when --strict refused, 2 when it cannot be done at all."""
    from hsta_hf.data.databases import DatabaseError
    from hsta_hf.data.prepare import PrepareError, StrictError, prepare

    try:
        database, options = _what_is_asked(args)
        with terminated_as_interrupted():
            report = prepare(
                database,
                args.root,
                args.out,
                options,
                annotation=args.annotation,
                strict=args.strict,
                overwrite=args.overwrite,
                workers=args.workers,
            )
    except (DatabaseError, PrepareError, OSError) as error:
        print(f"hsta prepare: {error}", file=sys.stderr)
        return 1 if isinstance(error, StrictError) else 2
    _print(report)
    return 0


def _what_is_asked(args: argparse.Namespace) -> tuple[str, PrepareOptions]:
    """The database's name and the options: the recipe's, with the command line's put over them.

    Raises:
        PrepareError: there is no such database or recipe, or an option makes no sense.
    """
    from dataclasses import replace

    from hsta_hf.data.databases import DATABASES
    from hsta_hf.data.prepare import PrepareError
    from hsta_hf.data.prepare_options import read_section

    section: dict[str, Any] = {}
    flow_settings: dict[str, Any] = {}
    if args.source not in DATABASES:
        from hsta_hf.training.model_factory import build_processor
        from hsta_hf.training.recipe import RecipeError, load_recipe, read_recipe_file, shipped_recipes

        try:
            content = read_recipe_file(args.source)
            recipe = load_recipe(args.source)  # one that does not train is not worth hours of preparing
            section = dict(content.get("prepare") or {})
            if section.get("flow") is not None or args.flow is not None:
                flow_settings = build_processor(recipe.model).flow_settings()
        except RecipeError as error:
            raise PrepareError(
                str(error)
                if args.source in shipped_recipes() or args.source.endswith((".yaml", ".yml"))
                else f"{args.source!r} is neither a database ({', '.join(DATABASES)}) nor a recipe "
                f"({', '.join(shipped_recipes())}, or the path of a YAML file)"
            ) from error
        if "database" not in section:
            raise PrepareError(
                f"recipe {args.source} does not say which database it is for: add `prepare: {{database: NAME}}` to "
                f"it, or name the database in its place ({', '.join(DATABASES)})"
            )
    for name in ("variant", "faces", "size", "max_frames", "stabilise"):
        if getattr(args, name) is not None:
            section[name] = getattr(args, name)
    if args.no_spotting:
        section["spot_missing_apex"] = False
    if args.faces == "keep" and args.stabilise is None:
        section.pop("stabilise", None)
    _set_flow(section, args)
    database, options = read_section(section, flow_settings)
    return database or args.source, replace(options, face_detector=args.face_detector)


def _set_flow(section: dict[str, Any], args: argparse.Namespace) -> None:
    """Put --flow, --flow-size and --keep-head-motion over the section's `flow`."""
    from hsta_hf.data.prepare import PrepareError

    given = section.get("flow")
    wanted: dict[str, Any] = {}
    if isinstance(given, dict):
        wanted = dict(given)
    elif isinstance(given, str):
        wanted = {"method": given}
    if args.flow == "none":
        section["flow"] = None
    elif args.flow is not None:
        wanted["method"] = args.flow
    if args.flow_size is not None:
        wanted["size"] = args.flow_size
    if args.keep_head_motion:
        wanted["remove_head_motion"] = False
    has_flow = args.flow not in (None, "none") or (args.flow is None and given not in (None, False, "none"))
    if not has_flow and (args.flow_size is not None or args.keep_head_motion):
        raise PrepareError("--flow-size and --keep-head-motion say how flow is stored; say --flow METHOD, too")
    if has_flow:
        section["flow"] = wanted


def _print(report: PrepareReport) -> None:
    from hsta_hf.data.prepare_report import SHOWN_PROBLEMS, frames_hint, problem_lines

    for line in frames_hint(report.load):
        print(line)
    for correction in report.corrections:
        print(f"corrected: {correction}")
    if report.problems:
        print(f"{len(report.problems)} problem{'' if len(report.problems) == 1 else 's'}, by sort:")
        print("\n".join(problem_lines(report.problems, SHOWN_PROBLEMS)))
    for message in report.load.count_mismatches:
        print(f"count differs from the published one: {message}")
    if report.kept_since_aligned:
        print(f"faces are kept as they are: the owner has already aligned variant {report.load.variant!r}")
    print(
        f"{report.num_clips} of {report.load.num_rows} rows are clips of {report.out} "
        f"({report.resumed} from an earlier run); see {report.out / 'report.md'}"
    )
