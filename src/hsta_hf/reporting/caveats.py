"""What has to be known beside the scores of a `metrics.json`, on the terminal and in a report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hsta_hf.data.people import cast_of
from hsta_hf.data.wording import counted

# Below this a bootstrap over subjects is known to give intervals that are too narrow.
FEW_SUBJECTS = 10


def caveats(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences on scores that look better founded than they are; most runs have none."""
    found = []
    people = {(cast_of(row["database"]), row["subject"]) for row in metrics.get("per_subject") or ()}
    if metrics.get("intervals") and len(people) < FEW_SUBJECTS:
        found.append(
            f"The intervals are from {counted(len(people), 'subject')} only: with fewer than {FEW_SUBJECTS} they are "
            "rough, and mostly too narrow."
        )
    given = [label for label, count in (metrics.get("answers") or {}).items() if count]
    if len(given) == 1:
        found.append(f"All clips were answered with one class, {given[0]}: nothing was told apart.")
    scores = list(metrics.get("seeds", {}).values())
    if len(scores) > 1 and all(each == scores[0] for each in scores):
        found.append(
            f"All {len(scores)} seeds gave the same scores, as a method without randomness does: the deviation of "
            "0.000 says nothing about how far a score would move."
        )
    return found
