"""One module per database. A new database is a new module with `NAME`, `TITLE` and `load`, named here."""

from __future__ import annotations

import importlib
from typing import cast

from hsta_hf.data.databases.base import (
    Correction,
    Database,
    DatabaseError,
    LoadReport,
    Problem,
)

DATABASES: tuple[str, ...] = ("casme3",)


def get_database(name: str) -> Database:
    """The database module of that name.

    Raises:
        DatabaseError: if there is none; the message lists those that exist.
    """
    if name not in DATABASES:
        raise DatabaseError(f"no database is called {name!r}; there are {', '.join(DATABASES)}")
    return cast(Database, importlib.import_module(f"{__name__}.{name}"))


__all__ = ["DATABASES", "Correction", "Database", "DatabaseError", "LoadReport", "Problem", "get_database"]
