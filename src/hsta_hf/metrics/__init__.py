"""UF1, UAR and ACC, pooled over folds as MEGC does; as `evaluate` metrics and as functions of counts."""

from hsta_hf.metrics.acc import ACC
from hsta_hf.metrics.pooled import (
    ClassCounts,
    MultiLabelScores,
    accuracy,
    confusion_matrix,
    count_classes,
    multilabel_scores,
    sum_counts,
    unweighted_average_recall,
    unweighted_f1,
)
from hsta_hf.metrics.tables import SubjectCounts, count_subjects
from hsta_hf.metrics.uar import UAR
from hsta_hf.metrics.uf1 import UF1
from hsta_hf.metrics.uncertainty import ComparisonError, PairedComparison, compare_tables, holm, subject_intervals

__all__ = [
    "ACC",
    "UAR",
    "UF1",
    "ClassCounts",
    "ComparisonError",
    "MultiLabelScores",
    "PairedComparison",
    "SubjectCounts",
    "accuracy",
    "compare_tables",
    "confusion_matrix",
    "count_classes",
    "count_subjects",
    "holm",
    "multilabel_scores",
    "subject_intervals",
    "sum_counts",
    "unweighted_average_recall",
    "unweighted_f1",
]
