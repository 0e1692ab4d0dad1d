"""Predictions as tables: one of the clips that were classified, one of those that were not."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from hsta_hf.metrics.tables import SCORE
from hsta_hf.prediction.clips import Prediction
from hsta_hf.reporting.files import replacing

FORMATS = (".parquet", ".csv", ".jsonl")
_WHOLE = ("onset", "apex", "offset", "num_faces")


class OutputError(ValueError):
    """A table cannot be written where it is asked for; the message says why."""


def check_output(path: Path) -> None:
    """Refuse a name whose ending is no format.

    Raises:
        OutputError: names the formats.
    """
    if path.suffix.lower() not in FORMATS:
        raise OutputError(f"{path}: the ending says the format and must be one of {', '.join(FORMATS)}")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file")


def failures_file(path: Path) -> Path:
    """Where the clips are listed that could not be classified: beside the table, always CSV."""
    return path.with_name(f"{path.stem}_failures.csv")


def as_row(found: Prediction) -> dict[str, Any]:
    """A prediction as plain values, fit for JSON; `from_row` reads it."""
    row: dict[str, Any] = {"path": found.name, "onset": found.onset, "apex": found.apex, "offset": found.offset}
    if found.error is not None:
        return {**row, "error": found.error}
    return {
        **row,
        "apex_source": found.apex_source,
        "aligned": found.aligned,
        "num_faces": found.num_faces,
        "prediction": found.prediction,
        **{f"{SCORE}{label}": score for label, score in found.scores.items()},
    }


def write_tables(path: Path, rows: Sequence[dict[str, Any]], labels: Sequence[str]) -> int:
    """Write the table of predictions and, where there are any, that of failures, each whole or not at all.

    Args:
        path: the table of predictions; its ending says the format.
        rows: of `as_row`, in order.
        labels: the model's classes, for a table without rows.

    Returns:
        How many clips failed.
    """
    failures = [row for row in rows if "error" in row]
    sound = [row for row in rows if "error" not in row]
    beside = failures_file(path)
    if failures:
        with replacing(beside) as temporary:
            _frame(failures, ["path", "onset", "apex", "offset", "error"]).to_csv(temporary, index=False)
    else:
        beside.unlink(missing_ok=True)
    columns = ["path", "onset", "apex", "offset", "apex_source", "aligned", "num_faces", "prediction"]
    table = _frame(sound, [*columns, *(f"{SCORE}{label}" for label in labels)])
    with replacing(path) as temporary:
        if path.suffix.lower() == ".parquet":
            table.to_parquet(temporary, index=False)
        elif path.suffix.lower() == ".csv":
            table.to_csv(temporary, index=False)
        else:
            text = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in sound)
            temporary.write_text(text, encoding="utf-8")
    return len(failures)


def _frame(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(columns))
    for name in _WHOLE:
        if name in frame:
            frame[name] = frame[name].astype("Int64")
    for name in (name for name in columns if name.startswith(SCORE)):
        frame[name] = frame[name].astype("float64")
    if "aligned" in frame:
        frame["aligned"] = frame["aligned"].astype("bool")
    return frame
