"""What `metrics.json` holds beside the pooled scores."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, recall_score

from hsta_hf.reporting.scores import ONE_PERSON, baselines, compute_metrics

LABELS = ("anger", "happy", "sad")


def table(databases: tuple[str, ...] = ("casme2", "samm"), seeds: tuple[int, ...] = (1, 2)) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = []
    for database in databases:
        labels = rng.integers(0, 3, 30)
        for seed in seeds:
            scores = rng.dirichlet(np.ones(3), 30) * 0.5 + 0.5 * np.eye(3)[np.where(rng.random(30) < 0.6, labels, 0)]
            part = pd.DataFrame({"clip": [f"{database}/{i}" for i in range(30)], "database": database, "seed": seed})
            part = part.assign(subject=[f"s{i % 5}" for i in range(30)], fold=[i % 5 for i in range(30)], label=labels)
            parts.append(
                part.assign(prediction=scores.argmax(1), **{f"score_{n}": scores[:, i] for i, n in enumerate(LABELS)})
            )
    return pd.concat(parts, ignore_index=True)


def test_every_database_is_scored_by_itself() -> None:
    rows = table()
    metrics = compute_metrics(rows, LABELS, samples=200)
    assert list(metrics["per_database"]) == ["casme2", "samm"]
    for name, part in rows.groupby("database"):
        found = metrics["per_database"][name]
        by_seed = [f1_score(p["label"], p["prediction"], average="macro") for _, p in part.groupby("seed")]
        assert (found["clips"], found["subjects"]) == (30, 5) and found["uf1"] == pytest.approx(np.mean(by_seed))
        assert found["intervals"] == compute_metrics(part, LABELS, samples=200)["intervals"]
        assert found["intervals"]["uf1"][0] < found["uf1"] < found["intervals"]["uf1"][1]
    assert "per_database" not in compute_metrics(table(("samm",)), LABELS, samples=10)
    json.loads(json.dumps(metrics, allow_nan=False))


def test_every_subject_has_its_accuracy() -> None:
    rows = table()
    found = compute_metrics(rows, LABELS, samples=10)["per_subject"]
    assert len(found) == 10 and found[0]["database"] == "casme2" and found[-1]["subject"] == "s4"
    for entry in found:
        part = rows[(rows["database"] == entry["database"]) & (rows["subject"] == entry["subject"])]
        assert entry["acc"] == pytest.approx(accuracy_score(part["label"], part["prediction"])) and entry["clips"] == 6


def test_intervals_name_their_level_and_samples_and_one_person_has_none() -> None:
    metrics = compute_metrics(table(), LABELS)
    assert (metrics["interval_level"], metrics["interval_samples"]) == (0.95, 2000)
    assert "interval_note" not in metrics and set(metrics["intervals"]) == {"uf1", "uar", "acc"}
    alone = compute_metrics(table().query("subject == 's1' and database == 'samm'"), LABELS)
    assert alone["intervals"] is None and alone["interval_note"] == ONE_PERSON


def test_a_table_needs_neither_folds_nor_seeds_nor_databases_nor_scores() -> None:
    rows = table(("samm",), (1,))
    whole = compute_metrics(rows, LABELS, samples=50)
    bare = compute_metrics(rows[["clip", "subject", "label", "prediction"]], LABELS, samples=50)
    assert bare["pooled"] == whole["pooled"] and bare["intervals"] == whole["intervals"]
    assert "calibration" in whole and "calibration" not in bare
    assert bare["folds"] is None and bare["per_fold_for_information"] == []


def several_labels() -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(4)
    true, predicted = ((rng.random((40, 3)) < share).astype(int) for share in ([0.7, 0.3, 0.2], 0.4))
    rows = pd.DataFrame({"clip": range(40), "subject": [f"s{i % 8}" for i in range(40)], "label": true.tolist()})
    return rows.assign(prediction=predicted.tolist()), true, predicted


def test_several_labels_a_clip_have_recall_f1_intervals_and_subjects() -> None:
    rows, true, predicted = several_labels()
    metrics = compute_metrics(rows, LABELS, samples=200)
    recalls, f1s = (score(true, predicted, average=None) for score in (recall_score, f1_score))
    assert [row["recall"] for row in metrics["per_class"].values()] == pytest.approx(list(recalls))
    assert [row["f1"] for row in metrics["per_class"].values()] == pytest.approx(list(f1s))
    assert metrics["intervals"]["mean_f1"][0] < metrics["pooled"]["mean_f1"] < metrics["intervals"]["mean_f1"][1]
    mine = [i for i in range(40) if i % 8 == 3]
    entry = next(row for row in metrics["per_subject"] if row["subject"] == "s3")
    expected = f1_score(true[mine], predicted[mine], average="macro", zero_division=np.nan)
    assert entry["mean_f1"] == pytest.approx(expected)


def test_guesses_of_several_labels_are_what_guessing_gives() -> None:
    rows, true, _ = several_labels()
    found = baselines(rows, 3)
    answers = {"always_no": [0, 0, 0], "always_yes": [1, 1, 1], "majority": [1, 0, 0]}
    for name, answer in answers.items():
        told = np.tile(answer, (40, 1))
        assert found[name]["mean_f1"] == pytest.approx(f1_score(true, told, average="macro", zero_division=0)), name
        assert found[name]["exact_match"] == pytest.approx(accuracy_score(true, told)), name
    many = np.tile(true, (50, 1))
    tosses = np.random.default_rng(0).integers(0, 2, (60, *many.shape))
    assert found["chance"]["mean_f1"] == pytest.approx(
        np.mean([f1_score(many, toss, average="macro") for toss in tosses]), abs=0.005
    )
    assert found["chance"]["exact_match"] == pytest.approx(np.mean((tosses == many).all(axis=2)), abs=0.005)


def test_clips_are_those_of_a_whole_seed_while_another_is_in_training() -> None:
    rows = table(databases=("casme2",))
    started = rows[(rows["seed"] == 1) | (rows["fold"] < 2)]
    assert compute_metrics(started, LABELS, samples=20)["clips"] == 30
