"""Writes the MEGC 2019 composite: its three members side by side, each in its owner's layout."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from owners import casme2, samm, smic

# (negative, positive, surprise, subjects) of each member, as published by the challenge.
PUBLISHED = {"smic_hs": (70, 51, 43, 16), "casme2": (88, 32, 25, 24), "samm": (92, 26, 15, 28)}
FOLDERS = {"smic_hs": "SMIC", "casme2": "CASME2", "samm": "SAMM"}


def write_published(
    root: Path,
    *,
    casme2_version: int = 256,
    casme2_variants: Collection[str] = ("raw",),
    smic_variants: Collection[str] = ("raw",),
    folders: dict[str, str] | None = None,
) -> Path:
    """Write all clips of the three members, those that the composite leaves out among them.

    Args:
        root: The folder that holds the members' folders.
        casme2_version: Rows of CASME II's table: 256 or 255.
        casme2_variants: Versions of CASME II's frames.
        smic_variants: Versions of SMIC's frames.
        folders: Folder of each member below `root`.

    Returns:
        `root`.
    """
    names = FOLDERS if folders is None else folders
    for variant in smic_variants:
        smic.write_published(root / names["smic_hs"], variant, num_frames=2)
    casme2.write_published(root / names["casme2"], casme2_version, casme2_variants)
    samm.write_published(root / names["samm"])
    return root
