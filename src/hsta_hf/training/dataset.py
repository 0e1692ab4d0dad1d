"""Torch dataset over processed clips, and the collator that augments a batch at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from hsta_hf.data.labels import Label
from hsta_hf.training.augmentation import BatchAugmentation, clip_rng
from hsta_hf.training.samplers import Draw
from hsta_hf.training.tensor_cache import TensorCache


class ClipDataset(Dataset[dict[str, Any]]):
    """Processed clips of one part of a fold.

    An index gives the clip as evaluation sees it; a `Draw` of a training sampler gives a version picked by the
    draw's key, and passes the key on to the collator.

    Args:
        cache: the processed clips.
        indices: which clips of the cache are in this part.
        labels: their labels, in the same order.
        streams: names of the model inputs to hand out, "pixel_values" and "special_pixel_values".
    """

    def __init__(
        self, cache: TensorCache, indices: Sequence[int], labels: Sequence[Label], streams: Sequence[str]
    ) -> None:
        if len(indices) != len(labels):
            raise ValueError(f"{len(indices)} clips but {len(labels)} labels.")
        self.cache = cache
        self.indices = list(indices)
        self.labels = list(labels)
        self.streams = tuple(streams)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int | Draw) -> dict[str, Any]:
        position, variant, key = (item, 0, None) if isinstance(item, int) else (item.clip, 0, item.key)
        if key is not None and self.cache.num_variants > 1:
            variant = int(clip_rng(key, 0).integers(self.cache.num_variants))
        arrays = {"pixel_values": self.cache.video, "special_pixel_values": self.cache.special}
        clip: dict[str, Any] = {name: arrays[name][self.indices[position], variant] for name in self.streams}
        return {**clip, "labels": self.labels[position], "key": key}


class ClipCollator:
    """Stack clips into float32 batches, augmenting those that carry a key.

    Args:
        augmentation: what to do with training clips; None leaves all as they are.
        num_labels: number of classes. With mixup, labels become (batch, num_labels) targets.
    """

    def __init__(self, augmentation: BatchAugmentation | None, num_labels: int) -> None:
        self.augmentation = augmentation
        self.num_labels = num_labels

    def __call__(self, clips: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = {
            name: torch.from_numpy(np.stack([clip[name] for clip in clips])).float()
            for name in clips[0]
            if name not in ("labels", "key")
        }
        batch["labels"] = torch.tensor([clip["labels"] for clip in clips])
        keys = [clip["key"] for clip in clips]
        if self.augmentation is None or any(key is None for key in keys):
            return batch
        if self.augmentation.arguments.mixup_alpha and batch["labels"].ndim == 1:
            batch["labels"] = torch.nn.functional.one_hot(batch["labels"], self.num_labels).float()
        return self.augmentation(batch, keys)
