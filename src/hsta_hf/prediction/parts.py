"""Predictions kept as they are made, so that a killed `hsta predict` goes on where it stopped.

The clips are cut into shares of fixed size. What a share gave is written as one file of OUT.partial, whole or not at
all, under a name made of all that decides it: model, settings, the share's clips and their files. A file of that name
is taken over, whatever became of the command that wrote it. At the end, all shares are joined in order.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hsta_hf import __version__
from hsta_hf.prediction.clips import ClipRequest, Prediction
from hsta_hf.prediction.results import OutputError, as_row, write_tables
from hsta_hf.reporting.files import write_atomically


@dataclass(frozen=True)
class Share:
    """Clips that are classified together.

    Attributes:
        number: its place in the order, from 0.
        requests: its clips.
        key: digest of all that decides what they give.
    """

    number: int
    requests: tuple[ClipRequest, ...]
    key: str


def make_shares(requests: Sequence[ClipRequest], settings: Any, size: int) -> list[Share]:
    """Cut the clips into shares.

    Args:
        requests: all clips, in order.
        settings: what else decides the results, fit for JSON.
        size: clips of a share.
    """
    shares = []
    for number, start in enumerate(range(0, len(requests), size)):
        part = tuple(requests[start : start + size])
        facts = [__version__, settings, [_facts(request) for request in part]]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        shares.append(Share(number, part, digest[:20]))
    return shares


def _facts(request: ClipRequest) -> list[Any]:
    """What tells a clip from others: its name, its key frames, and its file as far as one look says."""
    source = str(request.source)
    facts: list[Any] = [request.name, request.onset, request.apex, request.offset, request.error]
    try:
        found = os.stat(source)
    except (OSError, ValueError):  # a URL, or nothing at all
        return [*facts, None]
    return [*facts, found.st_size, found.st_mtime_ns]


class PartStore:
    """The folder OUT.partial, held by one command at a time.

    Args:
        output: the table that will be written.

    Raises:
        OutputError: another command is writing it.
    """

    def __init__(self, output: Path) -> None:
        self.output = output
        self.folder = self.folder_of(output)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.folder / "lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise OutputError(f"{output}: another command is writing it; wait for it, or name another file") from None

    @staticmethod
    def folder_of(output: Path) -> Path:
        """OUT.partial."""
        return output.with_name(f"{output.name}.partial")

    def done(self, share: Share) -> bool:
        """Whether what a share gives is here already."""
        return self._file(share).is_file()

    def write(self, share: Share, rows: Sequence[dict[str, Any]]) -> None:
        """Keep what a share gave: one row of `results.as_row` for each of its clips, in order."""
        assert len(rows) == len(share.requests)
        write_atomically(self._file(share), "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows))

    def join(self, shares: Sequence[Share], labels: Sequence[str]) -> int:
        """Write the tables out of all shares, and delete the folder; returns how many clips failed."""
        rows = []
        for share in shares:
            lines = self._file(share).read_text(encoding="utf-8").split("\n")
            rows += [json.loads(line) for line in lines if line]
        failures = write_tables(self.output, rows, labels)
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)
        return failures

    def release(self) -> None:
        """Let another command have the folder, which stays."""
        self._lock.release()

    def _file(self, share: Share) -> Path:
        return self.folder / f"{share.number:06d}-{share.key}.jsonl"


def rows_of(found: Sequence[Prediction]) -> list[dict[str, Any]]:
    """Predictions as rows of a part."""
    return [as_row(one) for one in found]
