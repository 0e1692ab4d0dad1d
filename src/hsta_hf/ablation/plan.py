"""Which runs the rows of the paper's tables need: recipes, and the folders that equal rows share."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsta_hf.data.protocol_names import CLIP_LEVEL, CLIP_LEVEL_MACRO, PROTOCOLS
from hsta_hf.paper.tables import PaperRow, PaperTable, load_tables
from hsta_hf.training.arguments import HARMLESS_FIELDS
from hsta_hf.training.recipe import Recipe, RecipeError, load_recipe, merge, parse_overrides, resolve

PUBLISHED = "published"
# What the tables' folds by clips become where nothing else is asked for: people whom the model has not seen.
HONEST: Mapping[str, str] = {CLIP_LEVEL: "kfold-subjects"}
# Fields that have an option of this command's own.
OWN_OPTIONS: Mapping[str, str] = {
    "dataset": "--database",
    "output_dir": "--output",
    "protocol": "--protocol",
    "macro_dataset": "--macro_database",
}
NOT_OF_BASELINES = frozenset(
    {"model", "processor", "pretrained", "videomae", "pretrain", "pretrain_dataset", "pretrain_synthetic"}
)


@dataclass(frozen=True)
class AblationOptions:
    """What `hsta ablate` was asked for.

    Attributes:
        tables: names of the tables.
        dataset: the prepared dataset.
        output: the folder that everything goes into.
        recipe: file or name of the recipe that the rows change.
        protocols: protocols that every row is run under; `PUBLISHED` stands for the table's own. Empty: the table's
            own where it keeps subjects apart, and by subjects where it does not.
        rows: names of the rows to run; None for all.
        macro_dataset: prepared macro-expressions for the rows that train on them.
        overrides: `--field value` words, as of `hsta train`.
        notes: remarks of the user's own on why figures are not comparable.
    """

    tables: tuple[str, ...]
    dataset: str
    output: Path
    recipe: str = "casme3_paper"
    protocols: tuple[str, ...] = ()
    rows: tuple[str, ...] | None = None
    macro_dataset: str | None = None
    overrides: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlannedRow:
    """One row of a table under one protocol.

    Attributes:
        table, row: the paper's.
        protocol: name of the protocol; a row with macro-expressions has its recipe's variant of it
            (`CLIP_LEVEL_MACRO` for `CLIP_LEVEL`).
        recipe: what is run; None where the row cannot be run here.
        folder: the run folder; equal rows have the same one.
        not_run: why it cannot be run.
        asked: whether it is to be run in this call.
    """

    table: PaperTable
    row: PaperRow
    protocol: str
    recipe: Recipe | None = None
    folder: Path | None = None
    not_run: str | None = None
    asked: bool = True

    @property
    def title(self) -> str:
        """For progress and messages."""
        return f"{self.table.name} row {self.row.name} ({self.protocol})"


@dataclass(frozen=True)
class Plan:
    """All rows of the tables asked for, in the paper's order, one for each protocol."""

    options: AblationOptions
    rows: tuple[PlannedRow, ...] = field(default=())

    @property
    def runs(self) -> dict[Path, list[PlannedRow]]:
        """The rows that are to be run, by run folder: each folder is one run, whoever shares it."""
        found: dict[Path, list[PlannedRow]] = {}
        for planned in self.rows:
            if planned.folder is not None and planned.asked:
                found.setdefault(planned.folder, []).append(planned)
        return found


def make_plan(options: AblationOptions) -> Plan:
    """Turn tables into runs.

    Rows that come to the same recipe share a run folder, named after the first of them in the paper, so that a row
    that one table has run is there for the next table.

    Raises:
        RecipeError: there is no such table or row, a protocol is unknown, a row that was asked for by name cannot be
            run, or the command line sets a field that the rows set.
    """
    tables = load_tables()
    unknown = [name for name in options.tables if name not in tables]
    if unknown or not options.tables:
        raise RecipeError(f"There is no table {', '.join(unknown)}; the paper has {', '.join(tables)}.")
    for protocol in options.protocols:
        if protocol != PUBLISHED and protocol not in PROTOCOLS:
            raise RecipeError(
                f"--protocol is {protocol!r}; use {PUBLISHED}, for each table's own, or of {', '.join(PROTOCOLS)}."
            )
    asked = [tables[name] for name in dict.fromkeys(options.tables)]
    _check_row_names(options, asked)
    _check_overrides(parse_overrides(options.overrides), asked)
    base = load_recipe(options.recipe, options.overrides).as_dict()
    names = _folder_names(options, base)
    rows = [
        _planned(options, table, row, protocol, base, names)
        for table in asked
        for protocol in _protocols(options, table)
        for row in table.rows
    ]
    return Plan(options, tuple(rows))


def _folder_names(options: AblationOptions, base: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """Run folders by row and protocol: rows that come to the same settings have that of the first of them.

    All tables are looked at, so that a name does not depend on which of them are asked for.

    Args:
        options: of the call.
        base: the resolved recipe without any row's fields, so that a field is there whether a row names it or not.
    """
    first: dict[str, str] = {}
    names: dict[tuple[str, str], str] = {}
    for table in load_tables().values():
        for protocol in _protocols(options, table):
            for row in table.rows:
                values = {**_with_row(base, row), "protocol": protocol, "macro": row.macro}
                key = json.dumps({k: v for k, v in values.items() if k not in HARMLESS_FIELDS}, sort_keys=True)
                names[row.name, protocol] = first.setdefault(key, f"{row.name}_{protocol}")
    return names


def _check_row_names(options: AblationOptions, tables: Sequence[PaperTable]) -> None:
    if options.rows is None:
        return
    known = {row.name: row for table in tables for row in table.rows}
    wrong = [name for name in options.rows if name not in known]
    if wrong or not options.rows:
        raise RecipeError(f"--rows names {', '.join(wrong) or 'no row'}; there are {', '.join(known)}.")
    for row in (known[name] for name in options.rows):
        reason = _reason(options, row)
        if reason is not None:
            raise RecipeError(f"--rows names {row.name}, which cannot be run: {reason}.")


def _reason(options: AblationOptions, row: PaperRow) -> str | None:
    if row.recipe is None:
        return row.not_run
    if row.macro and not options.macro_dataset:
        return "it trains on macro-expressions; add --macro_database FOLDER, a prepared dataset of them"
    return None


def _check_overrides(changes: Mapping[str, Any], tables: Sequence[PaperTable]) -> None:
    """Refuse a field on the command line that `hsta ablate` or a row decides."""
    for name, option in OWN_OPTIONS.items():
        if name in changes:
            raise RecipeError(f"command line: a table has no --{name} of its own; use {option}.")
    for table in tables:
        for row in table.rows:
            shared = sorted(_leaves(row.recipe or {}) & _leaves(changes))
            if shared:
                raise RecipeError(
                    f"command line: --{shared[0]} is what the rows of {table.name} differ in; leave it out, or run "
                    "one recipe with `hsta train`."
                )


def _leaves(values: Mapping[str, Any], path: str = "") -> set[str]:
    """Dotted names of all values in nested mappings."""
    names: set[str] = set()
    for key, value in values.items():
        names |= _leaves(value, f"{path}{key}.") if isinstance(value, Mapping) else {f"{path}{key}"}
    return names


def _protocols(options: AblationOptions, table: PaperTable) -> list[str]:
    if not options.protocols:
        return [HONEST.get(table.protocol, table.protocol)]
    meant = {PUBLISHED: table.protocol, CLIP_LEVEL_MACRO: CLIP_LEVEL}
    return list(dict.fromkeys(meant.get(protocol, protocol) for protocol in options.protocols))


def _planned(
    options: AblationOptions,
    table: PaperTable,
    row: PaperRow,
    protocol: str,
    base: Mapping[str, Any],
    names: Mapping[tuple[str, str], str],
) -> PlannedRow:
    asked = options.rows is None or row.name in options.rows
    reason = _reason(options, row)
    if reason is not None:
        return PlannedRow(table, row, protocol, not_run=reason, asked=asked)
    recipe = row_recipe(options, row, protocol, base)
    folder = options.output / "runs" / names[row.name, protocol]
    recipe.training.output_dir = str(folder)
    return PlannedRow(table, row, protocol, recipe, folder, asked=asked)


def row_recipe(options: AblationOptions, row: PaperRow, protocol: str, base: Mapping[str, Any]) -> Recipe:
    """The recipe of one row: the base recipe, the row's fields over it, then what rows share.

    Rows share drawn faces and processed clips (folders under `options.output`), unless the command line or the recipe
    name other folders.

    Raises:
        RecipeError: see `resolve`.
    """
    values = _with_row(base, row)
    shared = {"cache_dir": options.output / "shared" / "cache", "drawn_dir": options.output / "shared" / "drawn"}
    own: dict[str, Any] = {name: values.get(name) or str(folder) for name, folder in shared.items()}
    own |= {"dataset": options.dataset, "protocol": protocol}
    if row.macro:
        own |= {"macro_dataset": options.macro_dataset}
        own["protocol"] = CLIP_LEVEL_MACRO if protocol == CLIP_LEVEL else protocol
    return resolve({**values, **own}, f"{options.recipe} as {row.name}")


def _with_row(base: Mapping[str, Any], row: PaperRow) -> dict[str, Any]:
    """A recipe's fields with the row's own over them.

    A baseline has a model, an input and a training of its own: what HSTA starts from does not concern it.
    """
    values = merge(base, row.recipe or {})
    if values.get("baseline"):
        values = {name: value for name, value in values.items() if name not in NOT_OF_BASELINES}
    return values
