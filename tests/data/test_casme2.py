"""The CASME II loader on trees in the owner's layout, with every quirk of his files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from owners.casme2 import FOLDERS, HEADER, OWNERS_NAME, Casme2Tree, published_clips, write_published

from hsta_hf.data.databases import DatabaseError, LoadReport, get_database
from hsta_hf.data.databases.casme2 import CASME2, PUBLISHED_COUNTS
from hsta_hf.data.databases.known_mistakes import UnprovenOffset


def load(root: Path, **arguments: Any) -> LoadReport:
    return get_database("casme2").load(root, **arguments)


def findings(report: LoadReport) -> list[tuple[str, str, str]]:
    return [(problem.field, problem.severity, problem.message) for problem in report.problems]


@pytest.fixture
def tree(tmp_path: Path) -> Casme2Tree:
    """One sound clip, raw and cropped, in its table."""
    tree = Casme2Tree(tmp_path / "CASME2")
    tree.recording(1, "EP02_01f", range(46, 87), ("raw", "cropped"))
    tree.row(1, "EP02_01f", 46, 59, 86, "12", "happiness")
    return tree


def test_a_clip_is_read_as_the_owner_ships_it(tree: Casme2Tree):
    report = load(tree.save())
    assert report.problems == () and report.corrections == ()
    (clip,) = report.clips
    assert (clip.clip_id, clip.database, clip.variant) == ("casme2/sub01/EP02_01f/46", "casme2", "raw")
    assert (clip.subject, clip.filename, clip.onset, clip.apex, clip.offset) == ("sub01", "EP02_01f", 46, 59, 86)
    assert (clip.fps, clip.emotion, clip.objective_class, clip.action_units) == (200.0, "happiness", "I", ("12",))
    assert clip.frame_paths[0] == tree.frame(1, "EP02_01f", 46) and clip.frame_paths[0].is_file()
    assert clip.num_frames == 41


@pytest.mark.parametrize("variant", ["raw", "cropped"])
def test_both_versions_of_the_frames_are_read(tree: Casme2Tree, variant: str):
    report = load(tree.save(), variant=variant)
    assert report.variant == variant and report.problems == ()
    assert report.clips[0].variant == variant
    assert report.clips[0].frame_paths[0] == tree.frame(1, "EP02_01f", 46, variant)


def test_what_the_owner_has_cropped_is_known_as_aligned():
    database = get_database("casme2")
    assert (database.variants, database.aligned_variants) == (("raw", "cropped"), ("cropped",))


def test_the_cropped_frames_are_taken_where_there_are_no_raw_ones(tree: Casme2Tree):
    shutil.rmtree(tree.root / FOLDERS["raw"])
    root = tree.save()
    assert load(root).variant == "cropped"
    with pytest.raises(DatabaseError, match="holds no raw frames of CASME II, only cropped ones"):
        load(root, variant="raw")


@pytest.mark.parametrize("variant", ["raw", "cropped"])
def test_the_root_may_be_the_versions_own_folder_and_the_table_above_it(tree: Casme2Tree, variant: str):
    root = tree.save() / FOLDERS[variant]
    report = load(root)
    assert (report.variant, len(report.clips), report.problems) == (variant, 1, ())
    assert report.annotation is not None and report.annotation.name == OWNERS_NAME
    other = "raw" if variant == "cropped" else "cropped"
    with pytest.raises(DatabaseError, match=f"holds no {other} frames"):
        load(root, variant=other)


@pytest.mark.parametrize(
    ("variant", "folder"),
    [
        ("raw", "CASME2-RAW"),
        ("raw", "CASME2_RAW"),
        ("raw", "casme2_raw_selected"),
        ("raw", "CASME2_RAW/CASME2-RAW"),
        ("raw", "CASME2_RAW_selected/CASME2_RAW_selected"),
        ("cropped", "cropped"),
        ("cropped", "Cropped/Cropped"),
        ("raw", ""),
        ("cropped", ""),
    ],
)
def test_folders_are_found_under_the_names_that_they_have_out_there(tmp_path: Path, variant: str, folder: str):
    tree = Casme2Tree(tmp_path / "root", {variant: folder})
    tree.recording(1, "EP02_01f", range(1, 6), (variant,))
    tree.row(1, "EP02_01f", 1, 3, 5)
    report = load(tree.save())
    assert (report.variant, len(report.clips), report.problems) == (variant, 1, ())


def test_the_selected_raw_frames_are_preferred_to_whole_recordings(tree: Casme2Tree):
    whole = Casme2Tree(tree.root, {"raw": "CASME2-RAW"})
    whole.recording(1, "EP02_01f", range(1, 100))
    assert load(tree.save()).clips[0].frame_paths[0].parent.parent.parent.name == FOLDERS["raw"]


@pytest.mark.parametrize("subject", [1, "1", "01", "sub1", "sub01"])
def test_the_subject_is_an_integer_in_the_table_and_a_folder_on_disk(tree: Casme2Tree, subject: Any):
    tree.rows.clear()
    tree.row(subject, "EP02_01f", 46, 59, 86)
    assert load(tree.save()).subjects == ("sub01",)


@pytest.mark.parametrize("cell", ["/", "", None])
def test_a_missing_apex_is_to_be_spotted_and_said(tree: Casme2Tree, cell: Any):
    tree.rows.clear()
    tree.row(1, "EP02_01f", 46, cell, 86)
    report = load(tree.save())
    assert (report.clips[0].apex, report.clips[0].apex_source) == (None, "unknown")
    assert findings(report) == [("ApexFrame", "warning", "not annotated; the apex is spotted instead")]


@pytest.mark.parametrize(
    ("cell", "units", "objective", "said"),
    [
        ("4+7", ("4", "7"), "III", None),
        (4, ("4",), "III", None),
        ("L4", ("4",), "III", None),
        ("L12+R12", ("12",), "I", None),
        ("15?", ("15",), "V", "15? has a mark of doubt and is used; action units read: 15"),
        ("?", (), "VII", "'?' is no action unit; action units read: none"),
        ("4+?", ("4",), "III", "'?' is no action unit; action units read: 4"),
        ("", (), "VII", "no action units are annotated; action units read: none"),
    ],
)
def test_action_units_and_the_objective_class_that_follows(
    tree: Casme2Tree, cell: Any, units: tuple[str, ...], objective: str, said: str | None
):
    tree.rows.clear()
    tree.row(1, "EP02_01f", 46, 59, 86, cell)
    report = load(tree.save())
    assert (report.clips[0].action_units, report.clips[0].objective_class) == (units, objective)
    assert report.clips[0].action_units_raw == str(cell)
    assert findings(report) == ([] if said is None else [("Action Units", "warning", said)])


@pytest.mark.parametrize(("cell", "wanted"), [(1, "I"), ("7", "VII"), ("iv", "IV")])
def test_the_owners_objective_classes_win_where_they_lie_beside_the_table(tree: Casme2Tree, cell: Any, wanted: str):
    tree.save_objective_classes([(1, "EP02_01f", cell)])
    assert load(tree.save()).clips[0].objective_class == wanted


def test_published_objective_classes_are_compared_with_the_owners_alone(tree: Casme2Tree):
    root = tree.save()
    assert "objective_class" not in load(root).published_counts
    tree.save_objective_classes([(1, "EP02_01f", 3)])
    report = load(root)
    assert report.row_counts["objective_class"] == {"III": 1}
    assert f"objective_class III: 1 in {OWNERS_NAME}, 99 published" in report.count_mismatches


def test_a_broken_table_of_objective_classes_is_named(tree: Casme2Tree):
    tree.save_objective_classes([(1, "EP02_01f", 9)])
    with pytest.raises(DatabaseError, match=r"CASME2-ObjectiveClasses.xlsx row 2: Objective Class '9' is none of 1"):
        load(tree.save())


@pytest.mark.parametrize("wrong", [9, 86, 0, 911, "/"])
@pytest.mark.parametrize("apex", ["/", 88])
def test_the_wrong_offset_is_corrected_by_clip(tmp_path: Path, wrong: Any, apex: Any):
    tree = Casme2Tree(tmp_path)
    tree.recording(7, "EP06_01", range(80, 100))
    tree.row(7, "EP06_01", 86, apex, wrong)
    report = load(tree.save())
    assert (report.clips[0].onset, report.clips[0].offset) == (86, 91)
    (correction,) = report.corrections
    assert (correction.field, correction.before, correction.after) == ("OffsetFrame", str(wrong), "91")
    assert correction.clip == f"sub07/EP06_01/86/{apex}/{wrong}" and "MEB" in correction.reason
    assert "OffsetFrame" in report.clips[0].corrections[0]


@pytest.mark.parametrize(("subject", "onset", "offset"), [(7, 86, 93), (7, 86, 91), (7, 95, 9), (8, 86, 9)])
def test_an_offset_that_may_be_right_or_another_clips_is_left_alone(
    tmp_path: Path, subject: int, onset: int, offset: int
):
    tree = Casme2Tree(tmp_path)
    tree.recording(subject, "EP06_01", range(80, 100))
    tree.row(subject, "EP06_01", onset, onset + 2, offset)
    report = load(tree.save())
    assert report.corrections == ()
    if offset > onset:
        assert report.clips[0].offset == offset
    else:
        assert report.problems[0].message.startswith(f"{offset} is not after the onset {onset}; 99, the last frame of")


def test_a_place_in_the_table_counts_in_its_own_version_only():
    known = UnprovenOffset(91, "a source", row=60, of_rows=256)
    arguments: dict[str, Any] = {"onset": 86, "apex": None, "offset": 9, "fps": 200.0}
    assert known.applies(("sub07", "EP03_04"), 60, 256, **arguments)
    assert not known.applies(("sub07", "EP03_04"), 60, 255, **arguments)
    assert not known.applies(("sub07", "EP03_04"), 61, 256, **arguments)
    assert not known.applies(("sub07", "EP03_04"), 60, 256, **{**arguments, "onset": None})


def test_the_clip_whose_cropped_frames_end_early_is_corrected_in_that_version(tmp_path: Path):
    tree = Casme2Tree(tmp_path)
    tree.recording(16, "EP01_08", range(73, 111), ("raw",))
    tree.recording(16, "EP01_08", range(73, 97), ("cropped",))
    tree.row(16, "EP01_08", 73, 94, 110, "14", "repression")
    root = tree.save()
    raw, cropped = load(root, variant="raw"), load(root, variant="cropped")
    assert (raw.clips[0].offset, raw.corrections, raw.problems) == (110, (), ())
    assert (cropped.clips[0].offset, cropped.problems) == (96, ())
    assert "cropped frames of this clip end at 96" in cropped.corrections[0].reason


@pytest.mark.parametrize("version", [255, 256])
def test_the_published_counts_arrive(tmp_path: Path, version: int):
    report = load(write_published(tmp_path, version))
    assert report.count_mismatches == () and report.published_counts["rows"]["all"] == version
    assert (report.num_rows, len(report.clips), len(report.subjects)) == (version, version, 26)
    assert report.clip_counts("emotion") == dict(PUBLISHED_COUNTS[version - 255]["emotion"])
    assert report.errors == ()
    without_apex = sum(clip.apex is None for clip in report.clips)
    assert without_apex == (21 if version == 256 else 1)
    assert [correction.clip for correction in report.corrections] == (
        ["sub07/EP06_01/86///9"] if version == 256 else []
    )
    assert len({clip.clip_id for clip in report.clips}) == version


def test_the_cropped_version_of_the_whole_database(tmp_path: Path):
    report = load(write_published(tmp_path, variants=("cropped",), annotation="CASME2-coding-20140508.csv"))
    assert (report.variant, report.count_mismatches, report.errors) == ("cropped", (), ())
    assert len(report.corrections) == 2


@pytest.mark.parametrize("version", [255, 256])
def test_wrong_counts_are_said_against_the_nearest_version(tmp_path: Path, version: int):
    tree = Casme2Tree(tmp_path)
    (tmp_path / "CASME2_RAW_selected" / "sub01").mkdir(parents=True)
    for subject, filename, emotion in published_clips(version):
        wrong = emotion == "fear"
        tree.row(subject, filename, 1, 2, 3, emotion="sadness" if wrong else emotion)
    report = load(tree.save())
    assert report.count_mismatches == (
        f"emotion fear: 0 in {OWNERS_NAME}, 2 published",
        f"emotion sadness: 9 in {OWNERS_NAME}, 7 published",
    )
    assert report.clips == () and len(report.errors) == version


def test_a_table_of_another_name_has_no_published_counts(tree: Casme2Tree):
    report = load(tree.save("my coding.csv"))
    assert report.annotation is not None and report.annotation.name == "my coding.csv"
    assert report.published_counts == {} and len(report.clips) == 1


def test_only_the_owners_table_is_taken_from_above(tree: Casme2Tree):
    root = tree.save("somebody's.xlsx") / FOLDERS["raw"]
    with pytest.raises(DatabaseError, match=r"no annotation table found. Expected CASME2-coding-20140508.xlsx"):
        load(root)
    assert load(root, annotation=tree.root / "somebody's.xlsx").clips[0].subject == "sub01"


def test_an_old_excel_file_is_named(tree: Casme2Tree):
    (tree.root / "CASME2_label_Ver_2.xls").write_bytes(b"\xd0\xcf\x11\xe0")
    with pytest.raises(DatabaseError, match=r"CASME2_label_Ver_2.xls: an old Excel file.*save it as .xlsx"):
        load(tree.root)


def test_missing_columns_go_by_the_owners_names(tree: Casme2Tree):
    header = tuple("when" if name == "OffsetFrame" else name for name in HEADER)
    with pytest.raises(DatabaseError, match=r"missing: OffsetFrame"):
        load(tree.save("table.csv", header))


def test_a_database_that_does_not_name_its_columns_is_refused():
    columns = {role: names for role, names in CASME2.columns.items() if role not in ("Apex", "emotion")}
    with pytest.raises(ValueError, match="casme2: no name is given for the columns Apex, emotion"):
        replace(CASME2, columns=columns)


def test_a_root_one_folder_too_high_is_told(tmp_path: Path, tree: Casme2Tree):
    above = Casme2Tree(tmp_path, {"raw": ""})
    above.recording(9, "EP01_01", range(1, 6))
    root = tree.save()
    (root / OWNERS_NAME).rename(tmp_path / OWNERS_NAME)
    (root / FOLDERS["raw"] / "sub01").rename(root / "sub01")
    report = load(tmp_path)
    hint = get_database("casme2").layout_hint
    assert hint is not None and hint(report).endswith(f"Is {root} the right folder?")


def test_a_root_without_frames_says_what_is_there(tmp_path: Path):
    tree = Casme2Tree(tmp_path / "root")
    tree.row(1, "EP02_01f", 46, 59, 86)
    (tree.root / "pictures").mkdir()
    expected = (
        r"no frames of CASME II found. Expected ROOT/CASME2_RAW_selected/.*ROOT holds: CASME2-coding.*, pictures"
    )
    with pytest.raises(DatabaseError, match=expected):
        load(tree.save())
    with pytest.raises(DatabaseError, match=r"CASME II has no variant 'grey'; there is raw, cropped"):
        load(tree.root, variant="grey")


def test_rows_without_a_folder_are_named_and_a_hint_given(tree: Casme2Tree):
    for number in range(2, 30):
        tree.row(number, "EP01_01", 1, 2, 3)
    report = load(tree.save())
    assert len(report.clips) == 1 and len(report.errors) == 28
    assert report.errors[0].clip == "sub02/EP01_01/1/2/3" and "there is no folder" in report.errors[0].message
    hint = get_database("casme2").layout_hint
    assert hint is not None and hint(report).startswith("No frames for 28 of 29 rows. Expected ROOT/CASME2_RAW_sel")


@pytest.mark.parametrize(
    ("subject", "filename"), [("..", "EP02_01f"), (1, "../sub02/EP01"), (1, "/etc"), ("a/b", "EP02_01f")]
)
def test_a_row_that_leads_out_of_the_database_is_refused(tree: Casme2Tree, subject: Any, filename: str):
    tree.row(subject, filename, 46, 59, 86)
    report = load(tree.save())
    assert len(report.clips) == 1
    assert "is not a plain folder name; it is refused" in report.errors[0].message


def test_a_versions_folder_that_is_a_link_out_of_the_root_is_refused(tree: Casme2Tree, tmp_path: Path):
    outside = tmp_path / "outside"
    (tree.root / FOLDERS["cropped"]).rename(outside)
    (tree.root / FOLDERS["cropped"]).symlink_to(outside)
    report = load(tree.save(), variant="cropped")
    assert report.clips == () and "is a link out of" in report.errors[0].message


def test_an_unknown_emotion_is_an_error_and_another_spelling_a_correction(tree: Casme2Tree):
    tree.recording(2, "EP01_01", range(1, 6))
    tree.recording(2, "EP01_02", range(1, 6))
    tree.row(2, "EP01_01", 1, 3, 5, emotion="Tense")
    tree.row(2, "EP01_02", 1, 3, 5, emotion="Others")
    report = load(tree.save())
    assert [clip.emotion for clip in report.clips] == ["happiness", None, "others"]
    assert [problem.field for problem in report.errors] == ["Estimated Emotion"]
    assert [(c.field, c.before, c.after) for c in report.corrections] == [("Estimated Emotion", "Others", "others")]
