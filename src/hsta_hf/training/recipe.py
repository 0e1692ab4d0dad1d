"""Recipes: a YAML file of argument fields, any of them overridden on the command line.

    hsta train scripts/recipes/synthetic_demo.yaml --num_train_epochs 20 --model.num_hsta_layers 2

The section `prepare` says how `hsta prepare` makes the recipe's dataset; training checks it and leaves it at that.
A field that no dataclass has is an error that names the nearest one. The resolved recipe is saved in the run
folder, and a run folder is only continued by the recipe that started it.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from transformers import HfArgumentParser, VideoMAEConfig

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.data.prepare_options import PrepareError, read_section
from hsta_hf.data.wording import did_you_mean
from hsta_hf.training.arguments import (
    ALL_ARGUMENTS,
    HARMLESS_FIELDS,
    AugmentationArguments,
    DataArguments,
    HSTATrainingArguments,
    ModelArguments,
)
from hsta_hf.training.fold_ranges import expand_folds
from hsta_hf.training.recipe_files import EXTENDS, RecipeError, merge, read_recipe_file
from hsta_hf.training.recipe_files import find_recipe as find_recipe
from hsta_hf.training.recipe_files import shipped_recipes as shipped_recipes

PREPARE = "prepare"
PRETRAIN_SOURCES = ("pretrain_dataset", "pretrain_synthetic")
STREAMS = ("video_config", "special_config", "stream")

# Fields of TrainingArguments that would break a promise of cross-validation, and why.
NOT_IN_RECIPES = {
    "seed": "training seeds are listed in `seeds`",
    "data_seed": "training seeds are listed in `seeds`",
    "load_best_model_at_end": "weights are never chosen by looking at test clips; the last epoch's are used",
    "metric_for_best_model": "weights are never chosen by looking at test clips; the last epoch's are used",
    "resume_from_checkpoint": "a run folder resumes by itself when its recipe is started again",
    "eval_strategy": "set eval_every_epochs instead",
    "save_strategy": "set save_every_epochs instead",
    "save_steps": "set save_every_epochs instead",
    "max_steps": "the length of a training is num_train_epochs, which the warm-up is a share of",
    "ignore_data_skip": "resumed runs must see the same batches as uninterrupted ones",
    "save_only_model": "a run could not be resumed from such checkpoints",
    "push_to_hub": "folds are not pushed; push the finished model instead",
}


@dataclasses.dataclass
class Recipe:
    """A whole recipe: data, augmentation, model and training arguments."""

    data: DataArguments
    augmentation: AugmentationArguments
    model: ModelArguments
    training: HSTATrainingArguments

    def as_dict(self) -> dict[str, Any]:
        """The resolved recipe as plain values.

        Holds every field of this package, and of transformers' TrainingArguments those that differ from their
        defaults.
        """
        values: dict[str, Any] = {}
        own = {f.name for kind in ALL_ARGUMENTS for f in dataclasses.fields(kind) if f.name in _own(kind)}
        reference = _training_defaults()
        for part in (self.data, self.augmentation, self.model, self.training):
            for field in dataclasses.fields(part):
                value = _plain(getattr(part, field.name))
                if field.name in NOT_IN_RECIPES:
                    continue
                if field.name in own or value != reference.get(field.name, value):
                    values[field.name] = value
        return values


def _own(kind: type) -> set[str]:
    return set(inspect.get_annotations(kind))


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def _training_defaults() -> dict[str, Any]:
    defaults = HSTATrainingArguments()
    return {field.name: _plain(getattr(defaults, field.name)) for field in dataclasses.fields(defaults)}


def _fields() -> dict[str, Any]:
    """Every field that a recipe may set, with its type."""
    found: dict[str, Any] = {}
    for kind in ALL_ARGUMENTS:
        hints = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            if field.init:
                found[field.name] = hints[field.name]
    return found


def _unknown(name: str, known: Iterable[str], where: str) -> RecipeError:
    path, dot, last = name.rpartition(".")
    near = difflib.get_close_matches(last, list(known), n=1, cutoff=0.5)
    hint = f" Did you mean {path + dot + near[0]!r}?" if near else " `hsta train --list_fields` shows all fields."
    return RecipeError(f"{where}: there is no field {name!r}.{hint}")


def _config_fields(kind: type) -> set[str]:
    names = set(inspect.signature(kind.__init__).parameters)  # type: ignore[misc]
    for parent in kind.__mro__:
        names |= {name for name in inspect.get_annotations(parent) if not name.startswith("_")}
    return names - {"self", "kwargs", "args"}


def _processor_fields() -> set[str]:
    from hsta_hf.video_processing_hsta import HSTAVideoProcessor

    names: set[str] = set()
    for parent in HSTAVideoProcessor.__mro__:
        names |= set(getattr(parent.__dict__.get("valid_kwargs"), "__annotations__", {}))
    return names


def _check_nested(values: Mapping[str, Any], where: str) -> None:
    """Refuse unknown names inside `model`, its streams, `processor` and `pretrain`."""
    model = values.get("model") or {}
    known = (_config_fields(HSTAConfig) | set(STREAMS)) - {"training_data"}
    for name, entry in model.items():
        if name == "training_data":
            raise RecipeError(f"{where}: model.{name} cannot be set; it says what the weights were trained on.")
        if name not in known:
            raise _unknown(f"model.{name}", known, where)
        if name in STREAMS:
            if not isinstance(entry, Mapping):
                raise RecipeError(f"{where}: model.{name} must be a mapping of fields, got {entry!r}.")
            stream_fields = _config_fields(VideoMAEConfig)
            for inner in entry:
                if inner not in stream_fields:
                    raise _unknown(f"model.{name}.{inner}", stream_fields, where)
    for name in values.get("processor") or {}:
        if name == "face_alignment":
            raise RecipeError(
                f"{where}: processor.{name} cannot be set; it says how the dataset was prepared. How faces are to be "
                "aligned is said in the section `prepare`."
            )
        if name not in _processor_fields():
            raise _unknown(f"processor.{name}", _processor_fields(), where)
    allowed = {
        f.name for kind in (AugmentationArguments, HSTATrainingArguments) for f in dataclasses.fields(kind) if f.init
    }
    for name in values.get("pretrain") or {}:
        if name not in allowed:
            raise _unknown(f"pretrain.{name}", allowed, where)


def _check_prepare(values: Mapping[str, Any], where: str) -> None:
    try:
        read_section(values[PREPARE])
    except PrepareError as error:
        raise RecipeError(f"{where}: {error}") from error


def convert_value(name: str, value: Any, hint: Any, where: str) -> Any:
    """Fit one value to its field's type: numbers written as text (YAML reads `5e-5` so) become numbers.

    Raises:
        RecipeError: it has another type; the message says where the field stands and what it has to be.
    """
    origin, choices = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in choices:
            return None
        kinds = [kind for kind in choices if kind is not type(None)]
        if len(kinds) == 1:
            return convert_value(name, value, kinds[0], where)
        for kind in sorted(kinds, key=lambda kind: kind is str):  # text last: everything can be text
            try:
                return convert_value(name, value, kind, where)
            except RecipeError:
                continue
        raise _wrong_type(name, value, hint, where)
    if origin is typing.Literal:
        if value in choices:
            return value
        meant = did_you_mean(str(value), map(str, choices))
        raise RecipeError(f"{where}: {name} is {value!r}; use one of {', '.join(map(str, choices))}{meant or '.'}")
    if hint is Any:
        return value
    if origin is list or hint is list:
        entries = value if isinstance(value, (list, tuple)) else [value]
        return [convert_value(name, entry, choices[0] if choices else Any, where) for entry in entries]
    if origin is dict or hint is dict:
        if isinstance(value, Mapping):
            return dict(value)
        raise _wrong_type(name, value, hint, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value)
        except ValueError:
            options = ", ".join(str(option.value) for option in hint)
            raise RecipeError(f"{where}: {name} is {value!r}; use one of {options}.") from None
    try:
        if hint is bool:
            if isinstance(value, bool):
                return value
            return {"true": True, "false": False}[str(value).lower()]
        if hint is int and not isinstance(value, bool):
            number = float(value)
            if number == int(number):
                return int(number)
        if hint is float and not isinstance(value, bool):
            return float(value)
        if hint is str and isinstance(value, (str, int, float)):
            return str(value)
    except (TypeError, ValueError, KeyError, OverflowError):
        pass
    raise _wrong_type(name, value, hint, where)


def _wrong_type(name: str, value: Any, hint: Any, where: str) -> RecipeError:
    wanted = getattr(hint, "__name__", None) if typing.get_origin(hint) is None else str(hint).replace("typing.", "")
    return RecipeError(f"{where}: {name} is {value!r}, but it has to be {wanted}.")


def parse_overrides(words: Sequence[str]) -> dict[str, Any]:
    """`--field value …` to a nested mapping; values are read as YAML, dots lead into `model` and `processor`.

    A field without a value is true; several values make a list. Names and paths stay as they are written.

    Raises:
        RecipeError: a value stands where a field should, or a field is set both whole and in part.
    """
    values: dict[str, Any] = {}
    position = 0
    while position < len(words):
        word = words[position]
        if not word.startswith("--") or len(word) < 3:
            raise RecipeError(f"command line: {word!r} stands where a --field should; write --field value.")
        name, equals, text = word[2:].partition("=")
        position += 1
        texts = [text] if equals else []
        while not equals and position < len(words) and not words[position].startswith("--"):
            texts.append(words[position])
            position += 1
        try:
            parsed = [_read_value(name, entry) for entry in texts]
        except yaml.YAMLError as error:
            raise RecipeError(f"command line: --{name} cannot be read: {error}") from None
        target = values
        *path, last = name.split(".")
        for index, part in enumerate([*path, last]):
            if not isinstance(target, dict):
                raise RecipeError(f"command line: --{name} sets a part of what another option sets whole.")
            key = part.replace("-", "_") if index == 0 else part
            if index == len(path):
                target[key] = True if not parsed else parsed[0] if len(parsed) == 1 else parsed
            else:
                target = target.setdefault(key, {})
    return values


def _read_value(name: str, text: str) -> Any:
    value = yaml.safe_load(text)
    hint = _fields().get(name.replace("-", "_"))
    if value is not None and (hint is str or set(typing.get_args(hint)) == {str, type(None)}):
        return text  # YAML would make a number of the folder 007, and a date of 2024-05-01
    return value


def resolve(values: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """Check a mapping of fields and build the argument dataclasses.

    Raises:
        RecipeError: unknown field (names the nearest), wrong type, or a value outside its range.
    """
    fields = _fields()
    converted: dict[str, Any] = {}
    for name, value in values.items():
        if name == PREPARE:
            _check_prepare(values, where)
            continue
        if name == EXTENDS:
            raise RecipeError(f"{where}: {EXTENDS} stands in recipe files only; name the recipe itself instead.")
        if name not in fields:
            raise _unknown(name, [*fields, PREPARE], where)
        if name in NOT_IN_RECIPES:
            raise RecipeError(f"{where}: {name} cannot be set; {NOT_IN_RECIPES[name]}.")
        if name == "folds":
            try:
                value = expand_folds(value)
            except ValueError as error:
                raise RecipeError(f"{where}: folds: {error}.") from None
        converted[name] = convert_value(name, value, fields[name], where)
    _check_nested(values, where)
    try:
        data, augmentation, model, training = HfArgumentParser(ALL_ARGUMENTS).parse_dict(converted)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{where}: {error}") from error
    return Recipe(data, augmentation, model, training)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe file and put the command line's `--field value` over it.

    Where the command line switches off what the file pre-trains on (`--pretrain_synthetic null`), the file's
    `pretrain`, which only says how, goes with it.

    Raises:
        RecipeError: see `resolve`, `read_recipe_file` and `parse_overrides`.
    """
    content = read_recipe_file(path)
    changes = parse_overrides(overrides)
    if not changes:
        return resolve(content, str(path))
    for name in changes:  # so that a mistake on the command line is not blamed on the file
        if name not in _fields() and name not in (PREPARE, EXTENDS):
            raise _unknown(name, [*_fields(), PREPARE], "command line")
    values = merge(content, changes)
    switched = any(name in changes for name in PRETRAIN_SOURCES)
    if switched and "pretrain" not in changes and not any(values.get(name) for name in PRETRAIN_SOURCES):
        values.pop("pretrain", None)
    return resolve(values, f"{path} with the command line's changes")


def pretraining_recipe(recipe: Recipe) -> Recipe:
    """The recipe of the pre-training: the run's own, with the fields of `pretrain` put over it."""
    own = recipe.as_dict()
    changes = recipe.model.pretrain or {}
    for name in ("pretrain", *PRETRAIN_SOURCES, "tuning", "lora"):  # a pre-training trains all there is
        own.pop(name, None)
    return resolve(merge(own, changes), "pretrain")


def differing_fields(saved: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """Fields whose values would change the results, as lines `field: saved → asked`.

    A field that one side lacks, as recipes saved by an earlier version lack those added since, has its default there.
    """
    defaults = resolve({}).as_dict()
    names = sorted((set(saved) | set(asked)) - HARMLESS_FIELDS)
    values = [(name, *(side.get(name, defaults.get(name)) for side in (saved, asked))) for name in names]
    return [f"{name}: {before!r} → {now!r}" for name, before, now in values if before != now]


def list_fields() -> str:
    """All fields of this package with their defaults and meanings, for `hsta train --list_fields`."""
    lines = []
    for kind in ALL_ARGUMENTS:
        lines.append(f"{kind.__name__}: {inspect.getdoc(kind) or ''}".split("\n")[0])
        for field in dataclasses.fields(kind):
            if field.name in _own(kind) and field.name not in NOT_IN_RECIPES:
                default = field.default
                if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
                    default = field.default_factory()
                lines.append(f"  {field.name} ({default!r}): {field.metadata.get('help', '')}")
    lines.append("and every field of transformers.TrainingArguments.")
    return "\n".join(lines)
