"""Copies of prepared datasets with other columns."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa

from hsta_hf.data.prepared import MANIFEST


def rewritten(prepared: Path, folder: Path, **columns: Callable[[list[Any]], list[Any]]) -> Path:
    """Copy the prepared dataset into `folder`; of each column named, `columns` makes a new list of values."""
    dataset = datasets.load_from_disk(str(prepared))
    assert isinstance(dataset, datasets.Dataset)
    table = dataset.data.table
    for name, change in columns.items():
        field = table.schema.field(name)
        column = pa.array(change(table.column(name).to_pylist()), type=field.type)
        table = table.set_column(table.schema.get_field_index(name), field, column)
    datasets.Dataset(datasets.table.InMemoryTable(table)).save_to_disk(str(folder))
    shutil.copy(prepared / MANIFEST, folder / MANIFEST)
    return folder


def of_database(prepared: Path, folder: Path, database: str, subject: Callable[[str], str] = str) -> Path:
    """Copy the prepared dataset as one of another database, with subjects renamed by `subject`."""
    return rewritten(
        prepared,
        folder,
        database=lambda values: [database] * len(values),
        clip_id=lambda values: [f"{database}/{value.partition('/')[2]}" for value in values],
        subject=lambda values: [subject(value) for value in values],
    )
