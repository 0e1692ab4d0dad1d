"""With how many threads torch computes: part of a recipe, since the order of sums depends on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hsta_hf.training.recipe import Recipe


def set_threads(recipe: Recipe) -> None:
    """Let torch compute with `num_threads` threads, where the recipe names a number, in this process."""
    if recipe.data.num_threads is not None:
        torch.set_num_threads(recipe.data.num_threads)


@contextmanager
def threads_put_back() -> Iterator[None]:
    """Afterwards, let torch compute with as many threads as before."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
