"""A saved model's folder on its way out: which of its files make the model, and whether they are whole."""

from __future__ import annotations

import fnmatch
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from transformers.dynamic_module_utils import get_relative_imports

from hsta_hf.hub.client import PublishError

CONFIG, PROCESSOR, WEIGHTS, WEIGHTS_INDEX = (
    "config.json",
    "video_preprocessor_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
)
# What a saved model consists of, as it is and as earlier pushes left it; all else in a repository is not ours.
MODEL_FILES = ("config.json", "video_preprocessor_config.json", "model*.safetensors", WEIGHTS_INDEX, "*.py")


def is_model_file(name: str) -> bool:
    """Whether a file of that name, beside others or in a repository, is a part of a model."""
    return "/" not in name and any(fnmatch.fnmatchcase(name, pattern) for pattern in MODEL_FILES)


def model_files(folder: Path) -> list[Path]:
    """The files that make a saved model: weights, configuration, processor, code; the card is not among them.

    Raises:
        PublishError: one is missing, or the weights are no whole safetensors.
    """
    for name, what in ((CONFIG, "configuration"), (PROCESSOR, "video processor")):
        if not (folder / name).is_file():
            raise PublishError(f"{folder} has no {name}, the {what}: it is no model that `hsta train` saved")
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and is_model_file(path.name)]
    _check_weights(folder)
    for name in _code_files(folder):
        if not (folder / name).is_file():
            raise PublishError(
                f"{folder} has no {name}, without which the model works only where hsta-hf is installed. Load and "
                "save it again with hsta-hf: save_pretrained writes the code files"
            )
    return files


def _check_weights(folder: Path) -> None:
    names = [WEIGHTS]
    if (folder / WEIGHTS_INDEX).is_file():
        index = json.loads((folder / WEIGHTS_INDEX).read_text(encoding="utf-8"))
        names = sorted(set(index["weight_map"].values()))
    for name in names:
        if not (folder / name).is_file():
            raise PublishError(f"{folder} has no {name}: weights are pushed as safetensors only")
        try:
            with safe_open(folder / name, framework="pt") as weights:
                weights.keys()
        except SafetensorError as error:
            raise PublishError(f"{folder / name} is not whole ({error}); train that fold again") from error


def _code_files(folder: Path) -> list[str]:
    """Names of the code files that the folder's `auto_map`s name, and of all that these import.

    Raises:
        PublishError: a file has no `auto_map`.
    """
    found: list[str] = []
    for name in (CONFIG, PROCESSOR):
        auto_map = json.loads((folder / name).read_text(encoding="utf-8")).get("auto_map")
        if not auto_map:
            raise PublishError(
                f"{folder / name} does not say where the code is (auto_map). Load and save it again with hsta-hf"
            )
        found += [f"{reference.split('.')[0]}.py" for reference in auto_map.values()]
    for name in found:  # grows while it is gone through
        if (folder / name).is_file():
            imported = (f"{module}.py" for module in get_relative_imports(folder / name))
            found += [module for module in imported if module not in found]
    return list(dict.fromkeys(found))
