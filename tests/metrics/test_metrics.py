"""UF1, UAR and ACC against scikit-learn and against a slow, obvious implementation."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import evaluate
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

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

LOG = Path(__file__).parent / "fixtures" / "ststnet_log.csv"


def slow_scores(references: list[int], predictions: list[int]) -> tuple[float, float, float]:
    """UF1, UAR and ACC, one clip at a time."""
    f1s, recalls = [], []
    for label in sorted({*references, *predictions}):
        tp = sum(1 for r, p in zip(references, predictions, strict=True) if r == label and p == label)
        fp = sum(1 for r, p in zip(references, predictions, strict=True) if r != label and p == label)
        fn = sum(1 for r, p in zip(references, predictions, strict=True) if r == label and p != label)
        f1s.append(2 * tp / (2 * tp + fp + fn))
        if label in references:
            recalls.append(tp / (tp + fn))
    hits = sum(1 for r, p in zip(references, predictions, strict=True) if r == p)
    return sum(f1s) / len(f1s), sum(recalls) / len(recalls), hits / len(references)


def random_table(seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """References and predictions of a random size, where some classes may not occur, or not be predicted."""
    rng = np.random.default_rng(seed)
    num_classes, clips = int(rng.integers(1, 9)), int(rng.integers(1, 60))
    real, used = (rng.choice(num_classes, rng.integers(1, num_classes + 1), replace=False) for _ in range(2))
    references, guesses = rng.choice(real, clips), rng.choice(used, clips)
    return references, np.where(rng.random(clips) < rng.random(), references, guesses), num_classes


def scikit_learn_scores(references: np.ndarray, predictions: np.ndarray) -> tuple[float, float, float]:
    return (
        f1_score(references, predictions, average="macro"),
        recall_score(references, predictions, average="macro", zero_division=np.nan),
        accuracy_score(references, predictions),
    )


def test_scores_agree_with_the_slow_implementation_and_scikit_learn() -> None:
    unseen = unpredicted = single = 0
    for seed in range(300):
        references, predictions, num_classes = random_table(seed)
        counts = count_classes(references, predictions, num_classes)
        found = unweighted_f1(counts), unweighted_average_recall(counts), accuracy(counts)
        assert found == pytest.approx(slow_scores(references.tolist(), predictions.tolist()), abs=1e-12), seed
        assert found == pytest.approx(scikit_learn_scores(references, predictions), abs=1e-12), seed
        unseen += not set(predictions) <= set(references)
        unpredicted += not set(references) <= set(predictions)
        single += len(set(references)) == 1
    assert min(unseen, unpredicted, single) > 20


@pytest.mark.parametrize("seed", range(10))
def test_pooled_folds_of_one_class_each_agree_with_scikit_learn_on_all_clips(seed: int) -> None:
    references, predictions, num_classes = random_table(seed)
    folds = [references == label for label in set(references)]
    pooled = sum_counts(count_classes(references[fold], predictions[fold], num_classes) for fold in folds)
    found = unweighted_f1(pooled), unweighted_average_recall(pooled), accuracy(pooled)
    assert found == pytest.approx(scikit_learn_scores(references, predictions), abs=1e-12)


def test_every_running_score_of_a_public_log_is_repeated_to_its_last_digit() -> None:
    """STSTNet's authors printed predictions and running scores after each of the 68 subjects of MEGC 2019.

    Before the first clip of a class its recall does not exist: the log prints nan, UAR here leaves the class out.
    """
    with LOG.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 68 and sum(len(row["true"]) for row in rows) == 442
    pooled = count_classes([], [], 3)
    for row in rows:
        true, predicted = ([int(label) for label in row[name]] for name in ("true", "predicted"))
        pooled = pooled + count_classes(true, predicted, 3)
        assert round(unweighted_f1(pooled), 4) == float(row["running_uf1"]), row["subject"]
        if (pooled.support > 0).all():
            assert round(unweighted_average_recall(pooled), 4) == float(row["running_uar"]), row["subject"]
        else:
            assert row["running_uar"] == "nan" and row is rows[0]
    assert (round(unweighted_f1(pooled), 4), round(unweighted_average_recall(pooled), 4)) == (0.7209, 0.725)


def test_published_scores_of_each_database_and_of_all_together_are_repeated() -> None:
    """STSTNet's published table: its UF1 is ours; its "UAR" is the mean precision of its own log, not the recall."""
    published = json.loads((LOG.parent / "ststnet_confusions.json").read_text(encoding="utf-8"))
    tables = {}
    for name in ("smic", "samm", "casme2"):
        counts = np.array(published[name]["confusion"])
        true, predicted = np.indices(counts.shape).reshape(2, -1)
        tables[name] = [np.repeat(ids, counts.ravel()) for ids in (true, predicted)]
    tables["full"] = [np.concatenate(parts) for parts in zip(*tables.values(), strict=True)]
    assert [len(true) for true, _ in tables.values()] == [164, 133, 145, 442]
    pooled = sum_counts(count_classes(*tables[name], 3) for name in ("smic", "samm", "casme2"))
    for name, (true, predicted) in tables.items():
        counted = pooled if name == "full" else count_classes(true, predicted, 3)
        assert round(unweighted_f1(counted), 4) == published[name]["published_uf1"], name
        precision = precision_score(true, predicted, average="macro")
        assert round(precision, 4) == published[name]["published_uar"], name
        assert unweighted_average_recall(counted) == pytest.approx(recall_score(true, predicted, average="macro"))
        assert 0.03 < precision - unweighted_average_recall(counted) < 0.051


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


def test_an_absent_class_has_no_recall_and_an_f1_of_0_where_it_was_predicted() -> None:
    counts = count_classes([0, 0, 1], [0, 2, 1], num_classes=4)
    assert unweighted_average_recall(counts) == pytest.approx((0.5 + 1) / 2)
    assert unweighted_f1(counts) == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert np.isnan(counts.recall[2]) and counts.f1[2] == 0 and np.isnan(counts.f1[3])
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
    assert scores.recall == pytest.approx(recall_score(references, predictions, average=None))
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
