"""Entry point of `hsta …`: finds the command's module and hands it the parsed arguments."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from hsta_hf import __version__

COMMANDS: tuple[str, ...] = (
    "synthesize",
    "check",
    "prepare",
    "push-dataset",
    "pull-dataset",
    "train",
    "evaluate",
    "predict",
    "convert",
    "export",
)
_RESUMED: frozenset[str] = frozenset({"prepare", "push-dataset", "pull-dataset", "train"})


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
    args = build_parser().parse_args(argv)
    try:
        return int(_module(args.command).run(args))
    except KeyboardInterrupt:
        resumed = "; the same command continues where it stopped" if args.command in _RESUMED else ""
        print(f"hsta {args.command}: interrupted{resumed}", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
