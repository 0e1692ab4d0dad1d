"""Streams of motion on disk: what the processor makes, computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hsta_hf.training.arguments import DataArguments
from hsta_hf.training.clip_streams import ClipStreams
from hsta_hf.training.clips import LabelledClips, load_labelled_clips
from hsta_hf.training.dataset import ClipCollator, ClipDataset
from hsta_hf.training.samplers import Draw
from hsta_hf.training.tensor_cache import STREAMS, build_cache, cache_key
from hsta_hf.video_processing_hsta import HSTAVideoProcessor


@pytest.fixture
def clips(prepared: Path) -> LabelledClips:
    return load_labelled_clips(prepared, "casme3_7")


@pytest.fixture
def processor() -> HSTAVideoProcessor:
    return HSTAVideoProcessor(
        size={"height": 24, "width": 24}, video_input="difference", special_input="difference", num_frames=4
    )


def array(streams: ClipStreams, name: str = "pixel_values") -> np.ndarray:
    """All of a cached stream."""
    stream = streams.cached[name]
    return np.stack([[stream.read(i, k) for k in range(stream.shape[1])] for i in range(stream.shape[0])])


def test_the_cache_holds_what_the_processor_makes(
    clips: LabelledClips, processor: HSTAVideoProcessor, tmp_path: Path
) -> None:
    cache = build_cache(clips, processor, DataArguments(cache_dtype="float32"), tmp_path)
    assert cache.cached["pixel_values"].shape == (len(clips), 1, 4, 3, 24, 24)
    row = clips.rows[7]
    batch = processor(clips.frames(7), onset=row["onset_index"], apex=row["apex_index"], offset=row["offset_index"])
    found = cache.read(7)
    for name in STREAMS:
        assert torch.equal(torch.from_numpy(found[name]), batch[name][0])


def test_only_streams_of_motion_that_are_read_are_kept(clips: LabelledClips, tmp_path: Path) -> None:
    size = {"height": 24, "width": 24}
    pictures = HSTAVideoProcessor(size=size)
    assert not build_cache(clips, pictures, DataArguments(), tmp_path / "none").cached
    assert not (tmp_path / "none").exists()
    mixed = HSTAVideoProcessor(size=size, special_input="difference")
    assert set(build_cache(clips, mixed, DataArguments(), tmp_path / "mixed").cached) == {"special_pixel_values"}
    assert not list(tmp_path.glob("mixed/*/video.npy"))
    assert not build_cache(clips, mixed, DataArguments(), tmp_path / "none", ["pixel_values"]).cached
    assert not (tmp_path / "none").exists()


def test_a_finished_cache_is_not_computed_again_and_an_unfinished_one_goes_on(
    clips: LabelledClips, processor: HSTAVideoProcessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = DataArguments()
    whole = build_cache(clips, processor, arguments, tmp_path)
    folder = tmp_path / cache_key(clips, processor, arguments)
    expected = array(whole)
    calls: list[int] = []
    prepare = HSTAVideoProcessor.prepare_unnormalised

    def counted(self: HSTAVideoProcessor, *args: object, **kwargs: object) -> object:
        calls.append(1)
        return prepare(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(HSTAVideoProcessor, "prepare_unnormalised", counted)
    build_cache(clips, processor, arguments, tmp_path)
    assert not calls
    # As a kill would leave it: three clips not done, one of them half written.
    (folder / "complete").unlink()
    done = np.lib.format.open_memmap(folder / "done.npy", mode="r+")
    video = np.lib.format.open_memmap(folder / "video.npy", mode="r+")
    done[[1, 5, 9]] = 0
    video[5, 0, 2:] = 0
    done.flush()
    video.flush()
    again = build_cache(clips, processor, arguments, tmp_path)
    assert len(calls) == 3
    assert np.array_equal(array(again), expected)


def test_the_key_tells_settings_apart(clips: LabelledClips, processor: HSTAVideoProcessor) -> None:
    other = HSTAVideoProcessor(size={"height": 24, "width": 24}, video_input="difference", num_frames=4)
    keys = {
        cache_key(clips, processor, DataArguments()),
        cache_key(clips, other, DataArguments()),
        cache_key(clips, processor, DataArguments(temporal_variants=3)),
        cache_key(clips, processor, DataArguments(temporal_variants=3, apex_jitter=1)),
        cache_key(clips, processor, DataArguments(apex="spotted")),
        cache_key(clips, processor, DataArguments(), ["pixel_values"]),
    }
    assert len(keys) == 6
    assert cache_key(clips, processor, DataArguments(num_folds=3)) in keys


def test_the_key_is_the_same_once_the_processor_was_saved_with_its_code(
    clips: LabelledClips, processor: HSTAVideoProcessor, tmp_path: Path
) -> None:
    saved = HSTAVideoProcessor(**processor.to_dict())
    before = saved.to_dict()
    saved.save_pretrained(tmp_path)
    assert saved.to_dict() != before  # else this tests nothing
    assert cache_key(clips, saved, DataArguments()) == cache_key(clips, processor, DataArguments())


def test_versions_differ_but_the_first_is_the_evaluations(
    clips: LabelledClips, processor: HSTAVideoProcessor, tmp_path: Path
) -> None:
    arguments = DataArguments(temporal_variants=4, random_frames=True, apex_jitter=1)
    varied = build_cache(clips, processor, arguments, tmp_path)
    plain = build_cache(clips, processor, DataArguments(), tmp_path)
    changed = {}
    for name in STREAMS:
        versions, evaluation = array(varied, name), array(plain, name)
        assert np.array_equal(versions[:, 0], evaluation[:, 0])
        changed[name] = np.mean([(versions[:, k] != versions[:, 0]).reshape(len(clips), -1).any(1) for k in (1, 2, 3)])
    assert changed["pixel_values"] > 0.5
    assert 0.3 < changed["special_pixel_values"] < 0.95  # a jitter of -1, 0 or 1 stays at 0 a third of the time


def test_training_draws_pick_versions_by_key_and_evaluation_takes_the_first(
    clips: LabelledClips, processor: HSTAVideoProcessor, tmp_path: Path
) -> None:
    arguments = DataArguments(temporal_variants=4, random_frames=True)
    cache = build_cache(clips, processor, arguments, tmp_path)
    versions = array(cache)
    dataset = ClipDataset(cache, [3, 4], [1, 2], ["pixel_values"])
    assert np.array_equal(dataset[1]["pixel_values"], versions[4, 0])
    assert dataset[1]["labels"] == 2 and "special_pixel_values" not in dataset[1]
    seen = set()
    for epoch in range(12):
        draw = Draw(0, (7, epoch, 0))
        one, two = dataset[draw]["pixel_values"], dataset[draw]["pixel_values"]
        assert np.array_equal(one, two)
        seen.add(next(k for k in range(4) if np.array_equal(versions[3, k], one)))
    assert len(seen) > 1
    batch = ClipCollator()([dataset[0], dataset[1]])
    assert batch["pixel_values"].dtype == torch.float16 and batch["labels"].tolist() == [1, 2]
    assert set(batch) == {"pixel_values", "labels"}


def test_a_clip_that_fails_is_named(
    clips: LabelledClips, processor: HSTAVideoProcessor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, *args: object, **kwargs: object) -> None:
        raise ValueError("too dark")

    monkeypatch.setattr(HSTAVideoProcessor, "prepare_unnormalised", fail)
    with pytest.raises(ValueError, match=r"clip casme3/spNO\.1/.*: too dark"):
        build_cache(clips, processor, DataArguments(), tmp_path)


def test_every_stream_that_is_read_says_what_it_does(
    clips: LabelledClips, processor: HSTAVideoProcessor, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = HSTAVideoProcessor(
        size={"height": 24, "width": 24}, special_input="optical_flow", video_input="optical_flow"
    )
    for how in ("computed once now and kept in", "computed before, read from"):
        folder = build_cache(clips, few, DataArguments(), tmp_path).cached["pixel_values"].path.parent
        assert capsys.readouterr().out.splitlines() == [
            f"Video stream: optical flow from the onset to each frame, {how} {folder}.",
            f"Special stream: optical flow from onset to apex and from apex to offset, {how} {folder}.",
        ]
    build_cache(clips, processor, DataArguments(), tmp_path, ["special_pixel_values"])
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("Special stream: difference of the onset and apex frame from the onset frame, comp")
    build_cache(clips, HSTAVideoProcessor(), DataArguments(), tmp_path)
    pictures = "pictures, read from the prepared dataset as they are needed."
    assert capsys.readouterr().out.splitlines() == [f"Video stream: {pictures}", f"Special stream: {pictures}"]


def test_a_scheme_that_labels_nothing_is_an_error(prepared: Path) -> None:
    with pytest.raises(ValueError, match="no label scheme is called 'nine'"):
        load_labelled_clips(prepared, "nine")
