"""Which clips show the same pictures: duplicated and overlapping footage, found by frame hashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

# A picture that more clips show than this says nothing about any two of them: a black frame, a title, a test card.
COMMON = 20
# Two clips share footage from this many common pictures on; one alone is a coincidence, such as a black frame.
FEWEST = 2


class SharedFootage(NamedTuple):
    """Two clips that show the same pictures.

    Attributes:
        first: Position of the one clip; smaller than `second`.
        second: Position of the other.
        frames: How many different pictures both show.
    """

    first: int
    second: int
    frames: int


def shared_footage(
    hashes: Sequence[Sequence[int]] | Mapping[str, Sequence[int]], common: int = COMMON
) -> list[SharedFootage]:
    """Find every two clips that share footage, in time that grows with the number of frames, not of pairs.

    What counts, so that black frames and stills make no noise:

    - A picture counts once in a clip, however often the clip repeats it.
    - Two clips share footage if they have two pictures or more in common, or one that is all that the shorter of
      them shows.
    - A picture in more than `common` clips is no evidence for any two of them. Clips that are copies of each other
      picture by picture are found in any number all the same; of more than `common` copies, each is paired with the
      next instead of with all others, so that copies on both sides of a split always have a pair that tells.

    Args:
        hashes: For each clip its frames' hashes (`DecodedClip.frame_hashes`, the column `frame_hashes` of a
            prepared dataset): integers from 0 to 2^64 - 1. Of a mapping the values are taken, in its order.
        common: Most clips that may show a picture which is still evidence.

    Returns:
        The pairs by position, in increasing order. Clips without frames are in none.
    """
    clips = [_pictures(clip) for clip in (hashes.values() if isinstance(hashes, Mapping) else hashes)]
    evidence: Counter[tuple[int, int]] = Counter()
    for shown in _clips_by_picture(clips):
        if len(shown) <= common:
            evidence.update(combinations(shown, 2))
    pairs = {
        (first, second): count
        for (first, second), count in evidence.items()
        if count >= min(FEWEST, len(clips[first]), len(clips[second]))
    }
    copies: dict[bytes, list[int]] = {}
    for position, pictures in enumerate(clips):
        if len(pictures) >= FEWEST:
            copies.setdefault(pictures.tobytes(), []).append(position)
    for positions in copies.values():
        pairs.update({pair: len(clips[pair[0]]) for pair in pairwise(positions)})
    return [SharedFootage(first, second, pairs[first, second]) for first, second in sorted(pairs)]


def _pictures(hashes: Sequence[int]) -> np.ndarray:
    """The different hashes of a clip, sorted: (n,) uint64."""
    return np.unique(np.asarray(hashes, dtype=np.uint64))


def _clips_by_picture(clips: Sequence[np.ndarray]) -> list[list[int]]:
    """For every picture that two clips or more show, the positions of these clips in increasing order."""
    if not clips:
        return []
    pictures = np.concatenate(clips)
    position = np.repeat(np.arange(len(clips)), [len(clip) for clip in clips])
    order = np.argsort(pictures, kind="stable")
    pictures, position = pictures[order], position[order]
    starts = np.flatnonzero(np.append(True, pictures[1:] != pictures[:-1])) if len(pictures) else np.array([], int)
    ends = np.append(starts[1:], len(pictures))
    several = np.flatnonzero(ends - starts > 1)
    return [position[starts[run] : ends[run]].tolist() for run in several]
