"""Locks that let several commands work on one run folder, on one machine or on several that share its file system.

They are the operating system's own locks on files: when a process ends, however it ends, what it held is free. The
files stay, and mean nothing by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

# Under `accelerate launch`, the other processes wait for the main one in a collective, which gives up after minutes.
_LONGEST_WAIT = 30.0


class CommandLock:
    """A lock held by a command: by its only process, or by the main one of several for all of them.

    Args:
        file: the lock file; its folder is made if need be.
        together: all processes of the command acquire it together and get one answer. False where the main process
            alone runs the code.
    """

    def __init__(self, file: Path, together: bool = True) -> None:
        self.together = together and PartialState().num_processes > 1
        self._lock: FileLock | None = None
        if PartialState().is_main_process or not self.together:
            file.parent.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(file)

    def acquire(self, seconds: float = 0.0) -> bool:
        """Try for so many seconds; whether the lock is held now."""
        answer = [False]
        if self._lock is not None:
            try:
                self._lock.acquire(timeout=seconds, poll_interval=0.1)
                answer = [True]
            except Timeout:
                pass
        if self.together:
            broadcast_object_list(answer)
        return answer[0]

    def release(self) -> None:
        """Free the lock; in the other processes, nothing."""
        if self._lock is not None:
            self._lock.release()


def decided_by_main(answer: bool) -> bool:
    """The main process's answer, for all processes of the command.

    Each would ask the file system at a moment of its own; where the answers differ, some would take part in what the
    others pass over, and wait for them for ever.
    """
    if PartialState().num_processes == 1:
        return answer
    answers = [answer]
    broadcast_object_list(answers)
    return bool(answers[0])


@contextmanager
def held(file: Path, waiting: str, together: bool = True) -> Iterator[None]:
    """Hold a lock, however long another command has it.

    Args:
        file: the lock file.
        waiting: what to say where it is not free at once.
        together: see `CommandLock`.
    """
    lock = CommandLock(file, together)
    if not lock.acquire():
        if PartialState().is_main_process:
            print(waiting, flush=True)
        while not lock.acquire(_LONGEST_WAIT):
            pass
    try:
        yield
        if lock.together:
            PartialState().wait_for_everyone()  # none is in the middle when it is freed
    finally:
        lock.release()


def is_held(file: Path) -> bool:
    """Whether another process holds the lock."""
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False
