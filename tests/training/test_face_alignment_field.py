"""Models note how the faces that they were trained on were aligned; nothing else changes by it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from hsta_hf import HSTAVideoProcessor
from hsta_hf.data.prepared import MANIFEST
from hsta_hf.training.arguments import DataArguments
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.fold import processor_to_save
from hsta_hf.training.recipe import RecipeError, resolve
from hsta_hf.training.tensor_cache import cache_key

ALIGNED = {"mode": "align", "size": 224, "stabilise": True, "detector": {"file": "yunet.onnx", "sha256": "0"}}


def test_a_trained_model_says_how_its_clips_were_aligned(tiny_recipe: dict[str, Any], prepared: Path) -> None:
    manifest = prepared / MANIFEST
    before = manifest.read_text()
    content = json.loads(before)
    manifest.write_text(json.dumps({**content, "faces": ALIGNED}))
    try:
        recipe = resolve({**tiny_recipe, "folds": [0], "num_train_epochs": 1}, "the test")
        run_recipe(recipe)
    finally:
        manifest.write_text(before)
    model = Path(recipe.training.output_dir or "") / "folds" / "fold-00-seed-42" / "model"
    assert HSTAVideoProcessor.from_pretrained(model).face_alignment == {"size": 224, "stabilise": True}


def test_what_a_model_started_from_does_not_count(prepared: Path) -> None:
    clips = load_labelled_clips(prepared, "casme3_7")
    started = HSTAVideoProcessor(face_alignment={"size": 224, "stabilise": True})
    assert processor_to_save(started, clips).face_alignment is None  # these clips were kept as they are
    assert started.face_alignment is not None
    aligned = dataclasses.replace(clips, preparation={"size": 112, "faces": {**ALIGNED, "size": 112}})
    assert processor_to_save(HSTAVideoProcessor(), aligned).face_alignment == {"size": 112, "stabilise": True}


def test_cached_streams_are_the_same_with_it(prepared: Path) -> None:
    clips, arguments = load_labelled_clips(prepared, "casme3_7"), DataArguments()
    plain, noted = (
        HSTAVideoProcessor(video_input="difference", face_alignment=value)
        for value in (None, {"size": 224, "stabilise": False})
    )
    assert cache_key(clips, plain, arguments) == cache_key(clips, noted, arguments)


def test_a_recipe_cannot_say_it(tiny_recipe: dict[str, Any]) -> None:
    tiny_recipe["processor"]["face_alignment"] = {"size": 224, "stabilise": True}
    with pytest.raises(RecipeError, match=r"processor\.face_alignment cannot be set"):
        resolve(tiny_recipe, "the test")


@pytest.mark.parametrize(
    "value", [{"size": 224}, {"size": 8, "stabilise": True}, {"size": True, "stabilise": True}, "yes", 224]
)
def test_what_makes_no_sense_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="face_alignment is"):
        HSTAVideoProcessor(face_alignment=value)


def test_it_is_saved_and_an_older_file_lacks_it(tmp_path: Path) -> None:
    HSTAVideoProcessor(face_alignment={"size": 64, "stabilise": False}).save_pretrained(tmp_path)
    assert HSTAVideoProcessor.from_pretrained(tmp_path).face_alignment == {"size": 64, "stabilise": False}
    (file,) = tmp_path.glob("*processor*.json")
    content = json.loads(file.read_text())
    del content["face_alignment"]
    file.write_text(json.dumps(content))
    assert HSTAVideoProcessor.from_pretrained(tmp_path).face_alignment is None
