"""Where the model of a run folder is."""

from __future__ import annotations

from pathlib import Path


def model_folder(path: str) -> str:
    """The model in a run folder: the final one, or else the first fold's; other paths are models themselves.

    What is not there is taken for the name of a Hub repository, if it can be one.

    Raises:
        FileNotFoundError: the folder holds neither a model nor a run, or a run without a finished model, or there is
            no such folder.
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
    for candidate in found:
        if (candidate / "config.json").is_file():
            return str(candidate)
    raise FileNotFoundError(f"{folder} is a run folder without a finished model; start its training again.")


def not_found(name: str, error: OSError) -> OSError:
    """What to raise where a model could not be loaded: that it is no folder here either, before the Hub's words."""
    if Path(name).exists():
        return error
    return OSError(f"there is no folder {name}, and no model of that name could be had from the Hub: {error}")
