"""Recipe files: where they lie, and what a recipe that extends another one says in full."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from hsta_hf.data.wording import did_you_mean

EXTENDS = "extends"


class RecipeError(ValueError):
    """A recipe or an override that cannot be understood; the message says which field and what to do."""


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `changes` put over it, mappings merged key by key."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = merge(merged[key], value)
        else:
            merged[key] = value
    return merged


def shipped_recipes() -> dict[str, Path]:
    """The recipes that come with hsta-hf, by name: `scripts/recipes/` of a checkout, `recipes/` of a wheel."""
    package = Path(__file__).resolve().parents[1]
    folders = (package / "recipes", package.parents[1] / "scripts" / "recipes")
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.yaml"))}


def find_recipe(recipe: str | Path, beside: Path | None = None) -> Path:
    """The file of a recipe given by its path, or by the name of one that comes with hsta-hf.

    Args:
        recipe: path or name.
        beside: folder that a relative path is from; by default the current one.

    Raises:
        RecipeError: neither exists; the message lists the names.
    """
    path = Path(recipe) if beside is None else beside / recipe
    if path.is_file():
        return path
    shipped = shipped_recipes()
    if str(recipe) in shipped:
        return shipped[str(recipe)]
    raise RecipeError(
        f"There is no recipe {recipe}; give the path of a YAML file, or one of the names {', '.join(shipped)}"
        f"{did_you_mean(str(recipe), shipped) or '.'}"
    )


def read_recipe_file(path: str | Path) -> dict[str, Any]:
    """The mapping in a recipe file, with that of the recipe that it extends below it.

    A recipe may say `extends: NAME`, the path of another recipe from its own folder, or the name of one that comes
    with hsta-hf. It then holds all fields of that one, and its own over them; of mappings (`model`, `prepare`) key by
    key. A field that is not wanted is set to null.

    Args:
        path: the file, or the name of a recipe that comes with hsta-hf.

    Raises:
        RecipeError: a file does not exist, is no YAML, is not a mapping of fields, or extends itself.
    """
    return _read(find_recipe(path), ())


def _read(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    chain = (*extending, path.resolve())
    if path.resolve() in extending:
        way = " → ".join(map(str, chain[extending.index(path.resolve()) :]))
        raise RecipeError(f"{path} extends itself ({way}); take one `{EXTENDS}` out.")
    content = _read_mapping(path)
    if EXTENDS not in content:
        return content
    base = content.pop(EXTENDS)
    if not isinstance(base, str) or not base:
        raise RecipeError(f"{path}: {EXTENDS} is {base!r}; give the name or the path of one recipe.")
    try:
        found = find_recipe(base, path.parent)
    except RecipeError as error:
        raise RecipeError(f"{path}: {EXTENDS}: {error}") from None
    return merge(_read(found, chain), content)


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold `field: value` lines, not a {type(content).__name__}.")
    return content
