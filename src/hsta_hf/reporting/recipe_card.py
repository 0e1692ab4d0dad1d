"""A card for each published recipe: what its models are and are for, without a score, since none was measured.

`scripts/write_recipe_cards.py` writes them into `model_cards/`; a test keeps them in step with the recipes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import ModelCardData

from hsta_hf.data.databases import DATABASES, get_database
from hsta_hf.data.databases.folder import NAME as OWN_FOOTAGE
from hsta_hf.data.labels import get_label_scheme
from hsta_hf.data.splits import SHARING_SUBJECTS
from hsta_hf.reporting.files import write_atomically
from hsta_hf.reporting.model_card import TAGS, find_template, render_card
from hsta_hf.reporting.model_card_architecture import architecture, loss_name, preset, streams
from hsta_hf.reporting.model_card_fields import data_terms, untested_databases
from hsta_hf.training.model_factory import build_config, build_processor
from hsta_hf.training.recipe import PREPARE, Recipe, load_recipe
from hsta_hf.training.recipe_files import read_recipe_file, shipped_recipes

# Recipes for trying things out; all others carry published settings, or are meant for results.
NOT_PUBLISHED = frozenset({"synthetic_demo", "casme3_flow_small"})
_PROTOCOLS = {
    "loso": "one subject is left out at a time and tested by a model that was trained on the others. No test subject "
    "is ever trained on.",
    "kfold-subjects": "folds of whole subjects. No test subject is ever trained on.",
    "leave-one-database-out": "each database is tested by a model that was trained on the others.",
    "kfold-clips": "folds of clips, as published for CAS(ME)^3. **Test subjects' other clips are in training**, so "
    "its scores are not on unseen people.",
    "kfold-clips-macro": "folds of clips, with the macro-expressions of everybody in training, as published. **Test "
    "subjects are in training**, so its scores are not on unseen people.",
}
_COMPOSITE = "megc2019"
_MEMBERS = ("smic_hs", "casme2", "samm")


def published_recipes() -> list[str]:
    """Names of the recipes that have a card."""
    return sorted(set(shipped_recipes()) - NOT_PUBLISHED)


def write_recipe_cards(folder: Path) -> list[Path]:
    """Write the card of every published recipe into a folder, as `RECIPE.md`."""
    written = []
    for name in published_recipes():
        path = folder / f"{name}.md"
        write_atomically(path, recipe_card(name))
        written.append(path)
    return written


def recipe_card(name: str) -> str:
    """The card of a recipe that comes with hsta-hf.

    Raises:
        RecipeError: there is no such recipe.
        ModelCardError: the template is missing, or asks for a field that is not filled.
    """
    recipe, content = load_recipe(name), read_recipe_file(name)
    scheme = get_label_scheme(recipe.data.label_scheme)
    processor = build_processor(recipe.model)
    config = build_config(recipe.model, processor, scheme)
    databases = _databases(recipe, content)
    titles = _titles(databases)
    fields = {
        "title": f"HSTA micro-expression recognition, recipe {name}",
        "model": "MODEL",
        "published": False,
        "synthetic": False,
        "multi_label": scheme.multi_label,
        "labels": list(scheme.labels),
        "label_scheme": scheme.name,
        "architecture": architecture(config),
        "streams": streams(config, processor),
        "preset": preset(config),
        "loss": loss_name(config),
        "data": f"{titles}.",
        "data_terms": data_terms(False, OWN_FOOTAGE in databases),
        "shares_subjects": recipe.data.protocol in SHARING_SUBJECTS,
        "untested_databases": untested_databases([*databases, *(_MEMBERS if _COMPOSITE in databases else ())]),
        "protocol": recipe.data.protocol,
        "protocol_words": _PROTOCOLS[recipe.data.protocol],
        "commands": _commands(shipped_recipes()[name]),
        "settings": yaml.safe_dump(content, sort_keys=False, allow_unicode=True).rstrip("\n"),
        "start": _start(recipe),
    }
    data = ModelCardData(
        library_name="transformers", pipeline_tag="video-classification", tags=[*TAGS, "recipe", "not-trained"]
    )
    text = render_card(data, fields, find_template("recipe_template.md"))
    return f"{text.rstrip()}\n\n<!-- Written by scripts/write_recipe_cards.py from scripts/recipes/{name}.yaml. -->\n"


def _databases(recipe: Recipe, content: dict[str, Any]) -> list[str]:
    """Names of the databases that the recipe's datasets are prepared from; the recipes' folders bear these names."""
    data = recipe.data
    folders = [folder for folder in (data.dataset, *(data.more_datasets or ()), data.macro_dataset) if folder]
    named = [Path(folder).name for folder in folders]
    found = [name for name in named if name in DATABASES]
    return found or [content[PREPARE]["database"]]


def _titles(databases: Sequence[str]) -> str:
    titles = [get_database(name).title for name in databases]
    return titles[0] if len(titles) == 1 else f"{'; '.join(titles[:-1])}; and {titles[-1]}"


def _commands(path: Path) -> list[str]:
    """The commands at the top of a recipe: its comment's indented lines."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [line[1:].strip() for line in lines if line.startswith("#   ")]


def _start(recipe: Recipe) -> str:
    if recipe.model.videomae:
        return (
            f"both streams from the VideoMAE checkpoint {recipe.model.videomae}, whose own licence binds the result."
        )
    if recipe.model.pretrain_synthetic:
        return "random weights, then a pre-training on synthetic drawn faces, once before the folds."
    return "random weights."
