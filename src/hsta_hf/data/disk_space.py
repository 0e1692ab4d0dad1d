"""A full disk, said so that the reader knows what to do."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hsta_hf.data.prepare_options import PrepareError

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_FULL_ON_WINDOWS = {39, 112}


class DiskFullError(PrepareError):
    """There is no room for the dataset; what was prepared is kept."""


def describe_bytes(number: int) -> str:
    """`1.2 GB`, `340 MB`, `12 kB`: powers of 1000, as disks are sold and `df -H` counts."""
    for unit, size in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if number >= size:
            return f"{number / size:.3g} {unit}" if number < 999.5 * size else f"{number / size:.0f} {unit}"
    return f"{number} bytes"


def free_bytes(folder: Path) -> int:
    """Bytes free where `folder` is, or will be made."""
    while not folder.exists() and folder.parent != folder:
        folder = folder.parent
    return shutil.disk_usage(folder).free


@contextmanager
def explain_full_disk(partial: Path, missing: Callable[[], str]) -> Iterator[None]:
    """Turn the operating system's "no space left" into an error that says what to do.

    Args:
        partial: Where finished work is kept.
        missing: Describes what is still to be written; asked when it has happened.

    Raises:
        DiskFullError: in place of an OSError for a full disk or a used-up quota; other errors pass.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL and getattr(error, "winerror", None) not in _FULL_ON_WINDOWS:
            raise
        quota = " (the quota is used up)" if error.errno == getattr(errno, "EDQUOT", None) else ""
        raise DiskFullError(
            f"the disk of {partial.parent} is full{quota}: {describe_bytes(free_bytes(partial))} free, {missing()}. "
            f"The clips that are finished stay in {partial}; make room, and the same command continues from them"
        ) from error
