"""The table of intervals: as a file by its suffix, and as lines to print."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hsta_hf.reporting.files import replacing
from hsta_hf.spotting.intervals import Interval
from hsta_hf.spotting.timeline import clock

if TYPE_CHECKING:
    from hsta_hf.prediction import Prediction

SUFFIXES = (".csv", ".parquet", ".jsonl")
_COLUMNS = (
    "video",
    "onset",
    "apex",
    "offset",
    "onset_seconds",
    "apex_seconds",
    "offset_seconds",
    "strength",
    "region",
)


def check_suffix(path: Path) -> None:
    """Refuse a file name that says no format.

    Raises:
        ValueError: if the suffix is none of `SUFFIXES`.
    """
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} has to end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}: that says the format")


def intervals_table(
    video: str, intervals: Sequence[Interval], fps: float, predictions: Sequence[Prediction] | None = None
) -> pd.DataFrame:
    """One row an interval, in order.

    Columns: video; onset, apex, offset (frames from 0) and the same in seconds; strength and region (`Interval`). With
    a model also prediction, score_<class>, and error, which says why an interval has neither of the two.

    Args:
        predictions: what the model says of each interval; None without a model.
    """
    rows: list[dict[str, Any]] = []
    for number, item in enumerate(intervals):
        row: dict[str, Any] = {"video": video}
        for name in ("onset", "apex", "offset"):
            row[name] = getattr(item, name)
        for name in ("onset", "apex", "offset"):
            row[f"{name}_seconds"] = round(getattr(item, name) / fps, 4)
        row["strength"], row["region"] = round(item.strength, 3), item.region
        if predictions is not None:
            found = predictions[number]
            row["prediction"] = found.prediction
            row.update({f"score_{name}": value for name, value in found.scores.items()})
            row["error"] = found.error
        rows.append(row)
    return pd.DataFrame(rows, columns=None if rows else list(_COLUMNS))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write it whole or not at all, in the format of the suffix.

    Raises:
        ValueError: as `check_suffix`.
    """
    check_suffix(path)
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            table.to_parquet(temporary, index=False)
        elif path.suffix == ".csv":
            table.to_csv(temporary, index=False)
        elif table.empty:  # of which pandas makes an empty line
            temporary.write_text("", encoding="utf-8")
        else:
            table.to_json(temporary, orient="records", lines=True, force_ascii=False)


def table_lines(table: pd.DataFrame) -> list[str]:
    """The table as text, one line an interval."""
    if table.empty:
        return []
    head = f"{'onset':>10}  {'apex':>10}  {'offset':>10}  {'strength':>8}  {'region':<8}"
    lines = [head + ("  class" if "prediction" in table else "")]
    for row in table.to_dict("records"):
        times = "  ".join(f"{clock(row[f'{name}_seconds'], 2):>10}" for name in ("onset", "apex", "offset"))
        line = f"{times}  {row['strength']:>8.1f}  {row['region']:<8}"
        if "prediction" in table:
            said = row["prediction"]
            if not isinstance(said, str):
                said = f"({row['error']})"
            elif f"score_{said}" in row:
                said = f"{said} {row[f'score_{said}']:.2f}"
            line += f"  {said or '(none)'}"
        lines.append(line)
    return lines
