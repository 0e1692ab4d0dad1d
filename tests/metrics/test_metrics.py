"""UF1, UAR and ACC against scikit-learn and against a slow, obvious implementation."""

from __future__ import annotations

import math
from pathlib import Path

import evaluate
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

import hsta_hf.metrics.uf1 as uf1_module
from hsta_hf.metrics import (
    ACC,
    UAR,
    UF1,
    accuracy,
    confusion_matrix,
    count_classes,
    multilabel_scores,
    sum_counts,
    unweighted_average_recall,
    unweighted_f1,
)


def slow_scores(references: list[int], predictions: list[int]) -> tuple[float, float, float]:
    """UF1, UAR and ACC, one clip at a time."""
    f1s, recalls = [], []
    for label in sorted(set(references)):
        tp = sum(1 for r, p in zip(references, predictions, strict=True) if r == label and p == label)
        fp = sum(1 for r, p in zip(references, predictions, strict=True) if r != label and p == label)
        fn = sum(1 for r, p in zip(references, predictions, strict=True) if r == label and p != label)
        f1s.append(2 * tp / (2 * tp + fp + fn))
        recalls.append(tp / (tp + fn))
    hits = sum(1 for r, p in zip(references, predictions, strict=True) if r == p)
    return sum(f1s) / len(f1s), sum(recalls) / len(recalls), hits / len(references)


@pytest.mark.parametrize("seed", range(20))
def test_scores_agree_with_the_slow_implementation_and_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_classes = int(rng.integers(2, 8))
    references = rng.integers(0, num_classes, size=int(rng.integers(1, 60)))
    predictions = np.where(
        rng.random(len(references)) < 0.5, references, rng.integers(0, num_classes, len(references))
    )
    counts = count_classes(references, predictions, num_classes)
    found = unweighted_f1(counts), unweighted_average_recall(counts), accuracy(counts)
    assert found == pytest.approx(slow_scores(references.tolist(), predictions.tolist()), abs=1e-12)
    present = sorted(set(references.tolist()))
    assert found == pytest.approx(
        (
            f1_score(references, predictions, labels=present, average="macro", zero_division=0),
            recall_score(references, predictions, labels=present, average="macro", zero_division=0),
            accuracy_score(references, predictions),
        ),
        abs=1e-12,
    )


def test_evaluate_metrics_work_offline_and_agree() -> None:
    references, predictions = [0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 0, 2]
    uf1, uar, acc = slow_scores(references, predictions)
    assert UF1().compute(references=references, predictions=predictions) == {"uf1": pytest.approx(uf1)}
    assert UAR().compute(references=references, predictions=predictions) == {"uar": pytest.approx(uar)}
    assert ACC().compute(references=references, predictions=predictions) == {"acc": pytest.approx(acc)}


def test_evaluate_can_load_the_metric_from_its_file(tmp_path: Path) -> None:
    metric = evaluate.load(str(uf1_module.__file__), cache_dir=str(tmp_path))
    assert metric.compute(references=[0, 1], predictions=[0, 0])["uf1"] == pytest.approx(1 / 3)


def test_pooling_sums_counts_and_is_not_the_mean_of_folds() -> None:
    folds = [([0, 0, 0], [0, 0, 1]), ([1], [1]), ([0, 1, 1, 1], [1, 1, 0, 1])]
    pooled = sum_counts(count_classes(references, predictions, 2) for references, predictions in folds)
    references = [label for fold in folds for label in fold[0]]
    predictions = [label for fold in folds for label in fold[1]]
    assert unweighted_f1(pooled) == pytest.approx(slow_scores(references, predictions)[0])
    mean_of_folds = np.mean([slow_scores(*fold)[0] for fold in folds])
    assert abs(unweighted_f1(pooled) - mean_of_folds) > 0.01


def test_an_absent_class_is_left_out_but_mistakes_for_it_count() -> None:
    counts = count_classes([0, 0, 1], [0, 2, 1], num_classes=4)
    assert unweighted_average_recall(counts) == pytest.approx((0.5 + 1) / 2)
    assert unweighted_f1(counts) == pytest.approx((2 / 3 + 1) / 2)
    assert np.isnan(counts.recall[2]) and np.isnan(counts.f1[3])
    assert math.isnan(unweighted_f1(count_classes([], [], num_classes=3)))


def test_confusion_matrix_has_true_classes_in_rows() -> None:
    matrix = confusion_matrix([0, 0, 2], [1, 0, 2], 3)
    assert matrix.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_multilabel_scores_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    references = (rng.random((40, 5)) < 0.4).astype(int)
    predictions = np.where(rng.random((40, 5)) < 0.7, references, 1 - references)
    scores = multilabel_scores(references, predictions)
    assert scores.f1 == pytest.approx(f1_score(references, predictions, average=None))
    assert scores.mean_f1 == pytest.approx(f1_score(references, predictions, average="macro"))
    assert scores.exact_match == pytest.approx(accuracy_score(references, predictions))


@pytest.mark.parametrize(
    ("references", "predictions", "num_classes", "message"),
    [
        ([0, 1], [0], None, "same length; got 2 and 1"),
        ([0, 3], [0, 1], 2, r"lie in 0\.\.1; got ids up to 3"),
        ([[0], [1]], [0, 1], None, r"references must be one class id per clip.*\(2, 1\)"),
        ([0.5], [0], None, "whole class ids"),
        ([-1], [0], 2, "must lie in"),
    ],
)
def test_wrong_input_is_named(references: list, predictions: list, num_classes: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        count_classes(references, predictions, num_classes)


def test_multilabel_input_must_be_binary_and_of_one_shape() -> None:
    with pytest.raises(ValueError, match="0 and 1 only"):
        multilabel_scores([[0.3, 1]], [[1, 1]])
    with pytest.raises(ValueError, match=r"\(clips, units\)"):
        multilabel_scores([0, 1], [0, 1])
    with pytest.raises(ValueError, match="no folds"):
        sum_counts([])
