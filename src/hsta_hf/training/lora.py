"""Low-rank adapters (LoRA, Hu et al. 2022) on the attention of HSTA, by way of peft."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn
from transformers import set_seed

from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.training.arguments import LORA_DEFAULTS
from hsta_hf.training.recipe import RecipeError

if TYPE_CHECKING:
    from peft import PeftModel

ADAPTER = "default"  # peft's name for the only adapter
_USTA = r"hsta\.layers\.\d+\.(?:video|special)\.\d+\."
_CSTA = r"hsta\.layers\.\d+\.(?:video|special)_cross\."
# Names of the linear layers that a target stands for.
_TARGETS = {
    **{
        name: re.compile(rf"(?:{_USTA}(?:attention\.attention\.)?|{_CSTA}){name}")
        for name in ("query", "key", "value")
    },
    "output": re.compile(rf"(?:{_USTA}attention\.output\.dense|{_CSTA}output)"),
    "mlp": re.compile(rf"{_USTA}(?:intermediate|output)\.dense"),
    "projection": re.compile(rf"{_CSTA}(?:project|revert)\.2"),
}
# The smallest modules that are trained whole where a start from VideoMAE left parts of them random.
_WHOLE = re.compile(r"^(hsta\.layers\.\d+\.(?:(?:video|special)_cross|(?:video|special)\.\d+)|hsta\.\w+_layernorm)\.")
_README = """---
library_name: peft
---
Low-rank adapters of one training, for the model that this training started from{origin}. The folder `model/` beside
this one holds the same with the adapters merged into the weights, and needs nothing of this.

```python
from peft import PeftModel
from hsta_hf import HSTAForMicroExpressionClassification

base = HSTAForMicroExpressionClassification.from_pretrained({start!r}, num_labels={labels})
model = PeftModel.from_pretrained(base, "adapter").eval()
```
"""


def require_peft() -> None:
    """Raise RecipeError, with the remedy, if peft is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise RecipeError(
            "tuning is 'lora', which needs peft: install it with `pip install 'hsta-hf[peft]'`, or set tuning to full."
        )


def target_modules(network: nn.Module, targets: Sequence[str] | None = None) -> list[str]:
    """Names of the linear layers that get adapters: those that `targets` stand for, of both streams and CSTA.

    Args:
        network: the model.
        targets: names from `LORA_TARGETS`; None means the attention's, as far as the model's style has them.

    Raises:
        RecipeError: a target names layers that this model does not have.
    """
    linear = [name for name, module in network.named_modules() if type(module) is nn.Linear]
    found: set[str] = set()
    for target in LORA_DEFAULTS["targets"] if targets is None else targets:
        names = [name for name in linear if _TARGETS[target].fullmatch(name)]
        if not names and targets is not None:
            raise RecipeError(f"lora.targets: this model has no linear layers of the kind {target!r}; leave it out.")
        found.update(names)
    return [name for name in linear if name in found]


def whole_modules(network: HSTAForMicroExpressionClassification) -> list[str]:
    """Names of the modules that are trained in full: the head, the embeddings for their [CLS], and what a start from
    VideoMAE left random, CSTA first of all, since adapters on random weights would learn little."""
    embeddings = [name for name, module in network.named_modules() if re.fullmatch(r"hsta\.\w+_embeddings", name)]
    report = network.videomae_report
    fresh = {match.group(1) for name in (report.initialised if report else ()) if (match := _WHOLE.match(name))}
    return ["classifier", *embeddings, *sorted(fresh)]


def add_adapters(network: HSTAForMicroExpressionClassification, fields: Mapping[str, Any], seed: int) -> PeftModel:
    """Wrap a model so that only its adapters, head and [CLS] train.

    Args:
        network: the model; its own layers are replaced by ones with adapters, until `merge_adapters`.
        fields: r, alpha, dropout and targets that differ from `LORA_DEFAULTS`.
        seed: of the adapters' initial weights.

    Raises:
        RecipeError: peft is not installed, or the model has no such layers.
    """
    require_peft()
    from peft import LoraConfig, get_peft_model

    values = {**LORA_DEFAULTS, **fields}
    whole = whole_modules(network)
    inside = tuple(f"{name}." for name in whole)
    targets = [name for name in target_modules(network, fields.get("targets")) if not name.startswith(inside)]
    config = LoraConfig(
        r=values["r"],
        lora_alpha=values["alpha"],
        lora_dropout=values["dropout"],
        target_modules=targets,
        modules_to_save=whole,
    )
    set_seed(seed)  # whether the model was drawn anew or taken from memory
    model = get_peft_model(network, config)
    model.peft_config[ADAPTER].base_model_name_or_path = ""  # or each checkpoint asks a hub whether it has grown
    freeze_embeddings(model)
    return model


def freeze_embeddings(model: nn.Module) -> None:
    """Of the embeddings, which peft saves and trains whole, let only the [CLS] train."""
    for name, parameter in model.named_parameters():
        if ".patch_embeddings." in name:
            parameter.requires_grad_(False)


def count_trained(model: nn.Module) -> dict[str, int]:
    """Numbers that train, and `all` of the plain model: without adapters and the copies that peft keeps."""
    counts = {"trainable": 0, "all": 0}
    for name, parameter in model.named_parameters():
        counts["trainable"] += parameter.numel() if parameter.requires_grad else 0
        counts["all"] += 0 if any(part in name for part in ("lora_", ".original_module.")) else parameter.numel()
    return counts


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Save the adapters, with the head and [CLS], as a folder that appears whole or not at all.

    Args:
        model: from `add_adapters`.
        folder: where to; `peft.PeftModel.from_pretrained(base, folder)` reads it.
    """
    network = model.get_base_model()
    start = str(network.name_or_path)
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    config = model.peft_config[ADAPTER]
    config.base_model_name_or_path = start
    try:
        model.save_pretrained(str(temporary), save_embedding_layers=False)
    finally:
        config.base_model_name_or_path = ""
    origin = f", `{start}`" if start else ""
    text = _README.format(origin=origin, start=start or "BASE", labels=network.num_labels)
    (temporary / "README.md").write_text(text, encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(temporary, folder)


def merge_adapters(model: PeftModel) -> HSTAForMicroExpressionClassification:
    """The plain model with the adapters merged into its weights, all of which may train again."""
    network = model.merge_and_unload()
    if hasattr(network, "peft_config"):  # peft's mark: it would take new adapters for a second set
        del network.peft_config
    return network.requires_grad_(True)
