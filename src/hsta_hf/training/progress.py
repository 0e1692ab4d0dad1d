"""One display for a whole run: folds done, the epochs of the folds in training, loss, and the time that is left.

In a terminal, bars that stay in place; elsewhere (logs of CI and Slurm) a plain line now and then. Trainings report to
the display that is shown, wherever they run: whoever trains folds in other processes passes on their calls.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

QUIET_SECONDS = 30.0  # between two plain lines on the epochs of trainings


class Progress(Protocol):
    """What trainings tell of themselves; a title such as "fold 2 (3 of 32), seed 42" says which one."""

    def fold_started(self, title: str) -> None:
        """A training begins."""

    def epoch(self, title: str, done: int, total: int, loss: float | None = None) -> None:
        """`done` of `total` epochs are over; called at the start too, with what was done before a kill."""

    def fold_finished(self, title: str) -> None:
        """Its results are written."""


@dataclass
class _Training:
    started: float
    begun_with: int = 0
    done: int = 0
    total: int = 0
    loss: float | None = None

    def left(self, now: float) -> float | None:
        """Seconds for the epochs that are left, at the pace of those done here; None before the first."""
        here = self.done - self.begun_with
        return None if here <= 0 else (now - self.started) / here * (self.total - self.done)

    def share(self) -> float:
        return self.done / self.total if self.total else 0.0


class RunProgress:
    """Shows the progress of a run on stderr; a context manager.

    Args:
        folds: how many trainings the run has; 0 shows the present training alone.
        finished: how many of them were done before.
        console: where to; by default stderr.
        quiet_seconds: without a terminal, the time between two lines on epochs. A finished fold always has its line.
    """

    def __init__(
        self, folds: int = 0, finished: int = 0, console: Console | None = None, quiet_seconds: float = QUIET_SECONDS
    ) -> None:
        self.folds, self.finished = folds, finished
        self.console = Console(stderr=True) if console is None else console
        self.quiet_seconds = quiet_seconds
        self._finished_here = 0
        self._trainings: dict[str, _Training] = {}
        self._begun: float | None = None
        self._shares_before = 0.0  # of trainings that a kill cut short, done before this display was
        self._told = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> RunProgress:
        if self.console.is_terminal:
            self._live = Live(
                get_renderable=self._table,
                console=self.console,
                refresh_per_second=2,
                transient=True,
                # What is printed meanwhile appears above the bars, but only where it goes to this terminal anyway.
                redirect_stdout=sys.stdout.isatty(),
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def fold_started(self, title: str) -> None:
        """See `Progress`."""
        now = time.monotonic()
        self._begun = now if self._begun is None else self._begun
        self._trainings.setdefault(title, _Training(now))

    def epoch(self, title: str, done: int, total: int, loss: float | None = None) -> None:
        """See `Progress`."""
        self.fold_started(title)
        training, now = self._trainings[title], time.monotonic()
        if training.total != total:  # the first call
            training.started, training.begun_with = now, done
            self._shares_before += done / total if total else 0.0
        training.done, training.total = done, total
        training.loss = training.loss if loss is None else loss
        if self._live is None and done > training.begun_with and now - self._told >= self.quiet_seconds:
            self._tell(f"{title}: {_epochs(training, now)}{self._of_the_run()}")

    def fold_finished(self, title: str) -> None:
        """See `Progress`."""
        training = self._trainings.pop(title, None)
        self.finished += 1
        self._finished_here += 1
        if self._live is None:
            loss = "" if training is None or training.loss is None else f", loss {training.loss:.4f}"
            self._tell(f"{title}: done{loss}{self._of_the_run()}")

    def left(self) -> float | None:
        """Seconds for the rest of the run, at the pace since its first training here; None before the first epoch, and
        at the end."""
        if self._begun is None or self.finished >= self.folds:
            return None
        under_way = sum(training.share() for training in self._trainings.values())
        done_here = self._finished_here + under_way - self._shares_before
        if done_here <= 0:
            return None
        return (time.monotonic() - self._begun) / done_here * max(0.0, self.folds - self.finished - under_way)

    def _tell(self, line: str) -> None:
        self._told = time.monotonic()
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _of_the_run(self) -> str:
        if not self.folds:
            return ""
        left = self.left()
        return f"; {self.finished} of {self.folds} folds done" + ("" if left is None else f", {duration(left)} left")

    def _table(self) -> Group:
        """The bars as they are now."""
        now = time.monotonic()
        table = Table.grid(padding=(0, 1))
        for title, training in self._trainings.items():
            loss = "" if training.loss is None else f"loss {training.loss:.4f}"
            left = training.left(now)
            count = f"epoch {training.done}/{training.total}" if training.total else ""
            table.add_row(title, _bar(training.done, training.total), count, _left(left), Text(loss, style="dim"))
        if self.folds:
            share = self.finished + sum(training.share() for training in self._trainings.values())
            bar = _bar(share, self.folds)
            table.add_row(
                Text("all folds", style="bold"), bar, f"{self.finished}/{self.folds} done", _left(self.left())
            )
        return Group(table)


def _bar(done: float, total: float) -> ProgressBar:
    return ProgressBar(total=total or None, completed=done, width=24, pulse=not total)


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f"{duration(seconds)} left"


def _epochs(training: _Training, now: float) -> str:
    loss = "" if training.loss is None else f", loss {training.loss:.4f}"
    left = training.left(now)
    return f"epoch {training.done} of {training.total}{loss}" + ("" if left is None else f", {duration(left)} left")


def duration(seconds: float) -> str:
    """Seconds as "42 s", "3:05 min" or "1:02 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    return f"{whole // 3600}:{whole % 3600 // 60:02d} h"


_shown: list[Progress] = []


def current_progress() -> Progress | None:
    """The display that trainings of this process report to; None where none is shown."""
    return _shown[-1] if _shown else None


@contextmanager
def shown(progress: Progress) -> Iterator[Progress]:
    """Let trainings report to `progress`, a display or what passes on calls to one elsewhere."""
    _shown.append(progress)
    try:
        yield progress
    finally:
        _shown.remove(progress)


class Silence:
    """Shows nothing."""

    def fold_started(self, title: str) -> None:
        """See `Progress`."""

    def epoch(self, title: str, done: int, total: int, loss: float | None = None) -> None:
        """See `Progress`."""

    def fold_finished(self, title: str) -> None:
        """See `Progress`."""


@contextmanager
def run_progress(folds: int, finished: int = 0, enabled: bool = True) -> Iterator[Progress]:
    """Show the progress of a run, and let the trainings of this process report to it.

    Args:
        folds: how many trainings the run has.
        finished: how many of them were done before.
        enabled: False shows nothing, as befits a process that is not the main one, or `disable_tqdm`.
    """
    if not enabled:
        with shown(Silence()) as silence:
            yield silence
        return
    with RunProgress(folds, finished) as progress, shown(progress):
        yield progress


@contextmanager
def own_progress(title: str, enabled: bool = True) -> Iterator[None]:
    """Show the progress of a single training, such as a pre-training, where no display is shown."""
    if _shown or not enabled:
        yield
        return
    with RunProgress() as progress, shown(progress):
        yield
        progress.fold_finished(title)
