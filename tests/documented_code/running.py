"""Runs blocks of code as a reader would, one after the other in a page's folder."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from documented_code import rules
from documented_code.blocks import Block
from documented_code.commands import Command, commands_of
from documented_code.workplace import Workplace

# Where a command writes: options, and the place of the word that names it, after `hsta` (0) and the command (1).
_OUTPUT_OPTIONS = ("--output_dir", "--output", "--out")
_OUTPUT_POSITIONS = {"synthesize": 2, "prepare": 4, "export": 3}


class Failed(Exception):
    """A block that does not do what the document says: it ran into an error."""


def is_run(block: Block) -> bool:
    """Whether anything of a block is run."""
    if block.language != "bash":
        return block.language == "python"
    return any(command.words and rules.rule_of(command.text).why is None for command in commands_of(block))


def run_block(block: Block, workplace: Workplace, capture: pytest.CaptureFixture[str]) -> None:
    """Run a `python` or `bash` block; others have nothing to run.

    Raises:
        Failed: an error, with what was printed.
    """
    if block.language == "python":
        run_python(block)
    elif block.language == "bash":
        for command in commands_of(block):
            if command.words and rules.rule_of(command.text).why is None:
                run_command(command, workplace, capture)


def run_python(block: Block) -> None:
    """Run a block in a namespace of its own, in this process."""
    try:
        exec(compile(block.text, block.name, "exec"), {"__name__": "__main__"})
    except Exception as error:
        raise Failed(f"{block.name}: {type(error).__name__}: {error}") from error


def run_command(command: Command, workplace: Workplace, capture: pytest.CaptureFixture[str]) -> None:
    """Run a command, made small: hsta's in this process, others in one of their own."""
    words = rules.made_small(rules.filled(command.words))
    for output in outputs_of(words):
        workplace.make_room(output)
    capture.readouterr()
    if words[0] == "hsta":
        from hsta_hf.cli.main import main

        code = main(words[1:])
        printed = "".join(capture.readouterr())
    else:
        code, printed = _run_program(words, command.variables)
    if code != 0:
        shown = "\n".join(printed.splitlines()[-15:])
        raise Failed(f"{command.where}\nran as {shlex.join(words)}\nended with {code}:\n{shown}")


def _run_program(words: Sequence[str], variables: Sequence[str]) -> tuple[int, str]:
    programs = {
        "accelerate": [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"],
        "python": [sys.executable],
    }
    rest = words[2:] if words[0] == "accelerate" else words[1:]
    if words[0] not in programs:
        raise Failed(f"{shlex.join(words)}: rules.py neither runs {words[0]} nor says why it does not")
    environment = {**os.environ, **dict(variable.split("=", 1) for variable in variables)}
    done = subprocess.run([*programs[words[0]], *rest], env=environment, capture_output=True, text=True, timeout=900)
    return done.returncode, done.stdout + done.stderr


def outputs_of(words: Sequence[str]) -> list[str]:
    """Files and folders that a command is going to write, as far as its words name them."""
    found = [words[place + 1] for place, word in enumerate(words[:-1]) if word in _OUTPUT_OPTIONS]
    position = _OUTPUT_POSITIONS.get(words[1]) if words[0] == "hsta" and len(words) > 1 else None
    if position is not None and len(words) > position:
        found.append(words[position])
    return found


def check_shell(block: Block, folder: Path) -> str:
    """What bash says about a script's syntax; empty where it is right."""
    path = folder / "block.sh"
    path.write_text(block.text, encoding="utf-8")
    return re.sub(
        re.escape(str(path)), "", subprocess.run(["bash", "-n", path], capture_output=True, text=True).stderr
    )
