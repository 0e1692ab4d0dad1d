"""Windows over the stretches in which a face is followed, as they go by: which steps the scan judges with which."""

from __future__ import annotations

import numpy as np

from hsta_hf.spotting.rows import empty_rows
from hsta_hf.spotting.scan import Lengths, Scan

_LEAST = 1.2  # longest micro-expressions: a stretch that is shorter is not judged


class Judge:
    """Fills the rows of a piece of a recording. It holds one window of pictures, and a hop more.

    Args:
        lengths: of micro-expressions.
        rate: steps a second.
        most: steps of the piece, at most.
    """

    def __init__(self, lengths: Lengths, rate: float, most: int) -> None:
        self._lengths, self._rate = lengths, rate
        self._window, self._hop = lengths.window(rate), lengths.hop(rate)
        self._least = max(8, round(_LEAST * lengths.longest * rate))
        self._scan = Scan(self._window, rate, lengths)
        self._rows = empty_rows(most)
        self._count = 0
        self._pictures: list[np.ndarray] = []  # of the stretch that is going on; older ones are let go
        self._first = self._judged = 0  # step of the first of these, and of the first that is not judged yet

    @property
    def full(self) -> bool:
        """Whether all steps have gone by."""
        return self._count == len(self._rows)

    @property
    def pictures_held(self) -> int:
        """How many pictures are in memory."""
        return len(self._pictures)

    def see(self, picture: np.ndarray | None, starts: bool, motion: float) -> None:
        """Take the next step in.

        Args:
            picture: (CROP, CROP) float32 grey; None where there is no face.
            starts: whether it cannot be compared with what was before.
            motion: of the head since the step before.
        """
        if picture is None or starts:
            self._end_stretch()
        if picture is not None:
            if not self._pictures:
                self._first = self._judged = self._count
            self._rows[self._count]["face"] = True
            self._rows[self._count]["motion"] = motion
            self._pictures.append(picture)
        self._count += 1
        if len(self._pictures) == self._window + self._hop:
            # Steps in the middle of a window are judged with it, and those before them if it is a stretch's first.
            until = self._first + (self._window + self._hop) // 2
            self._judge(self._scan, self._pictures[: self._window], self._first, until)
            del self._pictures[: self._hop]
            self._first += self._hop

    def finish(self) -> np.ndarray:
        """The rows of all steps that have gone by."""
        self._end_stretch()
        return self._rows[: self._count]

    def _end_stretch(self) -> None:
        number = min(len(self._pictures), self._window)
        if number >= self._least:
            scan = self._scan if number == self._window else Scan(number, self._rate, self._lengths)
            first = self._first + len(self._pictures) - number
            if self._judged < first:  # a stretch of a window and a little more, its beginning not judged yet
                self._judge(scan, self._pictures[:number], self._first, first + (number - self._hop) // 2)
            self._judge(scan, self._pictures[-number:], first, first + number)
        self._pictures = []

    def _judge(self, scan: Scan, pictures: list[np.ndarray], first: int, until: int) -> None:
        found = scan(np.stack(pictures), self._judged - first, until - first)
        rows = self._rows[self._judged : until]
        for name in ("score", "blink", "rise", "fall", "region"):
            rows[name] = found[name]
        self._judged = until
