"""report.html: the report as one page that holds all it shows, for light and dark, wide and narrow, and paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hsta_hf import __version__
from hsta_hf.data.contact_sheet import DIFFERENCE_FACTOR
from hsta_hf.data.dataset_card import database_titles
from hsta_hf.metrics import confusion_matrix
from hsta_hf.reporting import report_content as content
from hsta_hf.reporting.caveats import caveats
from hsta_hf.reporting.clip_pictures import ClipPictures
from hsta_hf.reporting.completeness import finished_text
from hsta_hf.reporting.facts import RunFacts
from hsta_hf.reporting.figures import (
    IntervalRow,
    curve_drawings,
    intervals_drawing,
    reliability_drawing,
    subjects_drawing,
)
from hsta_hf.reporting.figures_style import Drawing
from hsta_hf.reporting.html_page import picture_uri, render, with_code
from hsta_hf.reporting.predictions import is_multi_label
from hsta_hf.reporting.repetition import REPEATS_EXACTLY, recipe_note, repeat_command, where_to_repeat
from hsta_hf.reporting.report_content import Table, number
from hsta_hf.reporting.report_hardest import HARDEST_ORDER, HardClip, hardest_clips

Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Tile:
    """A headline score: its value, and where it and its interval lie between 0 and 1."""

    name: str
    value: str
    point: float
    low: float | None
    high: float | None
    lines: Sequence[str]


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: for each true class its name, (count, share) for each predicted class, and its clips."""

    caption: str
    labels: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[int, float]], int]]


@dataclass(frozen=True)
class Card:
    """One of the hardest clips, with its pictures as (name, data URI)."""

    clip: HardClip
    pictures: Sequence[tuple[str, str]]


def report_html(
    metrics: Metrics,
    facts: RunFacts,
    table: pd.DataFrame,
    recipe: str = "",
    pictures: ClipPictures | None = None,
) -> str:
    """The report as HTML.

    Args:
        metrics: content of the run's `metrics.json`.
        facts: what the run says of itself.
        table: its predictions.
        recipe: text of its recipe.yaml.
        pictures: where pictures of clips come from; None to show none.
    """
    multi_label = is_multi_label(table)
    cards = [_card(clip, pictures) for clip in hardest_clips(table, facts.labels)]
    shown = any(card.pictures for card in cards)
    score = content.subject_score(metrics)
    values: dict[str, Any] = {
        "title": f"{content.source_name(facts)}, {facts.protocol}",
        "method": facts.method,
        "version": __version__,
        "notices": content.notices(facts),
        "missing": finished_text(facts),
        "lead": lead(metrics, facts, multi_label),
        "tiles": tiles(metrics),
        "protocol": facts.protocol_description,
        "label_description": facts.label_description,
        "choices": content.choices(facts),
        "meanings": content.meanings(metrics, multi_label),
        "clip_sentence": content.clip_sentence(facts, multi_label),
        "data": content.data_rows(facts),
        "pooling": content.pooling_sentence(metrics),
        "scores": content.score_rows(metrics),
        "caveats": caveats(metrics),
        "seeds": content.seed_rows(metrics),
        "classes": content.class_rows(metrics),
        "units": content.unit_rows(table, facts.labels) if multi_label else None,
        "matrices": [] if multi_label else matrices(table, facts.labels),
        "matrix_note": _matrix_note(table),
        "databases": content.database_rows(metrics),
        "database_drawings": database_drawings(metrics),
        "subjects": content.subject_rows(metrics),
        "subject_drawing": subjects_drawing(metrics["per_subject"], score, content.METRIC_NAMES[score])
        if score
        else None,
        "folds": content.fold_rows(metrics, facts),
        "calibration": content.calibration_sentence(metrics, multi_label),
        "reliability": reliability_drawing(metrics.get("calibration") or {}),
        "calibration_table": content.calibration_rows(metrics),
        "hardest": cards,
        "hardest_order": HARDEST_ORDER,
        "several_databases": len(facts.databases) > 1,
        "picture_notice": picture_notice(facts) if shown else None,
        "took": content.time_sentences(facts),
        "curves": curve_drawings(facts.log_histories),
        "model": facts.model,
        "model_sentence": content.model_sentence(facts),
        "software": Table("Software", ("software", "version"), list(metrics["environment"].items()), 2),
        "recipe": recipe,
        "repeat": repeat_command(recipe),
        "repeat_where": with_code(where_to_repeat(recipe)),
        "repeats_exactly": REPEATS_EXACTLY,
        "recipe_note": with_code(recipe_note(facts, recipe)),
    }
    return render("report.html.j2", values)


def lead(metrics: Metrics, facts: RunFacts, multi_label: bool) -> str:
    """One sentence that says what was tested."""
    seeds = len(metrics["seeds"])
    trained = f"{metrics['folds']} folds" + (f", each with {seeds} seeds" if seeds > 1 else "")
    return (
        f"{facts.method} on {metrics['clips']} clips of {facts.num_subjects} subjects, tested in {trained} "
        f"({facts.protocol}), {len(facts.labels)} {'labels' if multi_label else 'classes'}."
    )


def tiles(metrics: Metrics) -> list[Tile]:
    """The headline scores."""
    found = []
    spread, guesses = metrics.get("pooled_std", {}), metrics.get("baselines")
    for name, value in metrics["pooled"].items():
        bounds = (metrics.get("intervals") or {}).get(name)
        low, high = bounds if bounds and all(b is not None and math.isfinite(b) for b in bounds) else (None, None)
        lines = []
        if low is not None:
            lines.append(f"{100 * metrics.get('interval_level', 0.95):g} % interval {content.interval(bounds)}")
        if name in spread:
            lines.append(f"mean of {len(metrics['seeds'])} seeds, standard deviation {number(spread[name])}")
        if guesses:
            best = max(guesses[kind][name] for kind in content.guesses_of(guesses))
            lines.append(f"guessing gives up to {number(best)}")
        shown = content.METRIC_NAMES.get(name, name)
        found.append(Tile(shown, number(value), 0.0 if math.isnan(value) else value, low, high, lines))
    return found


def matrices(table: pd.DataFrame, labels: Sequence[str]) -> list[Matrix]:
    """The confusion matrix of all clips, then, where there are several, that of each database."""
    found = [_matrix("Confusion matrix", table, labels)]
    if table["database"].nunique() > 1:
        found += [_matrix(f"Confusion matrix of {name}", rows, labels) for name, rows in table.groupby("database")]
    return found


def _matrix(caption: str, table: pd.DataFrame, labels: Sequence[str]) -> Matrix:
    counts = confusion_matrix(table["label"].to_numpy(), table["prediction"].to_numpy(), len(labels))
    totals = counts.sum(axis=1)
    share = counts / np.maximum(totals, 1)[:, None]
    rows = [
        (name, [(int(c), float(s)) for c, s in zip(counts[i], share[i], strict=True)], int(totals[i]))
        for i, name in enumerate(labels)
    ]
    return Matrix(caption, labels, rows)


def _matrix_note(table: pd.DataFrame) -> str:
    seeds = table["seed"].nunique()
    return f"Every clip counts {seeds} times, once a seed." if seeds > 1 else ""


def database_drawings(metrics: Metrics) -> list[Drawing]:
    """For each score an interval plot of all clips and of each database; none where there is one database."""
    found = metrics.get("per_database") or {}
    if len(found) < 2:
        return []
    everything = {"all clips": {**metrics["pooled"], "intervals": metrics.get("intervals")}, **found}
    drawings = []
    for name in metrics["pooled"]:
        rows = []
        for place, (each, entry) in enumerate(everything.items()):
            if entry.get(name) is not None:
                low, high = (entry.get("intervals") or {}).get(name) or (None, None)
                rows.append(IntervalRow(each, entry[name], low, high, marked=place == 0))
        title = content.METRIC_NAMES.get(name, name)
        drawings.append(intervals_drawing(f"databases_{name}", title, rows))
    return drawings


def _card(clip: HardClip, pictures: ClipPictures | None) -> Card:
    found = pictures(clip.clip) if pictures is not None else None
    if found is None:
        return Card(clip, ())
    shown = [("onset", found.onset)]
    if found.apex is not None and found.difference is not None:
        shown += [("apex", found.apex), (f"difference ×{DIFFERENCE_FACTOR}", found.difference)]  # noqa: RUF001
    return Card(clip, [(name, picture_uri(picture)) for name, picture in shown])


def picture_notice(facts: RunFacts) -> str:
    """What has to be known before somebody else gets a page with these pictures."""
    if facts.synthetic:
        return "The faces are synthetic: no person is in these pictures."
    without = "To write this page without pictures: hsta report FOLDER --no-pictures."
    if facts.own_footage:
        return (
            "Pictures of people's faces. Show this page only to those whom the consent of the people filmed (or the "
            f"agreement of the footage's owner) covers. {without}"
        )
    titles = " and ".join(database_titles(facts.databases))
    return (
        f"Pictures of people's faces, from {titles}. The owners license their pictures to named researchers who "
        "signed an agreement, and in general it forbids passing them on; which subjects may be shown in a "
        "publication, if any, it says too. Do not publish this page or give it to anybody whom your agreement does "
        f"not cover. {without}"
    )
