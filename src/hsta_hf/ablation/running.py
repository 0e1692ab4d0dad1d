"""Run the rows of a plan: what is finished is left alone, and one row that fails does not stop the others."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from accelerate import PartialState

from hsta_hf.ablation.dataset_facts import FactsReader
from hsta_hf.ablation.plan import Plan
from hsta_hf.reporting.files import write_atomically
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.recipe import Recipe, differing_fields
from hsta_hf.training.run_folder import RECIPE_FILE, RUN_FILE

FAILED_FILE = "failed.txt"  # beside the run folder, whose content is the run's own


@dataclass
class Outcomes:
    """What is known of the runs of a plan.

    Attributes:
        metrics: content of the `metrics.json` of the runs that have one, by run folder.
        failed: what went wrong with the others, by run folder.
    """

    metrics: dict[Path, dict[str, Any]] = field(default_factory=dict)
    failed: dict[Path, str] = field(default_factory=dict)


def results_in(folder: Path, recipe: Recipe, fingerprint: str) -> dict[str, Any] | None:
    """The content of a folder's `metrics.json` if it is of this recipe on these clips; else None."""
    files = [folder / name for name in ("metrics.json", RECIPE_FILE, RUN_FILE)]
    if not all(file.is_file() for file in files):
        return None
    metrics, facts = (json.loads(file.read_text(encoding="utf-8")) for file in (files[0], files[2]))
    saved = yaml.safe_load(files[1].read_text(encoding="utf-8")) or {}
    asked = yaml.safe_load(yaml.safe_dump(recipe.as_dict(), allow_unicode=True))
    if facts.get("clips") != fingerprint or differing_fields(saved, asked):
        return None
    return dict(metrics)


def known_results(plan: Plan, facts: FactsReader) -> Outcomes:
    """The results of the plan's rows that are there, those that are not asked for in this call among them.

    Raises:
        JoinError, NotPreparedError, PublishError, ValueError: see `read_facts`.
    """
    outcomes = Outcomes()
    for planned in plan.rows:
        if planned.recipe is None or planned.folder is None or planned.folder in outcomes.metrics:
            continue
        if not (planned.folder / "metrics.json").is_file():
            continue
        fingerprint = facts.of(planned.recipe.data).fingerprint
        found = results_in(planned.folder, planned.recipe, fingerprint)
        if found is not None:
            outcomes.metrics[planned.folder] = found
    return outcomes


def run_plan(plan: Plan, facts: FactsReader, after_each: Callable[[Outcomes], None]) -> Outcomes:
    """Run what the plan asks for and is not finished.

    Args:
        plan: from `make_plan`.
        facts: reads the dataset's.
        after_each: called with what is known after every run, so that the tables hold it when the next one is killed.

    Returns:
        All results and all failures.

    Raises:
        KeyboardInterrupt: from the keyboard; whatever else a run raises is kept for the end.
    """
    outcomes, runs, main = known_results(plan, facts), plan.runs, PartialState().is_main_process
    for number, (folder, rows) in enumerate(runs.items(), 1):
        recipe = rows[0].recipe
        assert recipe is not None
        title = f"[{number}/{len(runs)}] {', '.join(row.title for row in rows)}"
        if outcomes.metrics.get(folder, {}).get("all_folds"):
            if main:
                print(f"{title}: finished before", flush=True)
            continue
        if main:
            print(f"\n{title}: {folder}", flush=True)
        log = folder.with_name(f"{folder.name}.{FAILED_FILE}")
        try:
            metrics = run_recipe(recipe).metrics
        except Exception as error:
            # Whatever it is: the other rows are worth having, and the exit code says that one is missing.
            outcomes.failed[folder] = f"{type(error).__name__}: {error}"
            if main:
                write_atomically(log, traceback.format_exc())
                print(f"{title} FAILED: {error}\nThe others go on; the traceback is in {log}.", flush=True)
        else:
            if main:
                log.unlink(missing_ok=True)
                outcomes.metrics[folder] = metrics
        if main:
            after_each(outcomes)
    return outcomes


def unfinished(outcomes: Outcomes, plan: Plan) -> Mapping[Path, str]:
    """Runs of this call that do not have all of their folds, and why."""
    found = dict(outcomes.failed)
    for folder in plan.runs:
        if folder not in found and not outcomes.metrics.get(folder, {}).get("all_folds"):
            found[folder] = "only some of its folds were run"
    return found
