"""UF1 as an `evaluate` metric: `UF1().compute(references=…, predictions=…)`. Loads offline."""

from __future__ import annotations

from collections.abc import Sequence

import datasets
import evaluate

from hsta_hf.metrics.pooled import count_classes, unweighted_f1

_DESCRIPTION = "Unweighted F1 (macro F1 over classes that occur or were predicted), pooled over folds as in MEGC 2019."


class UF1(evaluate.Metric):
    """Unweighted F1 (macro F1 over classes that occur or were predicted), pooled over folds as in MEGC 2019.

    Inputs are class ids, one per clip, of all folds together: scores of single folds are not to be averaged.
    `compute` returns `{"uf1": float}` in 0..1.
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
        return {"uf1": unweighted_f1(count_classes(references, predictions))}
