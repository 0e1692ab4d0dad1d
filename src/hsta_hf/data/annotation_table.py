"""Reading the owners' annotation tables (.xlsx, .csv): cells as text, the header found by its names."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl

from hsta_hf.data.frame_folders import plain_letters
from hsta_hf.data.wording import listing

TABLE_SUFFIXES: tuple[str, ...] = (".xlsx", ".csv")
OLD_SUFFIX = ".xls"
OLD_EXCEL = "an old Excel file, which is not read; save it as .xlsx"
# Some owners put prose above the header; it is looked for in this many rows.
_HEADER_WITHIN = 20
# How many tables beside ROOT are opened in search of the right folder.
_OTHERS_TRIED = 20
# Spreadsheets of countries with a decimal comma write CSV with semicolons.
_DELIMITERS = ",;\t"


class AnnotationError(ValueError):
    """An annotation table cannot be read; the message names the file."""


@dataclass(frozen=True)
class AnnotationRow:
    """One row of an annotation table.

    Attributes:
        number: Row number as a spreadsheet shows it, the first row being 1.
        cells: The row's cells as stripped text by canonical column name; "" where empty.
    """

    number: int
    cells: Mapping[str, str]


@dataclass(frozen=True)
class AnnotationTable:
    """An annotation table.

    Attributes:
        rows: The rows below the header that are not empty.
        columns: The canonical names of the columns that it has, in the order asked for.
        unknown: The header's other names.
    """

    rows: list[AnnotationRow]
    columns: tuple[str, ...]
    unknown: tuple[str, ...]


def _text(value: Any) -> str:
    """A cell as text: 4.0 and 4 are both "4", an empty cell is ""."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _raw_tables(path: Path) -> list[tuple[str, list[tuple[Any, ...]]]]:
    """Every sheet of the file as (name, rows); a .csv counts as one sheet per way to read it."""
    if path.suffix.lower() == OLD_SUFFIX:
        raise AnnotationError(f"{path}: {OLD_EXCEL}")
    if not path.is_file():
        raise AnnotationError(f"{path}: no such file (paths are relative to the current folder)")
    try:
        if path.suffix.lower() == ".csv":
            with path.open(newline="", encoding="utf-8-sig") as file:
                lines = file.readlines()
            return [(mark, [tuple(row) for row in csv.reader(lines, delimiter=mark)]) for mark in _DELIMITERS]
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            for sheet in book.worksheets:
                sheet.reset_dimensions()  # some programs write a wrong size of the sheet, by which rows would be lost
            return [(sheet.title, list(sheet.iter_rows(values_only=True))) for sheet in book.worksheets]
        finally:
            book.close()
    except UnicodeDecodeError as error:
        raise AnnotationError(f"{path}: not UTF-8 text ({error}); save it as CSV UTF-8, or as .xlsx") from error
    except Exception as error:  # openpyxl raises whatever its zip and XML readers raise
        raise AnnotationError(f"{path}: cannot be read as a {path.suffix} table ({error})") from error


def read_annotation(
    path: Path, columns: Mapping[str, Sequence[str]], optional: Mapping[str, Sequence[str]] | None = None
) -> list[AnnotationRow]:
    """Read the first sheet of a table that has the wanted columns.

    Args:
        path: A .xlsx or .csv file.
        columns: Canonical column name to the names that count as it; case, spaces and punctuation do not
            matter.
        optional: The same for columns that may be absent; their cells are "" then.

    Returns:
        The rows below the header that are not empty.

    Raises:
        AnnotationError: if the file cannot be read or no sheet has all columns; the message names the
            file and the columns that are missing.
    """
    return read_table(path, columns, optional).rows


def read_table(
    path: Path, columns: Mapping[str, Sequence[str]], optional: Mapping[str, Sequence[str]] | None = None
) -> AnnotationTable:
    """As `read_annotation`, and says which columns there are.

    Args:
        path: A .xlsx or .csv file.
        columns: Columns that have to be there, as `read_annotation` takes them.
        optional: Columns that need not be; their cells are "" where they are not.

    Raises:
        AnnotationError: as `read_annotation`.
    """
    wanted_columns = {**columns, **(optional or {})}
    keys = {name: {plain_letters(alias) for alias in (name, *aliases)} for name, aliases in wanted_columns.items()}
    fewest_missing = list(columns)
    for _, rows in _raw_tables(path):
        for header_at, header in enumerate(rows[:_HEADER_WITHIN]):
            found = [plain_letters(_text(cell)) for cell in header]
            places = {
                name: next((place for place, key in enumerate(found) if key and key in wanted), None)
                for name, wanted in keys.items()
            }
            missing = [name for name in columns if places[name] is None]
            if len(missing) < len(fewest_missing):
                fewest_missing = missing
            if missing:
                continue
            result = []
            for number, row in enumerate(rows[header_at + 1 :], start=header_at + 2):
                cells = {
                    name: _text(row[place]) if place is not None and place < len(row) else ""
                    for name, place in places.items()
                }
                if any(cells.values()):
                    result.append(AnnotationRow(number, cells))
            taken = {place for place in places.values() if place is not None}
            return AnnotationTable(
                result,
                tuple(name for name, place in places.items() if place is not None),
                tuple(_text(cell) for place, cell in enumerate(header) if place not in taken and _text(cell)),
            )
    raise AnnotationError(
        f"{path}: no header row with the columns {', '.join(columns)}; missing: {', '.join(fewest_missing)}"
    )


def named_annotation(root: Path, path: Path) -> Path:
    """`path`, if there is such a file.

    Args:
        root: The database's folder; what tables are in it is said where `path` is missing.
        path: The table that the user names, relative to the current folder.

    Raises:
        AnnotationError: there is no such file.
    """
    if path.is_file():
        return path
    tables = ", ".join(table.name for table in _tables(root))
    raise AnnotationError(
        f"{path}: no such file (paths are relative to the current folder); ROOT holds {tables or 'no table'}"
    )


def find_annotation(
    root: Path, known_names: Sequence[str], columns: Mapping[str, Sequence[str]], *, above: bool = False
) -> Path:
    """The annotation table in `root`: one of the owner's names, else the only table with the columns.

    Args:
        root: The database's folder.
        known_names: The owner's names of the table.
        columns: What `read_annotation` needs.
        above: If there is none in `root`, a table with one of the owner's names in the folder above does.

    Raises:
        AnnotationError: if there is none, or more than one that fits.
    """
    found, reasons = _fitting_tables(_tables(root), known_names, columns)
    if not found and above:
        wanted = {name.casefold() for name in known_names}
        named = [path for path in _tables(root.resolve().parent) if path.name.casefold() in wanted]
        found, more_reasons = _fitting_tables(named, known_names, columns)
        reasons += more_reasons
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(path.name for path in found)
        raise AnnotationError(f"{root} holds several annotation tables ({names}); name one with --annotation")
    looked = f" Looked at: {'; '.join(reasons)}." if reasons else ""
    old = sorted(path.name for path in root.iterdir() if path.suffix.lower() == OLD_SUFFIX)
    hint = f" {', '.join(old)}: {OLD_EXCEL}." if old else ""
    near = _folder_with_table(root, known_names, columns)
    meant = f" {near[0]} holds {near[1]}: did you mean {near[0]}?" if near else ""
    raise AnnotationError(
        f"{root}: no annotation table found. Expected {known_names[0]} (or another .xlsx or .csv with the "
        f"columns {', '.join(columns)}); name it with --annotation. ROOT holds: {listing(root)}.{meant}{looked}{hint}"
    )


def _folder_with_table(
    root: Path, known_names: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> tuple[Path, str] | None:
    """The folder in `root`, or the one above, that holds the table, and the table's name; None if none does."""
    above = root.resolve().parent
    folders = [*sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")), above]
    candidates = []
    for folder in folders:
        try:
            candidates += [(folder, table) for table in _tables(folder)]
        except OSError:
            continue  # a folder that may not be read is not what was meant
    wanted = {name.casefold() for name in known_names}
    for folder, table in candidates:
        if table.name.casefold() in wanted:
            return folder, table.name
    for folder, table in candidates[:_OTHERS_TRIED]:
        try:
            read_annotation(table, columns)
        except AnnotationError:
            continue
        return folder, table.name
    return None


def _tables(folder: Path) -> list[Path]:
    """The files of a folder that may be annotation tables."""
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in TABLE_SUFFIXES and path.is_file() and not path.name.startswith(("~$", "."))
    )


def _fitting_tables(
    tables: Sequence[Path], known_names: Sequence[str], columns: Mapping[str, Sequence[str]]
) -> tuple[list[Path], list[str]]:
    """Those of the tables that are the owner's by name, else those with the columns; and why others are not."""
    wanted = {name.casefold() for name in known_names}
    named = [path for path in tables if path.name.casefold() in wanted]
    if len(named) == 1:
        return named, []
    fitting, reasons = [], []
    for path in named or tables:
        try:
            read_annotation(path, columns)
            fitting.append(path)
        except AnnotationError as error:
            reasons.append(str(error))
    return fitting, reasons
