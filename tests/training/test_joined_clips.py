"""Several prepared datasets as one: rows, frames, stored flow and streams of every clip stay its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewritten_datasets import of_database

from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.prepare_options import FlowOptions
from hsta_hf.data.synthesize import synthesize
from hsta_hf.training.arguments import DataArguments
from hsta_hf.training.clips import LabelledClips, load_labelled_clips
from hsta_hf.training.joined_clips import JoinError, join_clips, load_run_clips
from hsta_hf.training.tensor_cache import build_cache
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

FLOW = FlowOptions("farneback", 32, 32, True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Clips of three drawn subjects with flow, and others of two of them as macro-expressions."""
    folder = tmp_path_factory.mktemp("joined")
    for name, seed, subjects, clips in (("micro", 0, 3, 4), ("macro", 3, 2, 3)):
        synthesize(
            folder / f"{name}-d", num_subjects=subjects, clips_per_subject=clips, size=64, num_frames=(6, 8), seed=seed
        )
        options = PrepareOptions(faces="keep", flow=FLOW)
        prepare("casme3", folder / f"{name}-d", folder / f"{name}-drawn", options, progress=False)
    return {
        "micro": folder / "micro-drawn",
        "macro": of_database(folder / "macro-drawn", folder / "macro", "casme3_macro"),
    }


def joined(folders: dict[str, Path], **fields: Any) -> LabelledClips:
    return load_run_clips(DataArguments(dataset=str(folders["micro"]), macro_dataset=str(folders["macro"]), **fields))


def test_every_clip_keeps_its_row_its_frames_and_its_streams(folders: dict[str, Path], tmp_path: Path) -> None:
    parts = [load_labelled_clips(folders[name], "casme3_7") for name in ("micro", "macro")]
    clips = joined(folders)
    assert clips.training_only == tuple(range(len(parts[0]), len(clips)))
    assert clips.databases == ["casme3", "casme3_macro"]
    assert "Added to training, casme3_macro: Label scheme casme3_7: all 6 clips" in clips.description
    size = {"height": 32, "width": 32}
    processor = HSTAVideoProcessor(
        size=size, flow_size=size, flow_method="farneback", remove_head_motion=True, special_input="optical_flow"
    )
    streams = build_cache(clips, processor, DataArguments(), tmp_path / "joined")
    start = 0
    for number, part in enumerate(parts):
        alone = build_cache(part, processor, DataArguments(), tmp_path / str(number))
        for index in range(len(part)):
            place = start + index
            assert np.array_equal(clips.frames(place), part.frames(index))
            assert clips.labels[place] == part.labels[index]
            assert clips.key_frames()[place] == part.key_frames()[index]
            one, two = streams.read(place), alone.read(index)
            assert all(np.array_equal(one[name], two[name]) for name in two)
        assert clips.column("clip_id")[start : start + len(part)] == part.column("clip_id")
        start += len(part)
    assert clips.flow == parts[0].flow is not None


def test_the_order_of_datasets_and_their_roles_tell_runs_apart(folders: dict[str, Path]) -> None:
    both = [str(folders["micro"]), str(folders["macro"])]
    tested = load_run_clips(DataArguments(dataset=both[0], more_datasets=both[1:]))
    assert tested.training_only == () and len(tested) == len(joined(folders))
    assert tested.fingerprint != joined(folders).fingerprint
    alone = load_run_clips(DataArguments(dataset=both[0]))
    assert alone.fingerprint == load_labelled_clips(both[0], "casme3_7").fingerprint


def test_datasets_prepared_in_different_ways_are_refused_by_field(folders: dict[str, Path]) -> None:
    one, two = (load_labelled_clips(folders[name], "casme3_7") for name in ("micro", "macro"))
    for other, message in (
        (replace(two, flow=None), r"stored flow: \{method farneback, .*\} → none.*Prepare both with the same"),
        (replace(two, preparation={"size": 96, "faces": None}), r"size: none → 96"),
        (replace(two, preparation={"size": None, "faces": {"mode": "align"}}), r"faces: none → \{mode align\}"),
        (replace(two, synthetic=False), "A is of drawn faces and B of recorded ones"),
    ):
        with pytest.raises(JoinError, match=message):
            join_clips([one, other], ["A", "B"], [False, True])
    same = replace(one, labels=(2,) * len(one))
    with pytest.raises(JoinError, match="gives all clips of A, B that are tested one label"):
        join_clips([same, two], ["A", "B"], [False, True])  # macro-expressions do not make up for it
