"""Torch dataset over the streams of clips, and the collator that stacks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, default_collate

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
        position, key = (item, None) if isinstance(item, int) else (item.clip, item.key)
        clip = self.clips.read(self.indices[position], self.streams, key)
        return {**clip, "labels": self.labels[position], "key": key}


class ClipCollator:
    """Stack clips into batches, numbers as they are stored: what is uint8 stays so until it is on the device.

    Batches of clips that carry keys have them as `keys`, (batch, 3) int64; `HSTATrainer` takes those out again.
    """

    def __call__(self, clips: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        # torch's own collating: in a worker process it stacks right into the memory that is shared with the training.
        batch = {
            name: default_collate([torch.from_numpy(clip[name]) for clip in clips])
            for name in clips[0]
            if name not in ("labels", "key")
        }
        batch["labels"] = torch.tensor([clip["labels"] for clip in clips])
        if all(clip["key"] is not None for clip in clips):
            batch["keys"] = torch.tensor([clip["key"] for clip in clips])
        return batch
