"""The movement curve of a recording, made as its frames stream by.

The recording is cut into blocks of a minute. Each is judged for itself, with a little of its neighbours at both ends,
so that a run which was interrupted goes on at the next block and ends with the same numbers. Of the frames, a second
or two of small grey pictures is held at any time; of what is past, `rows.ROW`, some 20 bytes a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from hsta_hf.data.face_alignment import FaceAligner
from hsta_hf.spotting.judge import Judge
from hsta_hf.spotting.rows import MovementCurve, empty_rows, frames_per_step
from hsta_hf.spotting.scan import Lengths
from hsta_hf.spotting.tracking import CROP, FaceFrame, HeadTracker

BLOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Block:
    """A judged piece of a recording: its number, from 0, and its rows."""

    number: int
    rows: np.ndarray


class BlockedCurve:
    """Makes the curve of a recording, block by block.

    Args:
        aligner: finds faces, for crops of `tracking.CROP` pixels.
        fps: frames per second.
        lengths: of micro-expressions, in seconds.
    """

    def __init__(self, aligner: FaceAligner, fps: float, lengths: Lengths) -> None:
        if not 1 <= fps <= 10_000:
            raise ValueError(f"a recording has 1 to 10,000 frames a second, not {fps:g}")
        self.fps, self.step = fps, frames_per_step(fps)
        self._aligner, self._lengths = aligner, lengths
        self.block_steps = max(1, round(BLOCK_SECONDS * fps / self.step))
        self._beside = lengths.window(fps / self.step)  # steps that a block looks at before and after its own

    def first_frame(self, block: int) -> int:
        """The first frame that block number `block` has to see."""
        return max(0, block * self.block_steps - self._beside) * self.step

    def blocks(self, frames: Iterable[tuple[int, np.ndarray]], first_block: int = 0) -> Iterator[Block]:
        """The blocks of a recording, each as soon as the frames beside it have gone by.

        Args:
            frames: (index, frame) of the recording, in order, from `first_frame(first_block)` on or from earlier.
            first_block: number of the first block that is wanted.
        """
        open_blocks: list[_OpenBlock] = []
        next_block = first_block
        for index, frame in frames:
            while index == self.first_frame(next_block):
                open_blocks.append(self._open(next_block))
                next_block += 1
            for block in open_blocks:
                block.see(frame)
            if open_blocks and open_blocks[0].full:
                yield open_blocks.pop(0).finish()
        for block in open_blocks:
            finished = block.finish()
            if len(finished.rows):
                yield finished

    def whole(self, blocks: Iterable[np.ndarray], num_frames: int) -> MovementCurve:
        """The curve out of the rows of all blocks."""
        rows = list(blocks)
        return MovementCurve(np.concatenate(rows) if rows else empty_rows(0), self.step, self.fps, num_frames)

    def _open(self, number: int) -> _OpenBlock:
        before = number * self.block_steps - self.first_frame(number) // self.step
        tracker = HeadTracker(self._aligner, self.fps)
        judge = Judge(self._lengths, self.fps / self.step, before + self.block_steps + self._beside)
        return _OpenBlock(number, tracker, _Steps(self.step), judge, before, self.block_steps)


class _OpenBlock:
    """A block whose frames are going by."""

    def __init__(
        self, number: int, tracker: HeadTracker, steps: _Steps, judge: Judge, before: int, wanted: int
    ) -> None:
        self._number, self._tracker, self._steps, self._judge = number, tracker, steps, judge
        self._before, self._wanted = before, wanted

    @property
    def full(self) -> bool:
        return self._judge.full

    def see(self, frame: np.ndarray) -> None:
        """Take the next frame in."""
        for step in self._steps.see(self._tracker.follow(frame)):
            self._judge.see(*step)

    def finish(self) -> Block:
        """The rows of the block itself, without those of the steps beside it."""
        for step in self._steps.end():
            self._judge.see(*step)
        rows = self._judge.finish()
        return Block(self._number, rows[self._before : self._before + self._wanted].copy())


class _Steps:
    """Frames averaged to steps: (picture or None, whether a stretch starts with it, the head's motion)."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._starts = self._broken = False
        self._sum: np.ndarray = np.zeros((CROP, CROP), np.float32)
        self._motion, self._count = 0.0, 0

    def see(self, face: FaceFrame | None) -> Iterator[tuple[np.ndarray | None, bool, float]]:
        """Take a frame's face in; gives a step where one is complete."""
        if face is None:
            self._broken = True
        else:
            # Where a stretch starts within a step, two places of the head would be averaged: no face in that one.
            self._broken |= face.starts and self._count > 0
            self._starts |= face.starts
            self._sum = self._sum + face.crop
            self._motion += face.motion
        self._count += 1
        if self._count == self._size:
            yield from self.end()

    def end(self) -> Iterator[tuple[np.ndarray | None, bool, float]]:
        """The step that is not complete, if any."""
        if self._count:
            if self._broken:
                yield None, False, 0.0
            else:
                yield (self._sum / self._count).astype(np.float32), self._starts, self._motion
                self._starts = False
            self._begin()

    def _begin(self) -> None:
        self._sum = np.zeros((CROP, CROP), np.float32)
        self._motion, self._count, self._broken = 0.0, 0, False
