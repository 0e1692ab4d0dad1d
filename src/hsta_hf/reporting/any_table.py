"""Predictions tables that hsta-hf did not write: Parquet or CSV, labels as names or numbers, with what they have.

clip, subject, label and prediction are needed; database, fold, seed and `score_<class>` are read where they are.
Classes are those of the score columns, in their order. Without score columns they are the names that occur, sorted, or
the numbers from 0 to the largest that occurs. Several labels a clip are lists of zeros and ones; in a CSV, `[0, 1, 0]`
or `0 1 0`. A CSV is separated by commas, semicolons (scores may then have decimal commas) or tabs, as its header says.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hsta_hf.metrics.tables import SCORE, is_multi_label, label_names
from hsta_hf.reporting.predictions import PredictionsError

NEEDED = ("clip", "subject", "label", "prediction")
_WHOLE = re.compile(r"[+-]?\d+(\.0+)?")
_LIST = re.compile(r"\[\s*[01]?(?:[\s,;]+[01])*\s*\]|[01](?:[\s,;]+[01])+")
_DECIMAL = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_READ = {".parquet": "Parquet", ".csv": "CSV", ".tsv": "CSV"}


@dataclass(frozen=True)
class AnyTable:
    """A table that can be scored.

    Attributes:
        path: the file.
        rows: clip, database, subject as strings, label and prediction as class ids or lists, seed, and fold and
            `score_…` where the file has them.
        labels: names of the classes.
        numbered: whether the classes have no names, so that their numbers stand for them.
    """

    path: Path
    rows: pd.DataFrame
    labels: tuple[str, ...]
    numbered: bool


def read_any_table(path: str | Path) -> AnyTable:
    """Read a table for scoring.

    Args:
        path: a run folder, or a `.parquet`, `.csv` or `.tsv` file.

    Raises:
        PredictionsError: the message names the file, and the row and column at fault; the first row is row 1, in a CSV
            the line below the header.
    """
    file = _find(Path(path))
    table = _read(file)
    missing = [name for name in NEEDED if name not in table.columns]
    if missing:
        raise PredictionsError(
            f"{file} has no column {', '.join(missing)}; needed are {', '.join(NEEDED)}, and it has "
            f"{', '.join(map(str, table.columns)) or 'none'}."
        )
    if table.empty:
        raise PredictionsError(f"{file} has no rows: there is nothing to score.")
    for name in ("clip", "subject", "label", "prediction", "database", "fold", "seed"):
        if name in table.columns:
            _no_gaps(table[name], name, file)
    rows = pd.DataFrame({name: table[name].astype(str).to_list() for name in ("clip", "subject")})
    rows["database"] = table["database"].astype(str).to_list() if "database" in table.columns else ""
    rows["seed"] = _whole_numbers(table["seed"], file) if "seed" in table.columns else 0
    if "fold" in table.columns:
        rows["fold"] = _whole_numbers(table["fold"], file)
    names = label_names(table)
    cells: list[list[Any]] = [[_plain(cell) for cell in table[name]] for name in ("label", "prediction")]
    if any(isinstance(cell, list) for column in cells for cell in column):
        labels, numbered = _several(cells, names, file)
        rows["label"], rows["prediction"] = cells
    else:
        rows["label"], rows["prediction"], labels, numbered = _classes(cells, names, table, file)
    for name in names:
        rows[SCORE + name] = _scores(table[SCORE + name], file)
    _no_twins(rows, file)
    return AnyTable(file, rows, labels, numbered)


def _find(path: Path) -> Path:
    file = path / "predictions.parquet" if path.is_dir() else path
    if not file.is_file():
        hint = " The run may not have finished; start it again to continue." if path.is_dir() else ""
        raise PredictionsError(f"There is no predictions table {file}.{hint}")
    if file.suffix.lower() not in _READ:
        raise PredictionsError(f"{file}: only {', '.join(_READ)} files and run folders are read.")
    return file


def _read(file: Path) -> pd.DataFrame:
    kind = _READ[file.suffix.lower()]
    try:
        if kind == "Parquet":
            return pd.read_parquet(file)
        separator = _separator(file)
        table = pd.read_csv(file, sep=separator, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except Exception as error:
        raise PredictionsError(f"{file} cannot be read as {kind}: {error}") from error
    if not isinstance(table.index, pd.RangeIndex):
        raise PredictionsError(f"{file}: rows have more cells than the header has columns.")
    table = table.rename(columns=lambda name: str(name).strip()).map(str.strip)
    if separator == ";":
        scores = [name for name in table.columns if name.startswith(SCORE)]
        table[scores] = table[scores].map(lambda cell: cell.replace(",", ".") if _DECIMAL.fullmatch(cell) else cell)
    return table


def _separator(file: Path) -> str:
    """What separates the cells: what splits the header into most of the needed columns, or what the suffix says.

    The header alone is looked at: lists, names and decimal commas in the rows would mislead a guess from them.
    """
    with file.open(encoding="utf-8-sig", newline="") as lines:
        header = lines.readline()
    usual = "\t" if file.suffix.lower() == ".tsv" else ","
    found = {
        each: len(set(NEEDED) & {cell.strip() for cell in next(csv.reader([header], delimiter=each), [])})
        for each in (usual, *(other for other in ",;\t" if other != usual))
    }
    return max(found, key=lambda each: found[each])  # of equal ones the first


def _no_gaps(column: pd.Series, name: str, file: Path) -> None:
    for number, cell in enumerate(column, start=1):
        if cell is None or (isinstance(cell, float) and np.isnan(cell)) or (isinstance(cell, str) and not cell):
            raise PredictionsError(f"{file}, row {number}: {name} is empty.")


def _plain(cell: Any) -> str | list[int] | list[Any]:
    """A cell as a string, or as a list where it is one."""
    if isinstance(cell, str):
        return [int(digit) for digit in re.findall("[01]", cell)] if _LIST.fullmatch(cell) else cell
    if np.isscalar(cell):
        return str(cell)
    return np.asarray(cell).tolist()


def _several(cells: Sequence[Sequence[Any]], names: tuple[str, ...], file: Path) -> tuple[tuple[str, ...], bool]:
    size = len(names) or next(len(cell) for column in cells for cell in column if isinstance(cell, list))
    for name, column in zip(("label", "prediction"), cells, strict=True):
        for number, cell in enumerate(column, start=1):
            if not isinstance(cell, list) or len(cell) != size or any(value not in (0, 1) for value in cell):
                raise PredictionsError(
                    f"{file}, row {number}: {name} must be a list of {size} zeros and ones, as in other rows; got "
                    f"{cell}."
                )
    return names or tuple(str(number) for number in range(size)), not names


def _classes(
    cells: Sequence[Sequence[str]], names: tuple[str, ...], table: pd.DataFrame, file: Path
) -> tuple[list[int], list[int], tuple[str, ...], bool]:
    used = dict.fromkeys(cell for column in cells for cell in column)
    as_numbers = all(_WHOLE.fullmatch(cell) for cell in used)
    as_names = all(cell in names for cell in used) if names else not as_numbers
    own_numbers = names == tuple(str(number) for number in range(len(names)))
    stored = all(pd.api.types.is_integer_dtype(table[name]) for name in ("label", "prediction"))
    if as_names and as_numbers and not own_numbers and not stored:
        raise PredictionsError(
            f"{file}: label and prediction hold numbers, and the classes {', '.join(names)} are numbers too, so they "
            "may be names or positions. Name the classes by words, or store whole numbers (positions) in Parquet."
        )
    if as_numbers and (stored or not as_names or own_numbers):
        size = len(names) or 1 + max(int(float(cell)) for cell in used)
        found = [_numbers(column, name, size, file) for name, column in zip(NEEDED[2:], cells, strict=True)]
        return found[0], found[1], names or tuple(str(number) for number in range(size)), not names
    labels = names or tuple(sorted(used))
    if not names and any(_WHOLE.fullmatch(cell) for cell in used):
        raise PredictionsError(
            f"{file}: label and prediction mix names and numbers ({_first(used, False)!r}, {_first(used, True)!r}). "
            f"Use one of them, or add the columns {SCORE}<class>, which say the order of the classes."
        )
    number_of = {name: number for number, name in enumerate(labels)}
    found = []
    for name, column in zip(NEEDED[2:], cells, strict=True):
        # A column of names beside one of numbers is read where the score columns say the order.
        if names and all(_WHOLE.fullmatch(cell) and cell not in number_of for cell in column):
            found.append(_numbers(column, name, len(names), file))
            continue
        for row, cell in enumerate(column, start=1):
            if cell not in number_of:
                raise PredictionsError(
                    f"{file}, row {row}: {name} {cell!r} is no class; the classes are {', '.join(labels)}."
                )
        found.append([number_of[cell] for cell in column])
    return found[0], found[1], labels, False


def _first(cells: dict[str, None], whole: bool) -> str:
    return next(cell for cell in cells if bool(_WHOLE.fullmatch(cell)) == whole)


def _numbers(column: Sequence[str], name: str, size: int, file: Path) -> list[int]:
    numbers = [int(float(cell)) for cell in column]
    for row, number in enumerate(numbers, start=1):
        if not 0 <= number < size:
            raise PredictionsError(
                f"{file}, row {row}: {name} {number} is no class; class ids must lie in 0..{size - 1}."
            )
    return numbers


def _whole_numbers(column: pd.Series, file: Path) -> list[int]:
    numbers = []
    for row, cell in enumerate(column, start=1):
        if not _WHOLE.fullmatch(str(cell)):
            raise PredictionsError(f"{file}, row {row}: {column.name} must be a whole number; got {cell!r}.")
        numbers.append(int(float(cell)))
    return numbers


def _scores(column: pd.Series, file: Path) -> list[float]:
    numbers = []
    for row, cell in enumerate(column, start=1):
        try:
            numbers.append(float(cell))
        except (TypeError, ValueError):
            raise PredictionsError(f"{file}, row {row}: {column.name} must be a number; got {cell!r}.") from None
    return numbers


def _no_twins(rows: pd.DataFrame, file: Path) -> None:
    seen: dict[tuple[Any, ...], int] = {}
    keys = zip(rows["database"], rows["subject"], rows["clip"], rows["seed"], strict=True)
    for number, key in enumerate(keys, start=1):
        if key in seen:
            raise PredictionsError(
                f"{file}, row {number}: clip {key[2]} of subject {key[1]} (seed {key[3]}) is already in row "
                f"{seen[key]}; a clip is scored once a seed. Give each run its own seed, or leave one out."
            )
        seen[key] = number


def numbers_read_as(first: AnyTable, second: AnyTable) -> tuple[AnyTable, dict[str, str]] | None:
    """Which of two tables has numbers that `in_one_order` takes for the other's classes, and for which.

    Returns:
        The table of numbers and {number: name}; None where both have names or both numbers, or they do not go
        together.
    """
    if first.numbered == second.numbered:
        return None
    numbers, names = (first, second) if first.numbered else (second, first)
    if len(numbers.labels) > len(names.labels):
        return None
    return numbers, {str(number): name for number, name in enumerate(names.labels)}


def in_one_order(first: AnyTable, second: AnyTable) -> tuple[AnyTable, AnyTable]:
    """Give two tables one list of classes, where they name the same classes in another order or by number.

    Numbers are taken for positions in the other table's list; a name that does not occur in one of them is added
    there. Tables whose classes differ are given back as they are, for the comparison to refuse.
    """
    if first.numbered or second.numbered:
        longer = max(first, second, key=lambda table: (not table.numbered, len(table.labels)))
        if len(longer.labels) >= max(len(first.labels), len(second.labels)):
            return replace(first, labels=longer.labels), replace(second, labels=longer.labels)
        return first, second
    fixed = [table for table in (first, second) if label_names(table.rows)]
    order = fixed[0].labels if fixed else tuple(sorted({*first.labels, *second.labels}))
    several = is_multi_label(first.rows) or is_multi_label(second.rows)
    alike = len(fixed) < 2 or set(first.labels) == set(second.labels)
    if several or not alike or not {*first.labels, *second.labels} <= set(order):
        return first, second
    return _in_order(first, order), _in_order(second, order)


def _in_order(table: AnyTable, order: tuple[str, ...]) -> AnyTable:
    to = [order.index(name) for name in table.labels]
    columns = {name: [to[number] for number in table.rows[name]] for name in ("label", "prediction")}
    return replace(table, rows=table.rows.assign(**columns), labels=order)
