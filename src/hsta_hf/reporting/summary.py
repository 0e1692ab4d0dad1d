"""A few lines for the terminal: the scores of a run beside what guessing gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def summary_text(metrics: Mapping[str, Any]) -> str:
    """The headline scores of a `metrics.json` content in plain lines."""
    kind = "synthetic clips" if metrics.get("synthetic") else "clips"
    lines = [f"{metrics['clips']} {kind}, {metrics['folds']} folds, pooled"]
    if metrics.get("protocol"):
        lines[0] += f" ({metrics['protocol']})"
    guesses = metrics.get("baselines", {})
    for name, value in metrics["pooled"].items():
        line = f"  {name.upper():<12}{value:.3f}"
        if name in metrics.get("pooled_std", {}):
            line += f" ± {metrics['pooled_std'][name]:.3f}"
        if guesses:
            line += f"   (most frequent class {guesses['majority'][name]:.3f}, chance {guesses['chance'][name]:.3f})"
        lines.append(line)
    return "\n".join(lines)
