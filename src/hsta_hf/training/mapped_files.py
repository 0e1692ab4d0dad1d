"""Arrays in files, of which one clip is read at a time.

What stays mapped into memory counts as a process's own once it was touched: after an epoch a loader would seem to hold
the whole dataset. Here a prepared clip is mapped, copied from and unmapped, and a cached one, which is small, is read,
so that memory does not depend on how many there are. Both classes hold names and positions only: a worker process,
forked or spawned, gets those and opens the file itself.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class MappedArray:
    """An array of an uncompressed .npy file.

    Attributes:
        path: the file.
        shape: its shape.
        dtype: its number format.
        start: position of the first number in the file, in bytes.
    """

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int

    @classmethod
    def open(cls, path: Path) -> MappedArray:
        """Read the header of a .npy file in C order.

        Raises:
            ValueError: the file is no such file.
        """
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(array, np.memmap) or not array.flags.c_contiguous:
            raise ValueError(f"{path} is no array in C order; delete it")
        return cls(path, array.shape, array.dtype, int(array.offset))

    def read(self, *index: int) -> np.ndarray:
        """A copy of the part at `index`, one position for each of the first axes."""
        number = int(np.ravel_multi_index(index, self.shape[: len(index)]))
        inner = self.shape[len(index) :]
        size = int(np.prod(inner)) * self.dtype.itemsize
        # A clip's part is small: reading it takes a fraction of the time of mapping it, and gives a copy as well.
        part = np.fromfile(self.path, self.dtype, count=math.prod(inner), offset=self.start + number * size)
        return part.reshape(inner)


@dataclass(frozen=True)
class MappedFrames:
    """Where the frames of clips lie in the files of a prepared dataset.

    Attributes:
        files: the files.
        file: (clips,) which file each clip is in.
        start: (clips,) position of its first frame in the file, in bytes.
        shape: (clips, 3) number of frames, height and width.
    """

    files: tuple[Path, ...]
    file: np.ndarray
    start: np.ndarray
    shape: np.ndarray

    def __len__(self) -> int:
        return len(self.file)

    def select(self, clips: Sequence[int]) -> MappedFrames:
        """Only these clips, in this order."""
        chosen = np.asarray(clips, dtype=np.int64)
        return MappedFrames(self.files, self.file[chosen], self.start[chosen], self.shape[chosen])

    def read(self, clip: int, positions: Sequence[int] | np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """A copy of some frames of a clip: (len(positions), height, width, 3) uint8 RGB.

        Args:
            clip: its position.
            positions: which frames, counted from 0.
            out: where to copy them to, an array of the result's shape; None makes one.

        Raises:
            IndexError: the clip has no such frame.
        """
        num_frames, height, width = self.shape[clip].tolist()
        path, start = self.files[self.file[clip]], int(self.start[clip])
        chosen = np.asarray(positions, dtype=np.int64)
        if len(chosen) and not (chosen.min() >= 0 and chosen.max() < num_frames):
            raise IndexError(f"clip {clip} has {num_frames} frames; {chosen.tolist()} were asked for")
        frames = np.memmap(path, np.uint8, mode="r", offset=start, shape=(num_frames, height, width, 3))
        # Any mode but "raise" lets NumPy write into `out` without a copy of its own; the range is checked above.
        return np.take(np.asarray(frames), chosen, axis=0, out=out, mode="clip")


def locate_frames(rows: datasets.Dataset) -> MappedFrames:
    """Find out where the frames of a prepared dataset lie, or of a selection of it that is no slice of its table.

    Raises:
        ValueError: the dataset is not one that lies in files as `hsta prepare` writes them.
    """
    files = tuple(Path(entry["filename"]) for entry in rows.cache_files)
    parts = [_starts_and_sizes(path) for path in files]
    starts, sizes = (np.concatenate([part[i] for part in parts] or [np.zeros(0, np.int64)]) for i in (0, 1))
    file = np.repeat(np.arange(len(files)), [len(part[0]) for part in parts])
    table = rows.data
    if len(starts) != table.num_rows:
        raise ValueError(
            f"the dataset has {table.num_rows} clips, its files {', '.join(map(str, files)) or '(none)'} hold "
            f"{len(starts)}; open it with hsta_hf.data.prepared.load_prepared"
        )
    shape = np.stack([table.column(name).to_numpy() for name in ("num_frames", "height", "width")], axis=1)
    if wrong := np.flatnonzero(sizes != 3 * shape.prod(axis=1)).tolist():
        clip = table.column("clip_id")[wrong[0]].as_py()
        raise ValueError(
            f"clip {clip}: {sizes[wrong[0]]} bytes of frames do not fit its shape; run hsta prepare again"
        )
    chosen = slice(None) if rows._indices is None else rows._indices.column(0).to_numpy()
    return MappedFrames(files, file[chosen], starts[chosen], shape[chosen])


def _starts_and_sizes(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Position in an Arrow file, and size, of the frames of each row, in bytes."""
    with pa.memory_map(str(path)) as source:
        # Arrow copies nothing out of a mapped file: what lies at an address lies in the file, that far from its start.
        first, end = source.read_buffer(1).address, source.size()
        source.seek(0)
        starts, sizes = [], []
        for batch in pa.ipc.open_stream(source):
            frames = batch.column("frames")
            _, offsets, data = frames.buffers()
            edges = np.frombuffer(offsets, np.int64)[frames.offset : frames.offset + len(frames) + 1]
            starts.append(edges[:-1] + (data.address - first))
            sizes.append(np.diff(edges))
        found, size = (np.concatenate(part or [np.zeros(0, np.int64)]) for part in (starts, sizes))
    if len(found) and not (found.min() >= 0 and (found + size).max() <= end):
        raise ValueError(f"{path} cannot be mapped, it is compressed; run hsta prepare again")
    return found, size
