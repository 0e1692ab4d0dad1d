"""Checkpoints that a kill cannot spoil: one counts only once a marker, written last, vouches for its files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from hsta_hf.reporting.files import write_json

MARKER = "complete.json"
_CHECKPOINT = re.compile(r"^checkpoint-(\d+)$")


def _sizes(folder: Path) -> dict[str, int]:
    return {
        str(file.relative_to(folder)): file.stat().st_size
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != MARKER
    }


def mark_complete(checkpoint: Path) -> None:
    """Vouch for a checkpoint: note the names and sizes of its files."""
    write_json(checkpoint / MARKER, _sizes(checkpoint))


def is_complete(checkpoint: Path) -> bool:
    """Whether the checkpoint was written to its end and still has all its files."""
    marker = checkpoint / MARKER
    try:
        noted = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    found = _sizes(checkpoint)
    return bool(noted) and all(found.get(name) == size for name, size in noted.items())


def last_complete_checkpoint(folder: Path) -> Path | None:
    """The latest checkpoint that is complete; later ones, which a kill cut short, are deleted.

    Returns:
        None if there is none, and training starts from the beginning.
    """
    if not folder.is_dir():
        return None
    found = [(int(match.group(1)), entry) for entry in folder.iterdir() if (match := _CHECKPOINT.match(entry.name))]
    for _, checkpoint in sorted(found, reverse=True):
        if is_complete(checkpoint):
            return checkpoint
        shutil.rmtree(checkpoint)
    return None
