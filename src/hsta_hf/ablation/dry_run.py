"""What a plan would run, without running it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from hsta_hf.ablation.plan import Plan, PlannedRow
from hsta_hf.data.labels import get_label_scheme
from hsta_hf.data.wording import counted
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.paper.tables import PaperRow
from hsta_hf.training.joined_clips import load_run_clips
from hsta_hf.training.model_factory import build_model, build_processor
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.run_setup import split_of
from hsta_hf.video_processing_hsta import HSTAVideoProcessor


def count_parameters(recipe: Recipe) -> int:
    """Number of parameters of the recipe's model, which is built without its weights.

    Raises:
        RecipeError: an impossible model.
    """
    return sum(parameter.numel() for parameter in build_without_weights(recipe)[0].parameters())


def build_without_weights(recipe: Recipe) -> tuple[HSTAForMicroExpressionClassification, HSTAVideoProcessor]:
    """The recipe's model and processor; its weights take no memory, unless they are those of `pretrained`.

    A VideoMAE checkpoint is not looked at: the geometry is the preset's, the checkpoint only fills it.

    Raises:
        RecipeError: an impossible model or processor.
    """
    arguments = copy.copy(recipe.model)
    arguments.videomae = None
    processor = build_processor(recipe.model)
    scheme = get_label_scheme(recipe.data.label_scheme)
    if arguments.pretrained:
        return build_model(arguments, processor, scheme), processor
    with torch.device("meta"):
        return build_model(arguments, processor, scheme), processor


def dry_run_text(plan: Plan) -> str:
    """One line a row: its run folder, its number of parameters, and the fields that make it that row.

    Below them the dataset, folds and seeds, and how many trainings that makes. Where the dataset cannot be read, a
    protocol whose number of folds follows from the clips is said to have an unknown number.

    Raises:
        RecipeError: a row's model is impossible.
    """
    lines: list[str] = []
    table, counts = "", {}
    for planned in plan.rows:
        if planned.table.name != table:
            table = planned.table.name
            lines += ["", f"{table}: {planned.table.title}"]
        if planned.recipe is None or planned.folder is None:
            lines.append(f"  {planned.row.name}: not run here, {planned.not_run}")
            continue
        if planned.folder not in counts:
            counts[planned.folder] = _size(planned.recipe)
        left_out = "" if planned.asked else ", not asked for"
        what = f"{counts[planned.folder]}, run {planned.folder.name}{left_out}, {_fields(planned)}"
        lines.append(f"  {planned.row.name} ({planned.protocol}): {what}")
    return "\n".join([*lines[1:], "", *_amount(plan)])


def _amount(plan: Plan) -> list[str]:
    """Dataset, folds, seeds, and how many trainings all runs come to."""
    runs = {folder: rows[0].recipe for folder, rows in plan.runs.items() if rows[0].recipe is not None}
    numbers, why = _numbers_of_folds(runs)
    by_protocol: dict[str, set[int | None]] = {}
    seeds: set[tuple[int, ...]] = set()
    for folder, recipe in runs.items():
        by_protocol.setdefault(recipe.data.protocol, set()).add(numbers[folder])
        seeds.add(tuple(recipe.data.seeds))
    folds = [
        f"{protocol} {' or '.join('?' if n is None else str(n) for n in sorted(found, key=str))}"
        for protocol, found in by_protocol.items()
    ]
    known = [count * len(runs[folder].data.seeds) for folder, count in numbers.items() if count is not None]
    amount = f"{counted(sum(known), 'training')} (a fold with a seed is one)"
    if len(known) < len(numbers):
        amount += f" and those of {counted(len(numbers) - len(known), 'run')} whose folds follow from the clips: {why}"
    return [
        f"dataset: {plan.options.dataset}",
        f"folds: {', '.join(folds)}",
        f"seeds: {' or '.join(', '.join(map(str, each)) for each in sorted(seeds))}",
        f"{counted(len(runs), 'run')} in {plan.options.output / 'runs'}, {amount}",
    ]


def _numbers_of_folds(runs: Mapping[Path, Recipe]) -> tuple[dict[Path, int | None], str]:
    """How many folds each run trains, and why that is not known of some."""
    found: dict[Path, int | None] = {}
    why = ""
    split: dict[str, int | None] = {}
    for folder, recipe in runs.items():
        data = recipe.data
        if data.folds is not None:
            found[folder] = len(set(data.folds))
            continue
        if data.protocol.startswith("kfold") or data.protocol == "holdout":
            found[folder] = 1 if data.protocol == "holdout" else data.num_folds
            continue
        key = json.dumps([data.protocol, data.dataset, data.more_datasets, data.label_scheme], default=str)
        if key not in split:
            split[key], unread = _folds_of_the_clips(recipe)
            why = unread or why
        found[folder] = split[key]
    return found, why


def _folds_of_the_clips(recipe: Recipe) -> tuple[int | None, str]:
    names = [str(recipe.data.dataset), *(recipe.data.more_datasets or []), recipe.data.macro_dataset or ""]
    remote = [name for name in names if name.startswith("hf:")]
    if remote:
        return None, f"{remote[0]} is not downloaded for a dry run"
    try:
        return split_of(recipe, load_run_clips(recipe.data), chooses_epoch=False).num_folds, ""
    except (ValueError, OSError) as error:
        return None, str(error)


def _size(recipe: Recipe) -> str:
    if recipe.model.baseline:
        return f"baseline {recipe.model.baseline}"
    return f"{count_parameters(recipe):,} parameters"


def _fields(planned: PlannedRow) -> str:
    words = override_words(planned.row)
    if planned.row.macro:
        words += ["--macro_dataset", "…"]
    return " ".join(words)


def override_words(row: PaperRow) -> list[str]:
    """The row's fields as words of a command line: `--model.num_hsta_layers 1 …`."""
    words: list[str] = []
    for name, value in (row.recipe or {}).items():
        for path, leaf in value.items() if isinstance(value, dict) else [("", value)]:
            words += [f"--{name}.{path}" if path else f"--{name}", leaf if isinstance(leaf, str) else json.dumps(leaf)]
    return words
