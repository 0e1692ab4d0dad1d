"""The reasons why a measured figure and the paper's are not comparable: each where it is one, and nowhere else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hsta_hf.ablation.comparability import reasons
from hsta_hf.ablation.dataset_facts import DatasetFacts, published_size
from hsta_hf.ablation.plan import AblationOptions, make_plan

PUBLISHED = DatasetFacts(("casme3",), 860, 94, 7, False, "fingerprint")
OPTIONS = AblationOptions(("table2",), "data", Path("out"), protocols=("published",))
ALWAYS = [  # what the paper leaves open
    "Folds drawn anew: the paper does not say which clips were in which of its folds.",
    "Started from VideoMAE; the paper does not say from which weights its models start.",
]


def said(
    options: AblationOptions = OPTIONS, facts: DatasetFacts = PUBLISHED, row: str = "a6", usual: bool = False
) -> list[str]:
    (planned,) = [planned for planned in make_plan(options).rows if planned.row.name == row]
    return [reason for reason in reasons(planned, facts, options) if usual or reason not in ALWAYS]


def test_the_published_settings_on_the_published_clips_leave_only_what_the_paper_leaves_open():
    assert said(usual=True) == ALWAYS
    for row in ("a1", "a2"):
        assert said(row=row) == []


def test_other_clips_folds_and_classes_are_reasons():
    assert said(facts=replace(PUBLISHED, clips=320, subjects=32)) == [
        "Other clips: 320 of 32 subjects here, 860 of 94 in the published casme3."
    ]
    assert said(facts=replace(PUBLISHED, databases=("mine",))) == [
        "Another database: measured on mine, the paper's figures are on casme3."
    ]
    assert said(facts=replace(PUBLISHED, synthetic=True)) == [
        "The clips are synthetic: no number on them is a result on people."
    ]
    assert said(facts=replace(PUBLISHED, classes=3)) == ["3 classes here, 7 in the paper."]
    assert said(replace(OPTIONS, overrides=("--num_folds", "4"))) == ["4 folds here, 5 in the paper."]
    assert said(replace(OPTIONS, protocols=("loso",))) == [
        "Other folds: loso here, kfold-clips in the paper, which share subjects between training and test."
    ]


def test_every_field_that_differs_from_the_published_recipe_is_a_reason():
    words = ("--num_train_epochs", "3", "--model.stream.hidden_size", "384", "--processor.video_input", "difference")
    assert said(replace(OPTIONS, overrides=words)) == [
        "Another model than published, published in brackets: stream.hidden_size 384 (768).",
        "Other inputs than published, published in brackets: video_input difference (frames).",
        "Another training than published, published in brackets: num_train_epochs 3 (150).",
    ]
    assert said(replace(OPTIONS, overrides=("--videomae", "null"))) == [
        "No start from VideoMAE; the published recipe starts from MCG-NJU/videomae-base."
    ]
    small = said(replace(OPTIONS, recipe="casme3_flow_small"))
    assert "Pre-trained on drawn (synthetic) faces." in small
    harmless = ("--seeds", "1", "2", "--save_every_epochs", "7", "--disable_tqdm", "true")
    assert said(replace(OPTIONS, overrides=harmless)) == []


def test_a_database_of_a_composite_compares_with_the_papers_part_of_it():
    options = AblationOptions(("table5",), "data", Path("out"))
    composite = DatasetFacts(("casme2", "samm", "smic_hs"), 442, 68, 3, False, "fingerprint")
    assert published_size(composite.databases) == (442, 68)
    assert said(options, composite, "hsta") == []
    assert said(options, replace(composite, databases=("samm",), clips=133, subjects=28), "hsta") == [
        "Trained on samm alone, in the paper on casme2, samm and smic_hs together."
    ]
    (baseline,) = said(options, composite, "ststnet")
    assert baseline.startswith("A baseline of this package's")


def test_what_only_the_user_knows_comes_last():
    options = replace(OPTIONS, overrides=("--num_folds", "4"), notes=("The faces are rendered.",))
    assert said(options) == ["4 folds here, 5 in the paper.", "The faces are rendered."]
