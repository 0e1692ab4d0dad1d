"""The page in a process of its own, and a headless Chromium to visit it with."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = "/usr/bin/chromium"
START_SECONDS = 600  # importing PyTorch and Gradio takes long on a busy machine
ANSWER_MS = 300_000
_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


def need_browser() -> None:
    """Skip where there is no browser, or no Playwright or Gradio; in CI that is a failure."""
    missing = [] if Path(CHROMIUM).is_file() else [f"{CHROMIUM} (apt-get install chromium)"]
    for module in ("playwright", "gradio"):
        try:
            __import__(module)
        except ImportError:
            missing.append(f"{module} (pip install {module})")
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"CI drives the page in a browser, which needs {' and '.join(missing)}")
    if missing:
        pytest.skip(f"driving the page needs {' and '.join(missing)}")


@dataclass
class Server:
    """`hsta demo-app` while it runs.

    Attributes:
        url: where the page is.
        uploads: the folder that its uploads come to.
    """

    url: str
    temporary: Path
    process: subprocess.Popen

    @property
    def uploads(self) -> Path:
        (folder,) = self.temporary.glob("hsta-uploads-*")
        return folder

    def files(self) -> list[str]:
        """Names of the uploads that are on the disk."""
        return sorted(path.name for path in self.uploads.rglob("*") if path.is_file())

    def wait_for_files(self, names: list[str], seconds: float = ANSWER_MS / 1000) -> None:
        """Wait until these are the uploads on the disk: an upload has a name of its own only once it has arrived."""
        until = time.monotonic() + seconds
        while (there := self.files()) != names:
            assert time.monotonic() < until, f"uploads after {seconds:.0f} s: {there}; expected: {names}"
            time.sleep(0.2)


@contextmanager
def served(model: Path, temporary: Path, *options: str) -> Iterator[Server]:
    """Start the page with a model, wait until it answers, and stop it in the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    temporary.mkdir(parents=True, exist_ok=True)
    log = temporary / "server.log"
    environment = {**os.environ, "TMPDIR": str(temporary), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "hsta_hf.cli.main", "demo-app", str(model), "--port", str(port), *options]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        server = Server(f"http://127.0.0.1:{port}/", temporary, process)
        try:
            _wait(server, log)
            yield server
        finally:
            process.terminate()
            process.wait(timeout=60)
    assert not list(temporary.glob("hsta-uploads-*")), "the folder of uploads outlived the process"


def _wait(server: Server, log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if server.process.poll() is not None:
            raise AssertionError(f"the page ended with {server.process.returncode}:\n{log.read_text()}")
        try:
            with urllib.request.urlopen(server.url, timeout=30) as response:
                if response.status == 200:
                    return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"the page did not answer within {START_SECONDS} s:\n{log.read_text()}")


@dataclass
class Visit:
    """One open page.

    Attributes:
        page: Playwright's page.
        requests: every address that it asked for.
        problems: what scripts complained about.
    """

    page: Any
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def upload(self, path: Path, refused: bool = False) -> None:
        """Choose a file, and wait until the page has it or, if it is to be refused, has said why."""
        self.page.locator("#film input[type=file]").set_input_files(str(path))
        self._wait("!film && error" if refused else "film && !error")

    def analyse(self) -> None:
        """Press the button, and wait for scores or for a message."""
        self.page.locator("#analyse").click()
        self._wait("!film && (scores || error)")

    def _wait(self, condition: str) -> None:
        parts = {"film": "#film video", "error": ".hsta-notice.is-error", "scores": ".hsta-scores"}
        found = ", ".join(f"{name} = document.querySelector('{selector}')" for name, selector in parts.items())
        self.page.wait_for_function(f"() => {{ const {found}; return {condition}; }}", timeout=ANSWER_MS)

    def frames(self) -> str:
        """The sentence that names onset, apex and offset."""
        return str(self.page.locator(".hsta-frames").inner_text())

    def scores(self) -> list[str]:
        """Labels and scores as shown."""
        return list(self.page.locator(".hsta-scores li").all_inner_texts())

    def wait_for_frames(self, text: str) -> None:
        """Wait until the answer names these frames."""
        self.page.wait_for_function(
            "(text) => document.querySelector('.hsta-frames')?.innerText.includes(text)", arg=text, timeout=ANSWER_MS
        )

    def notice(self) -> str:
        """What is said below the film."""
        return str(self.page.locator("#notice").inner_text())

    def mark(self, name: str) -> dict[str, float]:
        """Where a mark's label is, in pixels of the page."""
        box = self.page.locator(f'[data-mark="{name}"] rect').bounding_box()
        return {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}

    def overlay(self) -> str:
        """The pixels of what is drawn over the face, as text."""
        return str(
            self.page.evaluate(
                "() => [...document.querySelectorAll('.hsta-layer canvas')].map((c) => c.toDataURL()).join()"
            )
        )

    def width_beyond_the_screen(self) -> int:
        """Pixels that the page is wider than the screen."""
        return int(
            self.page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        )


@contextmanager
def visiting(url: str, viewport: dict[str, int], dark: bool = False, touch: bool = False) -> Iterator[Visit]:
    """Open the page in a fresh browser, whose camera shows a test picture."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", *_CAMERA], timeout=ANSWER_MS)
        try:
            context = browser.new_context(
                viewport=viewport, color_scheme="dark" if dark else "light", has_touch=touch, is_mobile=touch
            )  # type: ignore[arg-type]
            context.set_default_timeout(ANSWER_MS)
            visit = Visit(context.new_page())
            visit.page.on("request", lambda request: visit.requests.append(request.url))
            visit.page.on("pageerror", lambda error: visit.problems.append(str(error)))
            visit.page.goto(url, timeout=ANSWER_MS)
            visit.page.locator("#analyse").wait_for(timeout=ANSWER_MS)
            yield visit
        finally:
            browser.close()
