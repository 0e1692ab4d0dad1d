"""The cards of published recipes: in step with the recipes, and without a score."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from hsta_hf.reporting.recipe_card import NOT_PUBLISHED, published_recipes, recipe_card
from hsta_hf.training.recipe_files import shipped_recipes

CARDS = Path(__file__).resolve().parents[2] / "model_cards"
TEMPLATES = {"template", "recipe_template"}


def test_every_published_recipe_has_a_card_and_no_card_is_left_over() -> None:
    assert set(published_recipes()) >= {"casme3_paper", "casme3_released", "casme3_flow", "megc2019_loso"}
    assert set(shipped_recipes()) >= NOT_PUBLISHED
    assert {path.stem for path in CARDS.glob("*.md")} - TEMPLATES == set(published_recipes())


@pytest.mark.parametrize("name", published_recipes())
def test_a_card_is_in_step_with_its_recipe_and_says_that_nothing_was_measured(name: str) -> None:
    text = recipe_card(name)
    written = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    assert text == written, "run: python scripts/write_recipe_cards.py"
    card = ModelCard(written)
    assert card.data.eval_results is None and card.data.license is None and "not-trained" in card.data.tags
    assert "**Not trained." in text and "## Results" not in text and "Training cost" not in text
    words = re.sub(r"```yaml.*?```", "", text, flags=re.DOTALL)  # the settings
    assert not re.findall(r"\b0\.\d{2,}|\d %", words)
    assert ("Lie detection" in text and f"hsta train {name}" in text) or f"recipes/{name}.yaml" in text


def test_a_card_says_where_test_subjects_are_in_training() -> None:
    for name, shares in (("casme3_7classes_kfold_clips", True), ("casme3_7classes_loso", False)):
        assert ("folds share subjects" in recipe_card(name)) == shares
