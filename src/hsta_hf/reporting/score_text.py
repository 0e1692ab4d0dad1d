"""Scores and comparisons of predictions tables as plain text for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hsta_hf.reporting.summary import interval_text, summary_text


def score_text(metrics: Mapping[str, Any]) -> str:
    """One table: the pooled scores, those of every class, calibration, and those of parts if asked for."""
    rows = [
        [name, str(scores["clips"]), _number(scores["recall"]), _number(scores["f1"])]
        for name, scores in metrics["per_class"].items()
    ]
    lines = [summary_text(metrics), *_columns(["class", "clips", "recall", "F1"], rows)]
    if "calibration" in metrics:
        lines.append(f"  calibration error {metrics['calibration']['ece']:.3f} (ECE)")
    for column, parts in metrics.get("by", {}).items():
        lines += ["", *_parts(column, parts, list(metrics["pooled"]))]
    return "\n".join(lines)


def comparison_text(
    names: Sequence[str], metrics: Sequence[Mapping[str, Any]], comparisons: Sequence[Mapping[str, Any]]
) -> str:
    """Several tables side by side, and every other one against the first.

    Args:
        names: what to call each table.
        metrics: of `compute_metrics`, one a table.
        comparisons: of `PairedComparison.to_dict`, one for every table but the first, with `p_holm` in every score.
    """
    scores = list(metrics[0]["pooled"])
    rows = []
    for name, found in zip(names, metrics, strict=True):
        bounds = found["intervals"] or {}
        cells = [f"{_number(found['pooled'].get(s))} {interval_text(bounds.get(s))}" for s in scores]
        rows.append([name, str(found["clips"]), *cells])
    level = f"{100 * metrics[0]['interval_level']:g} %"
    lines = [
        *_columns(["table", "clips", *(s.upper() for s in scores)], rows),
        f"  [ ]: {level} interval over subjects",
    ]
    for name, found in zip(names, metrics, strict=True):
        for column, parts in found.get("by", {}).items():
            lines += ["", name, *_parts(column, parts, scores)]
    for found in comparisons:
        ways = f"all {found['permutations']}" if found["exact"] else f"{found['permutations']} drawn"
        lines += [
            "",
            f"{names[0]} minus {found['second']}, paired over {found['subjects']} subjects, {found['clips']} clips",
        ]
        several = len(comparisons) > 1
        header = ["score", "difference", f"{level} interval", "p", *(["p (Holm)"] if several else [])]
        rows = [
            [
                score.upper(),
                f"{entry['difference']:+.3f}",
                interval_text(entry["interval"]),
                _p(entry["p"]),
                *([_p(entry["p_holm"])] if several else []),
            ]
            for score, entry in found["scores"].items()
        ]
        lines += _columns(header, rows)
        lines.append(f"  p: two-sided, {ways} ways of swapping the two within subjects")
        if "numbers" in found:
            lines.append(
                f"  labels of {found['numbers']['table']} are numbers, read as {numbers_text(found['numbers']['are'])}"
            )
        if note := seeds_text(found["seeds"], names[0], found["second"]):
            lines.append(f"  {note}")
        lines += _left_out(found)
    return "\n".join(lines)


def numbers_text(names: Mapping[str, str]) -> str:
    """`0 = happy, 1 = sad`."""
    return ", ".join(f"{number} = {name}" for number, name in names.items())


def seeds_text(pairs: Sequence[Sequence[int]], first: str, second: str) -> str | None:
    """How seeds were paired, where there are several and they are not the same; None else.

    Args:
        pairs: (seed of the first, seed of the second), as in `PairedComparison.seeds`.
        first, second: what to call the two.
    """
    if len(pairs) < 2 or all(one == other for one, other in pairs):
        return None
    for (many, few), side in (((first, second), 0), ((second, first), 1)):
        seeds, single = [pair[side] for pair in pairs], {pair[1 - side] for pair in pairs}
        if len(single) == 1:
            return (
                f"seeds: {len(seeds)} of {many} ({', '.join(map(str, seeds))}), each compared with the only one of "
                f"{few} ({single.pop()})"
            )
    return f"seeds of {first} and {second} are other ones, paired in order: " + ", ".join(
        f"{one} with {other}" for one, other in pairs
    )


def _left_out(found: Mapping[str, Any]) -> list[str]:
    lines = []
    for which in ("first", "second"):
        if found[f"left_out_{which}"]:
            lines.append(f"  left out: {found[f'left_out_{which}']} clips that not both have, of {found[which]}")
        if found[f"seeds_left_out_{which}"]:
            seeds = ", ".join(map(str, found[f"seeds_left_out_{which}"]))
            lines.append(f"  left out: seed {seeds} of {found[which]}, which the other does not have")
    return lines


def _parts(column: str, parts: Mapping[str, Mapping[str, Any]], scores: Sequence[str]) -> list[str]:
    shows = any(part["intervals"] for part in parts.values())
    rows = []
    for name, part in parts.items():
        cells = []
        for score in scores:
            interval = f" {interval_text((part['intervals'] or {}).get(score))}" if shows else ""
            cells.append(_number(part[score]) + interval)
        rows.append([name, str(part["clips"]), *([] if column == "subject" else [str(part["subjects"])]), *cells])
    header = [column, "clips", *([] if column == "subject" else ["subjects"]), *(s.upper() for s in scores)]
    return _columns(header, rows)


def _columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with columns under each other, the first to the left and the others to the right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    return [
        "  " + "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))  # noqa: B905
        for row in (header, *rows)
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"  # noqa: RUF001


def _p(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"  # noqa: RUF001
