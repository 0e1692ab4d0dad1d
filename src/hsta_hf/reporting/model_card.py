"""The model card: README.md beside a run's model, written from what the run knows and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
from huggingface_hub import EvalResult, ModelCardData

from hsta_hf.configuration_hsta import HSTA_PRESETS, HSTAConfig
from hsta_hf.data.databases import DATABASES, get_database
from hsta_hf.data.splits import CLIP_LEVEL
from hsta_hf.reporting.files import write_atomically
from hsta_hf.reporting.report import METRIC_NAMES, RunFacts
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

CARD_FILE = "README.md"
# Kind of each score, as the Hub calls it.
_METRIC_TYPES = {"uf1": "f1", "uar": "recall", "acc": "accuracy", "mean_f1": "f1"}
_INPUT_NAMES = {
    "frames": "RGB",
    "difference": "differences to the onset frame",
    "optical_flow": "optical flow and its strain",
}
_LOSS_NAMES = {"mse": "mean squared error of the scores", "cross_entropy": "cross-entropy"}
_MARK = "<!-- Written by hsta train. A card edited by hand is kept; delete it to have it written anew. sha256: "


def _loss_name(config: HSTAConfig) -> str:
    binary = config.problem_type == "multi_label_classification" and config.classification_loss == "cross_entropy"
    return ("binary " if binary else "") + _LOSS_NAMES[config.classification_loss]


class ModelCardError(ValueError):
    """A model card that cannot be written; the message names the template and the field."""


def find_template() -> Path:
    """The template that comes with hsta-hf: `model_cards/` of a checkout, of the package in a wheel.

    Raises:
        ModelCardError: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = [folder / "model_cards" / "template.md" for folder in (package, package.parents[1])]
    for path in candidates:
        if path.is_file():
            return path
    raise ModelCardError(
        f"There is no model card template {' or '.join(map(str, candidates))}; reinstall hsta-hf, or get "
        "model_cards/template.md back."
    )


def write_model_card(
    folder: Path, facts: RunFacts, metrics: Mapping[str, Any], template: Path | None = None
) -> Path | None:
    """Write the card of a finished run's model, whole or not at all.

    A card that somebody edited, or that hsta-hf did not write, is left as it is.

    Args:
        folder: the saved model: its configuration and its processor are read.
        facts: what the run says of itself.
        metrics: content of the run's `metrics.json`.
        template: Jinja template in place of the one that comes with hsta-hf.

    Returns:
        The card's path, or None where a card was kept.

    Raises:
        ModelCardError: there is no template, or it asks for a field that the run does not fill.
    """
    path = folder / CARD_FILE
    if path.is_file() and not _is_untouched(path.read_text(encoding="utf-8")):
        return None
    config, processor = HSTAConfig.from_pretrained(folder), HSTAVideoProcessor.from_pretrained(folder)
    text = render_card(card_data(facts, metrics), card_fields(facts, metrics, config, processor), template)
    write_atomically(path, _signed(text))
    return path


def _signed(text: str) -> str:
    text = text.rstrip("\n") + "\n\n"
    return f"{text}{_MARK}{hashlib.sha256(text.encode()).hexdigest()} -->\n"


def _is_untouched(card: str) -> bool:
    text, mark, _ = card.rpartition(_MARK)
    return bool(mark) and card == _signed(text)


def render_card(data: ModelCardData, fields: Mapping[str, Any], template: Path | None = None) -> str:
    """Fill the template.

    Raises:
        ModelCardError: the template is no Jinja, or one of its fields is not filled.
    """
    template = template or find_template()
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    values = {**fields, "card_data": data.to_yaml().rstrip("\n")}
    try:
        source = template.read_text(encoding="utf-8")
        asked = jinja2.meta.find_undeclared_variables(environment.parse(source))
        empty = sorted(name for name in asked if values.get(name) is None)
        if empty:
            raise ModelCardError(f"{template}: the run does not fill the field {', '.join(empty)}.")
        return environment.from_string(source).render(values)
    except jinja2.UndefinedError as error:
        raise ModelCardError(f"{template}: a field is not filled: {error}") from error
    except jinja2.TemplateSyntaxError as error:
        raise ModelCardError(f"{template}, line {error.lineno}: no valid Jinja: {error}") from error


def card_data(facts: RunFacts, metrics: Mapping[str, Any]) -> ModelCardData:
    """The card's front matter, with the pooled scores as `model-index`.

    It names no licence: which one the weights may have, the owners of the data decide.
    """
    kind = "synthetic" if facts.synthetic else "-".join(facts.databases)
    name = f"{_titles(facts)}, {facts.protocol}"
    if facts.synthetic:
        name = f"Synthetic drawn faces in the layout of {name}"
    if facts.shuffled_labels:
        name += ", control with shuffled training labels"
    if not facts.complete:
        name += ", some folds only"
    results = [
        EvalResult(
            task_type="video-classification",
            dataset_type=kind,
            dataset_name=name,
            dataset_config=facts.protocol,
            dataset_split="test",
            metric_type=_METRIC_TYPES.get(metric, metric),
            metric_name=METRIC_NAMES.get(metric, metric),
            metric_value=value,
        )
        for metric, value in metrics["pooled"].items()
    ]
    tags = ["hsta", "micro-expression-recognition", "affective-computing"]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=[*tags, "synthetic"] if facts.synthetic else tags,
        model_name=f"hsta-{kind}-{facts.protocol}",
        eval_results=results,
    )


def card_fields(
    facts: RunFacts, metrics: Mapping[str, Any], config: HSTAConfig, processor: HSTAVideoProcessor
) -> dict[str, Any]:
    """The template's fields, `card_data` aside. One that the run knows nothing of is None, which no card accepts."""
    pooled, spread, guesses = metrics["pooled"], metrics.get("pooled_std", {}), metrics.get("baselines")
    scores = []
    for name, value in pooled.items():
        row = {
            "name": METRIC_NAMES.get(name, name),
            "value": _number(value) + (f" ± {_number(spread[name])}" if spread else ""),
        }
        if guesses:
            row |= {kind: _number(guesses[kind][name]) for kind in ("majority", "chance")}
        scores.append(row)
    titles = _titles(facts)
    trained_on = "synthetic drawn faces" if facts.synthetic else titles
    return {
        "title": f"HSTA micro-expression recognition, trained on {trained_on}",
        "synthetic": facts.synthetic,
        "shuffled_labels": facts.shuffled_labels,
        "all_folds": facts.complete,
        "multi_label": config.problem_type == "multi_label_classification",
        "labels": list(facts.labels),
        "class_counts": dict(facts.class_counts),
        "label_description": facts.label_description,
        "architecture": _architecture(config),
        "streams": _streams(config, processor),
        "preset": _preset(config),
        "loss": _loss_name(config),
        "data": f"Synthetic drawn faces in the file layout of {titles}." if facts.synthetic else f"{titles}.",
        "num_subjects": facts.num_subjects,
        "apex": _apex(facts),
        "annotated_apex": facts.apex == "annotated",
        "model_origin": _model_origin(facts),
        "start": facts.start,
        "pretraining": f"Every model of the run started from a pre-training on {facts.pretraining}."
        if facts.pretraining
        else "The run did no pre-training of its own.",
        "protocol_description": facts.protocol_description,
        "shares_subjects": facts.protocol == CLIP_LEVEL,
        "num_models": len(metrics["per_fold_for_information"]),
        "tested_clips": metrics["clips"],
        "seeds": len(metrics["seeds"]),
        "baselines": bool(guesses),
        "scores": scores,
        "label_scores": [
            {"name": name, "clips": row["clips"], "recall": _number(row["recall"]), "f1": _number(row["f1"])}
            for name, row in metrics["per_class"].items()
        ],
        "warnings": list(facts.warnings),
        "environment": dict(metrics["environment"]),
    }


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3f}"


def _titles(facts: RunFacts) -> str:
    return " and ".join(get_database(name).title if name in DATABASES else name for name in facts.databases)


def _architecture(config: HSTAConfig) -> str:
    layers = f"{config.num_hsta_layers} HSTA layer{'s' if config.num_hsta_layers != 1 else ''} (M)"
    counts = [
        f"{count} on the {name} stream ({symbol})"
        for name, symbol, count, used in (
            ("video", "L_v", config.num_video_layers, config.use_video_stream),
            ("special", "L_s", config.num_special_layers, config.use_special_stream),
        )
        if used
    ]
    crossing = "ending in cross-attention between the streams" if config.crosses_streams else "without cross-attention"
    return (
        f"{layers}, each with space-time attention layers, {' and '.join(counts)}, {crossing}, in the "
        f"{config.block_style} block style."
    )


def _streams(config: HSTAConfig, processor: HSTAVideoProcessor) -> list[dict[str, Any]]:
    rows = []
    for name, used, shows in (
        ("video", config.use_video_stream, processor.video_input),
        ("special", config.use_special_stream, processor.special_input),
    ):
        if not used:
            continue
        stream = config.stream(name)
        what = "frames over the clip" if name == "video" else f"special frames {', '.join(processor.special_frames)}"
        rows.append(
            {
                "name": name,
                "input": f"{_INPUT_NAMES.get(shows, shows)} ({what})",
                "frames": stream.num_frames,
                "image": _pair(stream.image_size),
                "patch": f"{stream.tubelet_size} x {_pair(stream.patch_size)}",
                "width": stream.hidden_size,
                "heads": stream.num_attention_heads,
            }
        )
    return rows


def _pair(size: Any) -> str:
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    return f"{height} x {width}"


def _preset(config: HSTAConfig) -> str:
    """The preset of the same widths and depths; image sizes and inputs are in the table of streams."""
    fields = ("hidden_size", "num_attention_heads", "intermediate_size")
    depths = ("num_hsta_layers", "num_video_layers", "num_special_layers")
    for name in HSTA_PRESETS:
        preset = HSTAConfig.from_preset(name)
        alike = all(
            getattr(config.stream(stream), field) == getattr(preset.stream(stream), field)
            for stream in ("video", "special")
            for field in fields
        )
        if alike and all(getattr(config, depth) == getattr(preset, depth) for depth in depths):
            return f"`{name}`"
    return "none, widths and depths of its own"


def _apex(facts: RunFacts) -> str:
    if facts.apex != "annotated":
        return "Onset and offset are as annotated; every apex was spotted by the processor."
    spotted = (
        f", but spotted for {facts.spotted_apexes} clips whose annotation has none of use"
        if facts.spotted_apexes
        else ""
    )
    return f"Onset, apex and offset are as annotated{spotted}."


def _model_origin(facts: RunFacts) -> str:
    """Which clips this very model has seen, and whether the scores are its own."""
    if facts.final_model:
        return (
            "This model was trained on all clips, which leaves none to test it on: the results below are of models "
            "trained by the same recipe on a part of the clips."
        )
    first = facts.fold_metrics[0] if facts.fold_metrics else {}
    which = f"fold {first['fold']}, seed {first['seed']}" if first else "the first fold"
    seen = (
        "It has seen other clips of subjects that it was tested on."
        if facts.protocol == CLIP_LEVEL
        else "The run trained it on no clip of the subjects that it was tested on."
    )
    text = f"This model is that of {which}: trained on the clips outside that fold, tested on those in it. {seen}"
    if len(facts.fold_metrics) > 1:
        text += f" It is one of the {len(facts.fold_metrics)} that the results below sum up."
    return text
