"""What a decision rests on, drawn over the aligned face frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from hsta_hf.explanation.clip import prepare_clip
from hsta_hf.explanation.gradients import gradient_attention
from hsta_hf.explanation.overlay import draw_over, grey_face, tubelet_at
from hsta_hf.explanation.regions import REGIONS, region_shares
from hsta_hf.prediction import Predictor

SIDE = 224
"""Pixels a side of the pictures."""
MOST_PICTURES = 64
"""Of a longer clip, so many frames are drawn, evenly spread."""
MOST_REGIONS = 3
_STREAMS = {"video": "Video stream", "special": "Special stream"}


@dataclass(frozen=True)
class Overlay:
    """A map of relevance over a clip.

    Attributes:
        label: the class that it explains.
        frames: which frames of the clip are drawn, counted from its onset.
        pictures: by stream of the model, (len(frames), SIDE, SIDE, 3) uint8.
        stream_shares: by stream, its part of the relevance, 0 to 1.
        regions: (name with action units, share) of the face regions with the most relevance, largest first; none where
            the face is not aligned, since it is not known then where they are.
    """

    label: str
    frames: tuple[int, ...]
    pictures: dict[str, np.ndarray]
    stream_shares: dict[str, float]
    regions: tuple[tuple[str, float], ...]


def explain(predictor: Predictor, frames: np.ndarray, apex: int, label: str) -> Overlay:
    """Gradient x attention (`explanation.gradients`) of one class: one pass through the model and back.

    The map says on what the model's score rests, not whether it is right. `hsta explain` has other maps, and tests by
    deletion whether they mean anything.

    Args:
        predictor: the model.
        frames: (T, H, W, 3) uint8 from onset to offset, as the model sees them.
        apex: index of the apex in `frames`.
        label: the class.
    """
    clip = prepare_clip(predictor.model.config, predictor.processor, frames, 0, apex, len(frames) - 1)
    streams = {name: values.to(predictor.device) for name, values in clip.streams.items()}
    target = torch.tensor([predictor.labels.index(label)], device=predictor.device)
    found = gradient_attention(predictor.model, streams, target)[0]
    drawn = tuple(np.unique(np.linspace(0, len(frames) - 1, MOST_PICTURES).round().astype(int)).tolist())
    strongest = max(float(values.max()) for values in found.streams.values())
    faces = {frame: grey_face(frames[frame], SIDE) for frame in drawn}
    pictures = {
        name: np.stack([draw_over(faces[frame], values[tubelet_at(clip, name, frame)], strongest) for frame in drawn])
        for name, values in found.streams.items()
    }
    shares = found.shares()
    regions: tuple[tuple[str, float], ...] = ()
    if predictor.aligner is not None:
        regions = _largest(np.sum([region_shares(values.sum(axis=0)) for values in shares.values()], axis=0))
    return Overlay(
        label,
        drawn,
        {_STREAMS[name]: values for name, values in pictures.items()},
        {_STREAMS[name]: float(values.sum()) for name, values in shares.items()},
        regions,
    )


def _largest(by_region: np.ndarray) -> tuple[tuple[str, float], ...]:
    """The regions of the face with the most relevance; what lies beside the face has no name."""
    named = [(region.label, float(share)) for region, share in zip(REGIONS[:-1], by_region[:-1], strict=True)]
    return tuple(sorted(named, key=lambda entry: -entry[1])[:MOST_REGIONS])
