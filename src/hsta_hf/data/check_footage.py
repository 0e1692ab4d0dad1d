"""Clips that show the same pictures: rows that overlap, and recordings that are in a database twice.

Which two clips share footage is `shared_footage`'s rule (data/footage.py). On top of it:

- Pictures of one colour alone are left out: they show nobody, and black frames are in many recordings.
- Common pictures that lie in the same files in both clips are those of two annotation rows that overlap.
  Everything else is the same pictures under other names: a recording that is there twice.
- Two clips of one subject are a warning: a split by subjects keeps them together, a split by clips may not. Clips of
  two subjects are an error, since no split by subjects keeps them together.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from hsta_hf.data.check_kinds import FOOTAGE_FIELD
from hsta_hf.data.clip import MicroExpressionClip
from hsta_hf.data.databases.base import ERROR, WARNING, Problem
from hsta_hf.data.decode import DecodedClip, frame_hash
from hsta_hf.data.footage import shared_footage


@dataclass(frozen=True)
class ClipPictures:
    """What is kept of a clip that was decoded: about 11 bytes a frame.

    Attributes:
        clip: The clip as it was decoded, onset to offset.
        hashes: (n,) uint64, one for each of its frames.
        colours: Gives (n, 3) uint8, a colour for each: that of the whole picture where it has one colour only. Asked
            for where another clip shows one of the pictures, too.
        size: (height, width) of its frames in pixels.
    """

    clip: MicroExpressionClip
    hashes: np.ndarray
    colours: Callable[[], np.ndarray]
    size: tuple[int, int]

    @classmethod
    def of(cls, decoded: DecodedClip) -> ClipPictures:
        """Of a clip that was decoded with `size=1`, whose frames are their own mean colours."""
        hashes = np.asarray(decoded.frame_hashes, np.uint64)
        colours = decoded.frames.reshape(-1, 3)
        return cls(decoded.clip, hashes, lambda: colours, decoded.source_size)


@dataclass(frozen=True)
class SharedClips:
    """Two clips that show the same pictures.

    Attributes:
        first: The clip that comes first in the annotation.
        second: The other.
        frames: How many different pictures both show.
        same_files: True if all of these lie in the same files: the two rows overlap.
    """

    first: MicroExpressionClip
    second: MicroExpressionClip
    frames: int
    same_files: bool

    @property
    def same_subject(self) -> bool:
        """True if both clips are of one person."""
        return _person(self.first) == _person(self.second)


def overlapping_rows(clips: Sequence[MicroExpressionClip]) -> list[SharedClips]:
    """The clips that share frame files, found without opening one."""
    keys = [[_file_key(place) for place in _places(clip)] for clip in clips]
    return [SharedClips(clips[first], clips[second], frames, True) for first, second, frames in shared_footage(keys)]


def shared_pictures(pictures: Sequence[ClipPictures]) -> list[SharedClips]:
    """The clips that share pictures, in whatever files these lie; pictures of one colour do not count."""
    clips = [shown.clip for shown in pictures]
    hashes = _without_plain(pictures)
    found = []
    for first, second, frames in shared_footage(hashes):
        where: list[dict[int, set[tuple[str, int]]]] = [{}, {}]
        for side, position in enumerate((first, second)):
            for place, value in zip(_places(clips[position]), pictures[position].hashes.tolist(), strict=True):
                where[side].setdefault(value, set()).add(place)
        common = set(hashes[first]) & set(hashes[second])
        same_files = all(where[0][value] & where[1][value] for value in common)
        found.append(SharedClips(clips[first], clips[second], frames, same_files))
    return found


def all_shared(pictures: Sequence[ClipPictures]) -> list[SharedClips]:
    """The clips that share pictures, and those that share files whose pictures say nothing; in the clips' order."""
    clips = [shown.clip for shown in pictures]
    place = {clip.clip_id: position for position, clip in enumerate(clips)}
    # Pictures come last: they also tell of copies.
    by_clips = {
        (place[pair.first.clip_id], place[pair.second.clip_id]): pair
        for pair in (*overlapping_rows(clips), *shared_pictures(pictures))
    }
    return [by_clips[places] for places in sorted(by_clips)]


def footage_problems(shared: Sequence[SharedClips]) -> list[Problem]:
    """One problem for each clip, severity and sort of sharing; it names the clip with most in common."""
    groups: dict[tuple[str, bool, bool], list[SharedClips]] = {}
    for pair in shared:
        groups.setdefault((pair.second.clip_id, pair.same_files, pair.same_subject), []).append(pair)
    problems = []
    for (_, same_files, same_subject), pairs in groups.items():
        most = max(pairs, key=lambda pair: pair.frames)
        other = f"{clip_name(most.first)} ({most.first.source})"
        others = len(pairs) - 1
        more = f" and with {others} more clip{'s' if others > 1 else ''}" if others else ""
        frames = f"{most.frames} frame{'s' if most.frames > 1 else ''}"
        if same_files:
            message = f"shares {frames} with {other}{more}: these rows overlap"
        else:
            message = f"shows {frames} of {other}{more} under other names: the recording is there twice"
        if same_subject:
            message += "; both are kept, split by subjects"
        else:
            message += (
                f", as subjects {most.first.subject} and {most.second.subject}; training and test would share it"
            )
        severity = WARNING if same_subject else ERROR
        problems.append(Problem(clip_name(most.second), FOOTAGE_FIELD, message, severity, most.second.source))
    return problems


def clip_name(clip: MicroExpressionClip) -> str:
    """`subject/filename/onset/apex/offset`, as problems name clips."""
    return f"{clip.subject}/{clip.filename}/{clip.onset}/{'?' if clip.apex is None else clip.apex}/{clip.offset}"


def _person(clip: MicroExpressionClip) -> tuple[str, str]:
    return clip.database, clip.subject


def _places(clip: MicroExpressionClip) -> list[tuple[str, int]]:
    """(file, frame in it) for every frame."""
    if clip.video_path is not None:
        return [(str(clip.video_path), number) for number in clip.frame_numbers]
    return [(str(path), 0) for path in clip.frame_paths]


def _file_key(place: tuple[str, int]) -> int:
    digest = hashlib.blake2b(f"{place[1]}\0{place[0]}".encode("utf-8", "surrogateescape"), digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def _without_plain(pictures: Sequence[ClipPictures]) -> list[list[int]]:
    """Each clip's hashes without those of pictures of one colour. Looked at only where several clips share one."""
    clips_with: Counter[int] = Counter()
    for shown in pictures:
        clips_with.update(set(shown.hashes.tolist()))
    plain: dict[tuple[tuple[int, int], tuple[int, ...]], int] = {}
    kept = []
    for shown in pictures:
        values = shown.hashes.tolist()
        if all(clips_with[value] == 1 for value in values):
            kept.append(values)
            continue
        own = []
        for value, colour in zip(values, shown.colours(), strict=True):
            if clips_with[value] > 1:
                key = (shown.size, tuple(colour.tolist()))
                if key not in plain:
                    plain[key] = frame_hash(np.full((*shown.size, 3), colour, np.uint8))
                if plain[key] == value:
                    continue
            own.append(value)
        kept.append(own)
    return kept
