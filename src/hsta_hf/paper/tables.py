"""The paper's results tables: `tables.json` beside this file, read into dataclasses.

Source of all figures and quotations: Hao et al., "Hierarchical Space-Time Attention for Micro-Expression Recognition",
tables 1 to 7 and sections 4.2 to 4.4. Figures are in percent, as printed there; none was measured by hsta-hf.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

TABLES_FILE = Path(__file__).with_name("tables.json")
ALL_CLIPS = "all"  # the part that figures are of where they are not of one database


@dataclass(frozen=True)
class PaperRow:
    """One row of a table.

    Attributes:
        name: short name, unique among all tables.
        title: what the row varies, in words.
        figures: the paper's figures in percent: by part (`ALL_CLIPS`, or the name of a database) and score.
        recipe: fields that make the paper's recipe this row; None where this package cannot run it.
        classes: number of classes.
        macro: whether macro-expressions are added to the training clips.
        not_run: why this package cannot run the row; None where it can.
    """

    name: str
    title: str
    figures: Mapping[str, Mapping[str, float]]
    recipe: Mapping[str, Any] | None
    classes: int
    macro: bool = False
    not_run: str | None = None


@dataclass(frozen=True)
class Claim:
    """What the paper's text, or else its figures, say of two or more rows.

    Attributes:
        name: short name, unique in its table.
        where: the section and the table.
        quote: the sentence of the text; None where only the figures say it.
        says: the claim in plain words; None where the quotation is plain enough.
        pairs: rows (better, worse) that the claim is about.
    """

    name: str
    where: str
    quote: str | None
    says: str | None
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PaperTable:
    """One results table.

    Attributes:
        name: such as "table2".
        title: what it is about.
        section: section of the paper that discusses it.
        databases: names of the databases that its figures are of.
        protocol: the protocol of its figures; `num_folds` of it (None: as many as there are subjects).
        rows: its rows, in the paper's order.
        claims: what the paper says of them.
    """

    name: str
    title: str
    section: str
    databases: tuple[str, ...]
    protocol: str
    num_folds: int | None
    rows: tuple[PaperRow, ...]
    claims: tuple[Claim, ...]

    @property
    def number(self) -> str:
        """The table's number in the paper."""
        return self.name.removeprefix("table")

    def row(self, name: str) -> PaperRow:
        """The row of that name.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(f"{self.name} has no row {name!r}; it has {', '.join(row.name for row in self.rows)}")


@cache
def load_tables() -> Mapping[str, PaperTable]:
    """All tables by name, in the paper's order."""
    content = json.loads(TABLES_FILE.read_text(encoding="utf-8"))
    return {name: _table(name, fields) for name, fields in content["tables"].items()}


def published_recipe() -> str:
    """Name of the shipped recipe that holds the paper's settings; a row differs from it in `PaperRow.recipe`."""
    return str(json.loads(TABLES_FILE.read_text(encoding="utf-8"))["recipe"])


def _table(name: str, fields: Mapping[str, Any]) -> PaperTable:
    rows = tuple(
        PaperRow(
            name=row["name"],
            title=row["title"],
            figures=row["paper"],
            recipe=row.get("recipe"),
            classes=row.get("classes", fields["classes"]),
            macro=row.get("macro", False),
            not_run=row.get("not_run"),
        )
        for row in fields["rows"]
    )
    claims = tuple(
        Claim(
            name=claim["name"],
            where=claim["where"],
            quote=claim["quote"],
            says=claim.get("says"),
            pairs=tuple((better, worse) for better, worse in claim["pairs"]),
        )
        for claim in fields["claims"]
    )
    return PaperTable(
        name=name,
        title=fields["title"],
        section=fields["section"],
        databases=tuple(fields["databases"]),
        protocol=fields["protocol"],
        num_folds=fields["num_folds"],
        rows=rows,
        claims=claims,
    )
