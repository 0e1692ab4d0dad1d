"""The clips of all visitors, in memory only, and not for long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from hsta_hf.app.analysis import Clip
from hsta_hf.app.limits import Limits


class ClipStore:
    """One clip a visitor. Safe to share between threads.

    Args:
        limits: how many clips are kept, and how long.
        clock: seconds that only go forward.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._clips: dict[str, tuple[float, Clip]] = {}  # in the order in which they were last asked for
        self._lock = threading.Lock()

    def put(self, visitor: str, clip: Clip) -> None:
        """Keep a visitor's clip in place of an earlier one; the clips asked for longest ago make room."""
        with self._lock:
            self._clips.pop(visitor, None)
            self._clips[visitor] = (self._clock(), clip)
            while len(self._clips) > self._limits.kept_clips:
                del self._clips[next(iter(self._clips))]

    def get(self, visitor: str) -> Clip | None:
        """A visitor's clip, which then counts as asked for now; None if it is not kept any more."""
        with self._lock:
            self._expire()
            found = self._clips.pop(visitor, None)
            if found is None:
                return None
            self._clips[visitor] = (self._clock(), found[1])
            return found[1]

    def drop(self, visitor: str) -> None:
        """Forget a visitor's clip; one that is gone already is no error."""
        with self._lock:
            self._clips.pop(visitor, None)

    def expire(self) -> None:
        """Forget the clips that nobody asked for in `limits.kept_seconds`."""
        with self._lock:
            self._expire()

    def __len__(self) -> int:
        return len(self._clips)

    def _expire(self) -> None:
        oldest = self._clock() - self._limits.kept_seconds
        for visitor in [name for name, (asked, _) in self._clips.items() if asked < oldest]:
            del self._clips[visitor]
