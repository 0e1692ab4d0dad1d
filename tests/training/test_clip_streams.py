"""Clips as the loader hands them out: the processor's numbers, drawn versions, workers, memory."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hsta_hf.data.labels import LabelAssignment, LabelScheme
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.prepare_options import FlowOptions
from hsta_hf.training.arguments import AugmentationArguments, DataArguments
from hsta_hf.training.batch_finishing import BatchFinisher
from hsta_hf.training.clip_streams import STREAMS, ClipStreams, draw_version, name_seed
from hsta_hf.training.clips import LabelledClips, load_labelled_clips
from hsta_hf.training.dataset import ClipCollator, ClipDataset
from hsta_hf.training.samplers import Draw, ShuffledSampler
from hsta_hf.training.tensor_cache import build_cache
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

DRAWN = DataArguments(temporal_variants=4, random_frames=True, apex_jitter=2)


@pytest.fixture(scope="module")
def clips(prepared: Path) -> LabelledClips:
    """All clips but those of one emotion, so that rows and positions differ."""
    whole = load_labelled_clips(prepared, "casme3_7")
    kept = [i for i, label in enumerate(whole.labels) if label != 2]
    labels = tuple(whole.labels[i] for i in kept)
    return LabelledClips(whole.rows.select(kept), labels, whole.scheme, "", True, whole.fingerprint + "-")


def processor(**fields: Any) -> HSTAVideoProcessor:
    return HSTAVideoProcessor(**{"size": {"height": 64, "width": 64}, "num_frames": 4, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"size": {"height": 24, "width": 40}},
        {"special_size": {"height": 32, "width": 32}, "special_frames": ["onset", "apex", "offset"]},
        {"special_input": "difference"},
        {"do_resize": False, "do_normalize": False},
    ],
    ids=["as prepared", "resized", "two sizes", "motion beside pictures", "only rescaled"],
)
@pytest.mark.parametrize("apex", ["annotated", "spotted"])
def test_evaluation_sees_what_the_processor_makes(
    clips: LabelledClips, fields: dict[str, Any], apex: Any, tmp_path: Path
) -> None:
    made = processor(**fields)
    streams = build_cache(clips, made, DataArguments(apex=apex, cache_dtype="float32"), tmp_path)
    places = [0, 7, 20]
    batch = ClipCollator()([ClipDataset(streams, places, [0] * 3, STREAMS)[i] for i in range(3)])
    assert batch["pixel_values"].dtype == torch.uint8
    finished = BatchFinisher(made, AugmentationArguments(flip_probability=1.0), 7)(batch)
    for place, index in enumerate(places):
        row = clips.rows[index]
        ends = {"onset": row["onset_index"], "offset": row["offset_index"]}
        wanted = made(clips.frames(index), apex=row["apex_index"] if apex == "annotated" else None, **ends)
        for name in STREAMS:
            assert torch.equal(finished[name][place], wanted[name][0]), name


def test_frames_are_drawn_anew_in_every_epoch_and_by_the_key_alone(clips: LabelledClips, tmp_path: Path) -> None:
    streams = build_cache(clips, processor(), DRAWN, tmp_path)
    evaluation = streams.read(5)
    seen, plain = set(), 0
    for epoch in range(40):
        one, two = (streams.read(5, STREAMS, (7, epoch, 0)) for _ in range(2))
        assert all(np.array_equal(one[name], two[name]) for name in STREAMS)
        seen.add(one["pixel_values"].tobytes())
        plain += all(np.array_equal(one[name], evaluation[name]) for name in STREAMS)
    assert len(seen) > 8  # more than the four versions that a cache would hold
    assert 2 <= plain <= 25  # a fourth of the draws, and those that happen to be alike, are evaluation's
    fixed = build_cache(clips, processor(), DataArguments(), tmp_path)
    again = fixed.read(5, STREAMS, (7, 3, 0))
    assert all(np.array_equal(again[name], evaluation[name]) for name in STREAMS)


@pytest.mark.parametrize("motion", ["video_input", "special_input"])
def test_pictures_beside_motion_are_of_the_same_version(clips: LabelledClips, motion: str, tmp_path: Path) -> None:
    made = processor(**{motion: "difference"}, remove_head_motion=False)
    streams = build_cache(clips, made, DataArguments(**{**vars(DRAWN), "cache_dtype": "float32"}), tmp_path)
    keys, frames = clips.key_frames(), clips.frames(9)
    versions = []
    for variant in range(4):
        key, video = keys[9], None
        if variant:
            rng = np.random.default_rng([name_seed(clips.column("clip_id")[9]), variant])
            key, video = draw_version(key, 4, DRAWN, rng)
        versions.append(made.prepare_unnormalised(frames, key.onset, key.apex, key.offset, video))
    found = set()
    for epoch in range(30):
        pair = [torch.from_numpy(stream) for stream in streams.read(9, STREAMS, (1, epoch, 2)).values()]
        pair = [stream.movedim(-1, 1) if stream.dtype == torch.uint8 else stream for stream in pair]
        fits = [v for v in range(4) if all(torch.equal(a, b) for a, b in zip(pair, versions[v], strict=True))]
        assert fits
        found.add(fits[0])
    assert len(found) >= 3


def test_an_apex_that_is_not_known_is_spotted_once(
    clips: LabelledClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spotted = build_cache(clips, processor(), DataArguments(apex="spotted"), tmp_path)
    assert (spotted.spotted >= 0).all() and (spotted.key_frames[:, 1] == -1).all()

    def fail(*args: object) -> None:
        raise AssertionError("spotted again")

    monkeypatch.setattr("hsta_hf.training.tensor_cache.spot_apex", fail)
    again = build_cache(clips, processor(), DataArguments(apex="spotted"), tmp_path)
    assert np.array_equal(again.spotted, spotted.spotted)
    annotated = build_cache(clips, processor(), DataArguments(), tmp_path)
    assert (annotated.spotted == -1).all()


def test_clips_are_found_however_they_were_selected(prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_labelled_clips(prepared, "casme3_7")
    emotions, real = whole.column("emotion"), LabelScheme.assign
    first_other = next(place for place, name in enumerate(emotions) if name != emotions[0])
    tail = list(range(first_other, len(whole)))  # neighbours, which `datasets` keeps as a slice
    for kept in (tail, tail[::2]):
        assigned = LabelAssignment("some", tuple(kept), tuple(place % 2 for place in range(len(kept))), {})

        def assign(scheme: LabelScheme, rows: Any, result: LabelAssignment = assigned) -> LabelAssignment:
            return result if scheme.name == "casme3_7" else real(scheme, rows)

        monkeypatch.setattr(LabelScheme, "assign", assign)
        some = load_labelled_clips(prepared, "casme3_7")
        assert some.places is not None
        assert some.column("clip_id") == [whole.column("clip_id")[i] for i in kept]
        for place in (0, 3, len(kept) - 1):
            assert np.array_equal(some.places.read(place, [1, 0]), whole.frames(kept[place])[[1, 0]])
            assert np.array_equal(some.frames(place), whole.frames(kept[place]))


# ---- workers


def batches(streams: ClipStreams, workers: int, context: str | None) -> list[dict[str, torch.Tensor]]:
    """Two epochs' batches, finished."""
    dataset = ClipDataset(streams, range(len(streams)), [0] * len(streams), STREAMS)
    sampler = ShuffledSampler(len(dataset), 5)
    loader = DataLoader(
        dataset, 8, sampler=sampler, collate_fn=ClipCollator(), num_workers=workers, multiprocessing_context=context
    )
    finish = BatchFinisher(streams.processor, AugmentationArguments(flip_probability=0.5, crop_area=[0.5, 1.0]), 7)
    found = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        found.extend(finish(batch) for batch in loader)
    return found


@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_batches_are_the_same_with_and_without_workers(clips: LabelledClips, context: str, tmp_path: Path) -> None:
    if context not in torch.multiprocessing.get_all_start_methods():
        pytest.skip(f"this system cannot {context}")
    made = processor(special_input="difference", size={"height": 32, "width": 32})
    streams = build_cache(clips, made, DRAWN, tmp_path)
    alone, shared = batches(streams, 0, None), batches(streams, 2, context)
    assert len(alone) == len(shared) == 2 * -(-len(clips) // 8)
    for one, two in zip(alone, shared, strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(("side", "in_place"), [(None, STREAMS), (24, ())])
def test_a_batch_is_its_clips_stacked_and_read_in_place_where_sizes_allow(
    clips: LabelledClips, side: int | None, in_place: tuple[str, ...], tmp_path: Path
) -> None:
    height, width = clips.frames(0).shape[1:3]
    size = {"height": side or height, "width": side or width}
    streams = build_cache(clips, processor(size=size, special_size=None), DRAWN, tmp_path)
    dataset = ClipDataset(streams, range(len(streams)), list(range(len(streams))), STREAMS)
    for items in ([2, 0, 5], [Draw(3, (1, 0, 0)), Draw(0, (1, 0, 1))]):
        read = dataset.__getitems__(items)
        assert tuple(read.stacked) == in_place
        batch, plain = ClipCollator()(read), ClipCollator()([dataset[item] for item in items])
        assert batch.keys() == plain.keys()
        assert all(torch.equal(batch[name], plain[name]) for name in batch)
        for name in in_place:
            assert batch[name].data_ptr() == read.stacked[name].data_ptr()


def test_a_batch_of_a_worker_lies_in_shared_memory(clips: LabelledClips, tmp_path: Path) -> None:
    height, width = clips.frames(0).shape[1:3]
    streams = build_cache(clips, processor(size={"height": height, "width": width}), DRAWN, tmp_path)
    dataset = ClipDataset(streams, range(4), [0] * 4, STREAMS)
    if "fork" not in torch.multiprocessing.get_all_start_methods():
        pytest.skip("this system cannot fork")
    loader = DataLoader(dataset, 2, collate_fn=_SharedOnly(), num_workers=1, multiprocessing_context="fork")
    assert [shared for batch in loader for shared in batch["shared"].tolist()] == [True] * 4


class _SharedOnly(ClipCollator):
    """Collates, and says whether each stream of pictures came in shared memory."""

    def __call__(self, clips: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = super().__call__(clips)
        return {"shared": torch.tensor([batch[name].is_shared() for name in STREAMS])}


def test_a_worker_gets_names_and_positions_but_no_pictures(clips: LabelledClips, tmp_path: Path) -> None:
    streams = build_cache(clips, processor(special_input="difference"), DRAWN, tmp_path)
    dataset = ClipDataset(streams, [4, 5], [0, 1], STREAMS)
    sent = pickle.dumps(dataset)
    assert len(sent) < clips.frames(0).nbytes / 4  # less than a part of one clip
    there = pickle.loads(sent)
    for item in (1, Draw(1, (3, 1, 4))):
        assert all(np.array_equal(there[item][name], dataset[item][name]) for name in STREAMS)


# ---- flow that prepare stored


@pytest.fixture(scope="module")
def with_flow(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> LabelledClips:
    folder = tmp_path_factory.mktemp("flow") / "prepared"
    flow = FlowOptions(method="farneback", height=48, width=48, remove_head_motion=True)
    options = PrepareOptions(faces="keep", flow=flow)
    prepare("casme3", prepared.parent / "database", folder, options, progress=False)
    return load_labelled_clips(folder, "casme3_7")


def test_stored_flow_is_taken_where_its_settings_are_the_processors(
    with_flow: LabelledClips, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields: dict[str, Any] = {"special_input": "optical_flow", "remove_head_motion": True}
    fields["special_frames"] = ["onset", "apex", "offset"]
    same = processor(**fields, flow_size={"height": 48, "width": 48}, size={"height": 24, "width": 24})
    arguments = DataArguments(cache_dtype="float32", temporal_variants=2, apex_jitter=2)
    taken = build_cache(with_flow, same, arguments, tmp_path)
    [_, line] = capsys.readouterr().out.splitlines()
    folder = taken.cached["special_pixel_values"].path.parent
    assert line == (
        "Special stream: takes the flow that hsta prepare stored from onset to apex and from apex to offset; optical "
        "flow from onset to offset and where a version has its apex moved, computed once now, in 2 versions of each "
        f"clip (as evaluated, and 1 with the apex moved for training) and kept in {folder}."
    )
    unknown = LabelledClips(**{**vars(with_flow), "flow": None})
    computed = build_cache(unknown, same, arguments, tmp_path)
    assert "prepare stored" not in capsys.readouterr().out
    one, two = taken.cached["special_pixel_values"], computed.cached["special_pixel_values"]
    assert one.path != two.path
    for index in (0, 8):
        for version in (0, 1):
            np.testing.assert_allclose(one.read(index, version), two.read(index, version), atol=1e-4)
    other = processor(**fields, flow_size={"height": 32, "width": 32})
    build_cache(with_flow, other, DataArguments(), tmp_path)
    printed = capsys.readouterr().out
    assert "what hsta prepare stored is another flow: size is {'height': 32, " in printed
    assert "and was {'height': 48, " in printed and "computed once now and kept in" in printed
    shown = processor(**{**fields, "special_frames": ["onset", "apex"]}, flow_size={"height": 48, "width": 48})
    build_cache(with_flow, shown, DataArguments(), tmp_path)
    assert "from apex to offset, fitted to the stream once now and kept in" in capsys.readouterr().out


@pytest.mark.parametrize("positions", [[-1], [0, 999]])
def test_a_frame_that_a_clip_lacks_is_no_other_frame(
    clips: LabelledClips, positions: list[int], tmp_path: Path
) -> None:
    streams = build_cache(clips, processor(), DRAWN, tmp_path)
    with pytest.raises(IndexError, match=r"clip 2 has \d+ frames"):
        streams.frames.read(2, positions)
