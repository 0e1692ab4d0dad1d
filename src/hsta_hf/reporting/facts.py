"""What a report says beside the scores, and the file in the run folder that keeps it.

With it and the predictions table a report can be written again, by a later version too, without the dataset.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hsta_hf.reporting.files import write_json

FACTS_FILE = "facts.json"
# Kept by each fold's own folder.
_OF_FOLDS = frozenset({"fold_metrics", "log_histories", "other_trainings"})


class FactsError(ValueError):
    """A facts.json that cannot be used; the message names the file and the field."""


@dataclass(frozen=True)
class RunFacts:
    """What a report says beside the scores.

    Attributes:
        spotted_apexes: clips whose annotation has no apex of use, so that `hsta prepare` spotted one.
        start: sentence on the weights that training started from.
        complete: whether all folds of all seeds are finished.
        pretraining: what the run itself pre-trained on, if it did.
        model: folder of the model to use, from the run folder; None where there is none.
        fold_metrics: `metrics.json` of each finished fold.
        other_trainings: `metrics.json` of the run's own pre-training ("pretraining") and of the training on all clips
            ("final"), where they are finished.
        log_histories: what each training logged, by the name of its folder.
        method: what was trained: "HSTA", or a baseline's title.
        database_counts: what of each database is tested in the run.
        missing_folds: numbers of the folds that are not finished, by seed (as text: "42").
        own_footage: clips from a folder of the user's own, no published database.
        pictures: whether report.html may show pictures of the hardest clips.
        num_clips: clips that the whole split tests; None where an earlier version did not note it.
        apex_jitter: by up to how many frames training moves annotated apexes.
    """

    labels: Sequence[str]
    protocol: str
    protocol_description: str
    label_description: str
    class_counts: Mapping[str, int]
    databases: Sequence[str]
    num_subjects: int
    synthetic: bool = False
    shuffled_labels: bool = False
    apex: str = "annotated"
    spotted_apexes: int = 0
    start: str | None = None
    warnings: Sequence[str] = ()
    complete: bool = True
    pretraining: str | None = None
    model: str | None = None
    final_model: bool = False
    moving_average: bool = False
    fold_metrics: Sequence[Mapping[str, Any]] = ()
    other_trainings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    log_histories: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    method: str = "HSTA"
    database_counts: Mapping[str, DatabaseCounts] = field(default_factory=dict)
    missing_folds: Mapping[str, Sequence[int]] = field(default_factory=dict)
    own_footage: bool = False
    pictures: bool = True
    num_clips: int | None = None
    apex_jitter: int = 0


@dataclass(frozen=True)
class DatabaseCounts:
    """What of one database is in a run: its subjects, and its clips by class."""

    subjects: int
    class_counts: Mapping[str, int]


def write_facts(folder: Path, facts: RunFacts) -> None:
    """Write `facts.json` into a run folder; what the folds' own folders hold is left to them."""
    values = {name: value for name, value in dataclasses.asdict(facts).items() if name not in _OF_FOLDS}
    write_json(folder / FACTS_FILE, values)


def read_facts(folder: Path) -> RunFacts | None:
    """The facts of a run folder, without those of its folds; None where it has no `facts.json`.

    A field that this version does not know, as a later one may write, is left out.

    Raises:
        FactsError: the file is damaged.
    """
    path = folder / FACTS_FILE
    if not path.is_file():
        return None
    known = {field.name for field in dataclasses.fields(RunFacts)}
    try:
        values = {name: value for name, value in json.loads(path.read_text(encoding="utf-8")).items() if name in known}
        counts = {name: DatabaseCounts(**entry) for name, entry in values.get("database_counts", {}).items()}
        return RunFacts(**(values | {"database_counts": counts}))
    except (ValueError, TypeError, AttributeError) as error:
        raise FactsError(f"{path} is damaged ({error}); delete it, and it is made anew from the dataset.") from error
