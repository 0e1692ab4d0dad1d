"""The predictions table: reading, checking, scoring."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, recall_score

from hsta_hf.reporting import PredictionsError, label_names, read_predictions, score_table, write_predictions
from hsta_hf.reporting.predictions import scores_of_logits
from hsta_hf.reporting.report import RunFacts, write_report
from hsta_hf.reporting.scores import baselines, compute_metrics

LABELS = ("anger", "happy", "sad")


def table(seeds: tuple[int, ...] = (42,), clips: int = 30) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    labels = rng.choice(3, size=clips, p=[0.6, 0.3, 0.1])
    parts = []
    for seed in seeds:
        scores = rng.dirichlet(np.ones(3), size=clips) + 0.6 * np.eye(3)[labels]
        scores /= scores.sum(axis=1, keepdims=True)
        part = pd.DataFrame(
            {
                "clip": [f"casme3/s{i % 5}/a/{i}" for i in range(clips)],
                "database": "casme3",
                "subject": [f"s{i % 5}" for i in range(clips)],
                "fold": [i % 5 for i in range(clips)],
                "seed": seed,
                "label": labels,
                "prediction": scores.argmax(axis=1),
            }
        )
        for number, name in enumerate(LABELS):
            part[f"score_{name}"] = scores[:, number]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def test_a_table_survives_the_disk(tmp_path: Path) -> None:
    write_predictions(table(), tmp_path / "predictions.parquet")
    pd.testing.assert_frame_equal(read_predictions(tmp_path), table())
    assert label_names(read_predictions(tmp_path / "predictions.parquet")) == LABELS


def test_what_is_no_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match=r"no predictions table.*start it again"):
        read_predictions(tmp_path)
    (tmp_path / "x.parquet").write_text("not parquet")
    with pytest.raises(PredictionsError, match=r"x\.parquet cannot be read as Parquet"):
        read_predictions(tmp_path / "x.parquet")
    table().drop(columns=["subject"]).to_parquet(tmp_path / "y.parquet")
    with pytest.raises(PredictionsError, match="no column subject"):
        read_predictions(tmp_path / "y.parquet")
    table().iloc[:0].to_parquet(tmp_path / "z.parquet")
    with pytest.raises(PredictionsError, match=r"z\.parquet has no rows"):
        read_predictions(tmp_path / "z.parquet")


def test_scores_are_pooled_over_folds_and_averaged_over_seeds() -> None:
    rows = table(seeds=(1, 2, 3))
    metrics = compute_metrics(rows, LABELS)
    by_seed = [f1_score(part["label"], part["prediction"], average="macro") for _, part in rows.groupby("seed")]
    assert metrics["pooled"]["uf1"] == pytest.approx(np.mean(by_seed))
    assert metrics["pooled_std"]["uf1"] == pytest.approx(np.std(by_seed, ddof=1))
    assert metrics["seeds"]["2"]["uf1"] == pytest.approx(by_seed[1])
    recalls = [recall_score(p["label"], p["prediction"], average=None) for _, p in rows.groupby("seed")]
    assert metrics["per_class"]["sad"]["recall"] == pytest.approx(np.mean(recalls, axis=0)[2])
    assert len(metrics["per_fold_for_information"]) == 15 and metrics["clips"] == 30 and metrics["folds"] == 5


def test_baselines_are_what_guessing_gives() -> None:
    rows = table(clips=2000)
    found = baselines(rows, 3)
    most = int(np.bincount(rows["label"]).argmax())
    always = np.full(len(rows), most)
    assert found["majority"]["uf1"] == pytest.approx(f1_score(rows["label"], always, average="macro"))
    guesses = np.random.default_rng(1).integers(0, 3, size=(200, len(rows)))
    simulated = np.mean([f1_score(rows["label"], guess, average="macro") for guess in guesses])
    assert found["chance"]["uf1"] == pytest.approx(simulated, abs=0.005)


def test_multi_label_tables_are_scored_by_unit() -> None:
    rows = table().drop(columns=["label", "prediction"])
    rng = np.random.default_rng(2)
    labels, predictions = ((rng.random((30, 3)) < 0.4).astype(int) for _ in range(2))
    rows["label"], rows["prediction"] = labels.tolist(), predictions.tolist()
    scores = score_table(rows)
    assert scores.summary["mean_f1"] == pytest.approx(f1_score(labels, predictions, average="macro"))
    assert scores.f1 == pytest.approx(f1_score(labels, predictions, average=None))


def test_softmax_and_sigmoid_stay_finite() -> None:
    logits = np.array([[1000.0, 0.0], [-3.0, 3.0]])
    assert scores_of_logits(logits, multi_label=False)[0].tolist() == [1.0, 0.0]
    assert scores_of_logits(logits, multi_label=True)[1].sum() == pytest.approx(1.0)


def test_a_report_on_real_clips_does_not_call_them_synthetic(tmp_path: Path) -> None:
    facts = RunFacts(
        labels=LABELS,
        protocol="loso",
        protocol_description="Protocol loso: leave one subject out.",
        label_description="Label scheme x: all 30 clips have a label.",
        class_counts={"anger": 18, "happy": 9, "sad": 3},
        databases=["casme3"],
        num_subjects=5,
        apex="spotted",
        warnings=["fold 1 tests label 2 and has no training clip of it"],
    )
    write_report(tmp_path, table(seeds=(1, 2)), facts)
    written = {file.name for file in tmp_path.iterdir()} - {"reliability.png"}
    assert written == {"confusion_matrix.png", "facts.json", "metrics.json", "report.html", "report.md"}
    text = (tmp_path / "report.md").read_text()
    assert "synthetic" not in text and "# Report: casme3, loso" in text
    assert "±" in text and "spotted by the processor" in text and "has no training clip" in text
    assert not (tmp_path / "learning_curves.png").exists() and "learning_curves" not in text


def facts(**changes: object) -> RunFacts:
    plain = RunFacts(
        labels=LABELS,
        protocol="kfold-subjects",
        protocol_description="Protocol kfold-subjects: 5 folds by subject.",
        label_description="Label scheme x: all 30 clips have a label.",
        class_counts={"anger": 18, "happy": 9, "sad": 3},
        databases=["casme3"],
        num_subjects=5,
        model="folds/fold-00-seed-42/model",
    )
    return dataclasses.replace(plain, **changes)


def report(folder: Path, **changes: object) -> str:
    write_report(folder, table(), facts(**changes))
    return (folder / "report.md").read_text()


def test_a_model_of_shared_subjects_is_not_said_to_meet_unseen_people(tmp_path: Path) -> None:
    assert "was not trained on the subjects that it was tested on" in report(tmp_path)
    shared = report(tmp_path, protocol="kfold-clips")
    assert "has seen other clips of subjects that it was tested on" in shared and "was not trained on" not in shared


def test_the_report_says_where_apexes_and_weights_come_from(tmp_path: Path) -> None:
    text = report(tmp_path, spotted_apexes=2, start="Training started from random weights.")
    assert "the apex is as annotated, but spotted for 2 clips" in text and "started from random weights" in text
    assert "spotted" not in report(tmp_path)


def test_a_control_says_that_pretraining_kept_its_labels(tmp_path: Path) -> None:
    assert "Pre-training kept its labels" in report(tmp_path, shuffled_labels=True, pretraining="drawn faces")
    assert "Pre-training kept its labels" not in report(tmp_path, shuffled_labels=True)
