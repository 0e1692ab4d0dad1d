"""The databases, by name. A new one is a new module whose `DATABASES` is named here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from hsta_hf.data.databases.base import (
    Correction,
    Database,
    DatabaseError,
    LoadReport,
    Problem,
)
from hsta_hf.data.frame_folders import plain_letters
from hsta_hf.data.wording import nearest

# Name of each database to the module that reads it; modules are imported when they are asked for.
_MODULES: Mapping[str, str] = MappingProxyType(
    {
        "casme3": "casme3",
        "casme3_macro": "casme3_macro",
        "casme2": "casme2",
        "samm": "samm",
        "smic_hs": "smic",
        "smic_vis": "smic",
        "smic_nir": "smic",
        "megc2019": "megc2019",
        "folder": "folder",
    }
)
DATABASES: tuple[str, ...] = tuple(_MODULES)


# What else the databases are called, as letters and digits; "smic" alone says not which camera's clips.
_ALSO_CALLED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "casmeii": ("casme2",),
        "casmeiii": ("casme3",),
        "casme": ("casme2", "casme3"),
        "smic": ("smic_hs", "smic_vis", "smic_nir"),
        "megc": ("megc2019",),
        "composite": ("megc2019",),
    }
)


def get_database(name: str) -> Database:
    """The database of that name, case aside.

    Raises:
        DatabaseError: if there is none; the message names the nearest, and lists those that exist.
    """
    if name not in _MODULES:
        if name.casefold() in _MODULES:
            return get_database(name.casefold())
        near = likely_databases(name)
        meant = f" did you mean {' or '.join(near)}?" if near else ""
        raise DatabaseError(f"no database is called {name!r};{meant} there are {', '.join(DATABASES)}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    found: Database = next(database for database in module.DATABASES if database.name == name)
    return found


def likely_databases(name: str) -> tuple[str, ...]:
    """The databases that a name which is none of theirs is likely to mean; empty if it is like none."""
    letters = plain_letters(name)
    for database in DATABASES:
        if letters == plain_letters(database):
            return (database,)
    if letters in _ALSO_CALLED:
        return _ALSO_CALLED[letters]
    near = nearest(letters, [*DATABASES, *_ALSO_CALLED])
    return _ALSO_CALLED.get(near, (near,) if near else ())


__all__ = [
    "DATABASES",
    "Correction",
    "Database",
    "DatabaseError",
    "LoadReport",
    "Problem",
    "get_database",
    "likely_databases",
]
