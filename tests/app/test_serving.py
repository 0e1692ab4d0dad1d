"""The folder of uploads is private and temporary, and nothing stays in it."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from hsta_hf.app.limits import Limits
from hsta_hf.app.serving import launch_options, private_uploads, sweep


def test_uploads_lie_in_a_folder_that_ends_with_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    monkeypatch.delenv("GRADIO_TEMP_DIR", raising=False)
    with private_uploads() as uploads:
        assert os.environ["GRADIO_TEMP_DIR"] == str(uploads) and os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
        assert stat.S_IMODE(uploads.stat().st_mode) == 0o700
        (uploads / "face.mp4").touch()
    assert not uploads.exists()
    assert "GRADIO_TEMP_DIR" not in os.environ and os.environ["GRADIO_ANALYTICS_ENABLED"] == "True"


def test_what_was_left_behind_is_swept_and_what_is_new_stays(tmp_path: Path) -> None:
    old, new = tmp_path / "old" / "face.mp4", tmp_path / "new" / "face.mp4"
    for path in (old, new):
        path.parent.mkdir()
        path.touch()
    before = time.time() - 100
    for path in (old, old.parent):
        os.utime(path, (before, before))
    sweep(tmp_path, 50)
    assert not old.exists() and new.exists()
    os.utime(old.parent, (before, before))  # taking the file out of it was a change
    sweep(tmp_path, 50)
    assert sorted(tmp_path.iterdir()) == [new.parent]


def test_gradio_is_told_to_share_count_and_record_nothing() -> None:
    pytest.importorskip("gradio", reason="the page needs Gradio (extra: app)")
    options = launch_options(Limits())
    assert options["max_file_size"] == 50 << 20
    for name in ("share", "run_history", "enable_monitoring", "ssr_mode", "mcp_server"):
        assert options[name] is False
    assert Path(options["css_paths"]).is_file()
