"""The SMIC loader on trees in the owner's layout, with what can be wrong in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from owners.smic import PUBLISHED, SmicTree, lose, write_published

from hsta_hf.data.databases import DatabaseError, LoadReport, get_database
from hsta_hf.data.decode import DecodedClip, decode_clip
from hsta_hf.data.labels import get_label_scheme


def load(root: Path, name: str = "smic_hs", **arguments: Any) -> LoadReport:
    return get_database(name).load(root, **arguments)


def messages(report: LoadReport) -> list[tuple[str, str, str]]:
    return [(problem.clip, problem.field, problem.severity) for problem in report.problems]


@pytest.fixture
def tree(tmp_path: Path) -> SmicTree:
    return SmicTree(tmp_path / "SMIC")


@pytest.mark.parametrize("variant", ["raw", "cropped"])
def test_a_clip_is_its_folder(tmp_path: Path, variant: str):
    tree = SmicTree(tmp_path / "SMIC", variant)
    folder = tree.clip(1, "negative", 1, range(123, 131))
    tree.clip(12, "surprise", 3, range(7, 12))
    report = load(tree.root)
    assert report.problems == () and report.corrections == ()
    assert (report.num_rows, report.variant, report.annotation) == (2, variant, None)
    first, second = report.clips
    assert first.clip_id == "smic_hs/s1/s1_ne_01/123"
    assert (first.database, first.subject, first.filename) == ("smic_hs", "s1", "s1_ne_01")
    assert (first.onset, first.apex, first.offset, first.apex_source) == (123, None, 130, "unknown")
    assert first.frame_numbers == tuple(range(123, 131))
    assert first.frame_paths == tuple(tree.frame(folder, number) for number in range(123, 131))
    assert (first.emotion, first.objective_class, first.action_units) == ("negative", None, ())
    assert (first.fps, first.variant) == (100.0, variant)
    assert first.source == folder.relative_to(tree.root).as_posix()
    assert (second.clip_id, second.emotion) == ("smic_hs/s12/s12_sur_03/7", "surprise")


def test_the_three_classes_have_labels(tree: SmicTree):
    for label in ("negative", "positive", "surprise"):
        tree.clip(1, label, 1)
    assert get_label_scheme("three_class").assign(load(tree.root).clips).labels == (0, 1, 2)


def test_frames_are_read_and_no_two_are_equal(tree: SmicTree):
    tree.clip(1, "negative", 1)
    tree.clip(1, "positive", 1)
    decoded = [decode_clip(clip) for clip in load(tree.root).clips]
    assert all(isinstance(clip, DecodedClip) and clip.problems == () for clip in decoded)
    hashes = [value for clip in decoded if isinstance(clip, DecodedClip) for value in clip.frame_hashes]
    assert len(hashes) == len(set(hashes)) == 8


def test_the_published_counts_arrive(tmp_path: Path):
    tree = write_published(tmp_path / "SMIC")
    report = load(tree.root)
    assert (report.num_rows, len(report.clips), len(report.subjects)) == (164, 164, 16)
    assert report.clip_counts("emotion") == PUBLISHED["HS"] == {"negative": 70, "positive": 51, "surprise": 43}
    assert report.problems == () and report.count_mismatches == ()
    assert report.published_counts["rows"] == {"all": 164}
    assert report.left_out == {"clips without a micro-expression (non_micro)": 16}


def test_counts_that_differ_are_said(tmp_path: Path):
    tree = write_published(tmp_path / "SMIC", num_frames=2)
    lose(tree, tree.subject(20) / "micro" / "surprise" / "s20_sur_01")
    assert load(tree.root).count_mismatches == (
        "rows all: 163 in the folders, 164 published",
        "emotion surprise: 42 in the folders, 43 published",
    )


@pytest.mark.parametrize(("camera", "fps"), [("HS", 100.0), ("VIS", 25.0), ("NIR", 25.0)])
def test_each_camera_is_a_database(tmp_path: Path, camera: str, fps: float):
    for other in ("HS", "VIS", "NIR"):
        SmicTree(tmp_path / "SMIC", camera=other).clip(11, "positive", 1, range(40, 44))
    SmicTree(tmp_path / "SMIC", camera=camera).clip(12, "negative", 1)
    report = load(tmp_path / "SMIC", f"smic_{camera.lower()}")
    assert [clip.clip_id.split("/")[0] for clip in report.clips] == [f"smic_{camera.lower()}"] * 2
    assert {clip.fps for clip in report.clips} == {fps}
    assert all(camera in path.parts for clip in report.clips for path in clip.frame_paths)
    rows = 164 if camera == "HS" else 71
    assert f"rows all: 2 in the folders, {rows} published" in report.count_mismatches


def test_the_classes_of_vis_and_nir_are_not_compared(tmp_path: Path):
    tree = SmicTree(tmp_path / "SMIC", camera="VIS")
    for number in range(71):
        tree.clip((11, 12, 13, 14, 15, 18, 19, 20)[number % 8], "positive", number, (1, 2))
    assert load(tree.root, "smic_vis").count_mismatches == ()


@pytest.mark.parametrize("root", [".", "SMIC_all_cropped", "SMIC_all_cropped/HS"])
def test_root_may_be_any_folder_down_to_the_camera(tmp_path: Path, root: str):
    tree = SmicTree(tmp_path / "SMIC", "cropped")
    tree.clip(1, "negative", 1)
    assert len(load(tree.root / root).clips) == 1


@pytest.mark.parametrize("below", ["", "SMIC_ALL_RAW", "unpacked"])
def test_the_camera_may_lie_in_root_or_in_a_folder_of_another_name(tmp_path: Path, below: str):
    tree = SmicTree(tmp_path / "SMIC", below=below)
    tree.clip(1, "negative", 1)
    report = load(tree.root)
    assert (len(report.clips), report.variant) == (1, "raw")


def test_another_cameras_folder_is_not_taken_for_the_one_asked_for(tmp_path: Path):
    tree = SmicTree(tmp_path / "SMIC", camera="VIS")
    tree.clip(11, "negative", 1)
    assert len(load(tree.folder, "smic_vis").clips) == 1
    with pytest.raises(DatabaseError, match="no frames of SMIC-HS found"):
        load(tree.folder)


def test_raw_frames_are_taken_first_and_cropped_ones_when_asked_for(tmp_path: Path):
    for variant in ("raw", "cropped"):
        SmicTree(tmp_path / "SMIC", variant).clip(1, "negative", 1)
    (raw,) = load(tmp_path / "SMIC").clips
    (cropped,) = load(tmp_path / "SMIC", variant="cropped").clips
    assert (raw.variant, raw.frame_paths[0].name) == ("raw", "image000123.bmp")
    assert (cropped.variant, cropped.frame_paths[0].name) == ("cropped", "reg_image000123.bmp")
    assert raw.clip_id == cropped.clip_id and raw.subject == cropped.subject, "s01 and s1 are one person"
    database = get_database("smic_hs")
    assert (database.variants, database.aligned_variants) == (("raw", "cropped"), ("cropped",))


def test_raw_and_cropped_frames_in_one_folder_are_told_apart_by_name(tmp_path: Path):
    for variant in ("raw", "cropped"):
        tree = SmicTree(tmp_path / "SMIC", variant, below="")
        tree.clip(11, "negative", 1, range(5, 9))
    assert [len(load(tree.root, variant=v).clips[0].frame_paths) for v in ("raw", "cropped")] == [4, 4]


def test_missing_frames_inside_are_reported_and_the_rest_kept(tree: SmicTree):
    lose(tree, tree.clip(3, "positive", 8, range(10, 20)), 13, 14, 17)
    report = load(tree.root)
    assert report.clips[0].frame_numbers == (10, 11, 12, 15, 16, 18, 19)
    (problem,) = report.problems
    assert (problem.clip, problem.field, problem.severity) == ("s3/s3_po_08/10/?/19", "frames", "error")
    assert problem.message == "3 of 10 missing: 13-14, 17"
    assert problem.source == "SMIC_all_raw/HS/s03/micro/positive/s3_po_08"


@pytest.mark.parametrize("frames", [(), (5,)])
def test_a_clip_of_fewer_than_two_frames_is_left_out(tree: SmicTree, frames: tuple[int, ...]):
    tree.clip(1, "positive", 1)
    tree.clip(1, "positive", 2, frames)
    report = load(tree.root)
    assert (len(report.clips), report.num_rows) == (1, 2)
    assert messages(report) == [("s1/s1_po_02", "frames", "error")]
    assert report.problems[0].message == (
        f"fewer than 2 frames called image<n>.bmp ({len(frames)}); the clip is left out"
    )


def test_cropped_frames_alone_are_no_raw_clip(tmp_path: Path):
    tree = SmicTree(tmp_path / "SMIC", "raw", below="")
    tree.clip(11, "positive", 1)
    SmicTree(tmp_path / "SMIC", "cropped", below="").clip(11, "positive", 2)
    report = load(tree.root)
    assert messages(report) == [("s11/s11_po_02", "frames", "error")]


def test_other_files_are_no_frames(tree: SmicTree):
    folder = tree.clip(1, "positive", 1)
    (folder / "Thumbs.db").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    (folder.parent / ".DS_Store").write_bytes(b"x")
    (tree.folder / "__MACOSX").mkdir()
    report = load(tree.root)
    assert report.problems == () and report.clips[0].num_frames == 4


def test_a_label_folder_that_contradicts_the_name_is_reported_and_used(tree: SmicTree):
    tree.clip(1, "negative", 1, folder="positive")
    report = load(tree.root)
    assert report.clips[0].emotion == "positive"
    assert messages(report) == [("s1/s1_ne_01", "emotion", "error")]
    assert report.problems[0].message == (
        "the name says 'negative', the folder 'positive': one of them is wrong; the folder's label is used"
    )


def test_a_subjects_folder_that_contradicts_the_name_is_reported(tree: SmicTree):
    tree.clip(2, "negative", 1, name="s1_ne_01")
    report = load(tree.root)
    assert report.clips[0].subject == "s2"
    assert messages(report) == [("s2/s1_ne_01", "subject", "error")]


def test_a_clip_in_two_label_folders_is_read_once_where_its_name_says(tree: SmicTree):
    tree.clip(1, "positive", 1, folder="negative")
    tree.clip(1, "positive", 1)
    report = load(tree.root)
    assert [clip.emotion for clip in report.clips] == ["positive"]
    assert messages(report) == [("s1/s1_po_01", "row", "error")]
    assert report.problems[0].message.startswith("contradicts SMIC_all_raw/HS/s01/micro/positive/s1_po_01")
    assert report.problems[0].source.endswith("negative/s1_po_01") and report.num_rows == 2


def test_a_subject_spelled_in_two_ways_is_one_person(tmp_path: Path):
    SmicTree(tmp_path / "SMIC", "raw", below="").clip(1, "negative", 1)
    other = tmp_path / "SMIC" / "HS" / "s1" / "micro" / "positive" / "s1_po_01"
    SmicTree(tmp_path / "elsewhere").clip(1, "positive", 1).rename(_with_parents(other))
    report = load(tmp_path / "SMIC")
    assert report.problems == () and report.row_counts["subjects"] == {"all": 1}
    assert [clip.subject for clip in report.clips] == ["s1", "s1"]


def _with_parents(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    return path


def test_a_label_folder_of_another_name_is_refused(tree: SmicTree):
    tree.clip(1, "negative", 1)
    tree.clip(1, "negative", 2, folder="angry")
    report = load(tree.root)
    assert len(report.clips) == 1
    assert messages(report) == [("s1/s1_ne_02", "emotion", "error")]
    assert "emotion angry: 1 in the folders, 0 published" in report.count_mismatches


def test_a_name_that_cannot_be_checked_is_said(tree: SmicTree):
    tree.clip(1, "negative", 1, name="first")
    report = load(tree.root)
    assert len(report.clips) == 1 and messages(report) == [("s1/first", "folder", "warning")]


def test_folders_that_are_no_part_of_the_layout_are_said_and_left_alone(tree: SmicTree):
    tree.clip(1, "negative", 1)
    tree.non_micro(1, 1)
    tree.non_micro(1, 2)
    (tree.folder / "results").mkdir()
    (tree.subject(1) / "macro").mkdir()
    report = load(tree.root)
    assert [(p.source, p.severity) for p in report.problems] == [
        ("SMIC_all_raw/HS/results", "warning"),
        ("SMIC_all_raw/HS/s01/macro", "warning"),
    ]
    assert list(report.left_out.values()) == [2] and len(report.clips) == 1


def test_a_name_is_taken_whatever_its_case(tree: SmicTree):
    tree.clip(1, "negative", 1, kind="Micro", folder="Negative", name="S01_NE_01")
    report = load(tree.root)
    assert report.problems == () and report.clips[0].emotion == "negative"


def test_subjects_and_clips_come_in_natural_order(tree: SmicTree):
    for subject in (10, 2, 1):
        tree.clip(subject, "surprise", 10)
        tree.clip(subject, "surprise", 2, name=f"s{subject}_sur_2")
    assert [clip.filename for clip in load(tree.root).clips] == [
        name for subject in (1, 2, 10) for name in (f"s{subject}_sur_2", f"s{subject}_sur_10")
    ]


@pytest.mark.parametrize("what", ["clip", "frame"])
def test_a_link_out_of_the_database_is_refused(tree: SmicTree, tmp_path: Path, what: str):
    folder = tree.clip(1, "negative", 1)
    tree.clip(1, "negative", 2)
    outside = tmp_path / "outside"
    outside.mkdir()
    path = folder if what == "clip" else tree.frame(folder, 124)
    path.rename(outside / path.name)
    path.symlink_to(outside / path.name)
    report = load(tree.root)
    assert [clip.filename for clip in report.clips] == ["s1_ne_02"]
    assert "is a link out of" in report.errors[0].message


def test_published_counts_say_nothing_about_synthetic_faces(tree: SmicTree):
    tree.clip(1, "negative", 1)
    assert load(tree.root).published_counts and not load(tree.root).synthetic
    (tree.root / "README.md").write_text("Synthetic, drawn.")
    assert load(tree.root).synthetic and not load(tree.root).published_counts


def test_errors_of_the_whole_database_say_what_to_do(tree: SmicTree, tmp_path: Path):
    with pytest.raises(DatabaseError, match="is not a folder; give the folder of SMIC"):
        load(tmp_path / "nowhere")
    with pytest.raises(DatabaseError, match=r"no frames of SMIC-HS found. Expected ROOT/.*ROOT holds: SMIC_all_raw"):
        load(tree.root)
    tree.clip(1, "negative", 1)
    with pytest.raises(DatabaseError, match="has no annotation table, labels are folder names"):
        load(tree.root, annotation=tmp_path / "labels.xlsx")
    with pytest.raises(DatabaseError, match="no variant 'grey'; there are raw, cropped"):
        load(tree.root, variant="grey")
    with pytest.raises(DatabaseError, match="holds no cropped frames of SMIC-HS, only raw ones"):
        load(tree.root, variant="cropped")
    SmicTree(tree.root, below="copy").clip(1, "negative", 1)
    with pytest.raises(DatabaseError, match="raw frames of SMIC-HS in several folders"):
        load(tree.root)
