"""The documents as a site: it builds without a warning, loads nothing from elsewhere, shows the drawn figures."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).resolve().parents[1]
_LOADED = re.compile(r"<(?:script|img|link|source|iframe)\b[^>]*?\b(?:src|href|srcset)=[\"']?(https?:|//)")
_REFERENCE = re.compile(r"\b(?:href|src)=(?:\"([^\"]*)\"|'([^']*)'|([^\s>\"']+))")
_ANCHOR = re.compile(r"\bid=(?:\"([^\"]*)\"|([^\s>\"']+))")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the site needs mkdocs-material and mkdocstrings, which are not installed")
    folder = tmp_path_factory.mktemp("site") / "built"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    no_network = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", **no_network}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


@pytest.mark.slow
def test_the_site_loads_nothing_from_elsewhere_and_all_its_links_lead_somewhere(site: Path) -> None:
    pages = {page: page.read_text("utf-8") for page in site.rglob("*.html") if page.name != "404.html"}
    names = {page.relative_to(site).as_posix() for page in pages}
    assert {"index.html", "method.html", "api/model.html", "repository/benchmarks/index.html"} <= names
    anchors = {page: {"", *(a or b for a, b in _ANCHOR.findall(html))} for page, html in pages.items()}
    wrong = []
    for page, html in pages.items():
        wrong += [f"{page.name} loads {found[0]}" for found in _LOADED.finditer(html)]
        for parts in _REFERENCE.findall(html):
            target, _, anchor = "".join(parts).partition("#")
            if re.match(r"[a-z]+:", target):
                continue
            path = (page.parent / unquote(target.partition("?")[0])).resolve() if target else page
            if path.is_dir():
                path /= "index.html"
            if not path.exists() or (path in anchors and anchor not in anchors[path] and anchor != "__skip"):
                wrong.append(f"{page.relative_to(site)}: {''.join(parts)}")
    assert not wrong, "\n".join(sorted(set(wrong))[:40])


@pytest.mark.slow
def test_the_reference_has_the_public_names(site: Path) -> None:
    import hsta_hf
    import hsta_hf.data
    import hsta_hf.metrics

    reference = "".join(page.read_text("utf-8") for page in (site / "api").glob("*.html"))
    anchors = {(a or b).rpartition(".")[2] for a, b in _ANCHOR.findall(reference)}
    public = {*hsta_hf.__all__, *hsta_hf.data.__all__, *hsta_hf.metrics.__all__}
    assert public - anchors == set()
    assert "[<code>" not in reference  # transformers' way of naming classes


def test_the_figures_are_what_their_script_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    script = ROOT / "docs" / "site" / "draw_figures.py"
    monkeypatch.setattr(sys, "path", [str(script.parent), *sys.path])
    spec = importlib.util.spec_from_file_location("draw_figures", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert set(module.FIGURES) == {path.stem for path in (ROOT / "docs" / "images").glob("*.svg")}
    method = (ROOT / "docs" / "method.md").read_text("utf-8")
    for name, draw in module.FIGURES.items():
        text = draw().svg()
        assert text == (ROOT / "docs" / "images" / f"{name}.svg").read_text("utf-8"), f"run {script.name}"
        root = ElementTree.fromstring(text)
        assert root.find("{*}title") is not None and "prefers-color-scheme: dark" in text
        assert f"images/{name}.svg" in method
