"""Torch dataset over the streams of clips, and the collator that stacks them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, default_collate, get_worker_info

from hsta_hf.data.labels import Label
from hsta_hf.training.clip_streams import ClipStreams
from hsta_hf.training.samplers import Draw


class ClipDataset(Dataset[dict[str, Any]]):
    """Clips of one part of a fold.

    An index gives the clip as evaluation sees it; a `Draw` of a training sampler gives a version picked by the
    draw's key, and passes the key on, for augmentation.

    Args:
        clips: the streams of all clips.
        indices: which clips are in this part.
        labels: their labels, in the same order.
        streams: names of the model inputs to hand out, "pixel_values" and "special_pixel_values".
    """

    def __init__(
        self, clips: ClipStreams, indices: Sequence[int], labels: Sequence[Label], streams: Sequence[str]
    ) -> None:
        if len(indices) != len(labels):
            raise ValueError(f"{len(indices)} clips but {len(labels)} labels.")
        self.clips = clips
        self.indices = list(indices)
        self.labels = list(labels)
        self.streams = tuple(streams)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int | Draw) -> dict[str, Any]:
        return self._clip(item, {})

    def __getitems__(self, items: Sequence[int | Draw]) -> ClipBatch:
        """A batch, as a `DataLoader` asks for it: pictures are read right into its memory where they can be."""
        places = [self.indices[_position(item)] for item in items]
        shapes = self.clips.picture_shapes(places, self.streams)
        stacked = {name: _batch_memory((len(items), *shape)) for name, shape in shapes.items()}
        arrays = {name: pictures.numpy() for name, pictures in stacked.items()}
        clips = [self._clip(item, {name: a[row] for name, a in arrays.items()}) for row, item in enumerate(items)]
        return ClipBatch(clips, stacked)

    def _clip(self, item: int | Draw, out: Mapping[str, np.ndarray]) -> dict[str, Any]:
        position, key = _position(item), None if isinstance(item, int) else item.key
        clip = self.clips.read(self.indices[position], self.streams, key, out)
        return {**clip, "labels": self.labels[position], "key": key}


class ClipBatch(list[dict[str, Any]]):
    """Clips of a batch.

    Attributes:
        stacked: by stream, what is in one piece already: the clips' arrays are its rows.
    """

    def __init__(self, clips: Sequence[dict[str, Any]], stacked: Mapping[str, torch.Tensor]) -> None:
        super().__init__(clips)
        self.stacked = dict(stacked)


def _position(item: int | Draw) -> int:
    return item if isinstance(item, int) else item.clip


def _batch_memory(shape: tuple[int, ...]) -> torch.Tensor:
    """An uninitialised uint8 tensor; in a worker process in memory that is shared with the training."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    storage = torch.UntypedStorage._new_shared(math.prod(shape))  # as torch's own collating does
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)


class ClipCollator:
    """Stack clips into batches, numbers as they are stored: what is uint8 stays so until it is on the device.

    Batches of clips that carry keys have them as `keys`, (batch, 3) int64; `HSTATrainer` takes those out again.
    """

    def __call__(self, clips: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        stacked = clips.stacked if isinstance(clips, ClipBatch) else {}
        # torch's own collating: in a worker process it stacks right into the memory that is shared with the training.
        batch = {
            name: stacked[name] if name in stacked else default_collate([torch.from_numpy(c[name]) for c in clips])
            for name in clips[0]
            if name not in ("labels", "key")
        }
        batch["labels"] = torch.tensor([clip["labels"] for clip in clips])
        if all(clip["key"] is not None for clip in clips):
            batch["keys"] = torch.tensor([clip["key"] for clip in clips])
        return batch
