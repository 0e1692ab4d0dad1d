"""What a caller may give `HSTAVideoProcessor` as clips, frame indices and sizes, brought to one form.

The file is copied into saved model folders, so it imports nothing of this package but its neighbours.
"""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers.image_utils import SizeDict

from .video_reading_hsta import is_picture_path


def as_clips(videos: Any) -> list[Any]:
    """A list of clips out of one clip or several."""
    if isinstance(videos, (np.ndarray, torch.Tensor)):
        return list(videos) if videos.ndim == 5 else [videos]
    if not isinstance(videos, (list, tuple)) or len(videos) == 0:
        return [videos]
    first = videos[0]
    if isinstance(first, (str, os.PathLike)):
        return [videos] if all(is_picture_path(item) for item in videos) else list(videos)
    if isinstance(first, (np.ndarray, torch.Tensor)):
        # (H, W), (H, W, C) and (C, H, W) are frames of one clip; (T, H, W) and 4-D arrays are clips.
        is_frame = first.ndim == 2 or (
            first.ndim == 3 and (first.shape[-1] in (1, 3, 4) or first.shape[0] in (1, 3, 4))
        )
        return [videos] if is_frame else list(videos)
    if isinstance(first, (list, tuple, bytes, bytearray, memoryview)):
        return list(videos)
    return [videos]


def per_clip(values: Any, num_clips: int, name: str) -> list[int | None]:
    """One index or None per clip."""
    if isinstance(values, (torch.Tensor, np.ndarray)):
        values = values.tolist()
    if values is None:
        return [None] * num_clips
    if not isinstance(values, (list, tuple)):
        values = [values]
    if len(values) != num_clips:
        raise ValueError(f"{name} has {len(values)} entries for {num_clips} clips; give one (or None) for each")
    values = [value.item() if isinstance(value, (torch.Tensor, np.generic)) else value for value in values]
    for value in values:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if value is not None and (isinstance(value, bool) or not whole):
            raise ValueError(f"{name} holds {value!r}; frame indices are whole numbers")
    return [None if value is None else int(value) for value in values]


def clip_name(number: int, num_clips: int) -> str:
    """What error messages call a clip."""
    return "the video" if num_clips == 1 else f"video {number} of the batch"


def as_size(size: Any, field: str) -> dict[str, int] | None:
    """{"height", "width"} out of a number, a dict or None."""
    if size is None:
        return None
    if isinstance(size, int):
        size = {"height": size, "width": size}
    elif isinstance(size, (Mapping, SizeDict)):
        size = {k: v for k, v in dict(size).items() if v}
    if not isinstance(size, dict) or set(size) != {"height", "width"} or min(size.values()) < 1:
        raise ValueError(f'{field} is {size}; it must be {{"height": …, "width": …}} in pixels')
    return size


def as_face_alignment(value: Any) -> dict[str, Any] | None:
    """The processor's field `face_alignment`, checked.

    Raises:
        ValueError: it is neither None nor a size of 16 pixels or more and whether frames are stabilised.
    """
    if value is None:
        return None
    fields = dict(value) if isinstance(value, Mapping) else {}
    size, stabilise = fields.get("size"), fields.get("stabilise")
    sound = isinstance(size, int) and not isinstance(size, bool) and size >= 16 and isinstance(stabilise, bool)
    if set(fields) != {"size", "stabilise"} or not sound:
        raise ValueError(
            f'face_alignment is {value!r}; it must be None, or {{"size": pixels (16 or more), "stabilise": true or '
            "false}, as the clips were aligned that the model was trained on"
        )
    return fields


def size_dict(size: Any) -> SizeDict:
    """A size of `as_size` in the form that transformers resizes with."""
    return size if isinstance(size, SizeDict) else SizeDict(**size)
