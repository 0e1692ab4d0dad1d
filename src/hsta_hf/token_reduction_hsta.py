"""Fewer tokens for the video stream: patches that do not move are merged along time.

The frames of a micro-expression are nearly the same, so at most places of the face one tubelet repeats the one before
it. A tubelet whose pixels changed least since the previous tubelet at the same place joins that one, and the two (or
more) become one token, their mean. Every place keeps at least one token, so nothing of the face is lost, and places
that move keep one token per tubelet: run-length coding of the clip (as in run-length tokenisation, Choudhury et al.
2024), but with a fixed number of tokens, so that batches need no padding and compiled graphs keep their shapes. Tokens
are averaged as in token merging (Bolya et al. 2023).

The file is copied into saved model folders, so it imports nothing of this package.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class TokenGroups:
    """Which tokens of a sequence share one merged token, as a matrix of averages.

    Args:
        averages: `(batch, merged tokens, tokens)`; row k holds 1 / size of group k at its members and 0 elsewhere, so
            each row sums to 1 and each column has one entry. The first token, the [CLS], is a group of its own.
    """

    averages: torch.Tensor

    def merge(self, tokens: torch.Tensor) -> torch.Tensor:
        """`(batch, tokens, width)` to the means of the groups, `(batch, merged tokens, width)`."""
        return self.averages.to(tokens.dtype) @ tokens

    def unmerge(self, merged: torch.Tensor) -> torch.Tensor:
        """`(batch, merged tokens, width)` to `(batch, tokens, width)`: each token gets its group's value."""
        return self._members(merged.dtype).transpose(1, 2) @ merged

    def unmerge_keys(self, attention: torch.Tensor) -> torch.Tensor:
        """A map `(batch, heads, queries, merged tokens)` to `(batch, heads, queries, tokens)`: the members of a group
        share its attention equally, so rows still sum to 1."""
        return attention @ self.averages.to(attention.dtype)[:, None]

    def unmerge_map(self, attention: torch.Tensor) -> torch.Tensor:
        """A map `(batch, heads, merged tokens, merged tokens)` to `(batch, heads, tokens, tokens)`."""
        return self._members(attention.dtype).transpose(1, 2)[:, None] @ self.unmerge_keys(attention)

    def _members(self, dtype: torch.dtype) -> torch.Tensor:
        return (self.averages > 0).to(dtype)


def temporal_change(pixel_values: torch.Tensor, tubelet_size: int, patch_size: tuple[int, int]) -> torch.Tensor:
    """Mean absolute change of each tubelet since the previous one at the same place.

    Args:
        pixel_values: `(batch, frames, channels, height, width)`, in any unit; only the order of changes is used.
        tubelet_size: frames in a tubelet.
        patch_size: height and width of a patch, pixels.

    Returns:
        `(batch, tubelets - 1, patches of a frame)`, float32, in the order of the tubelet embedding.
    """
    pixels = pixel_values.float()  # a CPU cannot pool half precision
    change = (pixels[:, tubelet_size:] - pixels[:, :-tubelet_size]).abs().mean(dim=2)
    return nn.functional.avg_pool3d(change, (tubelet_size, *patch_size)).flatten(2)


def group_still_patches(change: torch.Tensor, merged_away: int) -> TokenGroups:
    """Groups in which the `merged_away` tubelets that changed least have joined the tubelet before them.

    Args:
        change: `(batch, tubelets - 1, patches of a frame)`, as [`temporal_change`] gives it.
        merged_away: how many tokens to save, at most (tubelets - 1) * patches of a frame.

    Returns:
        Groups over [CLS] and then the patches, tubelet by tubelet: 1 + patches tokens, `merged_away` fewer groups.
    """
    batch, steps, places = change.shape
    tokens = 1 + (steps + 1) * places
    stills = change.flatten(1).topk(merged_away, dim=1, largest=False, sorted=False).indices
    starts = torch.ones(batch, tokens, dtype=torch.long, device=change.device)
    starts = starts.scatter(1, stills + 1 + places, 0)  # + 1: the [CLS]; + places: the first tubelet always starts
    number = starts.cumsum(1) - 1
    groups = [number[:, : 1 + places]]
    for step in range(1, steps + 1):  # a token that starts no group takes the group of the tubelet before it
        here = slice(1 + step * places, 1 + (step + 1) * places)
        groups.append(torch.where(starts[:, here] == 1, number[:, here], groups[-1][:, -places:]))
    group = torch.cat(groups, dim=1)
    members = group[:, None, :] == torch.arange(tokens - merged_away, device=change.device)[None, :, None]
    members = members.to(torch.float32)
    return TokenGroups(members / members.sum(dim=-1, keepdim=True))


__all__ = ["TokenGroups", "group_still_patches", "temporal_change"]
