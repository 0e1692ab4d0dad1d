"""Both streams of a clip, as training and evaluation read them.

A stream of pictures ("frames") is read from the prepared dataset, mapped into memory, and stays uint8 until it is on
the device. A stream of motion comes from the cache of `tensor_cache.py`, since its computing is expensive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers.image_utils import SizeDict

from hsta_hf.frame_selection import sample_random, sample_uniform, special_frame_indices
from hsta_hf.training.arguments import DataArguments
from hsta_hf.training.augmentation import clip_rng
from hsta_hf.training.clips import KeyFrames
from hsta_hf.training.mapped_files import MappedArray, MappedFrames
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

STREAMS = ("pixel_values", "special_pixel_values")


def stream_kinds(processor: HSTAVideoProcessor) -> dict[str, str]:
    """What each stream shows: "frames", "difference" or "optical_flow", by the name of the model's input."""
    return dict(zip(STREAMS, (processor.video_input, processor.special_input), strict=True))


def name_seed(name: str) -> int:
    """A seed out of a clip's name, not its place, so that leaving a clip out does not redraw the others."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")


def draw_version(
    key: KeyFrames, num_frames: int, arguments: DataArguments, rng: np.random.Generator
) -> tuple[KeyFrames, np.ndarray | None]:
    """A drawn version of a clip: key frames with the apex moved, and frames of the video stream.

    Args:
        key: the clip's key frames; an apex that is not known is not moved.
        num_frames: frames of the video stream.
        arguments: `random_frames` and `apex_jitter`.
        rng: source of randomness.

    Returns:
        The key frames, and (num_frames,) indices or None for those that the processor would choose.
    """
    indices = sample_random(key.onset, key.offset, num_frames, rng) if arguments.random_frames else None
    if key.apex is None or not arguments.apex_jitter:
        return key, indices
    moved = key.apex + int(rng.integers(-arguments.apex_jitter, arguments.apex_jitter + 1))
    return KeyFrames(key.onset, min(max(moved, key.onset), key.offset), key.offset), indices


@dataclass(frozen=True)
class ClipStreams:
    """The streams of all clips. Holds names and positions, no pictures, and is small wherever it is sent.

    Attributes:
        processor: decides frames and sizes.
        arguments: decides how training draws versions of a clip.
        frames: where the prepared frames lie.
        key_frames: (clips, 3) onset, apex and offset; -1 for an apex that is not known.
        spotted: (clips,) apexes that the processor spots, where they are needed and not known; -1 elsewhere.
        seeds: (clips,) `name_seed` of each clip.
        cached: by stream, (clips, versions, frames, channels, height, width), for the streams of motion.
    """

    processor: HSTAVideoProcessor
    arguments: DataArguments
    frames: MappedFrames
    key_frames: np.ndarray
    spotted: np.ndarray
    seeds: np.ndarray
    cached: Mapping[str, MappedArray]

    def __len__(self) -> int:
        return len(self.frames)

    def picture_shapes(self, clips: Sequence[int], streams: Sequence[str]) -> dict[str, tuple[int, ...]]:
        """Shape of one clip in those streams that need nothing but copying, and have one shape in all of `clips`.

        These are streams of pictures that were prepared at the stream's size, with a set number of frames.
        """
        sizes = self.frames.shape[np.asarray(clips, dtype=np.int64), 1:]
        numbers = {
            "pixel_values": self.processor.num_frames if self.processor.do_sample_frames else None,
            "special_pixel_values": len(self.processor.special_frames),
        }
        shapes: dict[str, tuple[int, ...]] = {}
        for name in streams:
            height, width = self._size(name) if self.processor.do_resize else sizes[0].tolist()
            number = numbers[name]
            if name not in self.cached and number and (sizes == (height, width)).all():
                shapes[name] = (number, height, width, 3)
        return shapes

    def read(
        self,
        clip: int,
        streams: Sequence[str] = STREAMS,
        key: Sequence[int] | None = None,
        out: Mapping[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Streams of one clip.

        Args:
            clip: its position.
            streams: which streams.
            key: without one, the clip as evaluation and the pipeline see it; with one, a version that the key draws.
                Both streams are of the same version. Version 0 is evaluation's; where a stream is cached, the others
                are those of the cache, else they are drawn from the key, new in every epoch.
            out: by stream, arrays to read pictures into, of `picture_shapes`.

        Returns:
            By stream: frames as (frames, height, width, 3) uint8 RGB, motion as (frames, 3, height, width) finished.
        """
        versions, variant = self.arguments.temporal_variants, 0
        if key is not None and versions > 1:
            variant = int(clip_rng(key, 0).integers(versions))
        pictures = [name for name in streams if name not in self.cached]
        found = {name: self.cached[name].read(clip, variant) for name in streams if name in self.cached}
        if pictures:
            rng = None
            if variant and self.cached:  # what the cached stream beside was computed with
                rng = np.random.default_rng([int(self.seeds[clip]), variant])
            elif variant:
                rng = clip_rng(key or (), 3)
            indices = self._indices(clip, rng)
            for name in pictures:
                place = None if out is None else out.get(name)
                found[name] = self._resized(self.frames.read(clip, indices[name], place), name)
        return {name: found[name] for name in streams}

    def _indices(self, clip: int, rng: np.random.Generator | None) -> dict[str, np.ndarray]:
        """Which frames each stream shows; `rng` None is evaluation's choice."""
        onset, apex, offset = self.key_frames[clip].tolist()
        key, video = KeyFrames(onset, None if apex < 0 else apex, offset), None
        if rng is not None:
            key, video = draw_version(key, self.processor.num_frames, self.arguments, rng)
        if video is None:
            whole = not self.processor.do_sample_frames
            video = np.arange(onset, offset + 1) if whole else sample_uniform(onset, offset, self.processor.num_frames)
        apex = int(self.spotted[clip]) if key.apex is None else key.apex
        special = special_frame_indices(onset, apex, offset, self.processor.special_frames)
        return dict(zip(STREAMS, (video, special), strict=True))

    def _resized(self, frames: np.ndarray, stream: str) -> np.ndarray:
        """(n, H, W, 3) uint8 at the size of the stream, resized as the processor does it."""
        height, width = self._size(stream)
        if not self.processor.do_resize or frames.shape[1:3] == (height, width):
            return frames
        # Channels stay last in memory, where resizing is three times as fast.
        pictures = torch.from_numpy(frames).permute(0, 3, 1, 2)
        resized = self.processor.resize(
            pictures, size=SizeDict(height=height, width=width), resample=self.processor.resample
        )
        return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())

    def _size(self, stream: str) -> tuple[int, int]:
        """(height, width) of a stream's pictures."""
        own = self.processor.special_size if stream == "special_pixel_values" else None
        size = dict(own or self.processor.size)
        return size["height"], size["width"]
