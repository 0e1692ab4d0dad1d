"""Write model_cards/RECIPE.md for every published recipe, after a change of a recipe or of the template.

python scripts/write_recipe_cards.py
"""

import sys
from pathlib import Path

sys.path.pop(0)  # this folder: its evaluate.py would hide the package of that name

from hsta_hf.reporting.recipe_card import write_recipe_cards

if __name__ == "__main__":
    for path in write_recipe_cards(Path(__file__).resolve().parents[1] / "model_cards"):
        print(path)
