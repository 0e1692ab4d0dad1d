"""Reading prepared datasets: with `datasets` alone, as a stream, and where the clips lie in several files."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest

from hsta_hf.data import prepare as prepare_module
from hsta_hf.data import prepare_parts
from hsta_hf.data.databases import LoadReport, get_database
from hsta_hf.data.decode import frame_hash, read_frame
from hsta_hf.data.prepare import FlowOptions, PrepareOptions, prepare
from hsta_hf.data.prepared import (
    FEATURES,
    MANIFEST,
    NotPreparedError,
    clip_frames,
    flow_at,
    frames_at,
    load_prepared,
    prepared_info,
)

FLOW = FlowOptions("farneback", 20, 24, False)


@pytest.fixture
def out(sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four clips in two files."""
    monkeypatch.setattr(prepare_parts, "FILE_BYTES", 110_000)
    prepare("casme3", sound_root, tmp_path / "out", PrepareOptions(faces="keep", flow=FLOW), progress=False)
    assert len(list((tmp_path / "out").glob("*.arrow"))) == 2
    return tmp_path / "out"


def test_it_opens_with_datasets_alone(out: Path):
    dataset = datasets.load_from_disk(str(out))
    assert isinstance(dataset, datasets.Dataset)
    assert dataset.features == FEATURES and len(dataset) == 4
    for row, known in zip(dataset, load_prepared(out), strict=True):
        assert row == known


def test_it_streams_row_by_row_and_shard_by_shard(out: Path):
    known = list(load_prepared(out))
    stream = load_prepared(out).to_iterable_dataset(num_shards=2)
    assert list(stream) == known
    files = sorted(str(path) for path in out.glob("clips-*.arrow"))
    stream = datasets.load_dataset("arrow", data_files=files, streaming=True, split="train")
    assert isinstance(stream, datasets.IterableDataset)
    assert [row["clip_id"] for row in stream] == [row["clip_id"] for row in known]
    row = next(iter(stream))
    np.testing.assert_array_equal(clip_frames(row), frames_at(load_prepared(out), 0))


def test_every_column_is_documented_by_what_it_holds(out: Path, sound_root: Path):
    dataset = load_prepared(out)
    for index, row in enumerate(dataset):
        assert set(row) == set(FEATURES)
        assert len(row["frame_hashes"]) == row["num_frames"] == len(row["frame_numbers"])
        assert (row["source_height"], row["source_width"]) == (32, 40)
        assert (row["variant"], row["corrections"]) == ("", [])
        flow = flow_at(dataset, index)
        assert flow is not None and flow.shape == (2, 20, 24, 3)
        assert flow.tobytes() == row["flow"]
        color = sound_root / row["subject"] / row["filename"] / "color"
        assert row["frame_hashes"] == [frame_hash(read_frame(color / f"{n}.jpg")) for n in row["frame_numbers"]]


def test_flow_of_a_selection_is_its_own(out: Path):
    dataset = load_prepared(out)
    chosen = dataset.select([3, 1])
    for place, index in enumerate((3, 1)):
        one, other = flow_at(chosen, place), flow_at(dataset, index)
        assert one is not None and other is not None
        np.testing.assert_array_equal(one, other)
    with pytest.raises(IndexError, match="clip 2 of a dataset of 2 clips"):
        flow_at(chosen, 2)


def test_flow_that_does_not_fit_its_shape_is_refused(out: Path):
    dataset = load_prepared(out)
    table = dataset.data.table
    place = table.schema.get_field_index("flow_width")
    wrong = table.set_column(place, table.schema.field(place), [[25] * len(table)])
    with pytest.raises(NotPreparedError, match=r"clip casme3/spNO\.1/a/3: 2880 numbers of flow, .*needs 3000"):
        flow_at(datasets.Dataset(wrong), 0)


def test_the_manifest_says_how_it_was_made(out: Path):
    info = prepared_info(out)
    assert info.flow == FLOW.as_dict() == {
        "method": "farneback",
        "size": {"height": 20, "width": 24},
        "remove_head_motion": False,
    }  # fmt: skip
    assert info.faces is None and info.variant == "" and info.databases == ("casme3",)
    manifest = out / MANIFEST
    manifest.write_text(manifest.read_text().replace('"databases"', '"databanks"'))
    with pytest.raises(NotPreparedError, match=r"is damaged \(KeyError\('databases'\)\)"):
        prepared_info(out)


def test_few_record_batches_however_many_clips(out: Path):
    """Opening 10,000 clips must not mean walking through 10,000 batches."""
    import pyarrow as pa

    batches = 0
    for path in out.glob("*.arrow"):
        with pa.memory_map(str(path)) as source:
            batches += sum(1 for _ in pa.ipc.open_stream(source))
    assert batches == 2, "clips that share a file share a batch"


def test_a_name_in_two_databases_is_two_subjects(sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    real = get_database("casme3")

    def composite(*arguments: Any) -> LoadReport:
        report = real.load(*arguments)
        first, *others = report.clips
        assert first.subject == others[0].subject
        return dataclasses.replace(report, clips=(dataclasses.replace(first, database="samm"), *others))

    monkeypatch.setattr(prepare_module, "get_database", lambda _: dataclasses.replace(real, load=composite))
    prepare("casme3", sound_root, tmp_path / "out", PrepareOptions(faces="keep"), progress=False)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text(encoding="utf-8"))
    assert (manifest["databases"], manifest["num_subjects"]) == (["casme3", "samm"], 4)
