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


def get_database(name: str) -> Database:
    """The database of that name.

    Raises:
        DatabaseError: if there is none; the message lists those that exist.
    """
    if name not in _MODULES:
        raise DatabaseError(f"no database is called {name!r}; there are {', '.join(DATABASES)}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    found: Database = next(database for database in module.DATABASES if database.name == name)
    return found


__all__ = ["DATABASES", "Correction", "Database", "DatabaseError", "LoadReport", "Problem", "get_database"]
