"""Where `hsta prepare` refuses to write, what it says of what is there already, and how it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from hsta_hf.cli.main import main
from hsta_hf.data import prepare as prepare_module
from hsta_hf.data.prepared import MANIFEST, prepared_info

KEEP = ("--faces", "keep", "--workers", "1")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs `hsta prepare casme3 ROOT OUT …`; gives its exit code and what it said on stderr."""

    def run(root: Path | str, out: Path | str, *options: str) -> tuple[int, str]:
        code = main(["prepare", "casme3", str(root), str(out), *options])
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hsta prepare:")]
        return code, "\n".join(lines)

    return run


def test_the_current_folder_and_those_above_are_refused(
    sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Any
):
    assert said(sound_root, tmp_path / "out", *KEEP)[0] == 0
    deeper = tmp_path / "out" / "contact_sheets"
    deeper.mkdir(exist_ok=True)
    for here, out, words in (
        (tmp_path / "out", ".", "is the folder that you are in"),
        (tmp_path / "out", tmp_path / "out", "is the folder that you are in"),
        (deeper, "..", "is a folder that you are in"),
        (tmp_path, "/", "is a folder that you are in"),
    ):
        monkeypatch.chdir(here)
        code, text = said(sound_root, out, *KEEP, "--overwrite")
        assert (code, words in text) == (2, True), text
    assert prepared_info(tmp_path / "out").num_clips == 4


def test_out_in_root_and_root_in_out_are_refused(sound_root: Path, tmp_path: Path, said: Any):
    for out, words in (
        (sound_root, "OUT is ROOT"),
        (sound_root / "prepared", "is in ROOT"),
        (tmp_path / "x" / ".." / sound_root.name / "prepared", "is in ROOT"),
    ):
        code, text = said(sound_root, out, *KEEP)
        assert (code, words in text) == (2, True), text
    assert not (sound_root / "prepared").exists() and not list(tmp_path.glob("*.partial"))

    out = tmp_path / "out"
    assert said(sound_root, out, *KEEP)[0] == 0
    inside = out / "database"
    sound_root.rename(inside)
    code, text = said(inside, out, *KEEP, "--overwrite")
    assert (code, "would go when OUT is replaced" in text) == (2, True)
    assert inside.is_dir()


@pytest.mark.skipif(os.name == "nt", reason="links to folders need rights on Windows")
def test_a_link_into_root_is_seen_through(sound_root: Path, tmp_path: Path, said: Any):
    (tmp_path / "link").symlink_to(sound_root, target_is_directory=True)
    code, text = said(sound_root, tmp_path / "link" / "prepared", *KEEP)
    assert (code, "is in ROOT" in text) == (2, True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "It was made with the settings that you ask for."),
        (("--size", "16"), "It was made with size as is; you ask for size 16."),
        (
            ("--faces", "align", "--size", "64"),
            "It was made with size as is, faces keep, stabilise off; you ask for size 64, faces align, stabilise on.",
        ),
        (
            ("--max-frames", "9", "--no-spotting"),
            "It was made with max-frames none, spotting on; you ask for max-frames 9, spotting off.",
        ),
        (
            ("--flow", "dis", "--flow-size", "32", "--keep-head-motion"),
            "It was made with flow none; you ask for flow dis (32 x 32 pixels, head motion kept).",
        ),
    ],
)
def test_a_finished_out_is_said_to_be_of_these_or_of_other_settings(
    sound_root: Path, tmp_path: Path, said: Any, options: tuple[str, ...], sentence: str
):
    out = tmp_path / "out"
    assert said(sound_root, out, *KEEP)[0] == 0
    code, text = said(sound_root, out, *KEEP, *options)
    assert code == 2
    assert f"already a prepared dataset (4 clips). {sentence} Use it" in text
    assert text.endswith("or replace it with --overwrite") and "True" not in text


def test_another_annotation_and_another_database_are_other_settings(
    sound_root: Path, tmp_path: Path, said: Any, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    assert said(sound_root, out, *KEEP)[0] == 0
    name = next(sound_root.glob("*.xlsx")).name
    assert (
        f"annotation {name}; you ask for annotation own.csv."
        in said(sound_root, out, *KEEP, "--annotation", "tables/own.csv")[1]
    )
    assert main(["prepare", "folder", str(sound_root), str(out), *KEEP]) == 2
    assert "It was made with database casme3; you ask for database folder." in capsys.readouterr().err


def test_an_out_that_cannot_be_used_says_so_and_compares_nothing(sound_root: Path, tmp_path: Path, said: Any):
    out = tmp_path / "out"
    out.mkdir()
    (out / MANIFEST).write_text('{"format_version": 1}', encoding="utf-8")
    code, text = said(sound_root, out, *KEEP)
    assert code == 2 and "one that cannot be used" in text and "made with" not in text


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a program without asking it")
def test_sigterm_ends_it_as_ctrl_c_does_and_the_handler_is_put_back(
    sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Any
):
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(prepare_module, "save", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    interrupted = "hsta prepare: interrupted; the same command continues where it stopped"
    # Were SIGTERM not caught, it would end these tests.
    assert said(sound_root, tmp_path / "out", *KEEP) == (130, interrupted)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.undo()
    assert said(sound_root, tmp_path / "out", *KEEP) == (0, "")
    assert prepared_info(tmp_path / "out").num_clips == 4


def test_the_help_has_the_exit_codes(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["prepare", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for code in ("0 OUT is written", "1 --strict refused", "2 it cannot be done at all", "130 interrupted"):
        assert code in text
