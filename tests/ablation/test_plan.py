"""Which runs the rows of the tables come to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hsta_hf.ablation.plan import AblationOptions, Plan, make_plan
from hsta_hf.paper.tables import load_tables
from hsta_hf.training.recipe import RecipeError

OPTIONS = AblationOptions(tables=("table2", "table3"), dataset="data/casme3", output=Path("out"))


def folders(plan: Plan) -> dict[str, str | None]:
    return {planned.row.name: planned.folder and planned.folder.name for planned in plan.rows}


def test_every_row_that_can_be_run_comes_to_a_recipe_of_its_own():
    everything = replace(OPTIONS, tables=tuple(load_tables()), macro_dataset="data/macro")
    for planned in make_plan(everything).rows:
        assert (planned.recipe is None) == (planned.row.recipe is None) == (planned.not_run is not None)
        if planned.recipe is not None:
            assert planned.recipe.data.dataset == "data/casme3"
            assert planned.recipe.training.output_dir == str(planned.folder)
            assert planned.recipe.data.cache_dir == str(Path("out/shared/cache"))


def test_rows_with_the_same_settings_are_one_run():
    plan = make_plan(OPTIONS)
    names = folders(plan)
    assert names["b1"] == names["a6"] == "a6_kfold-subjects"
    assert len(plan.runs) == 6 + 12 - 1
    assert len({name for name in names.values()}) == len(plan.runs)


def test_a_run_folder_does_not_depend_on_which_tables_are_asked_for_together():
    alone = folders(make_plan(replace(OPTIONS, tables=("table3",))))
    assert alone.items() <= folders(make_plan(OPTIONS)).items()
    assert alone["b1"] == "a6_kfold-subjects"


def test_folds_by_clips_become_folds_by_subjects_unless_asked_for():
    assert {planned.protocol for planned in make_plan(OPTIONS).rows} == {"kfold-subjects"}
    assert {p.protocol for p in make_plan(replace(OPTIONS, tables=("table6",))).rows} == {"loso"}
    both = make_plan(replace(OPTIONS, tables=("table2",), protocols=("kfold-subjects", "published")))
    assert [(planned.row.name, planned.protocol) for planned in both.rows][:7:6] == [
        ("a1", "kfold-subjects"),
        ("a1", "kfold-clips"),
    ]
    assert len(both.runs) == 12
    for planned in both.rows:
        assert planned.recipe is not None and planned.recipe.data.protocol == planned.protocol


def test_a_baseline_takes_nothing_that_only_a_model_has():
    options = replace(OPTIONS, tables=("table5",), recipe="casme3_flow_small")
    rows = {planned.row.name: planned.recipe for planned in make_plan(options).rows}
    baseline, model = rows["ststnet"], rows["hsta"]
    assert baseline is not None and baseline.model.baseline == "ststnet"
    assert baseline.model.model is None and not baseline.model.pretrains
    assert model is not None and model.model.pretrains and model.model.baseline is None
    assert baseline.data.label_scheme == model.data.label_scheme == "three_class"


def test_macro_expressions_go_to_the_rows_that_train_on_them():
    options = replace(OPTIONS, tables=("table7",))
    without = {planned.row.name: planned for planned in make_plan(options).rows}
    assert "--macro_database" in (without["sf-mae-oc"].not_run or "") and without["sf-oc"].not_run is None
    given = {p.row.name: p.recipe for p in make_plan(replace(options, macro_dataset="data/macro")).rows}
    assert given["sf-mae-oc"] is not None and given["sf-mae-oc"].data.macro_dataset == "data/macro"
    assert given["sf-oc"] is not None and given["sf-oc"].data.macro_dataset is None
    assert given["sf-mae-oc"].data.protocol == given["sf-oc"].data.protocol == "kfold-subjects"
    published = replace(options, macro_dataset="data/macro", protocols=("published",))
    as_published = {planned.row.name: planned.recipe for planned in make_plan(published).rows}
    assert as_published["sf-mae-oc"] is not None and as_published["sf-mae-oc"].data.protocol == "kfold-clips-macro"
    assert as_published["sf-oc"] is not None and as_published["sf-oc"].data.protocol == "kfold-clips"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(OPTIONS, tables=("table9",)), "There is no table table9; the paper has table1, "),
        (replace(OPTIONS, rows=("a1", "z9")), "--rows names z9; there are a1, a2"),
        (replace(OPTIONS, tables=("table6",), rows=("unnamed-1",)), "unnamed-1, which cannot be run: its name"),
        (replace(OPTIONS, tables=("table7",), rows=("sf-mae-oc",)), "add --macro_database"),
        (replace(OPTIONS, protocols=("loo",)), "--protocol is 'loo'; use published"),
        (replace(OPTIONS, overrides=("--model.use_csta", "false")), "--model.use_csta is what the rows of table2"),
        (replace(OPTIONS, overrides=("--output_dir", "x")), "use --output"),
        (replace(OPTIONS, overrides=("--num_epochs", "3")), "num_epochs"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(options: AblationOptions, message: str):
    with pytest.raises(RecipeError, match=message):
        make_plan(options)


def test_overrides_reach_every_row():
    plan = make_plan(replace(OPTIONS, overrides=("--num_train_epochs", "3", "--model.stream.hidden_size", "96")))
    for planned in plan.rows:
        assert planned.recipe is not None and planned.recipe.training.num_train_epochs == 3
        assert (planned.recipe.model.model or {})["stream"] == {"hidden_size": 96}
