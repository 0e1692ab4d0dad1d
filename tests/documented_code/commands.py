"""Shell blocks as commands, and what can be said of a command without running it: whether it would be understood."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from documented_code.blocks import ROOT, Block

_SEPARATORS = {"&&", "||", ";", "&", "|"}
_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*=")


class NotUnderstood(Exception):
    """A documented command that does not exist, or with an option or field that does not."""


@dataclass(frozen=True)
class Command:
    """One command of a block: its words without variables set before it, comments, and what follows."""

    block: Block
    words: tuple[str, ...]
    variables: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def where(self) -> str:
        return f"{self.block.name}: {self.text}"


def commands_of(block: Block) -> list[Command]:
    """The commands of a `bash` block, lines that end in a backslash joined. Of a script (`#!`) those of hsta alone."""
    found: list[Command] = []
    for line in re.sub(r"\\\n\s*", "", block.text).splitlines():
        if block.text.startswith("#!"):
            if "hsta " not in line or line.startswith("#"):
                continue
            line = line[line.index("hsta ") :]
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), ";"]:
            ends = word.endswith(";") and word not in _SEPARATORS
            if word not in _SEPARATORS:
                words.append(word.rstrip(";") if ends else word)
            if (word in _SEPARATORS or ends) and words:
                found.append(_command(block, words))
                words = []
    return found


def _command(block: Block, words: Sequence[str]) -> Command:
    first = next((i for i, word in enumerate(words) if not _ASSIGNMENT.match(word)), len(words))
    return Command(block, tuple(words[first:]), tuple(words[:first]))


def check(command: Sequence[str]) -> None:
    """Parse a command whose placeholders have been filled.

    Raises:
        NotUnderstood: there is no such command, script, option, field, recipe, target or extra.
    """
    if not command:
        return
    checks = {
        "hsta": lambda words: check_hsta(words),
        "accelerate": _check_accelerate,
        "python": _check_python,
        "make": _check_make,
        "pip": _check_pip,
    }
    checks.get(command[0], _leave)(list(command[1:]))


def _leave(words: list[str]) -> None:
    """Programs of others (ray, hf, cd): there is nothing to check here."""


def check_hsta(words: Sequence[str]) -> None:
    """Parse the words after `hsta`, with its own parser, and the recipe's fields among them."""
    from hsta_hf.cli.main import build_parser
    from hsta_hf.training.recipe import RecipeError, load_recipe

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            args, others = build_parser().parse_known_args(list(words))
    except SystemExit as error:
        if error.code:
            raise NotUnderstood(said.getvalue().strip().splitlines()[-1]) from None
        return  # --help, --version
    if others and not getattr(args, "takes_overrides", False):
        raise NotUnderstood(f"unrecognized arguments: {' '.join(others)}")
    recipe = getattr(args, "recipe", None)
    if recipe is None or not hasattr(args, "overrides"):
        return
    try:
        load_recipe(recipe, [*args.overrides, *others])
    except RecipeError as error:
        raise NotUnderstood(str(error)) from None


def _check_accelerate(words: list[str]) -> None:
    from accelerate.commands.launch import launch_command_parser

    if words[0] != "launch":
        return
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            args = launch_command_parser().parse_args(words[1:])
    except SystemExit:
        raise NotUnderstood(said.getvalue().strip().splitlines()[-1]) from None
    check_script(args.training_script, args.training_script_args)


def _check_python(words: list[str]) -> None:
    if words[0] in ("-m", "-c", "..."):
        return
    check_script(words[0], words[1:])


def check_script(script: str, words: Sequence[str]) -> None:
    """A script of scripts/, which stands for a command, or one of benchmarks/, which names its own options."""
    path = ROOT / script
    if not path.is_file():
        raise NotUnderstood(f"there is no {script}")
    command = re.search(r"main\(\[\"([\w-]+)\", \*sys\.argv", path.read_text("utf-8"))
    if command:
        check_hsta([command[1], *words])
        return
    known = options_of(path)
    for word in words:
        if word.startswith("--") and word.partition("=")[0] not in known:
            raise NotUnderstood(f"{script} has no option {word}")


@cache
def options_of(script: Path) -> frozenset[str]:
    """Options that a script, or the modules of its name beside it, adds to a parser."""
    sources = sorted(script.parent.glob(f"{script.stem}*.py"))
    return frozenset(option for path in sources for option in re.findall(r'"(--[\w-]+)"', path.read_text("utf-8")))


def _check_make(words: list[str]) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    for word in words:
        if "=" not in word and word not in targets:
            raise NotUnderstood(f"the Makefile has no target {word}; it has {', '.join(targets)}")


def _check_pip(words: list[str]) -> None:
    section = (ROOT / "pyproject.toml").read_text("utf-8").partition("[project.optional-dependencies]")[2]
    extras = re.findall(r"^(\w+) = \[", section.partition("\n[")[0], flags=re.MULTILINE)
    for word in words[1:]:
        asked = re.fullmatch(r"(?:\.|hsta-hf)\[([\w,-]+)\]", word)
        for extra in asked[1].split(",") if asked else ():
            if extra not in extras:
                raise NotUnderstood(f"there is no extra {extra}; there are {', '.join(extras)}")


def check_inline(text: str) -> None:
    """`hsta …` in running text: the command and every option in it exist. Values may be left out or abbreviated.

    Raises:
        NotUnderstood: they do not.
    """
    from hsta_hf.cli.main import COMMANDS
    from hsta_hf.training.recipe import RecipeError, load_recipe

    words = text.split()
    if words[1].startswith("-") or words[1] in ("…", "COMMAND"):
        return
    if words[1] not in COMMANDS:
        raise NotUnderstood(f"there is no command {words[1]!r}")
    known = command_options(words[1])
    for word in words[2:]:
        option = word.partition("=")[0].rstrip("…,.")
        if not option.startswith("--") or option in known:
            continue
        if words[1] not in ("train", "ablate"):
            raise NotUnderstood(f"hsta {words[1]} has no option {option}")
        try:  # a field of a recipe; its value does not matter here
            load_recipe("casme3_flow", [option, "null"])
        except RecipeError as error:
            if "no field" in str(error):
                raise NotUnderstood(str(error)) from None


@cache
def command_options(command: str) -> frozenset[str]:
    """All options of one of hsta's commands."""
    from hsta_hf.cli.main import build_parser

    (subparsers,) = (action for action in build_parser()._actions if action.dest == "command")
    parser = subparsers.choices[command]  # type: ignore[index,union-attr]
    return frozenset(option for action in parser._actions for option in action.option_strings)


def check_yaml(block: Block, kind: str, folder: Path) -> None:
    """Read a `yaml` block as what it is: a `recipe`, the `members` of the composite, or `accelerate`'s settings."""
    path = folder / "block.yaml"
    path.write_text(block.text, encoding="utf-8")
    if kind == "recipe":
        from hsta_hf.training.recipe import RecipeError, load_recipe

        try:
            load_recipe(path)
        except RecipeError as error:
            raise NotUnderstood(str(error)) from None
    elif kind == "members":
        from hsta_hf.data.databases import DATABASES

        if unknown := set(yaml.safe_load(block.text)) - set(DATABASES):
            raise NotUnderstood(f"there is no database {', '.join(sorted(unknown))}")
    elif kind == "accelerate":
        from accelerate.commands.config.config_args import load_config_from_file

        load_config_from_file(str(path))
    else:
        raise NotUnderstood(f"{block.name}: no rule knows the kind {kind!r}")
