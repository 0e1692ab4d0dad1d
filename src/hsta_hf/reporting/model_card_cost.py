"""What a run's training cost, for the model card: hours, hardware, parameters. None is what the run did not note."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hsta_hf.data.wording import counted
from hsta_hf.reporting.facts import RunFacts
from hsta_hf.reporting.report_content import duration


def _trainings(facts: RunFacts) -> list[tuple[str, Sequence[Mapping[str, Any]]]]:
    """What the run trained, in its order."""
    others = facts.other_trainings
    found = [
        ("pre-training", [others["pretraining"]] if "pretraining" in others else []),
        ("folds, all seeds", facts.fold_metrics),
        ("on all clips", [others["final"]] if "final" in others else []),
    ]
    return [(name, metrics) for name, metrics in found if metrics]


def training_times(facts: RunFacts) -> list[dict[str, str]] | None:
    """A row for each kind of training of the run and one for all; None where a training did not note its seconds."""
    rows, total, trainings = [], 0.0, _trainings(facts)
    for name, metrics in trainings:
        seconds = [one["seconds"]["total"] for one in metrics if (one.get("seconds") or {}).get("total") is not None]
        if len(seconds) < len(metrics):
            return None
        rows.append({"what": name, "number": str(len(metrics)), "time": duration(sum(seconds))})
        total += sum(seconds)
    if len(rows) > 1:
        number = str(sum(len(metrics) for _, metrics in trainings))
        rows.append({"what": "together", "number": number, "time": duration(total)})
    return rows or None


def resumed_note(facts: RunFacts) -> str:
    """Which times lack what a kill undid; empty where there was none."""
    times = [one.get("seconds") or {} for _, metrics in _trainings(facts) for one in metrics]
    resumed = sum(bool(one.get("resumed")) for one in times)
    return (
        f"{counted(resumed, 'training')} went on after a kill; what the kill undid is not counted." if resumed else ""
    )


def hardware(facts: RunFacts) -> str | None:
    """What the run trained on; None where a training did not note it."""
    noted = [one.get("hardware") for _, metrics in _trainings(facts) for one in metrics]
    if not noted or None in noted:
        return None
    return "; ".join(dict.fromkeys(_hardware(each) for each in noted if each))


def _hardware(noted: Mapping[str, Any]) -> str:
    several = f"{noted['devices']} processes, each on " if noted["devices"] > 1 else ""
    return f"{several}{noted['device']} ({counted(noted['threads'], 'PyTorch thread')}, {noted['platform']})"


def parameters(facts: RunFacts) -> str | None:
    """`1,293,063, all of them trained`; None where no fold noted it."""
    noted = next((one["parameters"] for one in facts.fold_metrics if one.get("parameters")), None)
    if noted is None:
        return None
    trained = "all of them" if noted["trainable"] == noted["all"] else f"{noted['trainable']:,} of them"
    return f"{noted['all']:,}, {trained} trained"
