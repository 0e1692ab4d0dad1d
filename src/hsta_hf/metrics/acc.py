"""ACC as an `evaluate` metric: `ACC().compute(references=…, predictions=…)`. Loads offline."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate

from hsta_hf.metrics.pooled import accuracy, count_classes

_DESCRIPTION = "Accuracy: share of clips classified correctly, pooled over folds."


class ACC(evaluate.Metric):
    """Accuracy: share of clips classified correctly, pooled over folds.

    Inputs are class ids, one per clip, of all folds together: scores of single folds are not to be averaged.
    `compute` returns `{"acc": float}` in 0..1.
    """

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="See et al. (2019): MEGC 2019, the second facial micro-expressions grand challenge.",
            inputs_description="references and predictions: class ids (int), one per clip.",
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: Sequence[int], references: Sequence[int]) -> dict[str, float]:
        return {"acc": accuracy(count_classes(references, predictions))}
