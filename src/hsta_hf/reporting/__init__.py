"""From predictions to numbers, tables, pictures and text."""

from hsta_hf.reporting.predictions import (
    PredictionsError,
    TableScores,
    label_names,
    read_predictions,
    score_table,
    write_predictions,
)

__all__ = [
    "PredictionsError",
    "TableScores",
    "label_names",
    "read_predictions",
    "score_table",
    "write_predictions",
]
