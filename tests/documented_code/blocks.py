"""Fenced code blocks and inline commands of the documents."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"^(?P<indent>\s*)(?P<fence>`{3,}|~{3,})\s*(?P<language>[\w-]*)\s*$")
_INLINE = re.compile(r"(?<!`)`(hsta [^`]+)`(?!`)")
_INDENTED = re.compile(r"^(?: {4,}|\t)(?:hsta|pip|python|accelerate|make) \S")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: The document, from the repository's root.
        line: Line of the opening fence, from 1.
        language: What stands behind the fence; empty where nothing does.
        text: What is inside, without the fence's indentation.
    """

    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


def documents() -> tuple[str, ...]:
    """README.md, CONTRIBUTING.md, the benchmarks' README and every page of docs/, from the repository's root."""
    pages = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
    return ("README.md", "CONTRIBUTING.md", "benchmarks/README.md", *pages)


def blocks_of(page: str, text: str | None = None) -> list[Block]:
    """The fenced blocks of a document.

    Raises:
        ValueError: a fence is not closed.
    """
    return [part for part in _parts(page, text) if isinstance(part, Block)]


def prose_of(page: str, text: str | None = None) -> str:
    """What of a document is not in fenced blocks."""
    return "\n".join(part for part in _parts(page, text) if isinstance(part, str))


def inline_commands(page: str) -> list[str]:
    """`hsta …` in running text, such as `hsta predict demo/run clip.mp4`."""
    return [" ".join(found.split()) for found in _INLINE.findall(prose_of(page))]


def unfenced_commands(page: str) -> list[str]:
    """Commands that are set as code by indentation alone, which nothing would run."""
    return [line for line in prose_of(page).splitlines() if _INDENTED.match(line)]


def _parts(page: str, text: str | None) -> Iterator[Block | str]:
    lines = iter(enumerate((text if text is not None else (ROOT / page).read_text("utf-8")).splitlines(), start=1))
    for number, line in lines:
        opening = _FENCE.match(line)
        if not opening:
            yield line
            continue
        indent, inside = len(opening["indent"]), []
        for _, inner in lines:
            if inner.strip() == opening["fence"]:
                break
            inside.append(inner[indent:] if not inner[:indent].strip() else inner)
        else:
            raise ValueError(f"{page}:{number}: the block is not closed")
        yield Block(page, number, opening["language"], "\n".join(inside))
