"""`prepare`: what is written, what is reported, what is resumed, and what is never overwritten."""

from __future__ import annotations

import dataclasses
import json
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from hsta_hf.cli import check as check_command
from hsta_hf.cli import prepare as prepare_command
from hsta_hf.data import prepare as prepare_module
from hsta_hf.data import prepare_job
from hsta_hf.data.prepare import PrepareError, PrepareOptions, PrepareReport, StrictError
from hsta_hf.data.prepared import (
    FEATURES,
    MANIFEST,
    NotPreparedError,
    clip_frames,
    frames_at,
    load_prepared,
    prepared_info,
)
from hsta_hf.frame_selection import spot_apex

if TYPE_CHECKING:
    from conftest import Casme3Tree


def prepare(root: Path, out: Path, **settings: Any) -> PrepareReport:
    """Prepares with faces as they are: these frames show none."""
    names = {field.name for field in dataclasses.fields(PrepareOptions)} & set(settings)
    options = PrepareOptions(**{"faces": "keep", **{name: settings.pop(name) for name in names}})
    return prepare_module.prepare("casme3", root, out, options, **{"progress": False, "workers": 1, **settings})


def run_command(command: Any, *arguments: str) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    name = command.__name__.rsplit(".", 1)[-1]
    return command.run(parser.parse_args([name, "casme3", *arguments]))


def decode_slowly(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[:, :, ::-1]


def test_rows_hold_what_the_annotation_and_the_frames_say(sound_root: Path, tmp_path: Path):
    report = prepare(sound_root, tmp_path / "out")
    dataset = load_prepared(tmp_path / "out")
    assert dataset.features == FEATURES
    assert len(dataset) == report.num_clips == 4
    for row, clip in zip(dataset, report.load.clips, strict=True):
        for field in ("clip_id", "database", "subject", "filename", "onset", "apex", "offset", "emotion"):
            assert row[field] == getattr(clip, field)
        for field in ("objective_class", "action_units_raw", "fps", "apex_source", "num_frames"):
            assert row[field] == getattr(clip, field)
        assert row["action_units"] == list(clip.action_units)
        assert (row["onset_index"], row["offset_index"]) == (0, clip.num_frames - 1)
        assert row["frame_numbers"][row["apex_index"]] == clip.apex
        assert (row["height"], row["width"]) == (32, 40)
        frames = clip_frames(row)
        assert frames.dtype == np.uint8 and frames.shape == (clip.num_frames, 32, 40, 3)
        np.testing.assert_array_equal(frames, np.stack([decode_slowly(path) for path in clip.frame_paths]))


def test_frames_are_rgb_and_in_order(sound_root: Path, tmp_path: Path, colour_of: Callable):
    prepare(sound_root, tmp_path / "out")
    row = load_prepared(tmp_path / "out")[1]
    for number, frame in zip(range(20, 32), clip_frames(row), strict=True):
        np.testing.assert_allclose(frame.mean(axis=(0, 1)), colour_of(number), atol=3)


def test_frames_are_views_of_the_file_and_of_the_row(sound_root: Path, tmp_path: Path):
    prepare(sound_root, tmp_path / "out")
    dataset = load_prepared(tmp_path / "out")
    assert dataset.cache_files, "the dataset must be mapped from its files, not held in memory"
    row = dataset[0]
    view = clip_frames(row)
    assert not view.flags.owndata and not view.flags.writeable
    assert view.base is not None
    chosen = dataset.select([3, 0, 2])
    for place, index in enumerate([3, 0, 2]):
        np.testing.assert_array_equal(frames_at(chosen, place), clip_frames(dataset[index]))
    np.testing.assert_array_equal(frames_at(chosen, -1), clip_frames(dataset[2]))
    with pytest.raises(IndexError, match="clip 3 of a dataset of 3 clips"):
        frames_at(chosen, 3)


def test_size_resizes_to_a_square(sound_root: Path, tmp_path: Path):
    prepare(sound_root, tmp_path / "out", size=16)
    row = load_prepared(tmp_path / "out")[0]
    assert (row["height"], row["width"]) == (16, 16)
    assert clip_frames(row).shape == (10, 16, 16, 3)
    first = decode_slowly(sound_root / "spNO.1" / "a" / "color" / "3.jpg")
    np.testing.assert_array_equal(clip_frames(row)[0], cv2.resize(first, (16, 16), interpolation=cv2.INTER_AREA))
    assert prepared_info(tmp_path / "out").size == 16


def test_an_unknown_apex_is_spotted_and_marked(casme3_tree: Casme3Tree, tmp_path: Path):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 5, 13)
    root = casme3_tree.save()
    report = prepare(root, tmp_path / "out")
    row = load_prepared(tmp_path / "out")[0]
    assert row["apex_source"] == "spotted"
    assert row["apex_index"] == spot_apex(clip_frames(row))
    assert row["apex"] == row["frame_numbers"][row["apex_index"]] == report.clips[0].apex
    prepare(root, tmp_path / "unspotted", spot_missing_apex=False)
    row = load_prepared(tmp_path / "unspotted")[0]
    assert (row["apex"], row["apex_index"], row["apex_source"]) == (None, None, "unknown")


def test_report_lists_counts_corrections_and_problems(casme3_tree: Casme3Tree, tmp_path: Path):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 3, 13, emotion="Others")
    casme3_tree.row("spNO.2", "b", 5, 8, 13)
    report = prepare(casme3_tree.save(), tmp_path / "out")
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| **all** | 2 | 860 (differs) | 1 |" in text
    assert "| Emotion others | 1 | 161 (differs) | 1 |" in text
    assert "emotion Others -> others" in text
    assert "- spNO.1/a/5/3/13 (cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx row 2)" in text
    assert "warning: Apex: 3 is before the onset 5; the apex is spotted instead" in text
    assert "error: frames: there is no folder" in text
    assert [problem.field for problem in report.problems] == ["Apex", "frames"]
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    assert (manifest["num_rows"], manifest["num_clips"]) == (2, 1)
    assert [problem["severity"] for problem in manifest["problems"]] == ["warning", "error"]


@pytest.mark.parametrize(
    ("number", "content", "message", "kept"),
    [
        (8, b"", "8.jpg is empty", [5, 6, 7, 9, 10, 11]),
        (8, b"no picture", "8.jpg is no picture that can be decoded", [5, 6, 7, 9, 10, 11]),
        (8, "cut", "8.jpg is cut off", [5, 6, 7, 9, 10, 11]),
        (8, "odd", "8 of size 20x16 in a clip of 40x32; left out", [5, 6, 7, 9, 10, 11]),
        (11, b"", "the offset is now 10, was 11", [5, 6, 7, 8, 9, 10]),
        (7, b"", "the apex 7 is unusable and spotted instead", [5, 6, 8, 9, 10, 11]),
        (5, b"", "the onset frame is unusable; the clip is left out", None),
    ],
)
def test_a_bad_frame_is_reported_and_the_rest_kept(
    casme3_tree: Casme3Tree, tmp_path: Path, number: int, content: Any, message: str, kept: list[int] | None
):
    tree = casme3_tree
    tree.recording("spNO.1", "a", range(1, 20))
    tree.recording("spNO.2", "a", range(1, 20))
    path = tree.frame("spNO.1", "a", number)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    elif content == "odd":
        tree.recording("spNO.1", "a", [number], size=(20, 16))
    else:
        path.write_bytes(content)
    tree.row("spNO.1", "a", 5, 7, 11)
    tree.row("spNO.2", "a", 5, 7, 11)
    report = prepare(tree.save(), tmp_path / "out")
    assert any(message in problem.message for problem in report.errors)
    assert {problem.clip for problem in report.errors} == {"spNO.1/a/5/7/11"}
    rows = {row["subject"]: row for row in load_prepared(tmp_path / "out")}
    assert rows["spNO.2"]["frame_numbers"] == [5, 6, 7, 8, 9, 10, 11]
    if kept is None:
        assert "spNO.1" not in rows
    else:
        assert rows["spNO.1"]["frame_numbers"] == kept
        assert clip_frames(rows["spNO.1"]).shape[0] == len(kept)
        assert rows["spNO.1"]["apex_source"] == ("spotted" if number == 7 else "annotated")


def test_a_frame_that_is_a_broken_link_is_reported(casme3_tree: Casme3Tree, tmp_path: Path):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    path = casme3_tree.frame("spNO.1", "a", 8)
    path.unlink()
    path.symlink_to(path.with_name("gone.jpg"))
    casme3_tree.row("spNO.1", "a", 5, 7, 11)
    report = prepare(casme3_tree.save(), tmp_path / "out")
    assert "8.jpg cannot be read (No such file or directory)" in report.errors[0].message


def test_max_frames_cuts_and_says_so(casme3_tree: Casme3Tree, tmp_path: Path):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 15, 18)
    report = prepare(casme3_tree.save(), tmp_path / "out", max_frames=6)
    row = load_prepared(tmp_path / "out")[0]
    assert row["frame_numbers"] == [5, 6, 7, 8, 9, 10] and row["apex_source"] == "spotted"
    assert report.problems[0].message == (
        "cut from 14 to 6 frames, offset 18 to 10; the apex 15 is not in them and is spotted instead"
    )


def test_strict_fails_on_any_problem_and_writes_nothing(casme3_tree: Casme3Tree, tmp_path: Path):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 3, 13)
    root = casme3_tree.save()
    with pytest.raises(StrictError, match=r"spNO\.1/a/5/3/13"):
        prepare(root, tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()


def test_strict_fails_on_a_bad_frame_too(sound_root: Path, tmp_path: Path):
    (sound_root / "spNO.1" / "a" / "color" / "5.jpg").write_bytes(b"")
    with pytest.raises(StrictError, match=r"5\.jpg is empty"):
        prepare(sound_root, tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_run_is_resumed_and_gives_the_same(
    sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = prepare(sound_root, tmp_path / "whole")
    decode = prepare_job.decode_clip
    seen: list[str] = []

    def decode_two(clip: Any, *arguments: Any) -> Any:
        seen.append(clip.clip_id)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return decode(clip, *arguments)

    monkeypatch.setattr(prepare_job, "decode_clip", decode_two)
    with pytest.raises(KeyboardInterrupt):
        prepare(sound_root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    seen.extend(["no more interruptions"])
    finished = list((tmp_path / "out.partial" / "clips").glob("*.arrow"))
    assert 1 <= len(finished) < 4
    finished[0].write_bytes(finished[0].read_bytes()[:100])  # as a crash of the machine leaves it
    before = len(seen)
    report = prepare(sound_root, tmp_path / "out")
    assert report.resumed == len(finished) - 1
    assert len(seen) - before == 4 - report.resumed
    assert report.fingerprint == whole.fingerprint
    assert not (tmp_path / "out.partial").exists()
    for row, wanted in zip(load_prepared(tmp_path / "out"), load_prepared(tmp_path / "whole"), strict=True):
        assert row == wanted


def test_a_changed_frame_is_not_resumed_from_the_old_one(
    sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(prepare_module, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        prepare(sound_root, tmp_path / "out")
    monkeypatch.undo()
    frame = sound_root / "spNO.2" / "b" / "color" / "105.jpg"
    frame.write_bytes((sound_root / "spNO.1" / "a" / "color" / "39.jpg").read_bytes())
    os.utime(frame, ns=(1, 1))
    report = prepare(sound_root, tmp_path / "out")
    assert report.resumed == 3
    np.testing.assert_array_equal(clip_frames(load_prepared(tmp_path / "out")[2])[4], decode_slowly(frame))


def test_the_result_does_not_depend_on_the_number_of_workers(sound_root: Path, tmp_path: Path):
    first = prepare(sound_root, tmp_path / "one", workers=1)
    second = prepare(sound_root, tmp_path / "three", workers=3)
    assert first.fingerprint == second.fingerprint == prepared_info(tmp_path / "three").fingerprint
    assert prepare(sound_root, tmp_path / "small", size=8).fingerprint != first.fingerprint


def test_a_finished_dataset_is_not_overwritten_silently(sound_root: Path, tmp_path: Path):
    prepare(sound_root, tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"already a prepared dataset \(4 clips\).*--overwrite"):
        prepare(sound_root, tmp_path / "out", size=8)
    assert prepared_info(tmp_path / "out").size is None
    prepare(sound_root, tmp_path / "out", size=8, overwrite=True)
    assert prepared_info(tmp_path / "out").size == 8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["casme3", "out"]


def test_a_folder_of_somebody_else_is_left_alone_even_with_overwrite(sound_root: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    with pytest.raises(FileExistsError, match="is no prepared dataset; it is left alone"):
        prepare(sound_root, tmp_path / "out", overwrite=True)
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"


def test_a_folder_that_only_looks_like_unfinished_work_is_left_alone(sound_root: Path, tmp_path: Path):
    mine = tmp_path / "out.partial" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(FileExistsError, match=r"out\.partial is in the way.*notes\.txt"):
        prepare(sound_root, tmp_path / "out")
    assert mine.read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_two_runs_for_one_output_do_not_mix(sound_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A second run that saves while the first one saves must not end up in the first one's dataset."""
    save = prepare_module.save
    folders = []

    def save_twice(folder: Path, *arguments: Any) -> None:
        folders.append(folder)
        if len(folders) == 1:
            monkeypatch.setattr(prepare_module, "save", save)
            with pytest.raises(PrepareError, match="another hsta prepare is at work"):
                prepare(sound_root, tmp_path / "out")
        save(folder, *arguments)

    monkeypatch.setattr(prepare_module, "save", save_twice)
    prepare(sound_root, tmp_path / "out")
    assert len(load_prepared(tmp_path / "out")) == 4
    assert not (tmp_path / "out.partial").exists()


class Shrink:
    """An alignment that cuts out the corner."""

    num_faces = 1

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        return frame[:16, :16].copy()


@pytest.mark.parametrize("aligned", [False, True])
def test_frames_of_a_long_clip_are_shrunk_as_they_are_read(
    sound_root: Path, monkeypatch: pytest.MonkeyPatch, aligned: bool
):
    """A recording of thousands of large frames must not lie in memory at its full size."""
    from hsta_hf.data import decode
    from hsta_hf.data.databases import get_database

    clip = get_database("casme3").load(sound_root).clips[0]
    alive: list[weakref.ref] = []

    def read(path: Path) -> np.ndarray:
        assert sum(ref() is not None for ref in alive) <= 1, "full-size frames are kept"
        picture = np.zeros((240, 320, 3), np.uint8)
        alive.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(decode, "read_frame", read)
    decoded = decode.decode_clip(clip, size=16, align=(lambda _: Shrink()) if aligned else None)
    assert not isinstance(decoded, tuple)
    assert decoded.frames.shape == (clip.num_frames, 16, 16, 3)
    assert len(alive) == clip.num_frames


def test_an_empty_folder_may_be_the_output(sound_root: Path, tmp_path: Path):
    (tmp_path / "out").mkdir()
    prepare(sound_root, tmp_path / "out")
    assert len(load_prepared(tmp_path / "out")) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size must be a number of pixels of 1 or more; got 0"),
        ({"max_frames": 1}, "max_frames must be 2 or more"),
        ({"workers": 0}, "workers must be 1 or more, got 0"),
    ],
)
def test_options_without_sense_are_refused(sound_root: Path, tmp_path: Path, options: dict, message: str):
    with pytest.raises(PrepareError, match=message):
        prepare(sound_root, tmp_path / "out", **options)


def test_a_database_without_a_usable_clip_says_why(casme3_tree: Casme3Tree, tmp_path: Path):
    casme3_tree.row("spNO.1", "a", 5, 3, 13)
    with pytest.raises(PrepareError, match=r"none of the 1 rows of .* is a usable clip\.\n.*there is no folder"):
        prepare(casme3_tree.save(), tmp_path / "out")


def test_reading_something_else_says_what_to_do(sound_root: Path, tmp_path: Path):
    with pytest.raises(NotPreparedError, match="is not a folder; make it with: hsta prepare"):
        load_prepared(tmp_path / "nowhere")
    with pytest.raises(NotPreparedError, match=f"has no {MANIFEST}"):
        load_prepared(sound_root)
    prepare(sound_root, tmp_path / "out")
    manifest = tmp_path / "out" / MANIFEST
    text = manifest.read_text()
    manifest.write_text(text.replace('"format_version": 2', '"format_version": 99'))
    with pytest.raises(NotPreparedError, match="format version 99, this version of hsta-hf reads 2"):
        load_prepared(tmp_path / "out")
    manifest.write_text(text[:50])
    with pytest.raises(NotPreparedError, match="is damaged"):
        load_prepared(tmp_path / "out")
    manifest.write_text(text.replace('"num_clips": 4', '"num_clips": 5'))
    with pytest.raises(NotPreparedError, match=r"holds 4 clips, .* says 5"):
        load_prepared(tmp_path / "out")


def test_bytes_that_do_not_fit_their_shape_are_refused(sound_root: Path, tmp_path: Path):
    prepare(sound_root, tmp_path / "out")
    row = load_prepared(tmp_path / "out")[0]
    with pytest.raises(NotPreparedError, match=r"clip casme3/spNO\.1/a/3: .* bytes of frames, shape"):
        clip_frames({**row, "num_frames": 3})


def test_prepare_command_reports_problems_together_at_the_end(
    casme3_tree: Casme3Tree, tmp_path: Path, capsys: pytest.CaptureFixture
):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 0, 8, 13)
    casme3_tree.row("spNO.1", "a", 14, 14, 18)
    root, out = str(casme3_tree.save()), str(tmp_path / "out")
    assert run_command(prepare_command, root, out, "--strict") == 1
    assert "14 equals the onset" in capsys.readouterr().err
    assert run_command(prepare_command, root, out, "--workers", "1", "--faces", "keep") == 0
    text = capsys.readouterr().out
    assert "corrected: spNO.1/a/0/8/13" in text
    assert "- spNO.1/a/14/14/18" in text
    assert f"2 of 2 rows are clips of {out}" in text
    assert run_command(prepare_command, root, out) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["one level too high", "no color folder"])
def test_a_wrong_layout_is_said_in_one_line(
    casme3_tree: Casme3Tree, tmp_path: Path, capsys: pytest.CaptureFixture, layout: str
):
    casme3_tree.recording("spNO.1", "a", range(1, 10))
    for onset in range(1, 31):
        casme3_tree.row("spNO.1", "a", onset, onset + 1, onset + 2)
    root = casme3_tree.save()
    if layout == "one level too high":
        (root / "inner").mkdir()
        (root / "spNO.1").rename(root / "inner" / "spNO.1")
    else:
        (root / "spNO.1" / "a" / "color").rename(root / "spNO.1" / "a" / "depth")
    hint = "No frames for any of 30 rows. Expected ROOT/<subject>/<letter>/color/<n>.jpg; ROOT"
    assert run_command(check_command, str(root)) == 1
    text = capsys.readouterr().out
    assert text.splitlines()[2].startswith(hint) and ("inner" in text) == (layout == "one level too high")
    assert (f"Is {root / 'inner'} the right folder?" in text) == (layout == "one level too high")
    assert text.count("there is no folder") == 2 and "  - … and 28 more\n- 30 in all, all with --all" in text
    assert run_command(check_command, str(root), "--all") == 1
    text = capsys.readouterr().out
    assert text.count("there is no folder") == 30 and "in all, all" not in text
    assert run_command(prepare_command, str(root), str(tmp_path / "out")) == 2
    text = capsys.readouterr().err
    assert text.startswith(f"hsta prepare: {hint}") and text.count("there is no folder") == 10


def test_a_table_without_rows_is_called_that(casme3_tree: Casme3Tree, tmp_path: Path, capsys: pytest.CaptureFixture):
    root = str(casme3_tree.save())
    assert run_command(check_command, root) == 1
    assert "Annotation: cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx, the table has no rows." in capsys.readouterr().out
    assert run_command(prepare_command, root, str(tmp_path / "out")) == 2
    assert ".xlsx: the table has no rows; name the right one with --annotation" in capsys.readouterr().err


def test_many_rows_without_a_folder_are_one_line_and_all_in_the_report(
    sound_root: Path, casme3_tree: Casme3Tree, tmp_path: Path, capsys: pytest.CaptureFixture
):
    for onset in range(1, 22):
        casme3_tree.row("spNO.9", "z", onset, onset + 1, onset + 2)
    casme3_tree.save()
    assert run_command(prepare_command, str(sound_root), str(tmp_path / "out"), "--faces", "keep") == 0
    text = capsys.readouterr().out
    assert text.startswith("No frames for 21 of 25 rows.") and "right folder" not in text
    assert text.count("there is no folder") == 2 and "  - … and 19 more\n- 21 in all, all in report.md" in text
    assert (tmp_path / "out" / "report.md").read_text(encoding="utf-8").count("there is no folder") == 21


@pytest.mark.slow
def test_ict_me_is_prepared_whole(shared_dir: Path, tmp_path: Path):
    report = prepare(shared_dir / "data" / "ict_me", tmp_path / "out", size=48)
    dataset = load_prepared(tmp_path / "out")
    assert len(dataset) == report.num_clips == 320
    assert [problem.clip for problem in report.problems] == [
        "spNO.1/h/959/963/0",
        "spNO.2/b/2970/2963/2981",
        "spNO.2/f/2826/2826/2833",
    ]
    assert report.errors == ()
    sources = dict(zip(dataset["clip_id"], dataset["apex_source"], strict=True))
    assert {clip for clip, source in sources.items() if source == "spotted"} == {
        "casme3/spNO.2/b/2970",
        "casme3/spNO.2/f/2826",
    }
    for onset, apex, offset in zip(
        dataset["onset_index"], dataset["apex_index"], dataset["offset_index"], strict=True
    ):
        assert onset < apex <= offset
