"""The model card: what it says of a run, that the Hub can read it, and that it does not write over people's work."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from huggingface_hub import ModelCard

from hsta_hf import HSTAConfig, HSTAVideoProcessor
from hsta_hf.cli.main import main
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize
from hsta_hf.reporting.model_card import (
    ModelCardError,
    card_data,
    card_fields,
    find_template,
    render_card,
    write_model_card,
)
from hsta_hf.reporting.report import RunFacts, write_report

LABELS = ("anger", "happy", "sad")
FACTS = RunFacts(
    labels=LABELS,
    protocol="kfold-subjects",
    protocol_description="Protocol kfold-subjects: 5 folds by subject.",
    label_description="Label scheme x: all 30 clips have a label.",
    class_counts={"anger": 18, "happy": 9, "sad": 3},
    databases=["casme3"],
    num_subjects=5,
    start="Training started from random weights.",
    model="model",
    fold_metrics=[{"fold": fold, "seed": 42} for fold in range(5)],
)


def table(seeds: tuple[int, ...] = (42,)) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        {"clip": f"c{i}", "database": "casme3", "subject": f"s{i % 5}", "fold": i % 5, "seed": seed}
        | {"label": i % 3, "prediction": int(rng.integers(3))}
        | dict.fromkeys([f"score_{name}" for name in LABELS], 1 / 3)
        for seed in seeds
        for i in range(30)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model's folder, but for the weights, which no card reads."""
    folder = tmp_path / "run" / "model"
    HSTAConfig.from_preset("tiny", num_labels=3).save_pretrained(folder)
    HSTAVideoProcessor(size={"height": 112, "width": 112}).save_pretrained(folder)
    return folder


def write(model: Path, seeds: tuple[int, ...] = (42,), **changes: Any) -> tuple[str, dict[str, Any]]:
    """The card of a run with these facts, and the run's metrics.json."""
    facts = dataclasses.replace(FACTS, **changes)
    path = write_model_card(model, facts, write_report(model.parent, table(seeds), facts))
    assert path == model / "README.md"
    return path.read_text(), json.loads((model.parent / "metrics.json").read_text())


def test_the_hub_reads_the_front_matter(model: Path) -> None:
    write(model)
    data = ModelCard.load(model / "README.md", ignore_metadata_errors=False).data
    assert data.library_name == "transformers" and data.pipeline_tag == "video-classification"
    assert "micro-expression-recognition" in data.tags and "synthetic" not in data.tags
    assert data.license is None
    metrics = json.loads((model.parent / "metrics.json").read_text())
    assert len(data.eval_results) == 3
    for result, (name, value) in zip(data.eval_results, metrics["pooled"].items(), strict=True):
        assert result.metric_name.lower().startswith(name) and result.metric_value == value
        assert result.task_type == "video-classification" and result.dataset_type == "casme3"
        assert result.dataset_name == "CAS(ME)^3, part A, kfold-subjects"
        assert result.metric_args["interval"] == metrics["intervals"][name] and result.metric_args["level"] == 0.95


def test_the_numbers_are_those_of_metrics_json(model: Path) -> None:
    text, metrics = write(model)
    guesses = metrics["baselines"]
    for start, name in (("| UF1", "uf1"), ("| UAR", "uar"), ("| ACC", "acc")):
        (line,) = [line for line in text.splitlines() if line.startswith(start)]
        values = [metrics["pooled"][name], guesses["majority"][name], guesses["chance"][name]]
        cells = [cell.strip() for cell in line.split("|")[2:6]]
        low, high = metrics["intervals"][name]
        assert cells.pop(1) == f"{low:.3f} to {high:.3f}"
        assert cells == [f"{value:.3f}" for value in values]
    sad = metrics["per_class"]["sad"]
    assert f"| sad | 10 | {sad['recall']:.3f} | {sad['f1']:.3f} |" in text and "| sad | 3 |" in text
    assert f"| torch | {metrics['environment']['torch']} |" in text
    assert "±" not in text and "of 5 trained models, on 30 test clips" in text


def test_several_seeds_give_a_spread(model: Path) -> None:
    text, metrics = write(model, seeds=(1, 2))
    assert f"| {metrics['pooled']['uf1']:.3f} ± {metrics['pooled_std']['uf1']:.3f} |" in text
    assert "mean over 2 seeds" in text and "of 10 trained models" in text


def test_the_card_says_what_the_model_is_and_is_not_for(model: Path) -> None:
    text, _ = write(model)
    for sentence in (
        "2 HSTA layers (M)",
        "1 on the video stream (L_v)",
        "| video | RGB (frames over the clip) | 6 | 112 x 112 |",
        "| special | RGB (special frames onset, apex) | 2 |",
        "Preset: `tiny`.",
        "Protocol kfold-subjects: 5 folds by subject.",
        "trust_remote_code=True",
        "hsta predict MODEL",
        "logits.softmax(-1)",
        "Training started from random weights.",
        "This model is that of fold 0, seed 42",
        "no clip of the subjects that it was tested on",
        "Lie detection",
        "Article 5(1)(f)",
        "No licence is given here for the weights",
        "2405.03202",
    ):
        assert sentence in text, sentence
    assert "synthetic" not in text.lower() and "CONTROL" not in text and "folds share subjects" not in text


def test_synthetic_data_are_said_to_be_so_everywhere(model: Path) -> None:
    text, _ = write(model, synthetic=True)
    data = ModelCard.load(model / "README.md").data
    assert "synthetic" in data.tags and "synthetic" in data.model_name
    assert all(r.dataset_type == "synthetic" and r.dataset_name.startswith("Synthetic") for r in data.eval_results)
    head = text.split("---\n")[2]
    assert head.index("**SYNTHETIC.") < head.index("This model gives") and "- People: not one." in text
    assert "on 30 synthetic test clips" in text and "5 drawn subjects" in text and "Research on" not in text


def test_caveats_of_the_run_are_the_cards(model: Path) -> None:
    text, _ = write(model, protocol="kfold-clips")
    assert "It has seen other clips of subjects" in text and "folds share subjects" in text
    text, _ = write(model, shuffled_labels=True, complete=False, pretraining="drawn faces", warnings=["fold 1 is odd"])
    assert "**CONTROL." in text and "Only some folds" in text and "Note: fold 1 is odd." in text
    assert "a pre-training on drawn faces." in text
    results = ModelCard.load(model / "README.md").data.eval_results
    assert all(r.dataset_name.endswith("control with shuffled training labels, some folds only") for r in results)
    assert "trained on all clips, which leaves none" in write(model, final_model=True)[0]
    assert "every apex was spotted" in write(model, apex="spotted")[0]


def test_scores_of_groups_and_the_cost_are_told_and_no_subject_is_named(model: Path) -> None:
    text, metrics = write(model)
    accuracies = [row["acc"] for row in metrics["per_subject"]]
    assert f"(5, not named here): ACC from {min(accuracies):.3f} to {max(accuracies):.3f}" in text
    assert "Its time was not noted." in text and "The hardware was not noted." in text
    assert "names no age, sex or skin colour" in text and "CASME II; SAMM" in text
    seconds = {"total": 60.0, "resumed": 0}
    machine = {"device": "CPU, abacus", "devices": 2, "threads": 1, "platform": "Linux x"}
    noted = {"seconds": seconds, "parameters": {"trainable": 10, "all": 2000}, "hardware": machine}
    folds = [{"fold": fold, "seed": 42, **noted} for fold in range(5)]
    folds[3]["seconds"] = {"total": 60.0, "resumed": 1}
    text, _ = write(model, fold_metrics=folds, other_trainings={"pretraining": {**noted, "seconds": {"total": 10.4}}})
    for line in (
        "| pre-training | 1 | 10 s |",
        "| folds, all seeds | 5 | 5.0 min |",
        "| together | 6 | 5.2 min |",
        "1 training went on after a kill; what the kill undid is not counted.",
        "Hardware: 2 processes, each on CPU, abacus (1 PyTorch thread, Linux x).",
        "Parameters: 2,000, 10 of them trained.",
    ):
        assert line in text, line


def test_each_database_has_scores_of_its_own(model: Path) -> None:
    rows = table()
    rows["database"] = ["casme2" if int(subject[1:]) < 2 else "samm" for subject in rows["subject"]]
    facts = dataclasses.replace(FACTS, databases=["casme2", "samm"])
    metrics = write_report(model.parent, rows, facts)
    path = write_model_card(model, facts, metrics)
    assert path is not None
    found = metrics["per_database"]["samm"]
    assert f"| samm | 18 | 3 | {found['uf1']:.3f} |" in path.read_text()
    results = {(r.dataset_type, r.metric_name): r for r in ModelCard.load(path).data.eval_results}
    assert len(results) == 9
    result = results["samm", "UF1 (unweighted F1)"]
    assert result.metric_value == found["uf1"] and result.metric_args["interval"] == list(found["intervals"]["uf1"])
    assert "Other databases (CAS(ME)^3, part A;" in path.read_text()


def test_several_labels_a_clip_have_sigmoids_and_baselines_of_their_own(model: Path) -> None:
    config = HSTAConfig.from_pretrained(model)
    config.problem_type = "multi_label_classification"
    config.save_pretrained(model)
    rows = table()
    for name in ("label", "prediction"):
        rows[name] = [[int(value == number) for number in range(3)] for value in rows[name]]
    metrics = write_report(model.parent, rows, FACTS)
    path = write_model_card(model, FACTS, metrics)
    assert path is not None
    text = path.read_text()
    assert "Every clip gets a label" not in text
    assert "logits.sigmoid()" in text and "guessing at random" in text
    assert f"| sad | 10 | {metrics['per_class']['sad']['recall']:.3f} |" in text
    assert ModelCard.load(path).data.eval_results[0].metric_value == metrics["pooled"]["mean_f1"]


def test_a_field_without_a_value_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelCardError, match=r"template\.md: the run does not fill the field start\."):
        write(model, start=None)
    assert not list(model.glob("*README*"))
    metrics = write_report(model.parent, table(), FACTS)
    template = tmp_path / "mine.md"
    for source, message in (
        ("{{ card_data }} {{ carbon }}", "fill the field carbon"),
        ("{% for row in scores %}{{ row.auc }}{% endfor %}", "has no attribute 'auc'"),
        ("\n{% for %}", "line 2: no valid Jinja"),
    ):
        template.write_text(source)
        with pytest.raises(ModelCardError, match=f"mine.md.*{message}"):
            write_model_card(model, FACTS, metrics, template)


def test_an_edited_card_is_kept_and_an_untouched_one_renewed(model: Path) -> None:
    first, metrics = write(model)
    assert write(model, warnings=["new"])[0] != first
    card = model / "README.md"
    for edited in (card.read_text().replace("## Limits", "## Limits\n\n- Mine."), card.read_text() + "PS", "# My own"):
        card.write_text(edited)
        assert write_model_card(model, FACTS, metrics) is None
        assert card.read_text() == edited
    card.unlink()
    assert write(model)[0] == first


def test_the_template_is_one_that_the_hub_library_fills_alike(model: Path) -> None:
    metrics = write_report(model.parent, table(), FACTS)
    fields = card_fields(FACTS, metrics, HSTAConfig.from_pretrained(model), HSTAVideoProcessor.from_pretrained(model))
    data = card_data(FACTS, metrics)
    theirs = ModelCard.from_template(data, template_path=str(find_template()), **fields)
    assert str(theirs).strip() == render_card(data, fields).strip()


def test_training_leaves_a_card_beside_the_model_it_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthesize(tmp_path / "database", num_subjects=4, clips_per_subject=7, size=64, num_frames=(6, 7))
    prepare("casme3", tmp_path / "database", tmp_path / "prepared", PrepareOptions(faces="keep"), progress=False)
    stream = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32}
    fields = {
        "dataset": str(tmp_path / "prepared"),
        "output_dir": str(tmp_path / "run"),
        "protocol": "holdout",
        "num_folds": 2,
        "preset": "tiny",
        "model": {"num_hsta_layers": 1, "stream": stream},
        "num_train_epochs": 1,
        "disable_tqdm": True,
        "use_cpu": True,
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(fields))
    assert main(["train", str(tmp_path / "recipe.yaml")]) == 0
    named = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("Model: "))
    path = Path(named.removeprefix("Model: ")) / "README.md"
    results = ModelCard.load(path).data.eval_results
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert [result.metric_value for result in results] == list(metrics["pooled"].values())
    text = path.read_text()
    assert "**SYNTHETIC." in text and "Preset: none" in text and "This model is that of fold 0, seed 42" in text
    path.write_text(text + "My words.\n")
    assert main(["train", str(tmp_path / "recipe.yaml")]) == 0
    assert "Kept the model card" in capsys.readouterr().out and path.read_text().endswith("My words.\n")
