"""Why a measured figure is not comparable with the paper's: one sentence for each reason."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from hsta_hf.ablation.dataset_facts import DatasetFacts, published_size
from hsta_hf.ablation.dry_run import build_without_weights
from hsta_hf.ablation.plan import AblationOptions, PlannedRow, row_recipe
from hsta_hf.data.protocol_names import CLIP_LEVEL
from hsta_hf.paper.tables import published_recipe
from hsta_hf.training.arguments import HARMLESS_FIELDS
from hsta_hf.training.recipe import Recipe, load_recipe

# Said in sentences of their own, or no difference from the paper.
_SAID_ELSEWHERE = frozenset({"dataset", "protocol", "num_folds", "label_scheme", "seeds", "split_seed", "baseline"})
# What the label scheme, the code or the other part decides.
_NOT_OF_THE_MODEL = frozenset(
    {
        "id2label",
        "label2id",
        "problem_type",
        "architectures",
        "transformers_version",
        "model_type",
        "auto_map",
        "dtype",
    }
)
_NOT_OF_THE_INPUTS = frozenset(
    {"video_processor_type", "processor_class", "auto_map", "size", "special_size", "face_alignment"}
)
_WEIGHTS = frozenset({"videomae", "pretrained", "pretrain", "pretrain_dataset", "pretrain_synthetic"})


def reasons(planned: PlannedRow, facts: DatasetFacts, options: AblationOptions) -> list[str]:
    """Sentences on why the row's figures here and in the paper are not comparable; empty if none is known.

    Args:
        planned: a row that can be run.
        facts: of the dataset, under the row's label scheme.
        options: of the call; its notes come last.
    """
    recipe = planned.recipe
    assert recipe is not None
    sentences = [*_of_the_clips(planned, facts), *_of_the_protocol(planned, recipe)]
    if recipe.model.baseline:
        sentences.append(
            "A baseline of this package's, trained on the same folds; the paper does not say how it came to its "
            "figures."
        )
    else:
        sentences += _of_the_recipe(planned, recipe, options)
    return [*sentences, *options.notes]


def _of_the_clips(planned: PlannedRow, facts: DatasetFacts) -> list[str]:
    theirs, sentences = planned.table.databases, []
    # A table by database compares each of them, so one alone is enough, trained without the others.
    if not set(facts.databases) <= set(theirs):
        sentences.append(
            f"Another database: measured on {_and(facts.databases)}, the paper's figures are on {_and(theirs)}."
        )
    else:
        size = published_size(facts.databases)
        if size is not None and (facts.clips, facts.subjects) != size:
            sentences.append(
                f"Other clips: {facts.clips} of {facts.subjects} subjects here, {size[0]} of {size[1]} in the "
                f"published {_and(facts.databases)}."
            )
        if set(facts.databases) != set(theirs):
            sentences.append(f"Trained on {_and(facts.databases)} alone, in the paper on {_and(theirs)} together.")
    if facts.synthetic:
        sentences.append("The clips are synthetic: no number on them is a result on people.")
    if facts.classes != planned.row.classes:
        sentences.append(f"{facts.classes} classes here, {planned.row.classes} in the paper.")
    return sentences


def _of_the_protocol(planned: PlannedRow, recipe: Recipe) -> list[str]:
    table, sentences = planned.table, []
    if planned.protocol != table.protocol:
        who = ", which share subjects between training and test" if table.protocol == CLIP_LEVEL else ""
        sentences.append(f"Other folds: {planned.protocol} here, {table.protocol} in the paper{who}.")
    elif planned.protocol == CLIP_LEVEL:
        sentences.append("Folds drawn anew: the paper does not say which clips were in which of its folds.")
    folds = recipe.data.num_folds
    if table.num_folds is not None and planned.protocol.startswith("kfold") and folds != table.num_folds:
        sentences.append(f"{folds} folds here, {table.num_folds} in the paper.")
    if planned.row.macro:
        whose = "of test subjects, too," if planned.protocol == CLIP_LEVEL else "of other subjects alone"
        sentences.append(
            f"Macro-expressions {whose} are in training here; the paper does not say whose were in its training."
        )
    return sentences


def _of_the_recipe(planned: PlannedRow, recipe: Recipe, options: AblationOptions) -> list[str]:
    """Where the recipe differs from the published one as that row."""
    published = row_recipe(options, planned.row, planned.protocol, _published())
    mine, theirs = recipe.as_dict(), published.as_dict()
    sentences = _of_the_start(mine, theirs)
    left_out = HARMLESS_FIELDS | _SAID_ELSEWHERE | _WEIGHTS | {"model", "processor", "preset"}
    here, there = ({k: v for k, v in values.items() if k not in left_out} for values in (mine, theirs))
    models, inputs = zip(*(_built(one) for one in (recipe, published)), strict=True)
    for what, one, other in (
        ("Another model", *models),
        ("Other inputs", *inputs),
        ("Another training", here, there),
    ):
        fields = [f"{name} {_plain(value)} ({_plain(theirs)})" for name, value, theirs in _differences(one, other)]
        if fields:
            sentences.append(f"{what} than published, published in brackets: {', '.join(fields)}.")
    return sentences


def _built(recipe: Recipe) -> tuple[dict[str, Any], dict[str, Any]]:
    """All fields of the recipe's model and of its processor; the streams' common ones once, under `stream`."""
    model, processor = build_without_weights(recipe)
    config = {k: v for k, v in model.config.to_dict().items() if k not in _NOT_OF_THE_MODEL}
    video, special = config.pop("video_config"), config.pop("special_config")
    common = {name: value for name, value in video.items() if name in special and special[name] == value}
    config["stream"] = common
    for name, stream in (("video_config", video), ("special_config", special)):
        config[name] = {field: value for field, value in stream.items() if field not in common}
    inputs = {name: value for name, value in processor.to_dict().items() if name not in _NOT_OF_THE_INPUTS}
    return config, inputs


@cache
def _published() -> Mapping[str, Any]:
    return load_recipe(published_recipe()).as_dict()


def _of_the_start(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    sentences = []
    if mine.get("videomae") is None and theirs.get("videomae") is not None:
        sentences.append(f"No start from VideoMAE; the published recipe starts from {theirs['videomae']}.")
    elif mine.get("videomae") is not None:
        sentences.append("Started from VideoMAE; the paper does not say from which weights its models start.")
    if mine.get("pretrained"):
        sentences.append(f"Started from the model {mine['pretrained']}.")
    if mine.get("pretrain_synthetic"):
        sentences.append("Pre-trained on drawn (synthetic) faces.")
    elif mine.get("pretrain_dataset"):
        sentences.append(f"Pre-trained on {mine['pretrain_dataset']}.")
    return sentences


_ABSENT = object()


def _differences(mine: Any, theirs: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """(dotted name, value, other value) of all leaves that differ."""
    if isinstance(mine, Mapping) or isinstance(theirs, Mapping):
        one, two = ({} if not isinstance(side, Mapping) else side for side in (mine, theirs))
        found = []
        for name in sorted({*one, *two}):
            found += _differences(one.get(name, _ABSENT), two.get(name, _ABSENT), f"{path}.{name}" if path else name)
        return found
    return [] if mine == theirs else [(path, mine, theirs)]


def _plain(value: Any) -> str:
    if value is _ABSENT:
        return "as by default"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _and(names: tuple[str, ...]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
