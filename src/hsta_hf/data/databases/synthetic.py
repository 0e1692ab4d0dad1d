"""Whether a database calls itself synthetic: every report on it then says so, too."""

from __future__ import annotations

from pathlib import Path


def calls_itself_synthetic(root: Path) -> bool:
    """True if a README in `root` has the word "synthetic" in it."""
    for readme in sorted(root.glob("README*")):
        if readme.is_file() and "synthetic" in readme.read_text(encoding="utf-8", errors="replace").casefold():
            return True
    return False
