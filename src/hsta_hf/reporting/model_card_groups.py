"""Scores of groups of a run's clips, for the model card: those that the data tell apart, and no subject by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from hsta_hf.reporting.report_content import database_rows, number, short_name, subject_score
from hsta_hf.reporting.report_markdown import markdown_table


def database_scores(metrics: Mapping[str, Any]) -> str:
    """A Markdown table with the scores and intervals of each database; empty where there is one."""
    table = database_rows(metrics)
    return "" if table is None else "\n".join(markdown_table(table))


def subject_spread(metrics: Mapping[str, Any]) -> str:
    """How far single subjects' scores lie apart, in a sentence; empty where there are no scores of subjects."""
    score = subject_score(metrics)
    values = [row[score] for row in metrics.get("per_subject") or () if score and row.get(score) is not None]
    if not score or not values:
        return ""
    low, high = np.quantile(values, (0.25, 0.75))
    text = (
        f"Single subjects ({len(values)}, not named here): {short_name(score)} from {number(min(values))} to "
        f"{number(max(values))}, for the middle half of them {number(low)} to {number(high)}."
    )
    guess = ((metrics.get("baselines") or {}).get("majority") or {}).get(score)
    if guess is not None:
        below = sum(value <= guess for value in values)
        text += f" For {below} of them it is not above the {number(guess)} of the most frequent answers."
    return text


def without_names(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """A `metrics.json` that may be published: the scores of subjects without their names, the lowest first."""
    score = subject_score(metrics) or ""
    rows = [{key: value for key, value in row.items() if key != "subject"} for row in metrics.get("per_subject") or ()]
    rows.sort(key=lambda row: (row.get(score) is None, row.get(score) or 0.0, row["database"], row["clips"]))
    return {**metrics, "per_subject": rows}
