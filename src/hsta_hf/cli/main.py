"""Entry point of `hsta …`: finds the command's module and hands it the parsed arguments."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn, cast

from hsta_hf import __version__

COMMANDS: tuple[str, ...] = (
    "synthesize",
    "check",
    "prepare",
    "push-dataset",
    "pull-dataset",
    "train",
    "ablate",
    "score",
    "evaluate",
    "report",
    "compare",
    "predict",
    "spot",
    "explain",
    "demo-app",
    "convert",
    "export",
    "push",
)
_RESUMED: frozenset[str] = frozenset(
    {"prepare", "push-dataset", "pull-dataset", "train", "ablate", "push", "predict", "spot"}
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of `hsta` with every command's own parser under it."""
    parser = argparse.ArgumentParser(
        prog="hsta",
        description="Micro-expression recognition with Hierarchical Space-Time Attention (HSTA).",
    )
    parser.add_argument("--version", action="version", version=f"hsta-hf {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        _module(name).add_parser(subparsers)
    return parser


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"hsta_hf.cli.{command.replace('-', '_')}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code.

    0: done, 1: the command found a problem, 2: wrong usage, 130: interrupted from the keyboard.
    """
    parser = build_parser()
    args, others = parser.parse_known_args(argv)
    if others and not getattr(args, "takes_overrides", False):
        _refuse(_parser_of(parser, args.command), others)
    if others:
        args.overrides = others  # recipe fields, which the command checks
    try:
        code = int(_module(args.command).run(args))
    except KeyboardInterrupt:
        resumed = "; the same command continues where it stopped" if args.command in _RESUMED else ""
        print(f"hsta {args.command}: interrupted{resumed}", file=sys.stderr)
        return 130
    if code == 0:
        _leave_process_group()
    return code


def _parser_of(parser: argparse.ArgumentParser, command: str) -> argparse.ArgumentParser:
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return cast(argparse.ArgumentParser, found.choices[command])


def _refuse(parser: argparse.ArgumentParser, others: Sequence[str]) -> NoReturn:
    """End with the command's own usage, and the option that was probably meant."""
    options = [name for action in parser._actions for name in action.option_strings]
    wrong = next((word.split("=")[0] for word in others if word.startswith("-")), "")
    near = difflib.get_close_matches(wrong, options, 1)
    hint = f"; did you mean {near[0]}?" if near else ""
    parser.error(f"unrecognized arguments: {' '.join(others)}{hint}")


def _leave_process_group() -> None:
    """End the threads of the process group that `accelerate launch` made this process a part of.

    Left to the interpreter's end, one of them may ask for a lock that is gone by then, and abort a process whose work
    is done. After a failure the group is left as it is: others may still be waiting in it.
    """
    distributed = sys.modules.get("torch.distributed")  # importing it would take seconds
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
