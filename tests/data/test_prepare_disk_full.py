"""A disk that fills up while `prepare` works: one clear error, and the same command continues once there is room."""

from __future__ import annotations

import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from hsta_hf.data import prepare as prepare_module
from hsta_hf.data.disk_space import DiskFullError, describe_bytes
from hsta_hf.data.prepare import PrepareOptions, PrepareReport
from hsta_hf.data.prepared import load_prepared

if TYPE_CHECKING:
    from conftest import Casme3Tree


def prepare(root: Path, out: Path, size: int | None = 24, **settings: Any) -> PrepareReport:
    options = PrepareOptions(faces="keep", size=size)
    return prepare_module.prepare("casme3", root, out, options, progress=False, workers=1, **settings)


class FullDisk:
    """From `start` on, files opened for writing whose path has `where` in it take `room` bytes and no more."""

    def __init__(self, where: str, room: int, code: int = errno.ENOSPC) -> None:
        self.where, self.room, self.code = where, room, code

    def start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = io.open
        disk = self

        class Limited(io.BufferedWriter):
            def write(self, data: Any) -> int:
                size = memoryview(data).nbytes
                if disk.room < size:
                    raise OSError(disk.code, os.strerror(disk.code))
                disk.room -= size
                return super().write(data)

        def limited(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
            if "w" in mode and disk.where in str(file):
                return Limited(io.FileIO(file, "w"))
            return plain(file, mode, *arguments, **more)

        monkeypatch.setattr(io, "open", limited)


@pytest.mark.parametrize(
    ("where", "room"),
    [
        ("out.partial/clips/", 0),
        ("out.partial/clips/", 60_000),  # some clips fit
        ("out.partial/joined/", 0),
        ("out.partial/dataset/clips-", 9_000),
        ("contact_sheets", 3_000),
        ("clips.csv", 10),
        ("report.md", 10),
        ("hsta_prepared.json", 10),
    ],
)
def test_a_full_disk_is_said_clearly_and_the_same_command_continues(
    sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, room: int
):
    whole = prepare(sound_root, tmp_path / "whole")
    FullDisk(where, room).start(monkeypatch)
    with pytest.raises(DiskFullError) as caught:
        prepare(sound_root, tmp_path / "out")
    monkeypatch.undo()
    message = str(caught.value)
    assert message.startswith(f"the disk of {tmp_path} is full: ") and " free, " in message
    assert "of 4 clips are still to be prepared (up to " in message
    assert f"stay in {tmp_path / 'out.partial'}; make room, and the same command continues" in message
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "out.partial").rglob("*.tmp")), "half-written files take room"
    finished = len(list((tmp_path / "out.partial" / "clips").glob("*.arrow"))) if "clips/" in where else 4
    assert finished in ({0} if room == 0 and "clips/" in where else {1, 2, 3} if "clips/" in where else {4})
    report = prepare(sound_root, tmp_path / "out")
    assert report.fingerprint == whole.fingerprint
    assert report.resumed == finished
    for path in (tmp_path / "whole").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes(), path


def test_a_used_up_quota_is_called_that_and_other_errors_stay_themselves(
    sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    FullDisk("out.partial/clips/", 0, errno.EDQUOT).start(monkeypatch)
    with pytest.raises(DiskFullError, match=r"is full \(the quota is used up\)"):
        prepare(sound_root, tmp_path / "out")
    monkeypatch.undo()
    FullDisk("out.partial/clips/", 0, errno.EIO).start(monkeypatch)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        prepare(sound_root, tmp_path / "out")


def test_the_old_dataset_stays_usable_when_its_successor_does_not_fit(
    sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    old = prepare(sound_root, tmp_path / "out", size=16)
    FullDisk("out.partial/", 30_000).start(monkeypatch)
    with pytest.raises(DiskFullError):
        prepare(sound_root, tmp_path / "out", overwrite=True)
    assert load_prepared(tmp_path / "out")[0]["height"] == 16
    assert old.fingerprint in (tmp_path / "out" / "hsta_prepared.json").read_text()


def test_what_cannot_fit_is_refused_before_any_work(sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    usage = type("Usage", (), {"free": 100_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(prepare_module.ClipJob, "run", lambda *_: pytest.fail("it worked all the same"))
    # 43 frames of 24 x 24 x 3, and as much again while they are joined
    with pytest.raises(DiskFullError, match=rf"4 clips need {describe_bytes(2 * 43 * 24 * 24 * 3)} in .* 100 kB free"):
        prepare(sound_root, tmp_path / "out")


@pytest.mark.parametrize(
    ("number", "text"),
    [(999, "999 bytes"), (1000, "1 kB"), (1_234_567, "1.23 MB"), (999_700_000, "1000 MB"), (75 * 10**9, "75 GB")],
)
def test_sizes_are_said_as_people_say_them(number: int, text: str):
    assert describe_bytes(number) == text


MOUNTED = """
set -e
mount -t tmpfs -o size=3m none "$1"
set +e
"$2" -m hsta_hf.cli.main prepare casme3 "$3" "$1/out" --faces keep --workers 2
echo "exit $?"
ls "$1/out.partial/clips" | wc -l
mount -o remount,size=64m "$1"
"$2" -m hsta_hf.cli.main prepare casme3 "$3" "$1/out" --faces keep --workers 2
echo "exit $?"
cp -r "$1/out" "$4"
"""


@pytest.mark.slow
def test_a_file_system_that_is_really_full(casme3_tree: Casme3Tree, tmp_path: Path):
    """On a tmpfs of 3 MB, in a name space of our own."""
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare to mount a small file system with")
    probe = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)], capture_output=True)
    if probe.returncode:
        pytest.skip(f"this system lets nobody mount a small file system: {probe.stderr.decode().strip()}")
    rng = np.random.default_rng(0)
    for number in range(1, 201):
        path = casme3_tree.frame("spNO.1", "a", number)
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), rng.integers(0, 256, (120, 160, 3), dtype=np.uint8))
    for onset in range(1, 200, 10):
        casme3_tree.row("spNO.1", "a", onset, onset + 4, onset + 9)
    root = casme3_tree.save()
    prepare(root, tmp_path / "whole", size=None)
    (tmp_path / "small").mkdir()
    command = ["unshare", "-rm", "bash", "-c", MOUNTED, "bash", str(tmp_path / "small"), sys.executable, str(root)]
    done = subprocess.run([*command, str(tmp_path / "out")], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert said[0] == "exit 2" and 0 < int(said[1]) < 20
    (message,) = (line for line in done.stderr.splitlines() if line.startswith("hsta prepare:"))
    assert f"the disk of {tmp_path / 'small'} is full" in message and "make room" in message
    assert "Traceback" not in done.stderr
    assert f"({said[1]} from an earlier run)" in done.stdout and said[-1] == "exit 0"
    for path in (tmp_path / "whole").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes(), path
