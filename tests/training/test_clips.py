"""Label schemes that do not fit a dataset: refused, or warned of, with the schemes that do."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from hsta_hf.data.prepared import MANIFEST
from hsta_hf.data.splits import SplitError
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.recipe import resolve

Rewrite = Callable[..., Path]


@pytest.fixture
def rewritten(prepared: Path, tmp_path: Path) -> Rewrite:
    """Copies the 42 prepared clips with other columns; an emotion changes no other annotation, which is emptied."""

    def write(**columns: Sequence[Any]) -> Path:
        dataset = datasets.load_from_disk(str(prepared))
        assert isinstance(dataset, datasets.Dataset)
        table = dataset.data.table
        nothing = {"objective_class": [None] * 42, "action_units": [[]] * 42, "action_units_raw": [""] * 42}
        for name, values in {**nothing, **columns}.items():
            field = table.schema.field(name)
            column = pa.array(list(values), type=field.type)
            table = table.set_column(table.schema.get_field_index(name), field, column)
        folder = tmp_path / "rewritten"
        datasets.Dataset(datasets.table.InMemoryTable(table)).save_to_disk(str(folder))
        shutil.copy(prepared / MANIFEST, folder / MANIFEST)
        return folder

    return write


def test_a_scheme_that_knows_one_class_is_refused_with_those_that_fit(rewritten: Rewrite) -> None:
    folder = rewritten(emotion=["negative"] * 20 + ["positive"] * 14 + ["surprise"] * 8)
    with pytest.raises(ValueError) as caught:
        load_labelled_clips(folder, "casme3_7")
    assert str(caught.value) == (
        f"label scheme casme3_7 gives all 8 labelled clips of {folder} one class, 'surprise', which leaves nothing to "
        "learn; left out by their field 'emotion': 20 negative, 14 positive. Label schemes that fit its clips: "
        "three_class (42 clips in 3 classes)."
    )
    clips = load_labelled_clips(folder, "three_class")
    assert len(clips) == 42 and clips.warning is None


def test_a_scheme_that_knows_no_clip_names_those_that_fit(rewritten: Rewrite) -> None:
    folder = rewritten(emotion=["positive", "negative"] * 21)
    with pytest.raises(ValueError) as caught:
        load_labelled_clips(folder, "samm_5")
    assert "label scheme 'samm_5' labels none of the 42 clips; left out by their field 'emotion': 21 " in str(
        caught.value
    )
    assert str(caught.value).endswith("Label schemes that fit its clips: three_class (42 clips in 2 classes).")


def test_without_a_scheme_that_fits_the_annotation_is_to_be_corrected(rewritten: Rewrite) -> None:
    folder = rewritten(emotion=["surprise"] + ["hapiness"] * 41)
    with pytest.raises(
        ValueError, match=r"gives the only labelled clip .* 41 hapiness\. No label scheme gives its clips"
    ):
        load_labelled_clips(folder, "casme3_7")


def test_the_two_names_of_the_objective_classes_are_one_suggestion(rewritten: Rewrite) -> None:
    folder = rewritten(emotion=["sad"] * 42, objective_class=["I", "VII", "VII"] * 14)
    with pytest.raises(ValueError, match=r"that fit its clips: objective \(42 clips in 2 classes\)\.$"):
        load_labelled_clips(folder, "casme3_7")
    folder = rewritten(emotion=["sad"] * 42, objective_class=["I"] * 42)
    with pytest.raises(ValueError, match="No label scheme"):
        load_labelled_clips(folder, "objective")


def test_a_scheme_that_leaves_out_more_than_a_third_is_warned_of(rewritten: Rewrite) -> None:
    kept = ["happiness", "surprise"] * 14
    clips = load_labelled_clips(rewritten(emotion=kept + ["sadness"] * 14), "samm_5")
    assert len(clips) == 28 and clips.warning is None  # a third is left out, not more
    clips = load_labelled_clips(rewritten(emotion=kept[:27] + ["sadness"] * 15), "samm_5")
    assert clips.warning == (
        "label scheme samm_5 leaves out 15 of 42 clips (36%), whose 'emotion' it does not know; "
        "label schemes that label more: three_class (42 clips in 3 classes)"
    )
    clips = load_labelled_clips(rewritten(emotion=kept[:27] + ["unheard"] * 15), "three_class")
    assert clips.warning is not None and clips.warning.endswith("know; no other label scheme labels more")


def test_several_labels_a_clip_have_to_differ_between_clips(rewritten: Rewrite) -> None:
    emotion = ["happy", "surprise"] * 21
    folder = rewritten(emotion=emotion, action_units=[["4", "7"]] * 30 + [[]] * 12)
    with pytest.raises(ValueError) as caught:
        load_labelled_clips(folder, "action_units")
    assert f"all 30 labelled clips of {folder} the same classes, 'AU4', 'AU7', which" in str(caught.value)
    assert "12 (no action_units). Label schemes that fit its clips, but with only one class a clip: " in str(
        caught.value
    )
    # Where all have AU4 and one has AU7 as well, AU7 can be learnt.
    units = [["4", "7"]] + [["4"]] * 26
    clips = load_labelled_clips(rewritten(emotion=emotion, action_units=units + [["43"]] * 15), "action_units")
    assert clips.warning == (
        "label scheme action_units leaves out 15 of 42 clips (36%), which have none of its classes; "
        "no other label scheme labels more"
    )
    # The sided scheme has the text of all 42.
    raw = ["L4", "R4"] * 21
    folder = rewritten(emotion=emotion, action_units=units + [["43"]] * 15, action_units_raw=raw)
    warning = load_labelled_clips(folder, "action_units").warning
    assert warning is not None and warning.endswith("more: action_units_sided (42 clips in 2 classes)")


def test_what_was_left_out_is_printed_before_a_split_that_cannot_be_made(
    rewritten: Rewrite, tiny_recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    emotion = ["happy", "surprise"] * 3 + ["happy"] + ["hapiness"] * 35  # of the first subject's 7 clips only
    fields = {**tiny_recipe, "dataset": str(rewritten(emotion=emotion)), "protocol": "loso"}
    with pytest.raises(SplitError, match="needs 2 subjects or more, there is 1"):
        run_recipe(resolve(fields))
    assert capsys.readouterr().out.splitlines() == [
        "Label scheme casme3_7: 7 of 42 clips have a label; left out: 35 hapiness.",
        "WARNING: label scheme casme3_7 leaves out 35 of 42 clips (83%), whose 'emotion' it does not know; "
        "no other label scheme labels more.",
    ]
