"""Features of clips as a torch dataset: whole batches at once, since a step on features takes under a millisecond."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import Dataset

from hsta_hf.data.labels import Label
from hsta_hf.training.arguments import AugmentationArguments
from hsta_hf.training.augmentation import BatchAugmentation, clip_rng, mirrored_labels
from hsta_hf.training.samplers import Draw

_BLOCK = 1024
_PURPOSE = 5  # as `clip_rng` has it; clips read from disk use others


@dataclass(frozen=True)
class ClipFeatures:
    """What the head of a frozen model sees of every clip.

    Attributes:
        values: (clips, versions, width) float32, the [CLS] of both streams after their final LayerNorms as the head
            takes them; version 0 is evaluation's.
        mirrored: (clips, versions) whether left and right are exchanged.
    """

    values: torch.Tensor
    mirrored: torch.Tensor

    @property
    def versions(self) -> int:
        """Versions of each clip."""
        return int(self.values.shape[1])


class FeatureDataset(Dataset[dict[str, torch.Tensor]]):
    """Features of the clips of one part of a fold.

    An index gives a clip as evaluation sees it; a `Draw` of a training sampler gives a version picked by the draw's
    key, with the label of that version, and passes the key on, for mixup.

    Args:
        features: of all clips.
        indices: which clips are in this part.
        labels: their labels, in the same order.
        mirror: for each class, the class that it is in a mirrored picture; None where classes have no side.
    """

    def __init__(
        self,
        features: ClipFeatures,
        indices: Sequence[int],
        labels: Sequence[Label],
        mirror: Sequence[int] | None = None,
    ) -> None:
        if len(indices) != len(labels):
            raise ValueError(f"{len(indices)} clips but {len(labels)} labels.")
        self.features = features
        self.indices = torch.as_tensor(list(indices), dtype=torch.long)
        self.labels = list(labels)
        self.targets = torch.tensor(self.labels)
        self.mirror = None if mirror is None else torch.tensor(mirror)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, item: int | Draw) -> dict[str, torch.Tensor]:
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[int | Draw]) -> dict[str, torch.Tensor]:
        """A batch: `features` (batch, width), `labels`, and for draws `keys` (batch, 3)."""
        keys = [item.key for item in items if not isinstance(item, int)]
        places = torch.tensor([item if isinstance(item, int) else item.clip for item in items])
        clips, versions = self.indices[places], torch.zeros(len(items), dtype=torch.long)
        if keys and self.features.versions > 1:
            versions = torch.tensor([_drawn_version(key, self.features.versions) for key in keys])
        labels = self.targets[places]
        if self.mirror is not None:
            labels = mirrored_labels(labels, self.features.mirrored[clips, versions], self.mirror)
        batch = {"features": self.features.values[clips, versions], "labels": labels}
        return {**batch, "keys": torch.tensor(keys)} if keys else batch


def _drawn_version(key: tuple[int, int, int], versions: int) -> int:
    seed, epoch, place = key
    return _drawn_block(seed, epoch, place // _BLOCK, versions)[place % _BLOCK]


@functools.lru_cache(maxsize=16)
def _drawn_block(seed: int, epoch: int, block: int, versions: int) -> list[int]:
    """Versions of the draws of an epoch from place `block` * 1024 on: to make a generator for each of them would take
    longer than to train on them."""
    return clip_rng((seed, epoch, block), _PURPOSE).integers(versions, size=_BLOCK).tolist()


def as_it_is(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The collator of `FeatureDataset`, which hands out whole batches."""
    return batch


class FeatureFinisher:
    """Mixup of features, which for a linear head is mixup of logits (Verma et al., "Manifold Mixup", 2019).

    Args:
        arguments: of which only `mixup_alpha` acts: all else happened before the features were computed.
        num_labels: number of classes. With mixup, labels become (batch, num_labels) targets.
    """

    def __init__(self, arguments: AugmentationArguments, num_labels: int) -> None:
        self.augmentation = BatchAugmentation(arguments, "frames", "frames")
        self.num_labels = num_labels

    def __call__(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The batch without its keys, and with neighbours mixed if it had any."""
        result = {name: x for name, x in batch.items() if name != "keys"}
        if "keys" not in batch or not self.augmentation.arguments.mixup_alpha:
            return result
        if result["labels"].ndim == 1:
            result["labels"] = torch.nn.functional.one_hot(result["labels"], self.num_labels).float()
        if len(batch["keys"]) > 1:
            weight = self.augmentation.draw(batch["keys"].tolist()).mix.to(result["labels"].device)[:, None]
            result = {name: weight * x + (1 - weight) * x.roll(1, dims=0) for name, x in result.items()}
        return result
