"""`baseline_options` of a recipe: a mapping that becomes the dataclass of a baseline's settings."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from hsta_hf.training.recipe import RecipeError, convert_value

Options = TypeVar("Options")


def read_options(kind: type[Options], values: Mapping[str, Any] | None, baseline: str) -> Options:
    """The settings of a baseline, published values where the recipe names no others.

    Args:
        kind: dataclass of the settings; raises ValueError for values that are out of range.
        values: `baseline_options` of the recipe.
        baseline: its name, for messages.

    Raises:
        RecipeError: there is no such setting (names the nearest), or its value has a wrong type or is out of range.
    """
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    converted = {}
    for name, value in (values or {}).items():
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else "it has none."
            if names and not near:
                hint = f"it has {', '.join(names)}."
            raise RecipeError(f"baseline_options: {baseline} has no setting {name!r}; {hint}")
        converted[name] = convert_value(f"baseline_options.{name}", value, hints[name], "recipe")
    try:
        return kind(**converted)
    except ValueError as error:
        raise RecipeError(f"baseline_options: {error}") from error


def check_above(options: Any, **lowest: float) -> None:
    """Raise ValueError for settings below their lowest value; those that are None pass."""
    for name, bound in lowest.items():
        value = getattr(options, name)
        if value is not None and value < bound:
            raise ValueError(f"{name} is {value}; it must be {bound:g} or more.")


def check_grid(grid: list[int]) -> None:
    """Raise ValueError unless `grid` is two numbers of blocks, down and across."""
    if len(grid) != 2 or min(grid) < 1:
        raise ValueError(f"grid is {grid}; give the number of blocks [down, across], for example [5, 5].")
