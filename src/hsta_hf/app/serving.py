"""Run the page: where uploads go, what becomes of them, and what Gradio is told not to do.

from hsta_hf.app.serving import serve
serve("runs/demo")
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsta_hf.app.analysis import Analyst
from hsta_hf.app.limits import Limits
from hsta_hf.prediction import Predictor

if TYPE_CHECKING:
    from hsta_hf.app.page import Page

_SWEEP_SECONDS = 20.0
# Gradio counts visits, asks whether it is the newest, and offers its history of runs; nothing of that is wanted here.
_QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_RUN_HISTORY": "False"}


class GradioMissingError(ImportError):
    """Gradio is not installed; the message says how to install it."""


def serve(
    model: str,
    face_detector: str | Path | None = None,
    faces: str = "auto",
    device: str | None = None,
    host: str | None = None,
    port: int | None = None,
    open_browser: bool = False,
    limits: Limits | None = None,
) -> None:
    """Serve the page until the process is stopped.

    Args:
        model, face_detector, faces, device: as in `Predictor.from_pretrained`.
        host, port: where to listen; None leaves it to Gradio: this machine only, the first free port from 7860 on, or
            what GRADIO_SERVER_NAME and GRADIO_SERVER_PORT say.
        open_browser: also open the page here.
        limits: what is accepted.

    Raises:
        OSError, ValueError: the model, its processor or the face detector cannot be loaded, or the port is taken.
        GradioMissingError: Gradio is not installed.
    """
    limits = limits or Limits()
    with private_uploads() as uploads:
        page = build_page(model, uploads, limits, face_detector, faces, device)
        with _sweeping(page, uploads, limits), _ended_by_sigterm():
            page.blocks.queue(default_concurrency_limit=1, max_size=32, api_open=False)
            _, url, _ = page.blocks.launch(
                server_name=host, server_port=port, inbrowser=open_browser, **launch_options(limits)
            )
            print(f"The page is at {url}; Ctrl-C ends it.", flush=True)
            page.blocks.block_thread()


def build_page(
    model: str,
    uploads: Path,
    limits: Limits,
    face_detector: str | Path | None = None,
    faces: str = "auto",
    device: str | None = None,
) -> Page:
    """Load the model and lay out the page; arguments and errors of `serve`."""
    try:
        from hsta_hf.app.page import Page
    except ImportError as error:
        if (error.name or "").split(".")[0] != "gradio":
            raise
        raise GradioMissingError(
            'the page needs Gradio 6: pip install "hsta-hf[app]", or pip install "gradio>=6"'
        ) from error
    predictor = Predictor.from_pretrained(model, face_detector=face_detector, faces=faces, device=device)
    databases = (getattr(predictor.model.config, "training_data", None) or {}).get("databases")
    return Page(Analyst(predictor), _name(model), uploads, limits, ", ".join(databases) if databases else None)


def launch_options(limits: Limits) -> dict[str, Any]:
    """What `Blocks.launch` is given beside the address: nothing is shared, counted or recorded."""
    from hsta_hf.app.page import STATIC

    return {
        "share": False,
        "quiet": True,
        "prevent_thread_lock": True,
        "max_file_size": limits.file_bytes,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "css_paths": STATIC / "page.css",
    }


@contextmanager
def private_uploads() -> Iterator[Path]:
    """A folder for uploads that only this user can read and that ends with the process, and a Gradio that uses it."""
    with tempfile.TemporaryDirectory(prefix="hsta-uploads-", ignore_cleanup_errors=True) as folder:
        settings = {**_QUIET, "GRADIO_TEMP_DIR": folder}
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            yield Path(folder)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def sweep(uploads: Path, seconds: float) -> None:
    """Delete files that were left for so long: uploads that broke off are in nobody's list."""
    oldest = time.time() - seconds
    for path in sorted(uploads.rglob("*"), reverse=True):  # what is in a folder before the folder
        try:
            if path.stat().st_mtime < oldest:
                path.rmdir() if path.is_dir() else path.unlink()  # a folder only where nothing is in it
        except OSError:
            continue


@contextmanager
def _sweeping(page: Page, uploads: Path, limits: Limits) -> Iterator[None]:
    """Every few seconds forget clips and delete files that were left behind."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(_SWEEP_SECONDS):
            page.clips.expire()
            sweep(uploads, limits.upload_seconds)

    thread = threading.Thread(target=work, daemon=True, name="sweep")
    thread.start()
    try:
        yield
    finally:
        done.set()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the process in order, so that the folder of uploads goes, too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _name(model: str) -> str:
    """What to call a model on the page: a Hub name as it is, of a path its end."""
    path = Path(model)
    return model if not path.exists() else "/".join(path.resolve().parts[-2:])
