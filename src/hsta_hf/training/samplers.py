"""Which training clips an epoch shows, in which order: a function of (seed, epoch) and nothing else.

Samplers yield `Draw`s. A draw carries the key of its own randomness (seed, epoch, position in the epoch), so that
augmentation needs no state: a resumed epoch, or another number of workers, gives the same clips and the same
augmentation.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """One clip of one epoch: its position in the dataset, and the key of its randomness."""

    clip: int
    key: tuple[int, int, int]


class ShuffledSampler(Sampler[Draw]):
    """Every clip once an epoch, in an order drawn from (seed, epoch)."""

    def __init__(self, num_clips: int, seed: int) -> None:
        self.num_clips = num_clips
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration shows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_clips

    def __iter__(self) -> Iterator[Draw]:
        order = self._order(np.random.default_rng([self.seed, self.epoch]))
        return iter([Draw(int(i), (self.seed, self.epoch, place)) for place, i in enumerate(order)])

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        return rng.permutation(self.num_clips)


class ClassBalancedSampler(ShuffledSampler):
    """As many draws as there are clips, every class equally often (to within one).

    A class with too few clips starts over on a new shuffle of them; one with too many shows a random part of them
    each epoch. For multi-label clips, whose label is a tuple of zeros and ones, a clip's chance is proportional to
    one over the frequency of its rarest label, and draws are independent; clips without any label count as having one
    more, "none", so that they come as often as those of any other label.

    Args:
        labels: class id of each clip, or tuple of zeros and ones.
        seed: seed of the fold.

    Raises:
        ValueError: there are no clips.
    """

    def __init__(self, labels: Sequence[int] | Sequence[tuple[float, ...]], seed: int) -> None:
        super().__init__(len(labels), seed)
        if not len(labels):
            raise ValueError("There are no training clips to sample from.")
        self.weights: np.ndarray | None = None
        self.clips_of_class: list[np.ndarray] = []
        if isinstance(labels[0], (tuple, list)):
            present = np.asarray(labels, dtype=np.float64)
            present = np.hstack([present, ~present.any(axis=1, keepdims=True)])
            weights = (present / np.maximum(present.sum(axis=0), 1)).max(axis=1)
            self.weights = weights / weights.sum()
        else:
            groups: dict[Hashable, list[int]] = {}
            for index, label in enumerate(labels):
                groups.setdefault(label, []).append(index)
            self.clips_of_class = [np.asarray(groups[label]) for label in sorted(groups)]  # type: ignore[type-var]

    def _order(self, rng: np.random.Generator) -> np.ndarray:
        if self.weights is not None:
            return rng.choice(self.num_clips, size=self.num_clips, p=self.weights)
        share, rest = divmod(self.num_clips, len(self.clips_of_class))
        lucky = set(rng.permutation(len(self.clips_of_class))[:rest].tolist())  # these classes come once more
        draws = []
        for number, clips in enumerate(self.clips_of_class):
            wanted = share + (number in lucky)
            shuffles = [rng.permutation(clips) for _ in range(-(-wanted // len(clips)))]
            draws.append(np.concatenate(shuffles)[:wanted] if shuffles else clips[:0])
        return rng.permutation(np.concatenate(draws))


class WholeBatches(Sampler[Draw]):
    """As many draws of another sampler as fill whole batches; an epoch's last ones, which do not, are left out.

    So that a batch can be shared equally among processes.

    Args:
        sampler: whose draws these are.
        batch_size: clips in a batch.

    Raises:
        ValueError: an epoch has not enough clips for one batch.
    """

    def __init__(self, sampler: ShuffledSampler, batch_size: int) -> None:
        if len(sampler) < batch_size:
            raise ValueError(
                f"total_batch_size is {batch_size}, but a fold trains on {len(sampler)} clips; make it smaller."
            )
        self.sampler = sampler
        self.batch_size = batch_size

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration shows."""
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.sampler) // self.batch_size * self.batch_size

    def __iter__(self) -> Iterator[Draw]:
        return itertools.islice(iter(self.sampler), len(self))
