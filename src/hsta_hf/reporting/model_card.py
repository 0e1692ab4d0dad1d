"""The model card: README.md beside a run's model, written from what the run knows and nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
from huggingface_hub import EvalResult, ModelCardData

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.data.databases import DATABASES, get_database
from hsta_hf.reporting.facts import RunFacts
from hsta_hf.reporting.files import write_atomically
from hsta_hf.reporting.model_card_fields import card_fields, database_titles_text
from hsta_hf.reporting.publication import UNPUBLISHED, Publication
from hsta_hf.reporting.report_content import METRIC_NAMES
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

CARD_FILE = "README.md"
# Fields that a card may lack on the machine that trained the model, and must not lack where others read it.
FOR_PUBLICATION = ("license", "hardware", "training_times", "parameters")
TAGS = ("hsta", "micro-expression-recognition", "affective-computing")
# Kind of each score, as the Hub calls it.
_METRIC_TYPES = {"uf1": "f1", "uar": "recall", "acc": "accuracy", "mean_f1": "f1"}
_MARK = "<!-- Written by hsta train. A card edited by hand is kept; delete it to have it written anew. sha256: "


class ModelCardError(ValueError):
    """A model card that cannot be written; the message names the template and the field."""


def find_template(name: str = "template.md") -> Path:
    """A template that comes with hsta-hf: in `model_cards/` of a checkout, of the package in a wheel.

    Raises:
        ModelCardError: it is in neither place.
    """
    package = Path(__file__).resolve().parents[1]
    candidates = [folder / "model_cards" / name for folder in (package, package.parents[1])]
    for path in candidates:
        if path.is_file():
            return path
    raise ModelCardError(
        f"There is no model card template {' or '.join(map(str, candidates))}; reinstall hsta-hf, or get "
        f"model_cards/{name} back."
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
    if path.is_file() and not is_untouched(path.read_text(encoding="utf-8")):
        return None
    fields = fields_of(folder, facts, metrics)
    write_atomically(path, signed(render_card(card_data(facts, metrics), fields, template)))
    return path


def fields_of(
    folder: Path, facts: RunFacts, metrics: Mapping[str, Any], publication: Publication = UNPUBLISHED
) -> dict[str, Any]:
    """The template's fields for a saved model, see `card_fields`."""
    config, processor = HSTAConfig.from_pretrained(folder), HSTAVideoProcessor.from_pretrained(folder)
    return card_fields(facts, metrics, config, processor, publication)


def signed(text: str) -> str:
    """The card with a last line that tells whether anybody edited it since."""
    text = text.rstrip("\n") + "\n\n"
    return f"{text}{_MARK}{hashlib.sha256(text.encode()).hexdigest()} -->\n"


def is_untouched(card: str) -> bool:
    """Whether the card is as hsta-hf wrote it."""
    text, mark, _ = card.rpartition(_MARK)
    return bool(mark) and card == signed(text)


def unfilled(fields: Mapping[str, Any]) -> list[str]:
    """The fields of `FOR_PUBLICATION` that are not filled."""
    return [name for name in FOR_PUBLICATION if not fields.get(name)]


def render_card(data: ModelCardData, fields: Mapping[str, Any], template: Path | None = None) -> str:
    """Fill the template. It may extend another one in its folder.

    Raises:
        ModelCardError: the template is no Jinja, or one of its fields is not filled. Those of `FOR_PUBLICATION` may
            be None: the template says what is missing.
    """
    template = template or find_template()
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        loader=jinja2.FileSystemLoader(template.parent),
    )
    values = {**fields, "card_data": data.to_yaml().rstrip("\n")}
    try:
        source = template.read_text(encoding="utf-8")
        asked = jinja2.meta.find_undeclared_variables(environment.parse(source))
        empty = sorted(name for name in asked if values.get(name) is None and name not in FOR_PUBLICATION)
        if empty:
            raise ModelCardError(f"{template}: the run does not fill the field {', '.join(empty)}.")
        return environment.from_string(source).render(values)
    except jinja2.UndefinedError as error:
        raise ModelCardError(f"{template}: a field is not filled: {error}") from error
    except jinja2.TemplateSyntaxError as error:
        raise ModelCardError(f"{template}, line {error.lineno}: no valid Jinja: {error}") from error


def card_data(facts: RunFacts, metrics: Mapping[str, Any], publication: Publication = UNPUBLISHED) -> ModelCardData:
    """The card's front matter, with the pooled scores, and those of each database, as `model-index`.

    Each score has its interval in `args`. A licence is in it only where whoever publishes the model gives one.
    """
    kind = "synthetic" if facts.synthetic else "-".join(facts.databases)
    tags = [*TAGS, "synthetic"] if facts.synthetic else [*TAGS]
    return ModelCardData(
        library_name="transformers",
        pipeline_tag="video-classification",
        tags=tags,
        license=publication.license,
        license_name=publication.license_name,
        license_link=publication.license_link,
        model_name=f"hsta-{kind}-{facts.protocol}",
        eval_results=_results(facts, metrics, kind),
    )


def _results(facts: RunFacts, metrics: Mapping[str, Any], kind: str) -> list[EvalResult]:
    parts = [(kind, database_titles_text(facts), metrics["pooled"], metrics.get("intervals"))]
    for database, scores in (metrics.get("per_database") or {}).items():
        title = get_database(database).title if database in DATABASES else database
        part_kind = f"synthetic-{database}" if facts.synthetic else database
        parts.append((part_kind, f"{title} within the run's databases", scores, scores.get("intervals")))
    level, samples = metrics.get("interval_level"), metrics.get("interval_samples")
    return [
        EvalResult(
            task_type="video-classification",
            dataset_type=part_kind,
            dataset_name=_dataset_name(facts, title),
            dataset_config=facts.protocol,
            dataset_split="test",
            metric_type=_METRIC_TYPES.get(metric, metric),
            metric_name=METRIC_NAMES.get(metric, metric),
            metric_value=scores[metric],
            metric_args={
                "interval": list(intervals[metric]),
                "level": level,
                "method": "bootstrap over subjects",
                "samples": samples,
            }
            if intervals and intervals.get(metric)
            else None,
        )
        for part_kind, title, scores, intervals in parts
        for metric in metrics["pooled"]
        if scores.get(metric) is not None
    ]


def _dataset_name(facts: RunFacts, title: str) -> str:
    name = f"{title}, {facts.protocol}"
    if facts.synthetic:
        name = f"Synthetic drawn faces in the layout of {name}"
    if facts.shuffled_labels:
        name += ", control with shuffled training labels"
    if not facts.complete:
        name += ", some folds only"
    return name
