"""Where `hsta prepare` keeps finished clips until all are done: OUT.partial.

A clip is first a file of its own in `clips/`. Joining puts many into one file of `dataset/`, notes in `joined/` whose
they are, and only then removes their own files: the disk never holds two copies of more than one joined file, and a
run that is killed at any moment loses none.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from hsta_hf.data.databases.base import Problem
from hsta_hf.data.prepared import FEATURES

CLIPS, DATASET, JOINED = "clips", "dataset", "joined"
# A joined file holds clips of up to this many bytes (or one clip that is larger) ...
FILE_BYTES = 512 << 20
# ... in record batches of up to so many bytes and clips: reading goes through few of them even for 10,000 clips.
BATCH_BYTES = 32 << 20
BATCH_CLIPS = 64
_BINARY = ("frames", "flow")
_NOTE = b"hsta_finished_clip"


@dataclass(frozen=True)
class FinishedClip:
    """What became of one clip.

    Attributes:
        key: Digest of the clip, its files and the options.
        row: The columns without frames and flow; None if the clip is unusable.
        problems: What was wrong with its files.
        digest: Digest of the row's content, frames and flow included; "" without a row.
        num_bytes: Bytes of its frames and flow.
    """

    key: str
    row: dict[str, Any] | None
    problems: tuple[Problem, ...]
    digest: str
    num_bytes: int


class PartStore:
    """The finished clips in OUT.partial, by key."""

    def __init__(self, partial: Path) -> None:
        """Look at what earlier runs left; half-written files go."""
        self.clips, self.dataset, self.joined = (partial / name for name in (CLIPS, DATASET, JOINED))
        for folder in (self.clips, self.dataset, self.joined):
            folder.mkdir(parents=True, exist_ok=True)
            for leftover in folder.glob("*.tmp"):
                leftover.unlink()
        # key: the joined file it is in, and its place there
        self._places: dict[str, tuple[Path, int]] = {}
        self._finished: dict[str, FinishedClip] = {}
        for note in sorted(self.joined.glob("*.json")):
            self._read_note(note)

    def write(self, key: str, table: pa.Table | None, problems: Sequence[Problem], digest: str = "") -> None:
        """Keep a clip: a table of one row, or none if it is unusable. Safe to call from several threads."""
        table = FEATURES.arrow_schema.empty_table() if table is None else table
        note = {
            "problems": [asdict(problem) for problem in problems],
            "digest": digest,
            "num_bytes": sum(_length(table.column(name)) for name in _BINARY),
        }
        schema = table.schema.with_metadata({**(table.schema.metadata or {}), _NOTE: json.dumps(note).encode()})
        with _whole_file(self._file(key)) as sink, pa.ipc.new_stream(sink, schema) as writer:
            for batch in table.to_batches():
                writer.write_batch(pa.record_batch(batch.columns, schema=schema))

    def get(self, key: str) -> FinishedClip | None:
        """The finished clip of that key; None if there is none, or a crash of the machine cut its file off."""
        if key not in self._finished:
            try:
                with pa.memory_map(str(self._file(key))) as source:
                    table = pa.ipc.open_stream(source).read_all()
                    note = json.loads(table.schema.metadata[_NOTE])
                    self._finished[key] = _finished(key, table, note)
            except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
                return None
        return self._finished[key]

    def middle_colours(self, key: str) -> np.ndarray:
        """(n, 3) uint8: the colour in the middle of each of a clip's frames, which stay on the disk."""
        with contextlib.ExitStack() as sources:
            table = self._table(key, sources)
            height, width = (table.column(name)[0].as_py() for name in ("height", "width"))
            data = table.column("frames")[0].as_buffer()
            frames = np.frombuffer(data, np.uint8).reshape(-1, height, width, 3)
            colours = frames[:, height // 2, width // 2].copy()
            del table, data, frames  # the file that they map is closed next
        return colours

    def forget_others(self, keys: Sequence[str]) -> None:
        """Remove the files of clips with other keys: other options, or frames that have changed since."""
        wanted = set(keys)
        for path in self.clips.iterdir():
            if path.stem not in wanted:
                path.unlink()

    def join(self, finished: Sequence[FinishedClip]) -> Iterator[tuple[Path, int]]:
        """Write the clips, in order, into joined files; yields each file's path and clips when it is whole.

        Names and bytes of the files depend on the clips' content only, not on which run wrote what.
        """
        wanted = []
        for number, group in enumerate(_groups(finished, FILE_BYTES)):
            content = hashlib.sha256("\n".join(clip.digest for clip in group).encode()).hexdigest()[:12]
            path = self.dataset / f"clips-{number:05d}-{content}.arrow"
            wanted.append(path)
            known = [self._places.get(clip.key) for clip in group]
            if not path.exists() or known != [(path, place) for place in range(len(group))]:
                self._write_note(path, group)
                if not path.exists():
                    self._write_joined(path, group)
                for place, clip in enumerate(group):
                    self._places[clip.key] = (path, place)
            for clip in group:
                self._file(clip.key).unlink(missing_ok=True)
            yield path, len(group)
        for path in self.dataset.iterdir():  # joined by a run with other options, or of other clips
            if path not in wanted and path.suffix == ".arrow":
                path.unlink()
                self._note(path).unlink(missing_ok=True)

    def _write_joined(self, path: Path, group: Sequence[FinishedClip]) -> None:
        schema = FEATURES.arrow_schema
        with _whole_file(path, to_disk=True) as sink, pa.ipc.new_stream(sink, schema) as writer:
            for clips in _groups(group, BATCH_BYTES, BATCH_CLIPS):
                with contextlib.ExitStack() as sources:
                    tables = [self._table(clip.key, sources) for clip in clips]
                    table = tables[0] if len(tables) == 1 else pa.concat_tables(tables).combine_chunks()
                    for batch in table.to_batches():
                        writer.write_batch(batch)
                    del tables, table, batch  # the files they map are closed next

    def _table(self, key: str, sources: contextlib.ExitStack) -> pa.Table:
        """The one-row table of a finished clip, mapped from its file."""
        path, place = self._places.get(key, (self._file(key), 0))
        table = pa.ipc.open_stream(sources.enter_context(pa.memory_map(str(path)))).read_all()
        return table.slice(place, 1).replace_schema_metadata(FEATURES.arrow_schema.metadata)

    def _file(self, key: str) -> Path:
        return self.clips / f"{key}.arrow"

    def _note(self, path: Path) -> Path:
        return self.joined / f"{path.stem}.json"

    def _write_note(self, path: Path, group: Sequence[FinishedClip]) -> None:
        notes = [
            {
                "key": clip.key,
                "problems": [asdict(problem) for problem in clip.problems],
                "digest": clip.digest,
                "num_bytes": clip.num_bytes,
            }
            for clip in group
        ]
        with _whole_file(self._note(path), to_disk=True) as file:
            file.write(json.dumps(notes).encode())

    def _read_note(self, note: Path) -> None:
        path = self.dataset / f"{note.stem}.arrow"
        try:
            notes = json.loads(note.read_text(encoding="utf-8"))
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_stream(source).read_all()
                if len(table) != len(notes):
                    return
                for place, entry in enumerate(notes):
                    self._finished[entry["key"]] = _finished(entry["key"], table.slice(place, 1), entry)
                    self._places[entry["key"]] = (path, place)
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError):
            return  # its clips are done again


def _finished(key: str, table: pa.Table, note: dict[str, Any]) -> FinishedClip:
    rows = table.drop_columns(list(_BINARY)).to_pylist()
    problems = tuple(Problem(**problem) for problem in note["problems"])
    return FinishedClip(key, rows[0] if rows else None, problems, str(note["digest"]), int(note["num_bytes"]))


def _length(column: pa.ChunkedArray) -> int:
    """Bytes of all values of a large_binary column."""
    return sum(value.as_buffer().size for value in column if value.is_valid)


def _groups(
    clips: Sequence[FinishedClip], most_bytes: int, most_clips: int | None = None
) -> Iterator[list[FinishedClip]]:
    """Neighbours of up to so many bytes and clips together; a clip that is larger is alone."""
    group: list[FinishedClip] = []
    total = 0
    for clip in clips:
        if group and (total + clip.num_bytes > most_bytes or len(group) == most_clips):
            yield group
            group, total = [], 0
        group.append(clip)
        total += clip.num_bytes
    if group:
        yield group


@contextlib.contextmanager
def _whole_file(path: Path, to_disk: bool = False) -> Iterator[Any]:
    """A file to write that appears under its name when it is whole; `to_disk` outlives a power cut, too."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            if to_disk:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # on a full disk its room is needed
        raise
