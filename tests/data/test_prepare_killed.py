"""`hsta prepare` killed with SIGKILL at random moments: finished by the same command, it leaves the same bytes."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from hsta_hf.data.prepared import flow_at, frames_at, load_prepared

if TYPE_CHECKING:
    from conftest import Casme3Tree

KILLS = 10
# Small joined files and batches, so that there are many moments in the join at which to be killed.
PROGRAM = """
import sys
from hsta_hf.data import prepare_parts
from hsta_hf.cli.main import main
prepare_parts.FILE_BYTES = 6_000_000
prepare_parts.BATCH_BYTES = 1_000_000
print("ready", flush=True)
sys.exit(main(sys.argv[1:]))
"""


def files_of(folder: Path) -> dict[str, str]:
    """Digest of the bytes of every file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def start(root: Path, out: Path) -> subprocess.Popen[str]:
    options = ["--faces", "keep", "--size", "96", "--flow", "farneback", "--flow-size", "64", "--workers", "2"]
    command = [sys.executable, "-c", PROGRAM, "prepare", "casme3", str(root), str(out), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def what_is_there(partial: Path) -> tuple[int, int]:
    """How many clips have a file of their own, and how many joined files there are."""
    return len(list(partial.glob("clips/*.arrow"))), len(list(partial.glob("dataset/clips-*.arrow")))


def note_of(partial: Path, number: int) -> bool:
    """Whether the joined file of that number is begun: its note is written first."""
    return any(partial.glob(f"joined/clips-{number:05d}-*"))


@pytest.fixture
def busy_root(casme3_tree: Casme3Tree) -> Path:
    """150 clips of noise, one with a broken frame and one without its onset."""
    rng = np.random.default_rng(3)
    for subject in range(5):
        for number in range(1, 361):
            path = casme3_tree.frame(f"spNO.{subject}", "a", number)
            path.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(path), rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))
        for clip in range(30):
            onset = 1 + 12 * clip
            emotion = ("anger", "happy", "sad")[clip % 3]
            casme3_tree.row(f"spNO.{subject}", "a", onset, onset + 5, onset + 11, emotion=emotion)
    casme3_tree.frame("spNO.1", "a", 4).write_bytes(b"")
    casme3_tree.frame("spNO.2", "a", 13).write_bytes(b"")
    return casme3_tree.save()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="there is no SIGKILL on this system")
def test_killed_ten_times_and_finished_it_is_byte_identical(
    busy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    whole = tmp_path / "whole"
    began = time.monotonic()
    assert start(busy_root, whole).wait() == 0
    seconds = time.monotonic() - began
    num_files = len(list(whole.glob("*.arrow")))
    assert num_files > 6
    shutil.move(whole, tmp_path / "reference")  # the other runs may not see it

    rng = random.Random(20)
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    # Half of the kills while clips are decoded, four in the join, the last while reports and pictures are written.
    clips = sorted(rng.sample(range(5, 140), KILLS // 2))
    joined = sorted(rng.sample(range(num_files), KILLS // 2 - 1))
    waits: list[Callable[[], bool]] = [
        *(lambda wanted=wanted: what_is_there(partial)[0] >= wanted for wanted in clips),  # type: ignore[misc]
        *(lambda wanted=wanted: note_of(partial, wanted) for wanted in joined),  # type: ignore[misc]
        lambda: (partial / "dataset" / "contact_sheets").exists(),
    ]
    moments = []
    for number, has_come in enumerate(waits):
        process = start(busy_root, out)
        while process.poll() is None and not has_come():
            time.sleep(0.0005)
        time.sleep(rng.uniform(0.0, 0.02))
        assert process.poll() is None, f"kill {number} came too late: the run was done"
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        moments.append(what_is_there(partial))
        assert not out.exists()
    assert start(busy_root, out).wait() == 0

    with capsys.disabled():
        print(f"\nuninterrupted {seconds:.1f} s; clips' own and joined files at each kill: {moments}")
    assert all(0 < own < 150 for own, _ in moments[: KILLS // 2]), "no kill came while clips were decoded"
    assert any(own > 1 and files for own, files in moments), "no kill came within the join"
    assert not partial.exists()
    assert files_of(out) == files_of(tmp_path / "reference")
    dataset = load_prepared(out)
    assert len(dataset) == 149 and len(list(out.glob("*.arrow"))) > 3
    assert frames_at(dataset, 140).shape == (12, 96, 96, 3)
    flow = flow_at(dataset, 140)
    assert flow is not None and flow.shape == (2, 64, 64, 3)
