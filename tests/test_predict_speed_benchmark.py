"""benchmarks/predict_speed.py: its videos are what it says, and it runs. Not its times."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hsta_hf.video_reading_hsta import VideoReadError, open_clip

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("predict_speed")


def test_its_videos_are_short_and_some_are_damaged(script: ModuleType, tmp_path: Path) -> None:
    damaged = script.write_videos(tmp_path / "videos", 12, 64, 5)
    files = sorted((tmp_path / "videos").iterdir())
    assert len(files) == 12 and len(damaged) == 5
    for file in files:
        if file in damaged:
            with pytest.raises(VideoReadError):
                open_clip(file, "").survey(0, None, spot=True)
        else:
            assert 8 <= open_clip(file, "").survey(0, None, spot=True).num_frames <= 14


@pytest.mark.slow
def test_it_runs(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "predict_speed.py"), "--quick", "--threads", "1", "--workers", "1"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert "20 videos" in done.stdout and "Median ratio" in done.stdout
    assert not list(tmp_path.iterdir())
