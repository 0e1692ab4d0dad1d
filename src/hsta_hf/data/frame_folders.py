"""Frame files below a database's root, and the refusal of annotations that lead out of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

FRAME_SUFFIXES: frozenset[str] = frozenset({".jpg", ".jpeg", ".png", ".bmp"})
NO_FOLDER = "there is no folder"
# How owners name frames: the first group is the frame's number. `7.jpg`, `img7.jpg`, `reg_img7.jpg`, `006_00007.jpg`,
# `image000007.bmp` and `reg_image000007.bmp` are all frame 7.
PLAIN_NUMBER = re.compile(r"([0-9]+)")


class UnsafePathError(ValueError):
    """An annotation or a link leads out of the database's folder."""


def safe_name(name: str, field: str) -> str:
    """`name`, if it can only be the name of one folder.

    Raises:
        UnsafePathError: if it is empty, `.`, `..`, absolute, or holds a separator or a control character.
    """
    if name in ("", ".", "..") or re.search(r"[/\\:\x00-\x1f]", name):
        raise UnsafePathError(f"{field} {name!r} is not a plain folder name; it is refused")
    return name


def plain_letters(name: str) -> str:
    """The letters and digits of a name, case aside: what is compared where spaces and punctuation do not matter."""
    return "".join(character for character in name.casefold() if character.isalnum())


_REMEDY = "copy the frames in, or give the real folder as ROOT and name your table with --annotation"


class FrameFolders:
    """Lists numbered frame files below `root`, each folder once.

    Args:
        root: The database's folder. What is a link inside it must stay inside it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._real_root = root.resolve()
        self._listed: dict[tuple[Path, str], tuple[dict[int, Path], dict[int, tuple[str, ...]]]] = {}

    def _stays_inside(self, path: Path) -> bool:
        return path.resolve().is_relative_to(self._real_root)

    def frames(self, *parts: str, name: re.Pattern[str] = PLAIN_NUMBER) -> dict[int, Path]:
        """Frame number to file for the folder `root/parts…`, in increasing order.

        Files whose name without its suffix is not `name`, whose suffix is no picture's, or whose name begins with a
        dot (macOS leaves `._7.jpg` beside `7.jpg`), are not frames. Of two files with the same number (`7.jpg`,
        `007.jpg`) the first by name is taken, and `repeated` names both.

        Args:
            parts: Folders below the root.
            name: Pattern of a whole file name without suffix; its first group is the frame's number.

        Raises:
            FileNotFoundError: if there is no such folder.
            UnsafePathError: if the folder or one of its frames is a link out of the root.
        """
        return self._list(parts, name)[0]

    def repeated(self, *parts: str, name: re.Pattern[str] = PLAIN_NUMBER) -> dict[int, tuple[str, ...]]:
        """The frame numbers that several files of a folder have, with these files' names, the one taken first.

        Args and errors are those of `frames`.
        """
        return self._list(parts, name)[1]

    def _list(
        self, parts: tuple[str, ...], name: re.Pattern[str]
    ) -> tuple[dict[int, Path], dict[int, tuple[str, ...]]]:
        """What `frames` and `repeated` return; a folder is read once."""
        folder = self.root.joinpath(*parts)
        key = (folder, name.pattern)
        if key not in self._listed:
            if not self._stays_inside(folder):
                raise UnsafePathError(f"{folder} is a link out of {self.root}; it is refused ({_REMEDY})")
            if not folder.is_dir():
                raise FileNotFoundError(f"{NO_FOLDER} {folder}")
            found: dict[int, list[Path]] = {}
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    stem, suffix = os.path.splitext(entry.name)
                    match = name.fullmatch(stem)
                    if suffix.lower() not in FRAME_SUFFIXES or match is None or entry.name.startswith("."):
                        continue
                    path = folder / entry.name
                    if entry.is_symlink() and not self._stays_inside(path):
                        raise UnsafePathError(f"{path} is a link out of {self.root}; it is refused ({_REMEDY})")
                    found.setdefault(int(match.group(1)), []).append(path)
            self._listed[key] = (
                {number: files[0] for number, files in sorted(found.items())},
                {number: tuple(path.name for path in files) for number, files in found.items() if len(files) > 1},
            )
        return self._listed[key]


def describe_numbers(numbers: list[int]) -> str:
    """Frame numbers as short text: `3-5, 9`."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    shown = [str(first) if first == last else f"{first}-{last}" for first, last in runs[:8]]
    return ", ".join(shown) + (f" and {len(runs) - 8} more runs" if len(runs) > 8 else "")
