"""What may be asked of `hsta prepare`, by a recipe and on the command line, and who wins."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import pytest

from hsta_hf.cli import prepare as prepare_command
from hsta_hf.data.prepare_options import FlowOptions, PrepareError, PrepareOptions, read_section
from hsta_hf.training.model_factory import build_processor
from hsta_hf.training.recipe import RecipeError, load_recipe, read_recipe_file, shipped_recipes


def asked(*words: str) -> tuple[str, PrepareOptions]:
    parser = argparse.ArgumentParser()
    prepare_command.add_parser(parser.add_subparsers())
    return prepare_command._what_is_asked(parser.parse_args(["prepare", words[0], "ROOT", "OUT", *words[1:]]))


def recipe(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_every_recipe_says_how_its_dataset_is_made(name: str):
    database, options = asked(name)
    of = {"casme2_loso": "casme2", "samm_loso": "samm", "smic_loso": "smic_hs"}
    composites = ("megc2019_loso", "leave_one_database_out")
    assert database == ("megc2019" if name in composites else of.get(name, "casme3"))
    drawn = name == "synthetic_demo"
    assert (options.faces, options.size) == (("keep", None) if drawn else ("auto", 224))


def test_the_flow_recipe_stores_what_its_processor_computes():
    _, options = asked("casme3_flow")
    assert options.flow is not None
    assert options.flow.as_dict() == build_processor(load_recipe("casme3_flow").model).flow_settings()
    assert options.flow == FlowOptions("farneback", 192, 192, True)


def test_flow_takes_the_size_of_the_recipes_model_where_nothing_else_is_said(tmp_path: Path):
    path = recipe(tmp_path, "preset: tiny\nmodel: {stream: {image_size: 48}}\nprepare: {database: casme3, flow: {}}")
    assert asked(path)[1].flow == FlowOptions("farneback", 48, 48, False)


def test_the_command_line_goes_over_the_recipe(tmp_path: Path):
    path = recipe(
        tmp_path,
        "prepare:\n  database: casme3\n  faces: align\n  size: 96\n  max_frames: 40\n  stabilise: true\n"
        "  flow: {method: dis, size: 64, remove_head_motion: true}\n",
    )
    assert asked(path) == (
        "casme3",
        PrepareOptions(faces="align", size=96, max_frames=40, stabilise=True, flow=FlowOptions("dis", 64, 64, True)),
    )
    database, options = asked(path, "--size", "128", "--faces", "keep", "--flow-size", "32", "--keep-head-motion")
    assert (database, options.size, options.faces, options.max_frames) == ("casme3", 128, "keep", 40)
    assert not options.stabilise, "frames that are kept cannot be stabilised"
    assert options.flow == FlowOptions("dis", 32, 32, False)
    assert asked(path, "--flow", "none")[1].flow is None
    assert asked(path, "--flow", "farneback")[1].flow == FlowOptions("farneback", 64, 64, True)
    assert asked(path, "--face-detector", "x.onnx", "--variant", "raw", "--no-spotting")[1] == PrepareOptions(
        variant="raw", faces="align", size=96, max_frames=40, stabilise=True, face_detector="x.onnx",
        flow=FlowOptions("dis", 64, 64, True), spot_missing_apex=False,
    )  # fmt: skip


def test_a_database_alone_is_aligned_without_flow():
    assert asked("casme3") == ("casme3", PrepareOptions())
    assert asked("casme3", "--flow", "dis")[1].flow == FlowOptions("dis", 224, 224, True)
    settled = PrepareOptions().settled(already_aligned=False)
    assert (settled.faces, settled.size, settled.stabilise) == ("align", 224, True)
    kept = PrepareOptions().settled(already_aligned=True)
    assert (kept.faces, kept.size, kept.stabilise) == ("keep", None, False)
    assert PrepareOptions(stabilise=False).settled(already_aligned=False).stabilise is False
    with pytest.raises(PrepareError, match="the owner has cropped these"):
        PrepareOptions(stabilise=True).settled(already_aligned=True)
    assert PrepareOptions(faces="align").settled(already_aligned=True).faces == "align"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "'nowhere' is neither a database (casme3,"),
        (["nowhere.yaml"], "There is no recipe nowhere.yaml"),
        (["casme3", "--flow-size", "64"], "say --flow METHOD, too"),
        (["casme3", "--flow", "none", "--keep-head-motion"], "say --flow METHOD, too"),
        (["casme3", "--flow", "dis", "--flow-size", "1"], "flow size must be 2 pixels or more"),
        (["casme3", "--faces", "keep", "--stabilise"], "stabilise needs aligned faces"),
    ],
)
def test_what_makes_no_sense_is_refused(words: list[str], message: str):
    with pytest.raises(PrepareError, match=re.escape(message)):
        asked(*words)


def test_a_recipe_without_a_database_is_told_what_to_add(tmp_path: Path):
    with pytest.raises(PrepareError, match=re.escape("add `prepare: {database: NAME}` to it")):
        asked(recipe(tmp_path, "num_folds: 3\n"))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"facs": "keep"}, "prepare has no field 'facs'; did you mean 'faces'?"),
        ({"face_detector": "x"}, "prepare has no field 'face_detector'"),  # of the machine, not of the experiment
        ({"database": "casme9"}, "prepare.database is 'casme9'; use one of casme3"),
        ({"faces": "centre"}, "faces is 'centre'; use one of auto, align, keep"),
        ({"size": "big"}, "size must be a whole number, got 'big'"),
        ({"size": True}, "size must be a whole number"),
        ({"max_frames": 1}, "max_frames must be 2 or more"),
        ({"stabilise": 1}, "stabilise must be true or false"),
        ({"flow": {"methd": "dis"}}, "prepare.flow has no field 'methd'; did you mean 'method'?"),
        ({"flow": {"method": "magic"}}, "flow method is 'magic'; use one of farneback"),
        ({"flow": {"size": "big"}}, "flow size must be whole pixels"),
        ({"flow": 3}, "prepare.flow must be a mapping"),
        ({"flow": {"remove_head_motion": "no"}}, "remove_head_motion must be true or false"),
        ("casme3", "prepare must hold `field: value` lines"),
    ],
)
def test_a_recipe_with_a_wrong_section_neither_prepares_nor_trains(section: Any, message: str, tmp_path: Path):
    with pytest.raises(PrepareError, match=re.escape(message)):
        read_section(section)
    import yaml

    path = recipe(tmp_path, yaml.safe_dump({"prepare": section}))
    with pytest.raises(RecipeError, match=re.escape(message)):
        load_recipe(path)


def test_training_checks_the_section_and_leaves_it_at_that(tmp_path: Path):
    text = "num_folds: 3\nprepare: {database: casme3, flow: dis}\n"
    assert load_recipe(recipe(tmp_path, text)).as_dict() == load_recipe(recipe(tmp_path, "num_folds: 3\n")).as_dict()
    assert load_recipe(recipe(tmp_path, text), ["--prepare.size", "96"]).data.num_folds == 3
    with pytest.raises(RecipeError, match="size must be a number of pixels"):
        load_recipe(recipe(tmp_path, text), ["--prepare.size", "0"])
    assert "prepare" in read_recipe_file("synthetic_demo")


def test_aligned_faces_need_some_pixels():
    with pytest.raises(PrepareError, match="size of aligned faces must be 16 pixels or more, got 8"):
        PrepareOptions(size=8).settled(already_aligned=False)
    assert PrepareOptions(size=8, faces="keep").settled(already_aligned=False).size == 8
