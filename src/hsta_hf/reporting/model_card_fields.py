"""The fields that a model card's template asks for, from what the run knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.data.databases import DATABASES, get_database
from hsta_hf.data.splits import SHARING_SUBJECTS
from hsta_hf.reporting.facts import RunFacts
from hsta_hf.reporting.model_card_architecture import architecture, loss_name, preset, streams
from hsta_hf.reporting.model_card_cost import hardware, parameters, resumed_note, training_times
from hsta_hf.reporting.model_card_groups import database_scores, subject_spread
from hsta_hf.reporting.publication import UNPUBLISHED, Publication
from hsta_hf.reporting.report_content import METRIC_NAMES, interval, number
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

# Not databases of their own: a composite of others, and what users have.
_NO_DATABASE = frozenset({"megc2019", "folder"})


def card_fields(
    facts: RunFacts,
    metrics: Mapping[str, Any],
    config: HSTAConfig,
    processor: HSTAVideoProcessor,
    publication: Publication = UNPUBLISHED,
) -> dict[str, Any]:
    """The template's fields, `card_data` aside. One that nobody filled is None.

    Args:
        facts: what the run says of itself.
        metrics: content of the run's `metrics.json`.
        config, processor: of the model that the card is for.
        publication: what whoever publishes the model says.
    """
    guesses = metrics.get("baselines")
    titles = database_titles_text(facts)
    trained_on = "synthetic drawn faces" if facts.synthetic else titles
    return {
        "title": f"HSTA micro-expression recognition, trained on {trained_on}",
        "model": publication.repo_id or "MODEL",
        "published": publication.repo_id is not None,
        "synthetic": facts.synthetic,
        "own_footage": facts.own_footage,
        "shuffled_labels": facts.shuffled_labels,
        "all_folds": facts.complete,
        "multi_label": config.problem_type == "multi_label_classification",
        "labels": list(facts.labels),
        "class_counts": dict(facts.class_counts),
        "label_description": facts.label_description,
        "architecture": architecture(config),
        "streams": streams(config, processor),
        "preset": preset(config),
        "loss": loss_name(config),
        "data": f"Synthetic drawn faces in the file layout of {titles}." if facts.synthetic else f"{titles}.",
        "data_terms": data_terms(facts.synthetic, facts.own_footage),
        "num_subjects": facts.num_subjects,
        "apex": _apex(facts),
        "annotated_apex": facts.apex == "annotated",
        "model_origin": _model_origin(facts),
        "start": facts.start,
        "pretraining": f"Every model of the run started from a pre-training on {facts.pretraining}."
        if facts.pretraining
        else "The run did no pre-training of its own.",
        "protocol_description": facts.protocol_description,
        "shares_subjects": facts.protocol in SHARING_SUBJECTS,
        "num_models": len(metrics["per_fold_for_information"]),
        "tested_clips": metrics["clips"],
        "seeds": len(metrics["seeds"]),
        "baselines": bool(guesses),
        "interval_level": f"{100 * metrics.get('interval_level', 0.95):g} %",
        "scores": _scores(metrics),
        "label_scores": [
            {"name": name, "clips": row["clips"], "recall": number(row["recall"]), "f1": number(row["f1"])}
            for name, row in metrics["per_class"].items()
        ],
        "database_scores": database_scores(metrics),
        "subject_spread": subject_spread(metrics),
        "calibration_error": number((metrics.get("calibration") or {}).get("ece")),
        "untested_databases": untested_databases(facts.databases),
        "warnings": list(facts.warnings),
        "training_times": training_times(facts),
        "resumed_note": resumed_note(facts),
        "hardware": publication.hardware or hardware(facts),
        "parameters": parameters(facts),
        "license": publication.license_text,
        "environment": dict(metrics["environment"]),
    }


def database_titles_text(facts: RunFacts) -> str:
    """The run's databases as people write them: `CASME II and SAMM`."""
    return " and ".join(get_database(name).title if name in DATABASES else name for name in facts.databases)


def data_terms(synthetic: bool, own_footage: bool) -> str:
    """Who may have the data, and that they are not here."""
    if synthetic:
        return "The clips were drawn by a program: no person is in them, and no database's licence binds them."
    if own_footage:
        return "It is the trainer's own footage, for which the people in it have to have agreed. None of it is here."
    return (
        "The data's owners license them to named researchers who sign an agreement, and hand them out themselves: no "
        "frame and no annotation of theirs is here."
    )


def untested_databases(databases: Sequence[str]) -> str:
    """The databases that hsta-hf reads and the run did not test: `CASME II; SAMM`."""
    others = [name for name in DATABASES if name not in databases and name not in _NO_DATABASE]
    return "; ".join(get_database(name).title for name in others)


def _scores(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    spread, bounds, guesses = metrics.get("pooled_std", {}), metrics.get("intervals") or {}, metrics.get("baselines")
    rows = []
    for name, value in metrics["pooled"].items():
        row = {
            "name": METRIC_NAMES.get(name, name),
            "value": number(value) + (f" ± {number(spread[name])}" if spread else ""),
            "interval": interval(bounds.get(name)),
        }
        if guesses:
            row |= {kind: number(guesses[kind][name]) for kind in ("majority", "chance")}
        rows.append(row)
    return rows


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
    found = model_fold(facts)
    which = f"fold {found['fold']}, seed {found['seed']}" if found else "the first fold"
    seen = (
        "It has seen other clips of subjects that it was tested on."
        if facts.protocol in SHARING_SUBJECTS
        else "The run trained it on no clip of the subjects that it was tested on."
    )
    text = f"This model is that of {which}: trained on the clips outside that fold, tested on those in it. {seen}"
    if len(facts.fold_metrics) > 1:
        text += f" It is one of the {len(facts.fold_metrics)} that the results below sum up."
    return text


def model_fold(facts: RunFacts) -> Mapping[str, Any]:
    """What the fold of the run's model says of itself; empty where no fold does."""
    folds = {f"folds/fold-{each['fold']:02d}-seed-{each['seed']}/model": each for each in facts.fold_metrics}
    return folds.get(facts.model or "", next(iter(facts.fold_metrics), {}))
