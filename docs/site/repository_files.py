"""A hook of MkDocs: links that lead out of docs/ work on the site as they do on a code host.

Pages link to files of the repository by their place beside docs/ (`../benchmarks/README.md`). On the site

- Markdown files become pages of their own, below `repository/`, with their own links followed in the same way;
- other files become links to the repository where mkdocs.yml has a `repo_url`, and otherwise pages that show them;
- README.md is the home page.

Docstrings are written as transformers' are. On the site [`HSTAModel`] is a link where the class is on the page,
and types lose the marks that stand around them there (`dict`, *optional*).

Files that mkdocs.yml lists below `repository/` are pages even if no page links to them.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

PREFIX = "repository/"
BRANCH = "main"
HOME = {"README.md": "index.md"}
_FENCE = re.compile(r"^\s*(```|~~~)")
_LINK = re.compile(r"\]\((?P<target>[^()\s#:]+)(?P<anchor>#[^()\s]*)?\)")
_PLACE = re.compile(r'id="(?P<id>hsta_hf\.[\w.]+)"')
_TYPE = re.compile(r"<code>(?P<text>`[^<]*)</code>")
_NAME = re.compile(r"\[<code>(?P<name>\w+)</code>\](?!\()")
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".json": "json", ".sh": "bash", ".toml": "toml"}


def on_files(files: Files, config: Any) -> Files:
    """Add the repository's files that pages link to, and those in the navigation."""
    root = Path(config.config_file_path).parent
    docs = Path(config.docs_dir).relative_to(root).as_posix()
    wanted = [entry for entry in _navigation(config.nav) if entry.startswith(PREFIX)]
    waiting = [entry.removeprefix(PREFIX) for entry in wanted]
    for file in files.documentation_pages():
        waiting += _outside(file.content_string, f"{docs}/{file.src_uri}", docs)
    done: set[str] = set()
    while waiting:
        path = waiting.pop()
        if path in done or path in HOME or not (root / path).is_file():  # what is not there, MkDocs reports
            continue
        done.add(path)
        text = (root / path).read_text(encoding="utf-8")
        if path.endswith(".md"):
            waiting += _outside(text, path, docs)
        elif config.repo_url:
            continue
        else:
            language = _LANGUAGES.get(Path(path).suffix, "text")
            text = f"---\ntitle: {path}\nsearch: {{exclude: true}}\n---\n# `{path}`\n\n````{language}\n{text}\n````\n"
        place = _page_of(path)
        level = InclusionLevel.INCLUDED if place in wanted else InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, place, content=text, inclusion=level))
    return files


def on_page_markdown(markdown: str, page: Page, config: Any, files: Files) -> str:
    """Turn links to files of the repository into links to their pages."""
    docs = Path(config.docs_dir).relative_to(Path(config.config_file_path).parent).as_posix()
    place = page.file.src_uri
    source = place.removeprefix(PREFIX) if place.startswith(PREFIX) else f"{docs}/{place}"

    def moved(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), found["target"]))
        anchor = found["anchor"] or ""
        if path.startswith(f"{docs}/"):
            target = path.removeprefix(f"{docs}/")
        elif path in HOME:
            target = HOME[path]
        elif config.repo_url and not path.endswith(".md"):
            return f"]({config.repo_url.rstrip('/')}/blob/{BRANCH}/{path}{anchor})"
        else:
            target = _page_of(path)
        return f"]({posixpath.relpath(target, posixpath.dirname(place) or '.')}{anchor})"

    return "".join(line if fenced else _LINK.sub(moved, line) for line, fenced in _lines(markdown))


def on_page_content(html: str, page: Page, config: Any, files: Files) -> str:
    """Turn [`Name`] of docstrings into a link to the name's place on this page, or into code; tidy types."""
    places = {found["id"].rpartition(".")[2]: found["id"] for found in _PLACE.finditer(html)}

    def linked(found: re.Match[str]) -> str:
        code = f"<code>{found['name']}</code>"
        place = places.get(found["name"])
        return code if place is None else f'<a href="#{place}">{code}</a>'

    html = _TYPE.sub(lambda found: f"<code>{re.sub('[`*]', '', found['text'])}</code>", html)
    return _NAME.sub(linked, html)


def _page_of(path: str) -> str:
    return PREFIX + (path if path.endswith(".md") else f"{path}.md")


def _outside(text: str, source: str, docs: str) -> list[str]:
    """Files out of docs/ that a page links to, by their path from the repository's root."""
    found = []
    for line, fenced in _lines(text):
        for link in () if fenced else _LINK.finditer(line):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(source), link["target"]))
            if not path.startswith(("..", f"{docs}/")):
                found.append(path)
    return found


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Lines with their ends, and whether they belong to a block of code."""
    fenced = False
    for line in text.splitlines(keepends=True):
        if _FENCE.match(line):
            fenced = not fenced
            yield line, True
        else:
            yield line, fenced


def _navigation(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, dict):
        for value in entry.values():
            yield from _navigation(value)
    elif isinstance(entry, list):
        for value in entry:
            yield from _navigation(value)
