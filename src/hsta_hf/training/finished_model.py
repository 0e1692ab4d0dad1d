"""Where the model of a run folder is."""

from __future__ import annotations

from pathlib import Path

import yaml


def model_folder(path: str) -> str:
    """The model in a run folder: the final one, or else the first fold's; other paths are models themselves.

    What is not there is taken for the name of a Hub repository, if it can be one.

    Raises:
        FileNotFoundError: the folder holds neither a model nor a run, or a run without a finished model or of a
            baseline, or there is no such folder.
    """
    folder = Path(path)
    if not folder.exists() and (folder.is_absolute() or path.startswith((".", "~")) or len(folder.parts) > 2):
        raise FileNotFoundError(f"there is no folder {path}, and a model on the Hub is called OWNER/NAME")
    if folder.is_dir() and not (folder / "recipe.yaml").is_file() and not (folder / "config.json").is_file():
        runs = [str(inner.parent) for inner in sorted(folder.glob("*/recipe.yaml"))]
        hint = f"; did you mean {' or '.join(runs)}?" if runs else ""
        raise FileNotFoundError(f"{folder} holds neither a model nor a run{hint}")
    if not (folder / "recipe.yaml").is_file():
        return path
    found = [folder / "final" / "model", *sorted(folder.glob("folds/fold-*/model"))]
    candidate = next((each for each in found if (each / "config.json").is_file()), None)
    if baseline := _baseline(folder / "recipe.yaml"):
        left = f"what lies in {candidate} is no HSTA" if candidate else "it leaves predictions and scores, no model"
        raise FileNotFoundError(f"{folder} is a run of the baseline {baseline}: {left}; name a run or model of HSTA")
    if candidate is None:
        raise FileNotFoundError(f"{folder} is a run folder without a finished model; start its training again.")
    return str(candidate)


def _baseline(recipe: Path) -> str | None:
    """Which baseline a run's recipe names, if it can be read."""
    try:
        fields = yaml.safe_load(recipe.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return fields.get("baseline") if isinstance(fields, dict) else None


def not_found(name: str, error: OSError) -> OSError:
    """What to raise where a model could not be loaded: that it is no folder here either, before the Hub's words."""
    if Path(name).exists():
        return error
    return OSError(f"there is no folder {name}, and no model of that name could be had from the Hub: {error}")


def about_model(name: str, error: Exception) -> str:
    """What to say of a model that could not be loaded: the error, which the model's name precedes if it lacks it."""
    return str(error) if name in str(error) else f"{name}: {error}"
