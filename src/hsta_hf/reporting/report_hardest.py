"""The hardest clips of a run: those that were most confidently called something else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from hsta_hf.reporting.predictions import SCORE, is_multi_label
from hsta_hf.reporting.report_content import Table, number

NUM_CLIPS = 12
HARDEST_ORDER = (
    "The wrong answers with the highest scores, the highest first; of several seeds, by the mean over seeds, in which "
    "a right answer counts as 0."
)


@dataclass(frozen=True)
class HardClip:
    """A clip that was called something else.

    Attributes:
        label, prediction: as names; of a multi-label clip, whether the label that was most wrong is there.
        score: of the prediction, from 0 to 1; with several seeds the mean over those that were wrong.
        label_score: of the true class, alike.
        wrong, seeds: in how many of how many seeds it was wrong.
    """

    clip: str
    database: str
    subject: str
    label: str
    prediction: str
    score: float
    label_score: float
    wrong: int
    seeds: int


def hardest_clips(table: pd.DataFrame, labels: Sequence[str], limit: int = NUM_CLIPS) -> list[HardClip]:
    """Clips by how sure the wrong answers were, the surest first.

    With several seeds a clip counts by the mean over seeds of the wrong answer's score, where a right answer counts
    as zero: one that every seed gets wrong comes before one that a single seed gets wrong. None where all wrong
    answers have one score, as those of a majority class: none is harder than the others.
    """
    rows = _multi_label_errors(table, labels) if is_multi_label(table) else _errors(table, labels)
    sure = rows["sure"][rows["sure"] > 0]
    if len(sure) > limit and float(sure.max() - sure.min()) < 1e-9:
        return []
    found = []
    for (database, clip), part in rows.groupby(["database", "clip"], sort=True):
        wrong = part[part["sure"] > 0]
        if wrong.empty:
            continue
        most = wrong["called"].value_counts()
        called = sorted(str(name) for name in most.index[most == most.max()])[0]
        shown = wrong[wrong["called"] == called]
        hard = HardClip(
            clip=str(clip),
            database=str(database),
            subject=str(part["subject"].iloc[0]),
            label=str(shown["true"].iloc[0]),
            prediction=called,
            score=float(shown["sure"].mean()),
            label_score=float(shown["true_score"].mean()),
            wrong=len(wrong),
            seeds=len(part),
        )
        found.append((-float(part["sure"].mean()), str(database), str(clip), hard))
    return [hard for *_, hard in sorted(found, key=lambda entry: entry[:3])[:limit]]


def _scores(table: pd.DataFrame, labels: Sequence[str]) -> np.ndarray:
    return table[[f"{SCORE}{name}" for name in labels]].to_numpy(dtype=np.float64)


def _errors(table: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    scores, names, each = _scores(table, labels), np.array(labels, dtype=object), np.arange(len(table))
    label, prediction = (table[name].to_numpy().astype(int) for name in ("label", "prediction"))
    return table[["database", "clip", "subject"]].assign(
        true=names[label],
        called=names[prediction],
        sure=np.where(label == prediction, 0.0, np.maximum(scores[each, prediction], 1e-12)),
        true_score=scores[each, label],
    )


def _multi_label_errors(table: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Of each clip its most wrong label: how sure the wrong yes or no about it was."""
    scores, each = _scores(table, labels), np.arange(len(table))
    label, prediction = (np.stack(table[name].to_list()).astype(int) for name in ("label", "prediction"))
    sure = np.where(label == prediction, 0.0, np.where(prediction == 1, scores, 1 - scores).clip(1e-12))
    worst = sure.argmax(axis=1)

    def said(which: np.ndarray) -> list[str]:
        return [f"{labels[w]} {'present' if there else 'absent'}" for w, there in zip(worst, which, strict=True)]

    highest = sure[each, worst]
    return table[["database", "clip", "subject"]].assign(
        true=said(label[each, worst]), called=said(prediction[each, worst]), sure=highest, true_score=1 - highest
    )


def hardest_rows(clips: Sequence[HardClip]) -> Table:
    """The hardest clips as a table."""
    seeds = any(clip.seeds > 1 for clip in clips)
    header = ["clip", "subject", "label", "predicted", "score", "score of the label"]
    rows = [
        [
            clip.clip,
            clip.subject,
            clip.label,
            clip.prediction,
            number(clip.score),
            number(clip.label_score),
            *([f"{clip.wrong} of {clip.seeds}"] if seeds else []),
        ]
        for clip in clips
    ]
    return Table("Hardest clips", [*header, *(["seeds wrong"] if seeds else [])], rows, 4)
