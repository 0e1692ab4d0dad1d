"""Who is who when clips come from several databases: one name may mean two people, or two databases one cast."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

# Databases with one cast: a subject's name means the same person in all of those with the same value here.
# CAS(ME)^3 part A: macro- and micro-expressions are of the same recordings (Li et al., TPAMI 2023).
# SMIC: the visible and near-infrared cameras filmed some of the people of HS (Li et al., FG 2013).
_CAST: Mapping[str, str] = MappingProxyType(
    {
        "casme3": "casme3",
        "casme3_macro": "casme3",
        "smic_hs": "smic",
        "smic_vis": "smic",
        "smic_nir": "smic",
    }
)


def cast_of(database: str) -> str:
    """The people of a database: its own name, or the name that stands for all databases with the same cast."""
    return _CAST.get(database, database)


def natural_order(name: str) -> tuple[Any, ...]:
    """Sort key that puts spNO.2 before spNO.10."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name))


def sources_of(databases: Sequence[str]) -> tuple[str, ...]:
    """The people that every clip is from: its database; databases with one cast count as one.

    Args:
        databases: Database of every clip.

    Returns:
        For every clip the name of its database, or of all databases among these with the same cast: "casme2",
        "casme3+casme3_macro".
    """
    present: dict[str, set[str]] = {}
    for database in set(databases):
        present.setdefault(cast_of(database), set()).add(database)
    return tuple("+".join(sorted(present[cast_of(database)])) for database in databases)


def people_of(subjects: Sequence[str], databases: Sequence[str]) -> tuple[str, ...]:
    """The person in every clip.

    Args:
        subjects: Subject of every clip, as its database names it.
        databases: Database of every clip; empty where all are of one.

    Returns:
        The subjects as they are, or `source/subject` where there are people of several sources.
    """
    sources = sources_of(databases)
    if len(set(sources)) < 2:
        return tuple(subjects)
    return tuple(f"{source}/{subject}" for source, subject in zip(sources, subjects, strict=True))
