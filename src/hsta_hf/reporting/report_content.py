"""What a run's report says, before it is Markdown or HTML: sentences, and tables of text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hsta_hf.data.splits import SHARING_SUBJECTS
from hsta_hf.data.wording import counted
from hsta_hf.reporting.facts import RunFacts

METRIC_NAMES = {
    "uf1": "UF1 (unweighted F1)",
    "uar": "UAR (unweighted average recall)",
    "acc": "ACC (accuracy)",
    "mean_f1": "mean F1 over labels",
    "exact_match": "clips with all labels right",
}
Metrics = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        caption: what it holds; HTML shows it, Markdown has a sentence before the table.
        text_columns: how many of the first columns are words; the others are numbers.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    text_columns: int = 1


def number(value: float | None) -> str:
    """Three decimals; a dash for nothing and for NaN."""
    return "–" if value is None or math.isnan(value) else f"{value:.3f}"  # noqa: RUF001


def interval(bounds: Sequence[float | None] | None) -> str:
    """`0.812 to 0.934`; a dash where there is no interval."""
    if bounds is None or any(bound is None or math.isnan(bound) for bound in bounds):
        return "–"  # noqa: RUF001
    return " to ".join(number(bound) for bound in bounds)


def short_name(metric: str) -> str:
    """A score's name without its explanation: `UF1`."""
    return METRIC_NAMES.get(metric, metric).split(" (")[0]


def source_name(facts: RunFacts) -> str:
    """The databases, with a word where their clips are synthetic."""
    source = ", ".join(facts.databases)
    return f"synthetic clips in the layout of {source}" if facts.synthetic else source


def notices(facts: RunFacts) -> list[str]:
    """What has to be read before any number."""
    found = []
    if facts.synthetic:
        found.append("The clips are synthetic: no person is in them, and no number here is a result on people.")
    if facts.shuffled_labels:
        found.append("Control run: the training labels were shuffled, so scores should stay at chance.")
        if facts.pretraining:
            found.append("Pre-training kept its labels, so what it taught may show in this control.")
    if not facts.complete:
        found.append("Only some folds of the split were run; these numbers do not cover all clips.")
    return found


def choices(facts: RunFacts) -> list[str]:
    """What was done, where it could have been done otherwise."""
    weights = "the moving average of the weights after" if facts.moving_average else "the weights after"
    if any("validation" in metrics for metrics in facts.fold_metrics):
        kind = "moving average of the weights" if facts.moving_average else "weights"
        lines = [
            f"Scored are the {kind} of the epoch with the best score on validation clips of the training part; no "
            "test clip was used to choose anything."
        ]
    elif _trained_by_epochs(facts):
        lines = [f"Scored are {weights} the last epoch; no test clip was used to choose anything."]
    else:
        lines = ["No test clip was used to choose anything."]
    apex = "as annotated" if facts.apex == "annotated" else "spotted by the processor"
    if facts.apex == "annotated" and facts.spotted_apexes:
        apex += f", but spotted for {facts.spotted_apexes} clips whose annotation has none of use"
    if facts.apex_jitter:
        apex += f"; in training, drawn versions of a clip move it by up to {counted(facts.apex_jitter, 'frame')}"
    lines.append(f"Onset and offset are as annotated; the apex is {apex}.")
    if facts.start:
        lines.append(facts.start)
    if facts.pretraining:
        lines.append(f"Every fold started from a pre-training on {facts.pretraining}.")
    lines += [f"Note: {warning}." for warning in facts.warnings]
    return lines


def _trained_by_epochs(facts: RunFacts) -> bool:
    # A method that logs no epochs, such as a linear SVM, has no last one.
    return facts.method == "HSTA" or any(facts.log_histories.values())


def what_the_model_saw(facts: RunFacts) -> str:
    """Whether the model to use has met the subjects that it was tested on."""
    if facts.protocol in SHARING_SUBJECTS:
        return "it has seen other clips of subjects that it was tested on"
    return "it was not trained on the subjects that it was tested on"


def model_sentence(facts: RunFacts) -> str | None:
    """Which of the trained models to use, after its folder; None where the run keeps none."""
    if not facts.model:
        return None
    return "trained on all clips." if facts.final_model else f"that of the first fold; {what_the_model_saw(facts)}."


def meanings(metrics: Metrics, multi_label: bool) -> list[tuple[str, str]]:
    """What the numbers mean: term and explanation."""
    if multi_label:
        found = [
            (
                "mean F1",
                "the F1 of each label over all clips, 2 hits / (2 hits + false alarms + misses), averaged over the "
                "labels that occur or were predicted, each counting the same however rare it is",
            ),
            ("all labels right", "the share of clips whose labels were all predicted and no other"),
        ]
    else:
        found = [
            (
                "UF1",
                "the F1 of each class, averaged over classes: each counts the same however few clips it has. The "
                "field's headline score (MEGC 2019)",
            ),
            ("UAR", "the share of each class's clips that were recognised, averaged over classes"),
            ("ACC", "the share of all clips that were recognised: frequent classes count most"),
        ]
    if metrics.get("intervals"):
        draws = metrics.get("interval_samples")
        found.append(
            (
                f"{_level(metrics)} interval",
                f"bootstrap over subjects{f' ({draws} draws)' if draws else ''}: how far the score would move with "
                "other subjects of the same kind. All clips of a subject are drawn together, since they are alike",
            )
        )
    if metrics.get("pooled_std"):
        found.append(("±", "standard deviation over seeds: how far the score moves when the same is trained again"))
    if metrics.get("baselines"):
        found.append(
            ("guessing", "what the same clips give without looking at them; a model has to beat each of these")
        )
    return found


def _level(metrics: Metrics) -> str:
    return f"{100 * metrics.get('interval_level', 0.95):g} %"


def guesses_of(baselines: Mapping[str, Any]) -> dict[str, str]:
    """Ways of guessing in `baselines` of `metrics.json`, with the heads of their columns."""
    several = "always_yes" in baselines
    names = {
        "majority": "each label's more frequent answer" if several else "always the most frequent class",
        "always_yes": "always every label",
        "chance": "guessing at random",
    }
    return {kind: name for kind, name in names.items() if kind in baselines}


def score_rows(metrics: Metrics) -> Table:
    """The headline scores beside their intervals and what guessing gives."""
    pooled, spread = metrics["pooled"], metrics.get("pooled_std", {})
    bounds, guesses = metrics.get("intervals"), metrics.get("baselines")
    header = ["score", f"model (mean ± standard deviation of {len(metrics['seeds'])} seeds)" if spread else "model"]
    if bounds:
        header.append(f"{_level(metrics)} interval")
    if guesses:
        header += guesses_of(guesses).values()
    rows = []
    for name, value in pooled.items():
        row = [METRIC_NAMES.get(name, name), number(value) + (f" ± {number(spread[name])}" if name in spread else "")]
        if bounds:
            row.append(interval(bounds.get(name)))
        if guesses:
            row += [number(guesses[kind][name]) for kind in guesses_of(guesses)]
        rows.append(row)
    return Table("Scores of all tested clips", header, rows)


def seed_rows(metrics: Metrics) -> Table | None:
    """The scores of each seed; None where there is one."""
    if len(metrics["seeds"]) < 2:
        return None
    names = list(metrics["pooled"])
    rows = [[seed, *(number(scores[name]) for name in names)] for seed, scores in metrics["seeds"].items()]
    return Table("Scores by seed", ["seed", *map(short_name, names)], rows)


def class_rows(metrics: Metrics) -> Table:
    """Recall and F1 of each class."""
    rows = [
        [name, str(row["clips"]), number(row["recall"]), number(row["f1"])]
        for name, row in metrics["per_class"].items()
    ]
    return Table("Scores by class", ("class", "clips tested", "recall", "F1"), rows)


def data_rows(facts: RunFacts) -> Table:
    """Clips by class, with a column for each database where there are several."""
    names = list(facts.database_counts) if len(facts.database_counts) > 1 else []
    rows = [
        [label, *(str(facts.database_counts[name].class_counts.get(label, 0)) for name in names), str(count)]
        for label, count in facts.class_counts.items()
    ]
    if names:
        by_database = [facts.database_counts[name] for name in names]
        total = sum(facts.class_counts.values())
        rows.append(["all", *(str(sum(each.class_counts.values())) for each in by_database), str(total)])
        rows.append(["subjects", *(str(each.subjects) for each in by_database), str(facts.num_subjects)])
    header = ["class", *names, "clips" if not names else "together"]
    return Table("Clips by class", header, rows)


def database_rows(metrics: Metrics) -> Table | None:
    """Scores of each database; None where there is one."""
    found = metrics.get("per_database") or {}
    if len(found) < 2:
        return None
    names = list(metrics["pooled"])
    header = ["database", "clips", "subjects"]
    for name in names:
        header += [short_name(name), f"{_level(metrics)} interval"]
    rows = []
    for database, entry in found.items():
        row = [database, str(entry["clips"]), str(entry["subjects"])]
        for name in names:
            row += [number(entry.get(name)), interval((entry.get("intervals") or {}).get(name))]
        rows.append(row)
    return Table("Scores by database", header, rows)


def subject_score(metrics: Metrics) -> str | None:
    """The score that is given by subject: `acc` or `mean_f1`; None where there is none."""
    rows = metrics.get("per_subject") or ()
    return next((name for name in ("acc", "mean_f1", "exact_match") if any(name in row for row in rows)), None)


def subject_rows(metrics: Metrics) -> Table | None:
    """The scores of each subject, the lowest first."""
    score = subject_score(metrics)
    if score is None:
        return None
    entries = metrics["per_subject"]
    several = len({entry["database"] for entry in entries}) > 1
    names = [name for name in METRIC_NAMES if any(name in entry for entry in entries)]
    order = sorted(entries, key=lambda entry: (_last(entry.get(score)), str(entry["database"]), str(entry["subject"])))
    rows = [
        [
            str(entry["subject"]),
            *([str(entry["database"])] if several else []),
            str(entry["clips"]),
            *(number(entry.get(name)) for name in names),
        ]
        for entry in order
    ]
    header = ["subject", *(["database"] if several else []), "clips", *map(short_name, names)]
    return Table("Scores by subject, the lowest first", header, rows, 2 if several else 1)


def _last(value: float | None) -> float:
    return math.inf if value is None or math.isnan(value) else value


def fold_rows(metrics: Metrics, facts: RunFacts) -> Table:
    """The scores of each fold, and the epoch that it took where validation clips chose one."""
    names = list(metrics["pooled"])
    epochs = {
        (entry.get("fold"), entry.get("seed")): f"{entry['validation']['epoch']:g}"
        for entry in facts.fold_metrics
        if "epoch" in entry.get("validation", ())
    }
    rows = [
        [
            str(row["fold"]),
            str(row["seed"]),
            str(row["clips"]),
            *([epochs.get((row["fold"], row["seed"]), "–")] if epochs else []),  # noqa: RUF001
            *(number(row[name]) for name in names),
        ]
        for row in metrics["per_fold_for_information"]
    ]
    header = ("fold", "seed", "clips", *(["epoch chosen"] if epochs else []), *map(short_name, names))
    return Table("Scores by fold, for information only", header, rows)


def calibration_sentence(metrics: Metrics, multi_label: bool) -> str | None:
    """The expected calibration error, and what it means."""
    found = metrics.get("calibration") or {}
    error = found.get("ece")
    if error is None:
        return None
    what = "answers (a yes or no for each label of each clip)" if multi_label else "answers"
    text = (
        f"Expected calibration error {number(error)}. Of the {what} with a score of 0.80, 80 % should be right; "
        f"on average the share that is right differs from the score by {100 * error:.0f} percentage points."
    )
    if found.get("brier") is not None:
        text += f" Brier score {number(found['brier'])} (0 is best): the mean squared error of the scores."
    return text


def calibration_rows(metrics: Metrics) -> Table | None:
    """The bins of the reliability diagram that hold clips."""
    bins = [entry for entry in (metrics.get("calibration") or {}).get("bins", ()) if entry["clips"]]
    if not bins:
        return None
    rows = [
        [f"{e['low']:.3f} to {e['high']:.3f}", str(e["clips"]), number(e["confidence"]), number(e["accuracy"])]
        for e in bins
    ]
    return Table("Calibration", ("score between", "answers", "mean score", "share right"), rows)


def unit_rows(table: pd.DataFrame, labels: Sequence[str]) -> Table:
    """Of a multi-label table: hits, misses and false alarms of each label, over all seeds."""
    true, found = (np.stack(table[name].to_list()).astype(bool) for name in ("label", "prediction"))
    counts = [(true & found).sum(0), (true & ~found).sum(0), (~true & found).sum(0)]
    rows = [[label, *(str(int(count[i])) for count in counts)] for i, label in enumerate(labels)]
    return Table("Hits and misses by label", ("label", "found", "missed", "false alarms"), rows)


def time_sentences(facts: RunFacts) -> list[str]:
    """How long the folds took, and how much of that was not training; empty where nobody noted it."""
    timed = [entry["seconds"] for entry in facts.fold_metrics if isinstance(entry.get("seconds"), Mapping)]
    if timed:
        totals = [float(entry["total"]) for entry in timed]
        lines = [_durations("Folds", totals)]
        steps = [float(entry["steps"]) for entry in timed if entry.get("steps") is not None]
        if len(steps) == len(totals) and sum(totals) > 0 and _trained_by_epochs(facts):
            share = 100 * (1 - sum(steps) / sum(totals))
            lines.append(
                f"Training steps are {100 - share:.1f} % of that; {share:.1f} % went into everything else: reading "
                "clips, making the model, testing, writing."
            )
        return lines
    runtimes = [
        float(entry["train_runtime"])
        for history in facts.log_histories.values()
        for entry in history
        if "train_runtime" in entry
    ]
    return [_durations("Trainings", runtimes)] if runtimes else []


def _durations(what: str, seconds: Sequence[float]) -> str:
    text = f"{what} took {duration(sum(seconds))} in all"
    if len(seconds) > 1:
        text += (
            f", {duration(float(np.mean(seconds)))} each on average (from {duration(min(seconds))} to "
            f"{duration(max(seconds))}; {counted(len(seconds), what.lower().rstrip('s'))})"
        )
    return text + "."


def duration(seconds: float) -> str:
    """`42 s`, `3.5 min` or `2.1 h`."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def clip_sentence(facts: RunFacts, multi_label: bool) -> str:
    """How many clips, subjects and databases."""
    return (
        f"{sum(facts.class_counts.values())} {'labels' if multi_label else 'clips'}, {facts.num_subjects} subjects. "
        f"Database: {source_name(facts)}."
    )


def pooling_sentence(metrics: Metrics) -> str:
    """How the headline scores were computed."""
    return (
        f"Computed once{' a seed' if metrics.get('pooled_std') else ''}, from hits and misses summed over all folds "
        "(as MEGC does), not as a mean of folds."
    )


def confusion_title(facts: RunFacts, table: pd.DataFrame) -> str:
    """The confusion matrix's title."""
    title = f"{facts.protocol}, pooled over folds{', synthetic clips' if facts.synthetic else ''}"
    seeds = table["seed"].nunique()
    return title + (f", every clip counted {seeds} times (once a seed)" if seeds > 1 else "")
