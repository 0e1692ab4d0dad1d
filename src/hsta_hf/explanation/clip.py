"""A clip as an explanation needs it: its aligned frames, what the model sees, and the same if nothing moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.explanation.maps import STREAM_INPUTS, PatchGrid, patch_grids
from hsta_hf.frame_selection import special_frame_indices
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

_SPANS = {"onset": "onset to apex", "apex": "apex to offset", "offset": "onset to offset"}


@dataclass(frozen=True)
class ExplainedClip:
    """One clip.

    Attributes:
        frames: `(frames, height, width, 3)` uint8 RGB, the faces aligned where the model was trained on such.
        onset, apex, offset: indices into `frames`.
        video_frames, special_frames: indices of the frames that each stream shows.
        special_names: "onset", "apex" or "offset", for each of `special_frames`.
        special_input: what the special stream shows: "frames", "difference" or "optical_flow".
        streams: by stream, `(1, frames, channels, height, width)`, what the model sees.
        still: the same where nothing moves.
        grids: how each stream is cut into patches.
    """

    frames: np.ndarray
    onset: int
    apex: int
    offset: int
    video_frames: tuple[int, ...]
    special_frames: tuple[int, ...]
    special_names: tuple[str, ...]
    special_input: str
    streams: Mapping[str, torch.Tensor]
    still: Mapping[str, torch.Tensor]
    grids: Mapping[str, PatchGrid]

    def to(self, device: torch.device) -> ExplainedClip:
        """The clip with its streams on another device."""
        streams, still = ({name: x.to(device) for name, x in part.items()} for part in (self.streams, self.still))
        return replace(self, streams=streams, still=still)

    def tubelet_frames(self, stream: str) -> list[tuple[int, ...]]:
        """Indices of the frames that each tubelet of a stream covers."""
        frames = self.video_frames if stream == "video" else self.special_frames
        size = self.grids[stream].tubelet_size
        return [tuple(frames[start : start + size]) for start in range(0, len(frames), size)]

    def tubelet_names(self, stream: str) -> list[str]:
        """What each tubelet of a stream shows, in words."""
        if stream == "video":
            return [f"video, {_frames_text(frames)}" for frames in self.tubelet_frames(stream)]
        size = self.grids[stream].tubelet_size
        motion = self.special_input == "optical_flow"
        named = [_SPANS[name] if motion else name for name in self.special_names]
        return ["special, " + " and ".join(named[i : i + size]) for i in range(0, len(named), size)]


def _frames_text(frames: Sequence[int]) -> str:
    different = list(dict.fromkeys(frames))
    return ("frame " if len(different) == 1 else "frames ") + ", ".join(map(str, different))


def still_streams(config: HSTAConfig, processor: HSTAVideoProcessor, onset: np.ndarray) -> dict[str, torch.Tensor]:
    """What the model would see of a clip in which nothing moves: its onset frame, shown throughout.

    Streams of flow and difference are then 0 everywhere; a stream of pictures shows the onset frame again and again.

    Args:
        config: of the model; streams that it does not use are left out.
        processor: makes the streams.
        onset: `(height, width, 3)` uint8.

    Returns:
        By stream, `(1, frames, channels, height, width)`.
    """
    inputs = processor(onset[None], onset=0, apex=0, offset=0, return_tensors="pt")
    return {name: inputs[STREAM_INPUTS[name]] for name in patch_grids(config)}


def prepare_clip(
    config: HSTAConfig,
    processor: HSTAVideoProcessor,
    frames: np.ndarray,
    onset: int | None = None,
    apex: int | None = None,
    offset: int | None = None,
) -> ExplainedClip:
    """Make the streams of a clip in memory, frames chosen as the processor chooses them.

    Args:
        config: of the model.
        processor: of the model.
        frames: `(frames, height, width, 3)` uint8 RGB, aligned.
        onset, apex, offset: indices into `frames`; missing ones as in the processor.

    Raises:
        ValueError: as the processor does, where the indices are not in order inside the clip.
    """
    inputs = processor(frames, onset=onset, apex=apex, offset=offset, return_tensors="pt", return_frame_indices=True)
    chosen = inputs["frame_indices"][0]
    grids = patch_grids(config)
    special = special_frame_indices(chosen["onset"], chosen["apex"], chosen["offset"], processor.special_frames)
    return ExplainedClip(
        frames=frames,
        onset=chosen["onset"],
        apex=chosen["apex"],
        offset=chosen["offset"],
        video_frames=tuple(chosen["video"]),
        special_frames=tuple(special.tolist()),
        special_names=tuple(processor.special_frames),
        special_input=processor.special_input,
        streams={name: inputs[STREAM_INPUTS[name]] for name in grids},
        still=still_streams(config, processor, frames[chosen["onset"]]),
        grids=grids,
    )
