"""The entry point itself: what it does around a command."""

from __future__ import annotations

import argparse
import importlib

import pytest

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
