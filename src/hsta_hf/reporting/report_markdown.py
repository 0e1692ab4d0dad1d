"""report.md: the report for terminals, editors and code hosts. It holds no picture of anybody's face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hsta_hf.reporting import report_content as content
from hsta_hf.reporting.caveats import caveats
from hsta_hf.reporting.completeness import finished_text
from hsta_hf.reporting.facts import RunFacts
from hsta_hf.reporting.predictions import is_multi_label
from hsta_hf.reporting.repetition import REPEATS_EXACTLY, recipe_note, repeat_command, where_to_repeat
from hsta_hf.reporting.report_content import Table
from hsta_hf.reporting.report_hardest import HARDEST_ORDER, hardest_clips, hardest_rows


def markdown_table(table: Table) -> list[str]:
    """The lines of a table, numbers to the right."""
    header = [_cell(text) for text in table.header]
    marks = ["---" if column < table.text_columns else "---:" for column in range(len(header))]
    lines = ["| " + " | ".join(header) + " |", "| " + " | ".join(marks) + " |"]
    return [*lines, *("| " + " | ".join(map(_cell, row)) + " |" for row in table.rows)]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def report_text(
    metrics: Mapping[str, Any], facts: RunFacts, table: pd.DataFrame, pictures: Sequence[str] = (), recipe: str = ""
) -> str:
    """The report in Markdown.

    Args:
        pictures: names of the figures' files in the run folder.
        recipe: text of the run's recipe.yaml.
    """
    multi_label = is_multi_label(table)
    lines = [f"# Report: {content.source_name(facts)}, {facts.protocol}", ""]
    for notice in content.notices(facts):
        lines += [f"**{notice}**", ""]
    missing = finished_text(facts)
    if missing:
        lines += [missing, ""]
    if facts.method != "HSTA":
        lines += [f"Method: {facts.method}.", ""]
    lines += ["## Where the numbers come from", "", facts.protocol_description, "", facts.label_description, ""]
    lines += [f"- {choice}" for choice in content.choices(facts)]
    lines += ["", "## Clips", "", content.clip_sentence(facts, multi_label), ""]
    lines += markdown_table(content.data_rows(facts))
    lines += ["", "## Scores", "", content.pooling_sentence(metrics), ""]
    lines += [*markdown_table(content.score_rows(metrics)), ""]
    for caveat in caveats(metrics):
        lines += [f"Note: {caveat}", ""]
    lines += [f"- **{term}**: {text}." for term, text in content.meanings(metrics, multi_label)]
    lines += _section("By seed:", content.seed_rows(metrics))
    lines += _section("By class:", content.class_rows(metrics))
    if multi_label:
        lines += _section("Hits and misses by label:", content.unit_rows(table, facts.labels))
    lines += _picture("confusion matrix", "confusion_matrix.png", pictures)
    lines += _section("By database:", content.database_rows(metrics))
    lines += _section("By subject, the lowest first:", content.subject_rows(metrics))
    lines += _section(
        "By fold, for information only (these are not averaged anywhere):", content.fold_rows(metrics, facts)
    )
    calibration = content.calibration_sentence(metrics, multi_label)
    if calibration:
        lines += ["", "## Calibration", "", calibration]
        lines += _section("", content.calibration_rows(metrics))
        lines += _picture("reliability diagram", "reliability.png", pictures)
    hardest = hardest_clips(table, facts.labels)
    if hardest:
        lines += ["", "## Hardest clips", "", HARDEST_ORDER]
        lines += _section("", hardest_rows(hardest))
    took = content.time_sentences(facts)
    if took or "learning_curves.png" in pictures:
        lines += ["", "## Training", *(["", " ".join(took)] if took else [])]
        lines += _picture("learning curves", "learning_curves.png", pictures)
    return "\n".join([*lines, *_repeat(metrics, facts, recipe)])


def _section(title: str, table: Table | None) -> list[str]:
    if table is None:
        return []
    return ["", *([title, ""] if title else []), *markdown_table(table)]


def _picture(text: str, name: str, pictures: Sequence[str]) -> list[str]:
    return ["", f"![{text}]({name})"] if name in pictures else []


def _repeat(metrics: Mapping[str, Any], facts: RunFacts, recipe: str) -> list[str]:
    lines = ["", "## How to use and repeat it", ""]
    model = content.model_sentence(facts)
    if model:
        lines += [f"Model: `{facts.model}`, {model}", ""]
    lines += [
        "All settings: [recipe.yaml](recipe.yaml). Clips and subjects of each fold: [split.json](split.json).",
        "",
        f"Repeat: `{repeat_command(recipe)}`. {where_to_repeat(recipe)}".rstrip(),
        f"{REPEATS_EXACTLY} Score again: `hsta score THIS_FOLDER`. "
        "Beside other runs: `hsta compare THIS_FOLDER OTHER_FOLDER`.",
        "",
        *markdown_table(Table("Software", ("software", "version"), list(metrics["environment"].items()), 2)),
        "",
    ]
    if recipe:
        fence = "````" if "```" in recipe else "```"
        lines += [
            f"The recipe in full: {recipe_note(facts, recipe)}".rstrip(),
            "",
            f"{fence}yaml",
            recipe.rstrip("\n"),
            fence,
            "",
        ]
    return lines
