"""Processed clips on disk, computed once and shared by all folds, seeds and epochs.

Decoding and optical flow are the same in every epoch, so their results are kept as memory-mapped arrays. A clip
has `temporal_variants` versions: version 0 is what evaluation and the pipeline see; the others are drawn once,
with the clip's position and the version as seed (frames at random, apex moved), and training picks among them.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from tqdm.auto import tqdm

from hsta_hf.frame_selection import sample_random
from hsta_hf.training.arguments import DataArguments
from hsta_hf.training.clips import KeyFrames, LabelledClips
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

STREAM_FILES = {"pixel_values": "video.npy", "special_pixel_values": "special.npy"}


@dataclass(frozen=True)
class TensorCache:
    """Memory-mapped processed clips.

    Attributes:
        video: (clips, variants, frames, channels, height, width).
        special: (clips, variants, special frames, channels, height, width).
    """

    video: np.ndarray
    special: np.ndarray

    @property
    def num_variants(self) -> int:
        """Versions of each clip."""
        return int(self.video.shape[1])


def cache_key(clips: LabelledClips, processor: HSTAVideoProcessor, arguments: DataArguments) -> str:
    """Digest of all that decides what the cache holds: clips, processor fields, versions, number format."""
    drawn = arguments.temporal_variants > 1
    fields = {
        "clips": clips.fingerprint,
        "processor": processor.to_dict(),
        "apex": arguments.apex,
        "variants": arguments.temporal_variants,
        "random_frames": arguments.random_frames and drawn,
        "apex_jitter": arguments.apex_jitter if drawn else 0,
        "dtype": arguments.cache_dtype,
    }
    return hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()[:20]


def build_cache(
    clips: LabelledClips, processor: HSTAVideoProcessor, arguments: DataArguments, directory: Path
) -> TensorCache:
    """Open the cache of these clips in `directory`, computing what is missing of it.

    A computation that was killed goes on where it stopped; a second process waits for the first.

    Raises:
        ValueError: a clip cannot be processed; the message names it.
    """
    folder = directory / cache_key(clips, processor, arguments)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        _fill(clips, processor, arguments, folder)
    video, special = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in STREAM_FILES.values())
    return TensorCache(video, special)


def _fill(clips: LabelledClips, processor: HSTAVideoProcessor, arguments: DataArguments, folder: Path) -> None:
    flags, complete = folder / "done.npy", folder / "complete"
    if complete.is_file():
        return
    keys = clips.key_frames(arguments.apex)
    names = clips.column("clip_id")
    if not flags.is_file():
        first = _versions(clips, 0, keys[0], processor, 1, arguments, names[0])
        for name, stream in zip(STREAM_FILES.values(), first, strict=True):
            shape = (len(clips), arguments.temporal_variants, *stream.shape[1:])
            np.lib.format.open_memmap(folder / name, mode="w+", dtype=arguments.cache_dtype, shape=shape).flush()
        # Last, under its final name at once: where this file is, the arrays are.
        np.save(folder / "new.npy", np.zeros(len(clips), dtype=np.uint8), allow_pickle=False)
        os.replace(folder / "new.npy", flags)
    done = np.lib.format.open_memmap(flags, mode="r+")
    video, special = (np.lib.format.open_memmap(folder / name, mode="r+") for name in STREAM_FILES.values())

    def process(index: int) -> None:
        streams = _versions(clips, index, keys[index], processor, arguments.temporal_variants, arguments, names[index])
        video[index], special[index] = streams
        done[index] = 1

    missing = np.flatnonzero(done == 0).tolist()
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        list(tqdm(pool.map(process, missing), total=len(missing), desc="processing clips", unit="clip", mininterval=1))
    for array in (video, special, done):
        array.flush()
    complete.touch()


def _versions(
    clips: LabelledClips,
    index: int,
    key: KeyFrames,
    processor: HSTAVideoProcessor,
    variants: int,
    arguments: DataArguments,
    name: str,
) -> tuple[np.ndarray, np.ndarray]:
    """All versions of one clip: (variants, frames, C, H, W) and (variants, special frames, C, H, W)."""
    frames = clips.frames(index)
    try:
        streams = [processor.select_and_prepare(frames, key.onset, key.apex, key.offset)]
        for variant in range(1, variants):
            # Seeded by what the clip is, not by its place, so that leaving a clip out does not redraw the others.
            name_seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
            rng = np.random.default_rng([name_seed, variant])
            indices = None
            if arguments.random_frames:
                indices = sample_random(key.onset, key.offset, processor.num_frames, rng)
            apex = key.apex
            if apex is not None and arguments.apex_jitter:
                moved = apex + int(rng.integers(-arguments.apex_jitter, arguments.apex_jitter + 1))
                apex = min(max(moved, key.onset), key.offset)
            streams.append(processor.select_and_prepare(frames, key.onset, apex, key.offset, indices))
    except ValueError as error:
        raise ValueError(f"clip {name}: {error}") from error
    video, special = zip(*streams, strict=True)
    return np.stack([x.numpy() for x in video]), np.stack([x.numpy() for x in special])
