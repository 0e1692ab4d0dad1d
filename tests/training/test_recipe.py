"""Recipes: overrides, helpful errors, and a resolved recipe that says everything again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from hsta_hf.data.labels import get_label_scheme
from hsta_hf.training.model_factory import build_model, build_processor
from hsta_hf.training.recipe import (
    RecipeError,
    differing_fields,
    list_fields,
    load_recipe,
    parse_overrides,
    pretraining_recipe,
    read_recipe_file,
    resolve,
)

RECIPES = Path(__file__).resolve().parents[2] / "scripts" / "recipes"


def test_defaults_are_the_papers_settings() -> None:
    training = resolve({}).training
    assert (training.per_device_train_batch_size, training.num_train_epochs) == (32, 150)
    assert (training.learning_rate, training.weight_decay) == (5e-5, 0.05)
    assert (training.adam_beta1, training.adam_beta2) == (0.9, 0.999)
    assert (training.warmup_epochs, training.warmup_learning_rate) == (5, 1e-6)
    assert training.class_balanced and "adamw" in training.optim.value


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"lerning_rate": 1}, "no field 'lerning_rate'. Did you mean 'learning_rate'"),
        ({"model": {"num_hsta_layer": 1}}, "no field 'model.num_hsta_layer'. Did you mean 'model.num_hsta_layers'"),
        ({"model": {"stream": {"patchsize": 8}}}, "model.stream.patchsize'. Did you mean 'model.stream.patch_size'"),
        ({"processor": {"video_inputs": "frames"}}, "processor.video_inputs'. Did you mean 'processor.video_input'"),
        ({"pretrain_dataset": "x", "pretrain": {"epochs": 1}}, "no field 'pretrain.epochs'"),
        ({"protocol": "random"}, "protocol is 'random'; use one of kfold-clips, kfold-subjects, loso, holdout"),
        ({"baseline": "hof"}, "off-apexnet, ststnet, videomae; did you mean 'hoof'?"),
        ({"num_folds": "many"}, "num_folds is 'many', but it has to be int"),
        ({"num_folds": 2.5}, "num_folds is 2.5, but it has to be int"),
        ({"class_balanced": "perhaps"}, "class_balanced is 'perhaps', but it has to be bool"),
        ({"seed": 3}, "seed cannot be set; training seeds are listed in `seeds`"),
        ({"load_best_model_at_end": True}, "never chosen by looking at test clips"),
        ({"random_frames": True}, "temporal_variants"),
        ({"motion_amplitude": [2, 1]}, "motion_amplitude"),
        ({"ema_decay": 1.0}, "ema_decay"),
        ({"save_total_limit": 1}, "keep 2 or more"),
        ({"max_steps": 10}, "max_steps cannot be set; the length of a training is num_train_epochs"),
        ({"num_train_epochs": 0}, "num_train_epochs is 0"),
        ({"learning_rate": 1e-7}, "warmup_learning_rate is 1e-06; it must lie between 0 and learning_rate, 1e-07"),
        ({"apex": "spotted", "apex_jitter": 1, "temporal_variants": 2}, "apex_jitter moves annotated apexes"),
        ({"pretrain": {"num_train_epochs": 1}}, "neither pretrain_dataset nor pretrain_synthetic"),
        ({"pretrain": {"num_train_epochs": 1}}, "take `pretrain` out of the recipe, or add --pretrain null"),
    ],
)
def test_mistakes_are_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve(values)
    assert message in str(caught.value)


def test_the_command_line_overrides_the_file(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("learning_rate: 5e-4\nseeds: [1]\nmodel: {num_hsta_layers: 3, use_csta: false}\n")
    words = [
        "--seeds",
        "1",
        "2",
        "--model.num_hsta_layers",
        "2",
        "--processor.num_frames=4",
        "--final-model",
        "--apex",
        "spotted",
    ]
    recipe = load_recipe(file, [*words, "--apex", "spotted"])
    assert recipe.training.learning_rate == 5e-4  # YAML 1.1 reads 5e-4 as text
    assert recipe.data.seeds == [1, 2] and recipe.data.apex == "spotted"
    assert recipe.model.model == {"num_hsta_layers": 2, "use_csta": False}
    assert recipe.model.processor == {"num_frames": 4} and recipe.training.final_model
    with pytest.raises(RecipeError, match=r"command line: there is no field 'num_fold'. Did you mean 'num_folds'"):
        load_recipe(file, ["--num_fold", "3"])
    with pytest.raises(RecipeError, match="stands where a --field should"):
        parse_overrides(["num_folds", "3"])
    with pytest.raises(RecipeError, match="There is no recipe"):
        load_recipe(tmp_path / "other.yaml")


def test_switching_pre_training_off_on_the_command_line_takes_its_section_along(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("pretrain_synthetic: {seed: 3}\npretrain: {num_train_epochs: 1}\n")
    off = load_recipe(file, ["--pretrain_synthetic", "null"]).model
    assert not off.pretrains and off.pretrain is None
    other = load_recipe(file, ["--pretrain_synthetic", "null", "--pretrain_dataset", "x"]).model
    assert other.pretrain == {"num_train_epochs": 1} and other.pretrain_dataset == "x"
    assert load_recipe(file, ["--num_folds", "3"]).model.pretrain == {"num_train_epochs": 1}
    for words in (["--pretrain.num_train_epochs", "2"], ["--pretrain", "{num_train_epochs: 2}"]):
        with pytest.raises(RecipeError, match="neither pretrain_dataset nor pretrain_synthetic"):
            load_recipe(file, ["--pretrain_synthetic", "null", *words])
    file.write_text("pretrain: {num_train_epochs: 1}\n")
    with pytest.raises(RecipeError, match="or add --pretrain null"):
        load_recipe(file, ["--num_folds", "3"])
    assert load_recipe(file, ["--pretrain", "null"]).model.pretrain is None


def test_names_on_the_command_line_stay_as_they_are_written() -> None:
    # YAML would read an octal number, a date, a float and a truth value.
    for text in ("007", "2024-05-01", "1e3", "no"):
        assert parse_overrides(["--output_dir", text]) == {"output_dir": text}
    assert parse_overrides(["--cache-dir", "null"]) == {"cache_dir": None}


def test_a_field_set_whole_and_in_part_is_an_error() -> None:
    with pytest.raises(RecipeError, match=r"--model\.use_csta sets a part of what another option sets whole"):
        parse_overrides(["--model", "tiny", "--model.use_csta", "false"])


@pytest.mark.parametrize("field", ["pretrained", "videomae"])
def test_weights_that_cannot_be_loaded_are_named_by_field(field: str, tmp_path: Path) -> None:
    recipe = resolve({field: str(tmp_path / "absent")})
    with pytest.raises(RecipeError, match=rf"^{field}: .*absent cannot be loaded"):
        build_model(recipe.model, build_processor(recipe.model), get_label_scheme("casme3_7"))


@pytest.mark.parametrize("epochs", [20, 91, 100, 150])
def test_warm_up_is_whole_epochs_to_the_step(epochs: int) -> None:
    for warmup in range(1, 11):
        training = resolve({"num_train_epochs": epochs, "warmup_epochs": warmup}).training
        for steps in (1, 7, 15, 46):
            assert training.get_warmup_steps(steps * epochs) == steps * warmup
    assert resolve({"num_train_epochs": 2}).training.get_warmup_steps(14) == 14


def test_the_resolved_recipe_resolves_to_itself() -> None:
    recipe = resolve({"dataset": "d", "seeds": [1, 2], "gradient_accumulation_steps": 2, "model": {"use_csta": False}})
    saved = yaml.safe_load(yaml.safe_dump(recipe.as_dict()))
    assert saved["gradient_accumulation_steps"] == 2
    assert resolve(saved).as_dict() == recipe.as_dict()


def test_differing_fields_ignores_what_does_not_change_results() -> None:
    one, two = resolve({"output_dir": "a"}).as_dict(), resolve({"output_dir": "b", "num_folds": 3}).as_dict()
    assert differing_fields(one, two) == ["num_folds: 5 → 3"]


def test_pretraining_fields_replace_the_runs_own() -> None:
    recipe = resolve(
        {"pretrain_dataset": "x", "pretrain": {"num_train_epochs": 3}, "num_train_epochs": 9, "weight_decay": 0.1}
    )
    own = pretraining_recipe(recipe)
    assert (own.training.num_train_epochs, own.training.weight_decay) == (3, 0.1)
    assert not own.model.pretrains


def test_the_list_of_fields_has_them_all() -> None:
    text = list_fields()
    assert "num_folds (5)" in text and "ema_decay" in text and "motion_amplitude" in text


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_recipes_of_the_repository_are_valid(file: Path) -> None:
    recipe = load_recipe(file)
    processor = build_processor(recipe.model)
    assert processor.num_frames % 2 == 0
    if not recipe.model.videomae:  # needs a checkpoint
        arguments = dataclasses.replace(recipe.model, pretrained=None)
        model = build_model(arguments, processor, get_label_scheme(recipe.data.label_scheme))
        assert model.config.video_config.num_frames == processor.num_frames


def test_a_recipe_that_comes_with_the_package_is_found_by_name() -> None:
    by_name, by_path = load_recipe("synthetic_demo"), load_recipe(RECIPES / "synthetic_demo.yaml")
    assert by_name.as_dict() == by_path.as_dict()


def test_an_unknown_recipe_lists_the_names() -> None:
    with pytest.raises(RecipeError, match=r"no recipe casme9; give the path of a YAML file, or one of .*casme3_paper"):
        load_recipe("casme9")


def test_a_recipe_that_extends_another_says_it_in_full(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(
        "prepare: {database: casme3, size: 96}\nlearning_rate: 2e-4\nvideomae: some/checkpoint\n"
        "model: {num_hsta_layers: 3, stream: {image_size: 64}}\n"
    )
    (tmp_path / "folder").mkdir()
    middle = tmp_path / "folder" / "middle.yaml"
    middle.write_text("extends: ../base.yaml\nprotocol: loso\nvideomae: null\nprepare: {database: samm}\n")
    (tmp_path / "folder" / "last.yaml").write_text("extends: middle.yaml\nmodel: {stream: {patch_size: 8}}\n")
    content = read_recipe_file(tmp_path / "folder" / "last.yaml")
    assert content["prepare"] == {"database": "samm", "size": 96} and "extends" not in content
    recipe = load_recipe(tmp_path / "folder" / "last.yaml", ["--learning_rate", "1e-3"])
    assert recipe.model.model == {"num_hsta_layers": 3, "stream": {"image_size": 64, "patch_size": 8}}
    assert (recipe.data.protocol, recipe.training.learning_rate, recipe.model.videomae) == ("loso", 1e-3, None)
    shipped = tmp_path / "own.yaml"
    shipped.write_text("extends: casme3_paper\nnum_folds: 3\n")
    assert load_recipe(shipped).as_dict() == load_recipe("casme3_paper").as_dict() | {"num_folds": 3}


def test_the_example_in_the_documentation_says_what_the_page_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")
    [example] = [part for part in page.split("```yaml\n")[1:] if "extends:" in part]
    (tmp_path / "mine.yaml").write_text(example.split("```")[0], encoding="utf-8")
    content, base = read_recipe_file(tmp_path / "mine.yaml"), read_recipe_file("casme3_paper")
    assert base["videomae"] is not None and content["videomae"] is None
    assert content["prepare"] == {**base["prepare"], "size": 112} != base["prepare"]
    assert content["model"] == {**base["model"], "num_video_layers": 1} != base["model"]
    assert content["processor"] == {**base["processor"], "size": {"height": 112, "width": 112}}
    assert load_recipe(tmp_path / "mine.yaml").model.videomae is None


def test_a_recipe_that_extends_nothing_or_itself_is_named(tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("extends: two.yaml\n")
    two.write_text("extends: one.yaml\n")
    with pytest.raises(RecipeError, match=r"one\.yaml extends itself \(.*one\.yaml → .*two\.yaml → .*one\.yaml\)"):
        load_recipe(one)
    one.write_text("extends: absent\n")
    with pytest.raises(RecipeError, match=r"two\.yaml: extends: There is no recipe absent|one\.yaml: extends: There"):
        load_recipe(two)
    one.write_text("extends: [a, b]\n")
    with pytest.raises(RecipeError, match=r"extends is \['a', 'b'\]; give the name or the path of one recipe"):
        load_recipe(one)
    with pytest.raises(RecipeError, match="command line's changes: extends stands in recipe files only"):
        load_recipe("casme3_paper", ["--extends", "casme3_flow"])
    with pytest.raises(RecipeError, match=r"model\.training_data cannot be set"):
        resolve({"model": {"training_data": None}})
