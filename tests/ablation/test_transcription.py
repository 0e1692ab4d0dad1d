"""The package's data file of the paper's tables, against the paper and against the page about it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hsta_hf.ablation.dry_run import override_words
from hsta_hf.data.labels import get_label_scheme
from hsta_hf.data.protocol_names import PROTOCOLS
from hsta_hf.paper.tables import TABLES_FILE, PaperRow, load_tables, published_recipe
from hsta_hf.training.recipe import parse_overrides, resolve, shipped_recipes

PAGE = Path(__file__).resolve().parents[2] / "docs" / "paper_tables.md"
TABLES = load_tables()
EVERY_TABLE = pytest.mark.parametrize("name", TABLES)


def all_rows() -> Iterator[PaperRow]:
    return (row for table in TABLES.values() for row in table.rows)


def figures(row: PaperRow) -> list[float]:
    return [figure for part in row.figures.values() for figure in part.values()]


def test_the_data_file_is_whole():
    assert list(TABLES) == [f"table{number}" for number in range(1, 8)]
    names = [row.name for row in all_rows()]
    assert len(set(names)) == len(names) == 64 + 11 + 8 + 5
    assert published_recipe() in shipped_recipes()
    for table in TABLES.values():
        assert table.protocol in PROTOCOLS
        for row in table.rows:
            assert (row.recipe is None) == (row.not_run is not None), row.name
            scheme = (row.recipe or {}).get("label_scheme")
            assert scheme is None or get_label_scheme(scheme).num_labels == row.classes
            if row.recipe is not None:
                resolve(row.recipe)  # names only fields that there are
        for claim in table.claims:
            assert claim.quote or claim.says
            for better, worse in claim.pairs:
                assert table.row(better).recipe is not None and table.row(worse).recipe is not None
    with pytest.raises(KeyError, match="table2 has no row 'b1'; it has a1, a2"):
        TABLES["table2"].row("b1")


def expected_rows(name: str, entry: Mapping[str, Any]) -> dict[str, tuple[dict[str, Any] | None, list[float]]]:
    """Row of a table of the shared transcription: our name, the fields that follow from it, and its figures."""
    if name == "table2":
        model = {"num_hsta_layers": 1, "num_video_layers": entry["l_v"], "num_special_layers": entry["l_s"]}
        model |= {} if entry["csta"] else {"use_csta": False}
        return {entry["setting"]: ({"model": model}, [entry["acc"], entry["uar"], entry["uf1"]])}
    if name in ("table3", "table4"):
        fields = {"num_hsta_layers": "m", "num_video_layers": "l_v", "num_special_layers": "l_s"}
        row = entry.get("setting", "m{m}-{l_v}-{l_s}".format(**entry))
        model = {field: entry[column] for field, column in fields.items()}
        return {row: ({"model": model}, [entry["acc"], entry["uar"], entry["uf1"]])}
    if name == "table1":
        found: dict[str, tuple[dict[str, Any] | None, list[float]]] = {}
        for stream, other in (("video", "special"), ("special", "video")):
            model = {f"use_{other}_stream": False, "num_hsta_layers": 1, f"num_{stream}_layers": entry["layers"]}
            scores = [entry[f"{stream}_{score}"] for score in ("acc", "uar", "uf1")]
            found[f"{stream[0]}{entry['layers']}"] = ({"model": model}, scores)
        return found
    raise AssertionError(name)


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4"])
def test_the_ablations_are_those_of_the_shared_transcription(name: str, shared_dir: Path):
    table = json.loads((shared_dir / "paper" / "tables.json").read_text(encoding="utf-8"))[name]
    expected: dict[str, tuple[dict[str, Any] | None, list[float]]] = {}
    for values in table["rows"]:
        expected |= expected_rows(name, dict(zip(table["columns"], values, strict=True)))
    assert {row.name: (row.recipe, figures(row)) for row in TABLES[name].rows} == expected


def test_the_comparisons_are_those_of_the_shared_transcription(shared_dir: Path):
    shared = json.loads((shared_dir / "paper" / "tables.json").read_text(encoding="utf-8"))
    for row, values in zip(TABLES["table5"].rows, shared["table5"]["rows"], strict=True):
        entry = dict(zip(shared["table5"]["columns"], values, strict=True))
        assert row.name == entry["method"].lower()
        for ours, theirs in (("smic_hs", "smic"), ("samm", "samm"), ("casme2", "casme2")):
            assert row.figures[ours] == {score: entry[f"{theirs}_{score}"] for score in ("uf1", "uar")}
    for row, values in zip(TABLES["table6"].rows, shared["table6"]["rows"], strict=True):
        entry = dict(zip(shared["table6"]["columns"], values, strict=True))
        assert (row.classes, row.figures["all"]) == (entry["classes"], {"uf1": entry["uf1"], "uar": entry["uar"]})
        assert (row.recipe is not None) == (entry["method"] == "HSTA")
    for number, (row, values) in enumerate(zip(TABLES["table7"].rows, shared["table7"]["rows"], strict=True)):
        entry = dict(zip(shared["table7"]["columns"], values, strict=True))
        assert row.figures["all"] == {score: entry[score] for score in ("acc", "uar", "uf1")}
        assert row.recipe is not None and row.macro == entry["mae"]
        assert row.recipe["label_scheme"] == ("objective" if entry["oc"] else "casme3_7")
        special = row.recipe["processor"]["special_input"]
        assert special == ("optical_flow" if entry["of"] else "frames"), number


def plain(text: str) -> str:
    """Text without line breaks, emphasis and the marks of formulas, so that quotations can be found in it."""
    for mark, sign in (("\\geq", ">="), ("\\ge", ">="), ("\\times", "x"), ("\\approx", "≈"), ("$", ""), ("*", "")):
        text = text.replace(mark, sign)
    return re.sub(r"\s+", " ", text)


def test_figures_and_quotations_stand_in_the_papers_text(shared_dir: Path):
    text = plain((shared_dir / "paper" / "hsta.txt").read_text(encoding="utf-8"))
    for table in TABLES.values():
        for row in table.rows:
            assert " ".join(f"{figure:.1f}" for figure in figures(row)) in text, (table.name, row.name)
        for claim in table.claims:
            assert claim.quote is None or plain(claim.quote) in text, claim.name


def page_rows(name: str) -> dict[str, list[str]]:
    """Cells of the rows of one table on the page, by the row's name."""
    content = PAGE.read_text(encoding="utf-8")
    (section,) = re.findall(
        rf"^## Table {TABLES[name].number}:.*?(?=^## |\Z)", content, flags=re.DOTALL | re.MULTILINE
    )
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    assert cells[0][0] == "row"
    return {row[0]: row for row in cells[2:]}


@EVERY_TABLE
def test_the_page_says_what_the_data_say(name: str):
    on_page = page_rows(name)
    assert list(on_page) == [row.name for row in TABLES[name].rows]
    for row in TABLES[name].rows:
        cells = on_page[row.name]
        numbers = figures(row)
        assert [float(cell) for cell in cells[-len(numbers) :]] == numbers, row.name
        override = cells[-len(numbers) - 1]
        if row.recipe is None:
            assert override == f"not run: {row.not_run}"
        else:
            assert parse_overrides(shlex.split(override.strip("`"))) == row.recipe, row.name
            assert parse_overrides(override_words(row)) == row.recipe, row.name


def test_the_data_file_lies_in_the_package():
    import hsta_hf

    assert TABLES_FILE.is_file() and TABLES_FILE.is_relative_to(Path(hsta_hf.__file__).parent)
