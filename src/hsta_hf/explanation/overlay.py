"""Maps over faces: the aligned frame in grey, and colour where a patch counted.

Patches are drawn as the squares that they are: a map has no finer detail, and smoothing it would make some up.
"""

from __future__ import annotations

import cv2
import numpy as np

from hsta_hf.explanation.clip import ExplainedClip

# From Okabe and Ito, which colour-blind readers tell apart: for the class from yellow to vermilion, against it blue.
_FOR_LOW, _FOR_HIGH, _AGAINST = (240, 228, 66), (190, 60, 0), (0, 90, 178)
_STRONGEST = 0.72  # how much of the face the strongest colour hides


def grey_face(frame: np.ndarray, size: int) -> np.ndarray:
    """A frame in grey, `(size, size, 3)` uint8, lightened so that colours show; stretched as for the model."""
    how = cv2.INTER_AREA if min(frame.shape[:2]) > size else cv2.INTER_CUBIC
    grey = cv2.cvtColor(cv2.resize(frame, (size, size), interpolation=how), cv2.COLOR_RGB2GRAY)
    return np.repeat((64 + 0.75 * grey.astype(np.float64)).astype(np.uint8)[..., None], 3, axis=2)


def draw_over(face: np.ndarray, relevance: np.ndarray, strongest: float) -> np.ndarray:
    """Colour the patches of a face.

    Args:
        face: `(size, size, 3)` uint8.
        relevance: `(rows, columns)`; negative where a patch spoke against the class.
        strongest: the relevance that gets the full colour; the same in all pictures that are to be compared.

    Returns:
        `(size, size, 3)` uint8.
    """
    size = len(face)
    scaled = np.clip(relevance / strongest if strongest > 0 else np.zeros_like(relevance), -1, 1)
    pixels = cv2.resize(scaled.astype(np.float64), (size, size), interpolation=cv2.INTER_NEAREST)[..., None]
    low, high, against = (np.array(colour, dtype=np.float64) for colour in (_FOR_LOW, _FOR_HIGH, _AGAINST))
    colour = np.where(pixels >= 0, low + (high - low) * pixels, against)
    hidden = _STRONGEST * np.abs(pixels) ** 0.8
    return np.asarray(np.rint((1 - hidden) * face + hidden * colour), dtype=np.uint8)


def strength_colours() -> list[tuple[float, float, float]]:
    """Colours from no relevance to the strongest, over a white face, for a legend."""
    white = np.full((1, 1, 3), 255, np.uint8)
    return [
        tuple((draw_over(white, np.array([[share]]), 1.0)[0, 0] / 255).tolist()) for share in np.linspace(0, 1, 64)
    ]


def tubelet_at(clip: ExplainedClip, stream: str, frame: int) -> int:
    """Which tubelet of a stream speaks for a frame of the clip.

    In the video stream, the one that holds the sampled frame nearest in time. In the special stream, of pictures,
    likewise; of motion, the last one that begins no later, since "apex" there is what happens after the apex.
    """
    if stream == "special" and clip.special_input == "optical_flow":
        begun = [
            i for i, frames in enumerate(clip.tubelet_frames(stream)) if min(_begins(clip, i, len(frames))) <= frame
        ]
        return begun[-1] if begun else 0
    distances = [min(abs(frame - shown) for shown in frames) for frames in clip.tubelet_frames(stream)]
    return int(np.argmin(distances))


def _begins(clip: ExplainedClip, tubelet: int, length: int) -> list[int]:
    """The frames at which the flows in a special tubelet begin."""
    begins = {"onset": clip.onset, "apex": clip.apex, "offset": clip.onset}
    return [begins[name] for name in clip.special_names[tubelet * length : (tubelet + 1) * length]]
