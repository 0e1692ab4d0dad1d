"""What of a model the folds of a run train: all of it, its head, or adapters."""

from __future__ import annotations

from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.training.arguments import LORA_DEFAULTS
from hsta_hf.training.frozen_features import versions_of
from hsta_hf.training.lora import add_adapters, count_trained
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.trainer import count_parameters


def tuning_sentence(recipe: Recipe, network: HSTAForMicroExpressionClassification) -> str | None:
    """What a report says of parts that did not train; None where all did.

    Args:
        recipe: of the run.
        network: the recipe's model; of no more use afterwards.

    Raises:
        RecipeError: adapters are asked for and peft is not installed, or the model has no such layers.
    """
    total = count_parameters(network)["all"]
    if recipe.model.tuning == "frozen":
        trained, versions = count_parameters(network.classifier)["all"], versions_of(recipe)
        of = f"{versions} versions" if versions > 1 else "one version"
        what = f"The backbone stayed frozen and only the head was trained, on features of {of} of each clip"
    elif recipe.model.tuning == "lora":
        values = {**LORA_DEFAULTS, **(recipe.model.lora or {})}
        trained = count_trained(add_adapters(network, recipe.model.lora or {}, 0))["trainable"]
        what = (
            f"Low-rank adapters (LoRA, r {values['r']}, alpha {values['alpha']}, dropout {values['dropout']}, on "
            f"{', '.join(values['targets'])}) were trained, and in full the head and [CLS]"
        )
    else:
        return None
    return f"{what}: {trained:,} of {total:,} parameters."
