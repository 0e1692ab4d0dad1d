"""What `hsta` starts: it stands outside the package, whose import takes seconds and may be interrupted, too."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


def main() -> int:
    """Import hsta-hf and run the command line; returns its exit code, see `hsta_hf.cli.main.main`.

    Ctrl-C before the command has begun ends the process with one line and code 130. A handler does so, since a
    KeyboardInterrupt may be swallowed or become another error in the middle of an import.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:  # as shells start what runs in the background
        signal.signal(signal.SIGINT, _quit)
    from hsta_hf.cli.main import main as run

    signal.signal(signal.SIGINT, before)
    try:
        return run()
    except KeyboardInterrupt:  # while the commands' parsers were built
        print("hsta: interrupted", file=sys.stderr)
        return 130


def _quit(signum: int, frame: FrameType | None) -> None:
    os.write(2, b"hsta: interrupted\n")
    os._exit(130)  # nothing has been opened or written yet
