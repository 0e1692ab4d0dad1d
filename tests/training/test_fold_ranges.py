"""Numbers of folds as people write them, on the command line and in YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hsta_hf.training.recipe import RecipeError, load_recipe, resolve


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["3-5"], [3, 4, 5]),
        (["0-3", "7"], [0, 1, 2, 3, 7]),
        (["0-1,7"], [0, 1, 7]),
        (["2"], [2]),
        (["10-12"], [10, 11, 12]),
        (["4-4"], [4]),
        (["null"], None),
    ],
)
def test_folds_on_the_command_line(words: list[str], numbers: list[int] | None, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("num_folds: 20\n")
    assert load_recipe(tmp_path / "recipe.yaml", ["--folds", *words]).data.folds == numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("3-5", [3, 4, 5]), ("[0-3, 7]", [0, 1, 2, 3, 7]), ("0-3,7", [0, 1, 2, 3, 7]), ("[1, 2]", [1, 2]), ("4", [4])],
)
def test_folds_in_yaml(text: str, numbers: list[int], tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(f"folds: {text}\n")
    assert load_recipe(tmp_path / "recipe.yaml").data.folds == numbers


@pytest.mark.parametrize(
    ("value", "message"), [("5-3", "write 3-5"), ("a-b", "folds is 'a-b'"), ([1, "x"], "folds"), (1.5, "folds is 1.5")]
)
def test_what_is_no_number_of_a_fold_is_named(value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve({"folds": value})
