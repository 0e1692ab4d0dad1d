"""Every recipe that comes with hsta-hf: it is read, its model is built, and its split is what its name promises."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from owners import casme2, casme3, casme3_macro, megc2019, samm

from hsta_hf.data.clip import MicroExpressionClip
from hsta_hf.data.databases import DATABASES, get_database
from hsta_hf.data.labels import LABEL_SCHEMES, get_label_scheme
from hsta_hf.data.splits import PROTOCOLS, Split, make_split
from hsta_hf.training.model_factory import build_model, build_processor
from hsta_hf.training.recipe import Recipe, load_recipe, read_recipe_file, shipped_recipes

RECIPES = shipped_recipes()
UNITS = re.compile(r"across databases: ([\d, ]+), as")


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_recipe_builds_its_model(name: str) -> None:
    """Without weights: what a checkpoint would hold is not needed to see whether the fields go together."""
    recipe = load_recipe(name)
    assert name not in DATABASES, "hsta prepare takes either by its name"
    arguments = copy.copy(recipe.model)
    arguments.videomae = arguments.pretrained = None
    scheme = get_label_scheme(recipe.data.label_scheme)
    with torch.device("meta"):
        model = build_model(arguments, build_processor(arguments), scheme)
    assert model.config.num_labels == scheme.num_labels
    section = read_recipe_file(name)["prepare"]
    assert get_database(section["database"]).name == section["database"]


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_what_a_recipe_tells_to_do_exists(name: str) -> None:
    text = RECIPES[name].read_text(encoding="utf-8")
    for command, first in re.findall(r"^#\s+hsta (prepare|train) (\S+)", text, flags=re.MULTILINE):
        known = set(RECIPES) | (set(DATABASES) if command == "prepare" else set())
        assert first in known, f"hsta {command} {first}"
    assert f"hsta train {name}" in text or f"recipes/{name}.yaml" in text or "hsta ablate" in text


def test_the_page_of_protocols_names_them_all_and_recipes_that_exist() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5]
    told = {row[1].strip(" `"): re.findall(r"`([a-z]\w+)`", row[4]) for row in rows}
    assert set(told) == set(PROTOCOLS)
    for protocol, names in told.items():
        assert all(load_recipe(name).data.protocol == protocol for name in names), protocol
    assert sum(len(names) for names in told.values()) >= 14
    units = UNITS.search(page)
    assert units is not None
    assert tuple(f"AU{unit.strip()}" for unit in units[1].split(",")) == LABEL_SCHEMES["action_units_12"].labels


def split_of(
    recipe: Recipe, clips: list[MicroExpressionClip], macro: list[MicroExpressionClip] | None = None
) -> Split:
    """The split of a run on these clips, with those that only train behind them."""
    scheme = get_label_scheme(recipe.data.label_scheme)
    assigned = scheme.assign(clips)
    extra = scheme.assign(macro or [])
    chosen = [clips[i] for i in assigned.indices] + [(macro or [])[i] for i in extra.indices]
    return make_split(
        recipe.data.protocol,
        [clip.subject for clip in chosen],
        [*assigned.labels, *extra.labels],
        recipe.data.num_folds,
        recipe.data.split_seed,
        [clip.database for clip in chosen],
        clip_ids=[clip.clip_id for clip in chosen],
        training_only=range(len(assigned.indices), len(chosen)),
    )


def loaded(database: str, root: Path) -> list[MicroExpressionClip]:
    return list(get_database(database).load(root).clips)


@pytest.fixture(scope="module")
def composite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return megc2019.write_published(tmp_path_factory.mktemp("megc"))


@pytest.fixture(scope="module")
def part_a(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CAS(ME)^3 part A with both tables."""
    root = casme3.write_published(tmp_path_factory.mktemp("casme3"))
    casme3_macro.write_published(root)
    return root


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "database", "folder", "folds", "clips"),
    [
        ("megc2019_loso", "megc2019", "", 68, 442),
        ("leave_one_database_out", "megc2019", "", 3, 442),
        ("smic_loso", "smic_hs", megc2019.FOLDERS["smic_hs"], 16, 164),
        ("casme2_loso", "casme2", megc2019.FOLDERS["casme2"], None, None),
        ("samm_loso", "samm", megc2019.FOLDERS["samm"], None, None),
    ],
)
def test_the_folds_of_the_composite_and_its_members(
    composite: Path, name: str, database: str, folder: str, folds: int | None, clips: int | None
) -> None:
    recipe = load_recipe(name)
    split = split_of(recipe, loaded(database, composite / folder))
    if folds is None:
        scheme = get_label_scheme(recipe.data.label_scheme)
        counts = casme2.EMOTIONS if database == "casme2" else samm.EMOTIONS
        clips = sum(count for emotion, count in counts.items() if emotion.lower() in scheme.mapping)
        folds = len(set(split.people))
    assert (split.num_folds, split.num_clips) == (folds, clips)
    for fold in split.folds:
        assert len(fold.test_subjects) == 1 or recipe.data.protocol != "loso"
    if name == "megc2019_loso":
        tested = [split.databases[fold.test_indices[0]] for fold in split.folds]
        counted = {member: tested.count(member) for member in set(tested)}
        assert counted == {member: counts[3] for member, counts in megc2019.PUBLISHED.items()}
    if name == "leave_one_database_out":
        sizes = sorted(len(fold.test_indices) for fold in split.folds)
        assert sizes == sorted(sum(counts[:3]) for counts in megc2019.PUBLISHED.values())


@pytest.mark.slow
def test_the_folds_of_casme3(part_a: Path) -> None:
    clips, macro = loaded("casme3", part_a), loaded("casme3_macro", part_a)
    three = sum(count for emotion, count in casme3.EMOTIONS.items() if emotion.lower() != "others")
    for name, folds, number in (
        ("casme3_7classes_loso", 94, 860),
        ("casme3_3classes_loso", None, three),
        ("casme3_7classes_kfold_clips", 5, 860),
        ("casme3_7classes_kfold_subjects", 5, 860),
        ("casme3_3classes_kfold_clips", 5, three),
        ("casme3_objective", 5, 860),
    ):
        split = split_of(load_recipe(name), clips)
        assert (split.num_folds, split.num_clips) == (folds or split.num_people, number), name
    with_macro, published = (
        split_of(load_recipe(name), clips, macro) for name in ("casme3_with_macro", "casme3_with_macro_published")
    )
    plain = split_of(load_recipe("casme3_7classes_kfold_subjects"), clips)
    assert [fold.test_indices for fold in with_macro.folds] == [fold.test_indices for fold in plain.folds]
    aside = set(with_macro.training_only)
    assert len(aside) == len(macro) > 3000
    for fold in with_macro.folds:
        people = {with_macro.people[i] for i in fold.train_indices if i in aside}
        assert people and not people & set(fold.test_subjects)
    assert all(aside <= set(fold.train_indices) for fold in published.folds)


@pytest.mark.slow
def test_action_units_across_databases(composite: Path, part_a: Path) -> None:
    clips = [
        *loaded("casme2", composite / megc2019.FOLDERS["casme2"]),
        *loaded("samm", composite / megc2019.FOLDERS["samm"]),
        *loaded("casme3", part_a),
    ]
    smic_clips = loaded("smic_hs", composite / megc2019.FOLDERS["smic_hs"])
    recipe = load_recipe("action_units_leave_one_database_out")
    split = split_of(recipe, [*clips, *smic_clips])
    assert split.num_folds == 3 and set(split.databases) == {"casme2", "samm", "casme3"}  # SMIC annotates no units
    annotated = [clip for clip in clips if clip.action_units_raw]
    assert split.num_clips == len(annotated)
    loso = split_of(load_recipe("action_units_loso"), clips)
    assert loso.num_folds == loso.num_people == len({(clip.database, clip.subject) for clip in annotated})
