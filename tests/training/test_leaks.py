"""Ways to train on what is tested, each tried under an honest protocol's name, and refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rewritten_datasets import of_database, rewritten

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.data.splits import make_split
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.training.clips import LabelledClips, load_labelled_clips
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.fold import read_metrics
from hsta_hf.training.leak_checks import StartLeakError, refuse_seen_people
from hsta_hf.training.pretraining import refuse_shared_subjects
from hsta_hf.training.recipe import RecipeError, resolve
from hsta_hf.training.run_folder import RunFolderError
from hsta_hf.training.training_data import TrainingData, trained_on, training_data_of


@pytest.fixture(scope="module")
def clips(prepared: Path) -> LabelledClips:
    return load_labelled_clips(prepared, "casme3_7")


@pytest.fixture
def quick(tiny_recipe: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_recipe, "num_train_epochs": 1, "warmup_epochs": 0, "report_pictures": False}


def recorded(clips: LabelledClips) -> LabelledClips:
    return replace(clips, synthetic=False)


@pytest.mark.slow
def test_a_model_that_has_seen_a_test_subject_is_no_start(
    quick: dict[str, Any], tmp_path: Path, clips: LabelledClips
) -> None:
    """Also not by way of another model, of a copy of the weights alone, or of a model trained on everybody."""
    first = run_recipe(resolve({**quick, "folds": [0]}))
    split = make_split("kfold-subjects", clips.column("subject"), clips.labels, 2, databases=clips.column("database"))
    seen = [clips.column("subject")[i] for i in split.folds[0].train_indices]
    config = HSTAConfig.from_pretrained(first.model)
    assert config.training_data is not None and config.training_data["protocols"] == ["kfold-subjects"]
    assert not any(name in json.dumps(config.training_data) for name in seen)  # digests in place of names

    copied = tmp_path / "copied"  # as pushed and pulled, or saved again
    HSTAForMicroExpressionClassification.from_pretrained(first.model).save_pretrained(copied)
    for file in first.model.glob("*processor*.json"):
        shutil.copy(file, copied)
    start = {**quick, "pretrained": str(copied), "output_dir": str(tmp_path / "next")}
    with pytest.raises(StartLeakError, match=r"was trained on 3 of the 6 subjects that this run tests") as caught:
        run_recipe(resolve(start))
    assert set(caught.value.names) == set(seen)
    assert not (tmp_path / "next").exists()

    # The published protocol says that its subjects are seen; and what it trains has seen them as well.
    shared = run_recipe(resolve({**start, "protocol": "kfold-clips"}))
    assert "It was trained on 3 of this run's 6 test subjects." in (shared.path / "report.md").read_text()
    chain = HSTAConfig.from_pretrained(shared.model).training_data
    assert chain is not None and chain["protocols"] == ["kfold-clips", "kfold-subjects"]
    with pytest.raises(StartLeakError, match="6 of the 6 subjects"):
        run_recipe(resolve({**start, "pretrained": str(shared.model)}))


def test_the_model_on_all_clips_and_those_of_shared_casts_have_seen_everybody(clips: LabelledClips) -> None:
    people = recorded(clips)
    everybody = trained_on(people, range(len(people)), "all clips")
    assert len(everybody.people["casme3"]) == 6
    split = make_split("loso", people.column("subject"), people.labels, databases=people.column("database"))
    with pytest.raises(StartLeakError, match="6 of the 6 subjects"):
        refuse_seen_people(everybody, "m", split, people)
    again = TrainingData.from_dict(json.loads(json.dumps(everybody.to_dict())))
    assert again == everybody
    one = trained_on(people, [0], "loso")
    with pytest.raises(StartLeakError, match=r"1 of the 6 subjects that this run tests \(spNO\.\d+\)"):
        refuse_seen_people(one | TrainingData(unknown=frozenset({"x"})), "m", split, people)
    refuse_seen_people(TrainingData(unknown=frozenset({"x"})), "m", split, people)
    with pytest.raises(ValueError, match="the field training_data of the model's configuration is damaged"):
        training_data_of(HSTAConfig.from_preset("tiny", training_data={"people": 3}), "m")


def test_a_model_of_another_database_is_no_start_where_that_is_left_out(clips: LabelledClips, tmp_path: Path) -> None:
    people = recorded(clips)
    names = ["casme2" if index % 2 else "samm" for index in range(len(people))]
    split = make_split("leave-one-database-out", people.column("subject"), people.labels, databases=names)
    others = TrainingData({"samm": frozenset({"somebody else"})})
    with pytest.raises(StartLeakError, match=r"was trained on clips of samm, .* promises is an unseen database"):
        refuse_seen_people(others, "m", split, people)
    by_subject = make_split("loso", people.column("subject"), people.labels, databases=names)
    refuse_seen_people(others, "m", by_subject, people)


def test_pre_training_on_macro_expressions_of_the_same_people_is_refused(
    clips: LabelledClips, prepared: Path, tmp_path: Path
) -> None:
    macro = recorded(load_labelled_clips(of_database(prepared, tmp_path / "m", "casme3_macro"), "casme3_7"))
    recipe = resolve({"pretrain_dataset": "macro"})
    with pytest.raises(RecipeError, match="6 subjects of this run's own dataset are in it"):
        refuse_shared_subjects(macro, recorded(clips), recipe)


def test_pre_training_on_test_footage_under_other_names_is_refused(
    clips: LabelledClips, prepared: Path, tmp_path: Path
) -> None:
    renamed = of_database(prepared, tmp_path / "r", "samm", lambda name: f"0{name[-1]}0")
    for protocol in ("loso", "kfold-clips"):
        recipe = resolve({"pretrain_dataset": "samm", "protocol": protocol})
        with pytest.raises(RecipeError, match=r"its clip samm/\S+ shares footage with this run's casme3/\S+, "):
            refuse_shared_subjects(recorded(load_labelled_clips(renamed, "casme3_7")), recorded(clips), recipe)


def test_pre_training_on_a_database_that_is_left_out_is_refused(
    clips: LabelledClips, prepared: Path, tmp_path: Path
) -> None:
    other = rewritten(
        prepared,
        tmp_path / "o",
        subject=lambda values: [f"new {value}" for value in values],
        frame_hashes=lambda values: [[hash_ + 1 for hash_ in hashes] for hashes in values],
    )
    others = recorded(load_labelled_clips(other, "casme3_7"))
    refuse_shared_subjects(others, recorded(clips), resolve({"pretrain_dataset": "o", "protocol": "loso"}))
    with pytest.raises(RecipeError, match=r"1 databases of this run's own dataset are in it \(casme3\)"):
        recipe = resolve({"pretrain_dataset": "o", "protocol": "leave-one-database-out"})
        refuse_shared_subjects(others, recorded(clips), recipe)


@pytest.mark.slow
def test_an_edited_split_and_a_swapped_pre_training_are_refused(quick: dict[str, Any], tmp_path: Path) -> None:
    result = run_recipe(resolve({**quick, "folds": [0], "final_model": True}))
    path = result.path / "split.json"
    content = json.loads(path.read_text())
    moved = content["folds"][1]["test_indices"][0]
    content["folds"][1]["train_indices"].append(moved)
    path.write_text(json.dumps(content))
    with pytest.raises(RunFolderError, match=r"split\.json is not the split that this recipe makes: it was edited"):
        run_recipe(resolve({**quick, "final_model": True}))
    assert read_metrics(result.path / "final")["train_clips"] == 42

    drawn = {"num_subjects": 2, "clips_per_subject": 7, "size": 64, "seed": 9, "num_frames": [6, 7]}
    fields = {**quick, "pretrain_synthetic": drawn, "output_dir": str(tmp_path / "pre"), "folds": [0]}
    run_recipe(resolve(fields))
    model = tmp_path / "pre" / "pretraining" / "model"
    shutil.rmtree(model)
    shutil.copytree(result.path / "final" / "model", model)
    with pytest.raises(StartLeakError, match="6 of the 6 subjects"):
        run_recipe(resolve({**fields, "folds": [1]}))


@pytest.mark.slow
def test_macro_expressions_train_without_those_of_test_subjects_but_in_the_published_protocol(
    quick: dict[str, Any], prepared: Path, tmp_path: Path
) -> None:
    macro = rewritten(
        of_database(prepared, tmp_path / "m", "casme3_macro"),
        tmp_path / "macro",  # other recordings: a macro-expression that shows a test clip's frames would be refused
        frame_hashes=lambda values: [[hash_ + 1 for hash_ in hashes] for hashes in values],
    )
    with pytest.raises(RecipeError, match="The published protocol that adds them all the same is kfold-clips-macro"):
        resolve({**quick, "protocol": "kfold-clips", "macro_dataset": str(macro)})
    with pytest.raises(RecipeError, match="name their prepared dataset with macro_dataset"):
        resolve({**quick, "protocol": "kfold-clips-macro"})
    reports = {}
    for protocol, trained in (("kfold-subjects", 42), ("kfold-clips-macro", 21 + 42)):
        fields = {**quick, "protocol": protocol, "macro_dataset": str(macro), "folds": [0]}
        result = run_recipe(resolve({**fields, "output_dir": str(tmp_path / protocol)}))
        assert read_metrics(result.path / "folds" / "fold-00-seed-42")["train_clips"] == trained
        assert result.metrics["protocol"] == protocol and result.metrics["clips"] == 21
        split = json.loads((result.path / "split.json").read_text())
        assert split["protocol"] == protocol and split["training_only"] == list(range(42, 84))
        reports[protocol] = (result.path / "report.md").read_text()
        assert protocol in (result.model / "README.md").read_text()
    assert "a fold does not train on those of the people that it tests" in reports["kfold-subjects"]
    assert "those of the people that a fold tests are trained on as well" in reports["kfold-clips-macro"]
    same = of_database(prepared, tmp_path / "same", "casme3_macro", lambda name: f"{name}9")
    with pytest.raises(ValueError, match=r"share .* identical frames"):
        run_recipe(resolve({**quick, "macro_dataset": str(same), "output_dir": str(tmp_path / "x")}))
