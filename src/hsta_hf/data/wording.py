"""Small parts of sentences for people: counted nouns, what a folder holds, the name that was likely meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

_SHOWN_ENTRIES = 5


def counted(number: int, what: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def nearest(word: str, known: Iterable[str]) -> str:
    """The known name that is written most like `word`, case aside; "" if none is like it."""
    names = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), names, n=1, cutoff=0.6)
    return names[near[0]] if near else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'apex'?`, to be put behind a statement; "" if nothing that is known is like `word`."""
    near = nearest(word, known)
    return f"; did you mean {near!r}?" if near else ""


def listing(folder: Path) -> str:
    """The first entries of a folder as text, for messages."""
    entries = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return ", ".join(entries[:_SHOWN_ENTRIES]) + (", …" if len(entries) > _SHOWN_ENTRIES else "") or "nothing"
