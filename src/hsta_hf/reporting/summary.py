"""A few lines for the terminal: the scores of a run beside what guessing gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hsta_hf.reporting.caveats import caveats
from hsta_hf.reporting.completeness import coverage_text


def summary_text(metrics: Mapping[str, Any]) -> str:
    """The headline scores of a `metrics.json` content in plain lines, with their intervals over subjects."""
    lines = [coverage_text(metrics)]
    if metrics.get("protocol"):
        lines[0] += f" ({metrics['protocol']})"
    guesses, intervals = metrics.get("baselines", {}), metrics.get("intervals") or {}
    for name, value in metrics["pooled"].items():
        line = f"  {name.upper():<12}{value:.3f}"
        if name in metrics.get("pooled_std", {}):
            line += f" ± {metrics['pooled_std'][name]:.3f}"
        if name in intervals:
            line += f" {interval_text(intervals[name])}"
        if guesses:
            usual = "most frequent answers" if name in ("mean_f1", "exact_match") else "most frequent class"
            line += f"   ({usual} {guesses['majority'][name]:.3f}, chance {guesses['chance'][name]:.3f})"
        lines.append(line)
    if intervals:
        lines.append(
            f"  [ ]: {100 * metrics['interval_level']:g} % interval over {len(metrics['per_subject'])} subjects"
            + (", ±: standard deviation over seeds" if metrics.get("pooled_std") else "")
        )
    elif metrics.get("interval_note"):
        lines.append(f"  No interval: {metrics['interval_note']}.")
    lines += [f"  Note: {caveat}" for caveat in caveats(metrics)]
    return "\n".join(lines)


def interval_text(interval: tuple[float, float] | list[float] | None) -> str:
    """`[0.61, 0.78]`, or a dash where there is no interval."""
    return "–" if interval is None else f"[{interval[0]:.3f}, {interval[1]:.3f}]"  # noqa: RUF001
