"""Links of README.md, CONTRIBUTING.md, CHANGELOG.md, the benchmarks' README and docs/ lead to a file and a heading."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from documented_code.blocks import ROOT, documents, prose_of

PAGES = (*documents(), "CHANGELOG.md")
_LINK = re.compile(r"\]\(\s*(?P<target>[^()\s]+)\s*\)")
_HTML = re.compile(r"(?:src|srcset|href)=\"(?P<target>[^\"]+)\"")
_HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*#*\s*$", flags=re.MULTILINE)


def code_host_anchor(heading: str) -> str:
    """The anchor that code hosts make of a heading."""
    return re.sub(r"[^\w\- ]", "", _plain(heading).lower()).replace(" ", "-")


def site_anchor(heading: str) -> str:
    """The anchor that the site makes of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", _plain(heading)).strip().lower())


def _plain(heading: str) -> str:
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")


@cache
def anchors_of(page: str) -> frozenset[str]:
    """Anchors of a document that lead to the same heading on a code host and on the site."""
    headings = [found["text"] for found in _HEADING.finditer(prose_of(page))]
    return frozenset(map(code_host_anchor, headings)) & frozenset(map(site_anchor, headings))


def broken_links(page: str, text: str | None = None) -> list[str]:
    """Links of a document that lead to no file or no heading."""
    prose = prose_of(page, text)
    code_free = re.sub(r"`[^`]*`", "", prose)
    found = []
    for match in [*_LINK.finditer(code_free), *_HTML.finditer(code_free)]:
        target, _, anchor = match["target"].partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists():
            found.append(f"{page}: {match['target']}: there is no such file")
        elif anchor and anchor not in anchors_of(path.resolve().relative_to(ROOT).as_posix()):
            found.append(f"{page}: {match['target']}: there is no such heading")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page: str) -> None:
    broken = broken_links(page)
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        ("[a](docs/wings.md)", "there is no such file"),
        ("[a](docs/method.md#wings)", "there is no such heading"),
        ("[a](#wings)", "there is no such heading"),
        ('<img src="docs/images/wings.png">', "there is no such file"),
        ("![a](docs/images/wings.png)", "there is no such file"),
        ("[a\nb](docs/method.md#from-videomae)", None),
        ("```text\n[a](docs/wings.md)\n```\n`[a](docs/wings.md)` [a](https://wings.example/b#c)", None),
    ],
)
def test_a_broken_link_is_noticed(text: str, broken: str | None) -> None:
    found = broken_links("README.md", text)
    assert (len(found) == 1 and broken in found[0]) if broken else not found


def test_every_page_of_docs_is_reached_from_another_one() -> None:
    targets: set[Path] = set()
    for page in PAGES:
        for match in _LINK.finditer(prose_of(page)):
            targets.add(((ROOT / page).parent / match["target"].partition("#")[0]).resolve())
    lonely = [page for page in documents() if page.startswith("docs/") and (ROOT / page).resolve() not in targets]
    assert [page for page in lonely if page != "docs/index.md"] == []
