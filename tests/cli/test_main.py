"""The entry point itself: what it does around a command."""

from __future__ import annotations

import argparse
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

from hsta_hf.cli.main import main

CONTINUES = "; the same command continues where it stopped"


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        ("prepare", ["casme3", "root", "out"], f"hsta prepare: interrupted{CONTINUES}\n"),
        ("check", ["casme3", "root"], "hsta check: interrupted\n"),
    ],
)
def test_an_interrupt_is_one_line_and_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, command: str, arguments: list[str], said: str
):
    def interrupted(args: argparse.Namespace) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(f"hsta_hf.cli.{command}"), "run", interrupted)
    assert main([command, *arguments]) == 130
    assert capsys.readouterr().err == said


INTERRUPTED = """
import os, signal, sys
class Finder:
    def find_spec(self, name, *rest):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
sys.argv = ["hsta", "check", "--help"]
import hsta_command
sys.exit(hsta_command.main())
"""


@pytest.mark.skipif(os.name == "nt", reason="os.kill ends a process on Windows, whatever it handles")
@pytest.mark.parametrize("module", ["hsta_hf", "transformers", "hsta_hf.cli.prepare"])
def test_an_interrupt_while_it_starts_is_one_line_as_well(module: str) -> None:
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED.format(module=module)],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "hsta: interrupted\n")


@pytest.mark.parametrize(("code", "left"), [(0, True), (1, False)])
def test_a_finished_command_leaves_its_process_group(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, left: bool
):
    def run(args: argparse.Namespace) -> int:
        dist.init_process_group("gloo", init_method=(tmp_path / "store").as_uri(), rank=0, world_size=1)
        return code

    monkeypatch.setattr(importlib.import_module("hsta_hf.cli.check"), "run", run)
    try:
        assert main(["check", "casme3", "root"]) == code
        assert dist.is_initialized() is not left
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
