"""What a run may be pre-trained on: nobody whom its folds test."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hsta_hf.data.labels import get_label_scheme
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.splits import make_split
from hsta_hf.data.synthesize import synthesize
from hsta_hf.training.clips import LabelledClips, load_labelled_clips
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.pretraining import refuse_shared_subjects
from hsta_hf.training.recipe import RecipeError, resolve
from hsta_hf.training.run_setup import missing_classes


@pytest.fixture(scope="module")
def clips(prepared: Path) -> LabelledClips:
    return load_labelled_clips(prepared, "casme3_7")


def drawn(folder: Path, seed: int) -> LabelledClips:
    """Other clips than the fixture's: three subjects, shorter, of another movement."""
    synthesize(
        folder / "d", num_subjects=3, clips_per_subject=2, size=64, num_frames=(6, 7), amplitude=(1, 2), seed=seed
    )
    prepare("casme3", folder / "d", folder / "p", PrepareOptions(faces="keep"), progress=False)
    return load_labelled_clips(folder / "p", "casme3_7")


def recorded(clips: LabelledClips) -> LabelledClips:
    return replace(clips, synthetic=False)


def test_drawn_faces_of_the_runs_own_seed_are_refused(clips: LabelledClips, tmp_path: Path) -> None:
    recipe = resolve({"pretrain_synthetic": {"num_subjects": 3}})
    same, other = drawn(tmp_path / "same", 0), drawn(tmp_path / "other", 7)
    assert not set(same.column("clip_id")) & set(clips.column("clip_id"))  # the faces alone give them away
    with pytest.raises(RecipeError, match=r"pretrain_synthetic: 3 subjects .*spNO\.1.*another seed"):
        refuse_shared_subjects(same, clips, recipe)
    refuse_shared_subjects(other, clips, recipe)


def test_recorded_people_are_refused_by_name(clips: LabelledClips, tmp_path: Path) -> None:
    recipe = resolve({"pretrain_dataset": "other_sessions"})
    others = recorded(drawn(tmp_path, 7))  # other recordings, but of subjects with the same names
    with pytest.raises(RecipeError, match=r"pretrain_dataset: 3 subjects of this run's own dataset are in it"):
        refuse_shared_subjects(others, recorded(clips), recipe)
    # Drawn faces are nobody's, whatever they are called.
    refuse_shared_subjects(drawn(tmp_path / "again", 7), recorded(clips), resolve({"pretrain_synthetic": {}}))


def test_folds_that_share_subjects_may_not_share_clips(clips: LabelledClips, tmp_path: Path) -> None:
    recipe = resolve({"pretrain_dataset": "x", "protocol": "kfold-clips"})
    refuse_shared_subjects(recorded(drawn(tmp_path, 7)), recorded(clips), recipe)
    with pytest.raises(RecipeError, match="42 clips of this run's own dataset"):
        refuse_shared_subjects(recorded(clips), recorded(clips), recipe)


def test_classes_without_training_clips_are_named(clips: LabelledClips) -> None:
    subjects = clips.column("subject")
    labels = [3 if subject == subjects[0] else 1 for subject in subjects]
    rare = replace(clips, labels=tuple(labels))
    split = make_split("loso", subjects, labels)
    assert missing_classes(split, rare) == ["fold 0 tests happy and has no training clip of it"]
    assert missing_classes(make_split("loso", subjects, clips.labels), clips) == []
    units = replace(
        clips, scheme=get_label_scheme("action_units"), labels=tuple(_units(s == subjects[0]) for s in subjects)
    )
    split = make_split("loso", subjects, units.labels)
    assert missing_classes(split, units) == ["fold 0 tests AU2 and has no training clip of it"]


def _units(both: bool) -> tuple[float, ...]:
    return tuple(float(number == 0 or (both and number == 1)) for number in range(21))


def test_runs_that_draw_the_same_faces_may_share_them(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    drawn = {"num_subjects": 2, "clips_per_subject": 7, "size": 64, "num_frames": [8, 9], "seed": 3}
    both = {"pretrain_synthetic": drawn, "drawn_dir": str(tmp_path / "drawn"), "num_train_epochs": 1, "folds": [0]}
    first = run_recipe(resolve({**tiny_recipe, **both, "warmup_epochs": 0}))
    (prepared,) = (tmp_path / "drawn").glob("*/synthetic_prepared")
    files = {path: path.stat().st_mtime_ns for path in prepared.rglob("*") if path.is_file()}
    assert files
    other = {"output_dir": str(tmp_path / "other"), "warmup_epochs": 0}
    second = run_recipe(resolve({**tiny_recipe, **both, **other}))
    assert {path: path.stat().st_mtime_ns for path in files} == files  # read, not drawn again
    alone = {"output_dir": str(tmp_path / "alone"), "drawn_dir": None, "warmup_epochs": 0}
    third = run_recipe(resolve({**tiny_recipe, **both, **alone}))
    tables = [pd.read_parquet(run.path / "predictions.parquet") for run in (first, second, third)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[0], tables[2])  # whoever draws them, they are the same faces
