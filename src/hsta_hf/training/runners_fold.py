"""What all runners do with one fold, and what they raise where folds fail."""

from __future__ import annotations

from collections.abc import Mapping

from hsta_hf.training.fold import FoldTask
from hsta_hf.training.locks import CommandLock, held
from hsta_hf.training.progress import current_progress
from hsta_hf.training.run_setup import OpenRun


class FoldsFailedError(RuntimeError):
    """Folds that could not be trained, after all others were.

    Args:
        failed: what went wrong, by the fold's title, in the order in which they failed.
        total: how many folds were to be trained.
    """

    def __init__(self, failed: Mapping[str, str], total: int) -> None:
        self.failed = dict(failed)
        first = next(iter(self.failed.values()))
        super().__init__(
            f"{len(self.failed)} of {total} folds could not be trained: {'; '.join(self.failed)}. "
            f"{'The others have their results. ' if total > len(self.failed) else ''}"
            f"Mend the cause and start the same command again: it trains what is missing.\n"
            f"The first failure: {first}"
        )


def train_unless_locked(run: OpenRun, task: FoldTask) -> bool:
    """Train one fold, and let no other command train it meanwhile.

    Returns:
        False if another command is training it; then nothing was done.
    """
    lock = CommandLock(run.folder.lock(task.folder.name))
    if not lock.acquire():
        return False
    try:
        _train(run, task)
    finally:
        lock.release()
    return True


def train_when_free(run: OpenRun, task: FoldTask) -> None:
    """Wait for the command that trains a fold; train it here if that one died or failed."""
    message = f"{task.title}: waiting for the other command that trains it"
    with held(run.folder.lock(task.folder.name), message):
        _train(run, task)


def _train(run: OpenRun, task: FoldTask) -> None:
    progress = current_progress()
    if progress is not None:
        progress.fold_started(task.title)
    run.trainer.train(task)
    if progress is not None:
        progress.fold_finished(task.title)
