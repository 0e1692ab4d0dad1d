"""What a report says on how to train the run again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import yaml

from hsta_hf.data.protocol_names import BY_DATABASE
from hsta_hf.reporting.facts import RunFacts

# Of `environment` in metrics.json, which a report has as a table.
REPEATS_EXACTLY = (
    "The same versions on the same kind of machine, with as many torch threads as the table says, repeat the numbers "
    "exactly."
)
_PATHS = ("dataset", "macro_dataset", "pretrain_dataset")
# Their folds follow from the clips.
_WITHOUT_NUM_FOLDS = frozenset({"loso", BY_DATABASE})


def repeat_command(recipe: str) -> str:
    """The command that trains the run of a recipe.yaml again, started where the run was started.

    Args:
        recipe: text of the file; empty where a run folder has none.
    """
    folder = _fields(recipe).get("output_dir") or "THIS_FOLDER"
    return f"hsta train {shlex.quote((Path(folder) / 'recipe.yaml').as_posix())} --output_dir ANOTHER_FOLDER"


def where_to_repeat(recipe: str) -> str:
    """From which directory the command has to be given; empty where it does not matter."""
    fields = _fields(recipe)
    relative = [
        f"`{name}: {fields[name]}`" for name in _PATHS if fields.get(name) and not PurePath(fields[name]).is_absolute()
    ]
    if not relative:
        return ""
    verb = "counts" if len(relative) == 1 else "count"
    return f"Give it in the directory in which the run was started: {' and '.join(relative)} {verb} from there."


def recipe_note(facts: RunFacts, recipe: str) -> str:
    """Which field of the recipe has no part in the run, although it stands there; empty where there is none."""
    number = re.search(r"^num_folds: *\d+", recipe, re.MULTILINE)
    if number is None or facts.protocol not in _WITHOUT_NUM_FOLDS:
        return ""
    return f"`{number.group()}` has no part in this run: the folds of {facts.protocol} follow from the clips."


def _fields(recipe: str) -> Mapping[str, Any]:
    try:
        fields = yaml.safe_load(recipe)
    except yaml.YAMLError:  # edited by hand: it is quoted in the report all the same
        return {}
    return {name: str(value) for name, value in fields.items() if value} if isinstance(fields, dict) else {}
