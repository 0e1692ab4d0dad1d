"""Where a database's frames lie below ROOT: owners ship them in versions, and users unpack them as they like."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hsta_hf.data.databases.base import DatabaseError
from hsta_hf.data.frame_folders import plain_letters
from hsta_hf.data.wording import listing


@dataclass(frozen=True)
class FrameVersion:
    """One of the owner's versions of the frames.

    Attributes:
        name: "raw", "cropped"; "" where there is one.
        folders: Names of the folder below ROOT that holds the subjects' folders, the preferred one first; case, spaces
            and punctuation do not matter. Empty: the subjects' folders lie in ROOT.
        frame_name: A frame's file name without suffix; the first group is its number.
        aligned: True if the owner has cropped and registered the faces.
    """

    name: str
    folders: tuple[str, ...]
    frame_name: re.Pattern[str]
    aligned: bool = False


def find_version(
    root: Path,
    versions: Sequence[FrameVersion],
    subject_folder: re.Pattern[str],
    variant: str | None,
    title: str,
    expected: str,
) -> tuple[FrameVersion, tuple[str, ...]]:
    """The version of the frames to read, and the folders below `root` that lead to its subjects.

    A version's folder is looked for in `root` and, since zips unpack into folders of their own name
    (`CASME2_RAW/CASME2-RAW`), once more in it. `root` may also be the version's folder itself: which one is told by
    the names of its frames.

    Args:
        root: The database's folder.
        versions: The owner's versions, the preferred one first.
        subject_folder: Name of a subject's folder.
        variant: Name of the wanted version; None takes the first that is there.
        title: The database, for messages.
        expected: The layout, for messages.

    Raises:
        DatabaseError: if there is no such version, or none of it in `root`; the message says what is there.
    """
    if variant is not None and variant not in {version.name for version in versions if version.name}:
        names = ", ".join(version.name for version in versions if version.name) or "one version of the frames only"
        raise DatabaseError(f"{title} has no variant {variant!r}; there is {names}")
    if not any(version.folders for version in versions):
        return versions[0], ()
    found = _found(root, versions, subject_folder)
    for version in versions:
        if version.name in found and variant in (None, version.name):
            return version, found[version.name]
    if found:
        raise DatabaseError(f"{root} holds no {variant} frames of {title}, only {', '.join(found)} ones")
    raise DatabaseError(f"{root}: no frames of {title} found. Expected {expected}; ROOT holds: {listing(root)}")


def _found(
    root: Path, versions: Sequence[FrameVersion], subject_folder: re.Pattern[str]
) -> Mapping[str, tuple[str, ...]]:
    """Version name to the folders below `root` that hold its subjects, for the versions that are there."""
    found: dict[str, tuple[str, ...]] = {}
    for version in versions:
        keys = [plain_letters(folder) for folder in version.folders]
        for key in keys:
            for name in _folders(root):
                if plain_letters(name) != key:
                    continue
                nested = [(name, child) for child in _folders(root / name) if plain_letters(child) in keys]
                for parts in ((name,), *nested):
                    if _has_subjects(root.joinpath(*parts), subject_folder):
                        found.setdefault(version.name, parts)
    if _has_subjects(root, subject_folder):
        here = _version_of(root, versions, subject_folder)
        if here is not None:
            found.setdefault(here.name, ())
    return {version.name: found[version.name] for version in versions if version.name in found}


def _version_of(
    folder: Path, versions: Sequence[FrameVersion], subject_folder: re.Pattern[str]
) -> FrameVersion | None:
    """The version whose frames lie below a folder of subjects; by the folder's name where there is no frame."""
    for subject in _folders(folder):
        if not subject_folder.fullmatch(subject):
            continue
        for clip in _folders(folder / subject):
            with os.scandir(folder / subject / clip) as entries:
                stems = [os.path.splitext(entry.name)[0] for entry in entries]
            for version in versions:
                if any(version.frame_name.fullmatch(stem) for stem in stems):
                    return version
    name = plain_letters(folder.resolve().name)
    named = (version for version in versions if name in {plain_letters(known) for known in version.folders})
    return next(named, versions[0] if len(versions) == 1 else None)


def _has_subjects(folder: Path, subject_folder: re.Pattern[str]) -> bool:
    return any(subject_folder.fullmatch(name) for name in _folders(folder))


def _folders(folder: Path) -> Iterator[str]:
    """Names of the folders in a folder, in order."""
    with os.scandir(folder) as entries:
        yield from sorted(entry.name for entry in entries if entry.is_dir())
