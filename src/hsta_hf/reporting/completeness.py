"""How much of its split a run has finished by now, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hsta_hf.data.wording import counted
from hsta_hf.reporting.facts import RunFacts


def planned(facts: RunFacts) -> dict[str, int | None]:
    """The whole run's size, for `metrics.json`: clips, folds, trainings, and how many of these are finished.

    None is what is not known: clips of a run that an earlier version made, the rest where the folds' folders are gone.
    """
    if not facts.fold_metrics:
        return {"clips": facts.num_clips, "folds": None, "trainings": None, "finished": None}
    left = {(fold, str(seed)) for seed, folds in facts.missing_folds.items() for fold in folds}
    done = {(entry.get("fold"), str(entry.get("seed"))) for entry in facts.fold_metrics}
    return {
        "clips": facts.num_clips,
        "folds": len({fold for fold, _ in left | done}),
        "trainings": len(left | done),
        "finished": len(done),
    }


def finished_text(facts: RunFacts) -> str | None:
    """`4 of 6 trainings (3 folds, 2 seeds) are finished; missing: fold 2 of seeds 1 and 2.`; None if all are."""
    by_folds: dict[str, list[str]] = {}
    for seed, folds in facts.missing_folds.items():
        if folds:
            what = f"fold{'s' * (len(folds) != 1)} {ranges(folds)}"
            by_folds.setdefault(what, []).append(str(seed))
    if not by_folds:
        return None
    missing = "; ".join(
        f"{folds} of seed{'s' * (len(seeds) > 1)} {_listed(seeds)}" for folds, seeds in by_folds.items()
    )
    whole = planned(facts)
    if whole["folds"] is None:
        return f"Not finished: {missing}."
    seeds = {str(entry.get("seed")) for entry in facts.fold_metrics} | {str(seed) for seed in facts.missing_folds}
    size = f"{counted(whole['folds'], 'fold')}, {counted(len(seeds), 'seed')}"
    verb = "is" if whole["finished"] == 1 else "are"
    return f"{whole['finished']} of {whole['trainings']} trainings ({size}) {verb} finished; missing: {missing}."


def coverage_text(metrics: Mapping[str, Any]) -> str:
    """`28 of 42 synthetic clips, 2 of 3 folds: not the whole split`, or `42 synthetic clips, 3 folds, pooled`."""
    kind = "synthetic clips" if metrics.get("synthetic") else "clips"
    clips, folds = metrics["clips"], metrics.get("folds")
    if metrics.get("all_folds", True):
        return f"{clips} {kind}" + (f", {folds} folds, pooled" if folds else "")
    whole = metrics.get("planned") or {}
    text = f"{clips} of {whole['clips']} {kind}" if whole.get("clips") else f"{clips} {kind}"
    if folds and whole.get("folds"):
        text += f", {folds} of {whole['folds']} folds"
        if whole["trainings"] != whole["folds"]:
            text += f", {whole['finished']} of {whole['trainings']} trainings"
    return f"{text}: not the whole split"


def ranges(numbers: Sequence[int]) -> str:
    """`0-2, 5` for [0, 1, 2, 5]."""
    spans: list[list[int]] = []
    for value in sorted(numbers):
        if spans and value == spans[-1][1] + 1:
            spans[-1][1] = value
        else:
            spans.append([value, value])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in spans)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
