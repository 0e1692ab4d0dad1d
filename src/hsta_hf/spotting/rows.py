"""The movement curve of a recording: a few numbers a step, which are all that is kept of its frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ROW = np.dtype(
    [
        ("face", "?"),  # whether a face was followed here
        ("score", "<f4"),  # how well a rise and fall with its apex here explains the face; NaN where not judged
        ("blink", "<f4"),  # the largest change of the eyes' picture from onset to offset, as a share of its contrast
        ("rise", "<u2"),  # steps from the onset to here
        ("fall", "<u2"),  # steps from here to the offset
        ("region", "u1"),  # of `regions.REGION_NAMES`, the one that moved most
        ("motion", "<f4"),  # pixels of the small picture by which the head moved since the step before
    ]
)


def empty_rows(count: int) -> np.ndarray:
    """(count,) of `ROW`: no face, nothing judged."""
    rows = np.zeros(count, ROW)
    rows["score"] = rows["blink"] = rows["motion"] = np.nan
    return rows


@dataclass(frozen=True)
class MovementCurve:
    """What is kept of a recording.

    Attributes:
        rows: (steps,) of `ROW`.
        step: frames that make a step: 1 up to 45 frames a second, else about as many as make 30 steps a second.
        fps: frames per second.
        num_frames: frames of the recording.
    """

    rows: np.ndarray
    step: int
    fps: float
    num_frames: int

    def frames(self, step: int) -> tuple[int, int]:
        """First and last frame of a step."""
        return step * self.step, step * self.step + self.step - 1

    def seconds(self) -> np.ndarray:
        """(steps,) the middle of each step."""
        return (np.arange(len(self.rows)) * self.step + (self.step - 1) / 2) / self.fps

    def faceless(self) -> list[tuple[int, int]]:
        """First and last frame of each stretch in which no face was followed."""
        return [(a * self.step, min(b * self.step + self.step - 1, self.num_frames - 1)) for a, b in self._gaps()]

    def _gaps(self) -> Iterator[tuple[int, int]]:
        edges = np.diff(np.concatenate([[0], (~self.rows["face"]).astype(np.int8), [0]]))
        yield from zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True)


def frames_per_step(fps: float) -> int:
    """How many frames are averaged: more frames a second than about 30 tell more about noise than about movement."""
    return max(1, round(fps / 30)) if fps > 45 else 1
