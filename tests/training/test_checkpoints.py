"""A checkpoint counts only if it was written to its end."""

from __future__ import annotations

from pathlib import Path

from hsta_hf.reporting.files import write_atomically
from hsta_hf.training.checkpoints import is_complete, last_complete_checkpoint, mark_complete


def checkpoint(folder: Path, step: int, complete: bool = True) -> Path:
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.safetensors").write_bytes(b"x" * 100)
    (path / "optimizer.pt").write_bytes(b"y" * 50)
    if complete:
        mark_complete(path)
    return path


def test_the_last_whole_checkpoint_is_used_and_broken_later_ones_go(tmp_path: Path) -> None:
    good, better = checkpoint(tmp_path, 9), checkpoint(tmp_path, 90)
    unmarked = checkpoint(tmp_path, 100, complete=False)
    truncated = checkpoint(tmp_path, 110)
    (truncated / "optimizer.pt").write_bytes(b"y" * 10)
    missing = checkpoint(tmp_path, 120)
    (missing / "model.safetensors").unlink()
    assert last_complete_checkpoint(tmp_path) == better
    assert good.is_dir() and not any(path.exists() for path in (unmarked, truncated, missing))


def test_no_checkpoint_is_no_error(tmp_path: Path) -> None:
    assert last_complete_checkpoint(tmp_path / "absent") is None
    checkpoint(tmp_path, 1, complete=False)
    (tmp_path / "notes.txt").write_text("kept")
    assert last_complete_checkpoint(tmp_path) is None
    assert (tmp_path / "notes.txt").read_text() == "kept"


def test_a_damaged_marker_does_not_vouch(tmp_path: Path) -> None:
    path = checkpoint(tmp_path, 1)
    assert is_complete(path)
    (path / "complete.json").write_text("{")
    assert not is_complete(path)


def test_writing_leaves_no_other_file_behind(tmp_path: Path) -> None:
    write_atomically(tmp_path / "sub" / "file.txt", "one")
    write_atomically(tmp_path / "sub" / "file.txt", "two")
    assert [file.name for file in (tmp_path / "sub").iterdir()] == ["file.txt"]
    assert (tmp_path / "sub" / "file.txt").read_text() == "two"
