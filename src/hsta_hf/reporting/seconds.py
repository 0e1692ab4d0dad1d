"""How long a run's folds took, summed up for its `metrics.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def sum_of_seconds(fold_metrics: Sequence[Mapping[str, Any]]) -> dict[str, float | int] | None:
    """The sums over folds of what their `metrics.json` says under `seconds`.

    Args:
        fold_metrics: the folds' `metrics.json`; those without `seconds`, of earlier versions, count nothing.

    Returns:
        `total` and `steps` (training steps) in seconds, over `folds` folds, of which `resumed` went on after a kill;
        their time is that of the work which counts, without what the kill undid. None if no fold says anything.
    """
    known = [entry["seconds"] for entry in fold_metrics if isinstance(entry.get("seconds"), Mapping)]
    if not known:
        return None
    sums: dict[str, float | int] = {"folds": len(known), "resumed": sum(bool(one.get("resumed")) for one in known)}
    for name in ("total", "steps"):
        if all(one.get(name) is not None for one in known):
            sums[name] = round(sum(float(one[name]) for one in known), 3)
    return sums
