"""`hsta train`: run a recipe.

    hsta train synthetic_demo                               # a recipe that comes with hsta-hf, by name
    hsta train my_recipe.yaml --dataset data/casme3         # a recipe of your own
    hsta train scripts/recipes/synthetic_demo.yaml --num_train_epochs 20 --model.num_hsta_layers 2
    accelerate launch scripts/train.py scripts/recipes/synthetic_demo.yaml --output_dir runs/demo

A run that was interrupted continues when the same command is given again.
"""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta train` to the command line."""
    parser = subparsers.add_parser(
        "train",
        help="train and cross-validate a model as a recipe says",
        description=__doc__,
        epilog="Exit code: 0 done; 1 recipe, data and run folder do not fit, or a fold failed; 2 wrong usage; 130 "
        "interrupted (Ctrl-C).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list_fields", action="store_true", help="print all recipe fields and stop")
    parser.add_argument(
        "recipe", nargs="?", help="YAML file of recipe fields, or the name of a recipe that comes with hsta-hf"
    )
    parser.add_argument(
        "overrides",
        nargs=argparse.REMAINDER,
        metavar="--field value",
        help="recipe fields to change; dots lead into mappings, as in --model.num_hsta_layers 2",
    )


def run(args: argparse.Namespace) -> int:
    """Run the recipe; 0 when done, 1 when recipe, data and run folder do not fit, with one line that says why."""
    from hsta_hf.training.recipe import list_fields, load_recipe

    if args.list_fields:
        print(list_fields())
        return 0
    if args.recipe is None:
        print("hsta train: name a recipe, such as scripts/recipes/synthetic_demo.yaml", file=sys.stderr)
        return 2
    from accelerate import PartialState

    from hsta_hf.reporting.summary import summary_text
    from hsta_hf.training.cross_validation import run_recipe
    from hsta_hf.training.runners_fold import FoldsFailedError

    try:
        result = run_recipe(load_recipe(args.recipe, args.overrides))
    except (ValueError, FileNotFoundError, FoldsFailedError) as error:
        print(f"hsta train: {error}", file=sys.stderr)
        return 1
    if PartialState().is_main_process:
        print(summary_text(result.metrics))
        print(f"Report: {result.path / 'report.html'} (and .md)")
        if (result.model / "config.json").is_file():  # most baselines leave no model to load
            print(f"Model: {result.model}")
    return 0
