"""Which folds wait, which are being trained, which failed: the bookkeeping of a runner that spreads folds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

# How long a fold is left alone that a command outside of the queue is training.
LOCKED_SECONDS = 5.0


class News(NamedTuple):
    """Something that happened.

    Attributes:
        kind: "started", "finished" or "note".
        title: of the fold; empty where it is about none.
        text: what people read.
    """

    kind: str
    title: str
    text: str


@dataclass
class QueuedFold:
    """One fold in the queue.

    Attributes:
        title: what people call it.
        state: where it stands.
        failures: how often its training failed, or its worker was lost.
        error: the last failure.
        not_before: time before which it is not handed out.
        started: time at which its training began.
    """

    title: str
    state: Literal["waiting", "training", "finished", "failed"] = "waiting"
    failures: int = 0
    error: str = ""
    not_before: float = 0.0
    started: float = 0.0


class FoldQueue:
    """Hands out folds, gives failed ones a further try, and writes down in `news` what happens.

    Args:
        retries: how often a fold is tried again after a failure.
    """

    def __init__(self, retries: int) -> None:
        self.retries = retries
        self.folds: dict[str, QueuedFold] = {}
        self.news: list[News] = []

    def add(self, titles: Mapping[str, str]) -> int:
        """Take in folds, by name; those that are known stay as they are. Returns how many were new."""
        new = {name: QueuedFold(title) for name, title in titles.items() if name not in self.folds}
        self.folds |= new
        return len(new)

    @property
    def unfinished(self) -> int:
        """How many folds wait or are being trained."""
        return sum(fold.state in ("waiting", "training") for fold in self.folds.values())

    def take(self, where: str, now: float) -> str | None:
        """Name of the next fold to train, or None if none can be handed out now."""
        for name, fold in self.folds.items():
            if fold.state == "waiting" and fold.not_before <= now:
                fold.state, fold.started = "training", now
                again = f", try {fold.failures + 1} of {self.retries + 1}" if fold.failures else ""
                self.news.append(News("started", fold.title, f"{fold.title}: in training by {where}{again}"))
                return name
        return None

    def finish(self, name: str, now: float) -> None:
        """A fold has its results."""
        fold = self.folds[name]
        fold.state = "finished"
        done = sum(other.state == "finished" for other in self.folds.values())
        seconds = now - fold.started
        text = f"{fold.title}: finished in {seconds:.0f} s ({done} of {len(self.folds)})"
        self.news.append(News("finished", fold.title, text))

    def fail(self, name: str, error: str, now: float) -> None:
        """A try failed: the fold waits for the next one, behind the others, or is given up."""
        fold = self.folds.pop(name)
        self.folds[name] = fold
        fold.failures += 1
        fold.error = error
        left = self.retries + 1 - fold.failures
        fold.state = "waiting" if left > 0 else "failed"
        fold.not_before = now
        what = f"is tried again, {left} tries left" if left > 0 else "given up"
        self.note(f"{fold.title}: {what}: {last_line(error)}", fold.title)

    def put_back(self, name: str, now: float) -> None:
        """A fold that another command trains is offered again later."""
        fold = self.folds[name]
        fold.state, fold.not_before = "waiting", now + LOCKED_SECONDS
        self.note(f"{fold.title}: another command trains it", fold.title)

    def give_up(self, error: str) -> None:
        """Nobody is left to train what waits."""
        for fold in self.folds.values():
            if fold.state == "waiting":
                fold.state, fold.error = "failed", fold.error or error
        self.note(last_line(error))

    def note(self, text: str, title: str = "") -> None:
        """Write down what people should read."""
        self.news.append(News("note", title, text))


def last_line(error: str) -> str:
    """The line of a traceback that says what went wrong."""
    lines = error.strip().splitlines()
    return lines[-1] if lines else "no reason given"
