"""benchmarks/data_speed.py: its ways read the same frames, its tables judge by the numbers. Not its times."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.dataset import ClipDataset

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("data_speed")


@pytest.fixture
def database(script: ModuleType, tmp_path: Path) -> Path:
    """Three clips of nine frames."""
    assert script.write_clips(tmp_path / "jpeg", 3, 9, (48, 40)) > 0
    return tmp_path / "jpeg"


def test_all_ways_read_the_same_moments(script: ModuleType, database: Path, tmp_path: Path) -> None:
    prepare("folder", database, tmp_path / "prepared", PrepareOptions(faces="keep", size=32), progress=False)
    streams = script.open_streams(tmp_path / "prepared", 32)
    read = ClipDataset(streams, range(3), [0] * 3, script.STREAM)
    folders = sorted(path for path in database.iterdir() if path.is_dir())
    every, wanted = (script.JpegClips(folders, 32, only_wanted=only) for only in (False, True))
    for clip in range(3):
        one, two, three = (way[clip]["pixel_values"] for way in (every, wanted, read))
        assert np.array_equal(one, two) and one.shape == three.shape == (script.FRAMES, 32, 32, 3)
        # Other resizing, same pictures: each is nearer to its own than to any other clip's.
        distances = [np.abs(three - every[i]["pixel_values"].astype(float)).mean() for i in range(3)]
        assert int(np.argmin(distances)) == clip


def test_a_repeated_set_is_a_prepared_dataset(
    script: ModuleType, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare("folder", database, tmp_path / "small", PrepareOptions(faces="keep"), progress=False)
    monkeypatch.setattr(script, "FILE_BYTES", 120_000)  # two times three clips a file
    script.repeat_clips(tmp_path / "small", tmp_path / "large", 5)
    assert len(list((tmp_path / "large").glob("*.arrow"))) > 1
    small, large = (load_labelled_clips(tmp_path / name, script.SCHEME) for name in ("small", "large"))
    assert len(large) == 5 * len(small) == 15
    streams = script.open_streams(tmp_path / "large", 40)
    for clip in (0, 4, 14):
        assert np.array_equal(large.frames(clip), small.frames(clip % 3))
        assert np.array_equal(streams.frames.read(clip, [2, 0]), small.frames(clip % 3)[[2, 0]])


def test_tables_compare_within_rounds_and_judge(script: ModuleType) -> None:
    ways: dict[str, Any] = {
        script.ALL: [1.0, 2.0, 4.0],
        script.WANTED: [10.0, 20.0, 40.0],
        script.PREPARED: [21.0, 42.0, 120.0],
        script.RESIZED: [7.0, 14.0, 40.0],
    }
    lines = script.speed_table({"640x480": ways}, 224).splitlines()
    assert "2.0 (1.0-4.0) | 21.0x | >= 20x | PASS" in lines[2]
    assert "2.1x | >= 5x | FAIL" in lines[3]
    assert "frames kept at 224" in lines[4] and "PASS" not in lines[4]
    assert "3.0x |  |  |" in lines[5]
    sets = []
    for clips, seconds, memory in ((100, [0.1, 0.2, 0.3], (100, 40, 60)), (10_000, [0.6, 0.8, 0.9], (109, 60, 60))):
        used = [2**20 * value for value in memory]
        sets.append({"clips": clips, "seconds": seconds, "memory": {"resident": used, "unique": used}})
    table = script.set_table(sets).splitlines()
    assert "0.200 s | 0.800 s | +0.600 s | within 0.5 s | FAIL" in table[2]
    assert "100 MiB | 109 MiB | +9.0% | below 10% | PASS" in table[3]
    assert "100 MiB | 120 MiB | +20.0% | below 10% | FAIL" in table[4]
    assert all("PASS" not in line and "FAIL" not in line for line in table[5:])


@pytest.mark.slow  # imports torch in several processes
def test_quick_run_prints_both_tables_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "data_speed.py"), "--quick", "--folder", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("PIL opens all frames") == done.stdout.count("PIL opens the wanted frames") == 2
    assert "| opening |" in done.stdout and "resident memory while iterating, its 2 workers" in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_set_is_measured_in_this_process_too(script: ModuleType, database: Path, tmp_path: Path) -> None:
    prepare("folder", database, tmp_path / "prepared", PrepareOptions(faces="keep", size=16), progress=False)
    found = json.loads(json.dumps(script.measure_set(tmp_path / "prepared", 16, 20)))
    assert found["clips"] == 3 and len(found["seconds"]) == 3
    assert all(len(values) == 1 + script.WORKERS and min(values) > 0 for values in found["memory"].values())
