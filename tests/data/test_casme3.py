"""The CAS(ME)^3 loader on trees in the owner's layout, with every kind of mistake the real files have."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from hsta_hf.data.check_kinds import OUTSIDE, problem_kind
from hsta_hf.data.databases import DATABASES, DatabaseError, LoadReport, get_database
from hsta_hf.data.databases.casme3 import KNOWN_CORRECTIONS, PUBLISHED_COUNTS
from hsta_hf.data.databases.timing import resolve_timing
from hsta_hf.data.prepare_report import frames_hint

if TYPE_CHECKING:
    from conftest import Casme3Tree


OWNERS_NAME = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"


def load(root: Path, **arguments: Any) -> LoadReport:
    return get_database("casme3").load(root, **arguments)


def messages(report: LoadReport) -> list[tuple[str, str, str]]:
    return [(problem.clip, problem.field, problem.severity) for problem in report.problems]


def test_a_sound_database_gives_its_clips_and_no_problem(sound_root: Path):
    report = load(sound_root)
    assert report.problems == () and report.corrections == ()
    assert report.num_rows == 4 and report.subjects == ("spNO.1", "spNO.2", "spNO.10")
    first = report.clips[0]
    assert first.clip_id == "casme3/spNO.1/a/3"
    assert (first.subject, first.filename, first.onset, first.apex, first.offset) == ("spNO.1", "a", 3, 7, 12)
    assert (first.emotion, first.objective_class) == ("others", "VII")
    assert (first.action_units, first.action_units_raw) == (("14",), "L14")
    assert (first.fps, first.apex_source, first.source.split()[-2:]) == (30.0, "annotated", ["row", "2"])
    assert [path.name for path in first.frame_paths] == [f"{n}.jpg" for n in range(3, 13)]
    assert all(path.is_file() for path in first.frame_paths)


def test_rows_that_share_a_letter_are_clips_of_their_own(sound_root: Path):
    first, second = load(sound_root).clips[:2]
    assert (first.filename, second.filename) == ("a", "a")
    assert not set(first.frame_paths) & set(second.frame_paths)
    assert second.action_units == ("1", "2")


def test_a_unit_that_the_spreadsheet_keeps_as_a_number_is_read(sound_root: Path):
    assert load(sound_root).clips[2].action_units == ("4",)


def test_emotion_spelled_others_is_corrected_and_reported(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 3, 7, 12, "14", "VII", "Others")
    report = load(casme3_tree.save())
    assert report.clips[0].emotion == "others"
    (correction,) = report.corrections
    assert (correction.clip, correction.field) == ("spNO.1/a/3/7/12", "emotion")
    assert (correction.before, correction.after) == ("Others", "others")
    assert report.row_counts["emotion"] == {"others": 1}


@pytest.mark.parametrize(("row", "known"), KNOWN_CORRECTIONS.items())
def test_known_mistakes_are_corrected_by_clip(casme3_tree: Casme3Tree, row: tuple, known: Any):
    subject, letter, onset, apex, offset = row
    wanted = {"Onset": onset, "Apex": apex, "Offset": offset, known.field: known.value}
    casme3_tree.recording(subject, letter, range(wanted["Onset"] - 2, wanted["Offset"] + 3), (8, 8))
    casme3_tree.row(*row)
    report = load(casme3_tree.save())
    (clip,) = report.clips
    assert (clip.onset, clip.apex, clip.offset) == (wanted["Onset"], wanted["Apex"], wanted["Offset"])
    assert clip.apex_source == "annotated"
    assert report.problems == ()
    (correction,) = report.corrections
    assert correction.clip == "/".join(str(part) for part in row)
    assert correction.field == known.field and "MEB" in correction.reason
    assert len(clip.corrections) == 1 and known.field in clip.corrections[0]


def test_the_same_numbers_of_another_clip_are_not_corrected(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.150", "d", range(110, 360), (8, 8))
    casme3_tree.row("spNO.150", "d", 112, 83, 358)
    report = load(casme3_tree.save())
    assert report.corrections == ()
    assert messages(report) == [("spNO.150/d/112/83/358", "Apex", "warning")]


def test_onset_0_becomes_1(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 0, 5, 9)
    report = load(casme3_tree.save())
    assert (report.clips[0].onset, report.clips[0].clip_id) == (1, "casme3/spNO.1/a/1")
    assert str(report.corrections[0]).endswith("Onset 0 -> 1: frames count from 1")
    assert report.problems == ()


@pytest.mark.parametrize(
    ("apex", "message"),
    [
        (5, "5 equals the onset, where nothing has moved yet; the apex is spotted instead"),
        (2, "2 is before the onset 5; the apex is spotted instead"),
        (18, "18 is after the offset 12; the apex is spotted instead"),
        ("/", "not annotated; the apex is spotted instead"),
        (-1, "not annotated; the apex is spotted instead"),
    ],
)
def test_an_impossible_apex_is_unknown_and_the_clip_kept(casme3_tree: Casme3Tree, apex: Any, message: str):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, apex, 12)
    report = load(casme3_tree.save())
    (clip,), (problem,) = report.clips, report.problems
    assert (clip.apex, clip.apex_index, clip.apex_source) == (None, None, "unknown")
    assert (problem.field, problem.message, problem.severity) == ("Apex", message, "warning")
    assert str(problem).startswith(f"warning: spNO.1/a/5/{apex}/12 (cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx row 2)")


@pytest.mark.parametrize("offset", [0, 4, 5])
def test_an_offset_not_after_the_onset_becomes_the_end_of_the_run(casme3_tree: Casme3Tree, offset: int):
    casme3_tree.recording("spNO.1", "a", [*range(1, 16), *range(20, 30)])
    casme3_tree.row("spNO.1", "a", 5, 8, offset)
    report = load(casme3_tree.save())
    (clip,), (problem,) = report.clips, report.problems
    assert (clip.onset, clip.apex, clip.offset) == (5, 8, 15)
    assert problem.field == "Offset" and problem.severity == "warning"
    assert problem.message == f"{offset} is not after the onset 5; 15, the last frame of the unbroken run, is used"


def test_a_guessed_offset_is_at_most_half_a_second_after_the_apex(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 200), (8, 8))
    casme3_tree.row("spNO.1", "a", 5, 8, 0)
    assert load(casme3_tree.save()).clips[0].offset == 8 + 15


@pytest.mark.parametrize(("cell", "said"), [("abc", "'abc' is not a frame number"), ("", "missing"), ("/", "missing")])
def test_an_offset_or_apex_that_is_no_number_is_shown(casme3_tree: Casme3Tree, cell: str, said: str):
    casme3_tree.recording("spNO.1", "a", range(1, 15))
    casme3_tree.row("spNO.1", "a", 5, cell, cell)
    report = load(casme3_tree.save())
    assert [(p.field, p.severity, p.message) for p in report.problems] == [
        ("Offset", "warning", f"{said}; 14, the last frame of the unbroken run, is used"),
        ("Apex", "warning", f"{said.replace('missing', 'not annotated')}; the apex is spotted instead"),
    ]


def test_missing_frames_inside_are_reported_and_the_rest_kept(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", [5, 6, 8, 12, 13])
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    report = load(casme3_tree.save())
    (clip,), (problem,) = report.clips, report.problems
    assert clip.frame_numbers == (5, 6, 8, 12, 13) and clip.apex_index == 2
    assert (problem.severity, problem.message) == ("error", "4 of 9 missing: 7, 9-11")


def test_an_apex_without_a_frame_is_spotted(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", [5, 6, 7, 9, 10])
    casme3_tree.row("spNO.1", "a", 5, 8, 10)
    report = load(casme3_tree.save())
    assert report.clips[0].apex is None
    assert [problem.field for problem in report.problems] == ["Apex", "frames"]


def test_an_offset_without_a_frame_ends_at_the_last_before_it(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(5, 11))
    casme3_tree.row("spNO.1", "a", 5, 8, 14)
    report = load(casme3_tree.save())
    assert report.clips[0].offset == 10
    assert messages(report) == [("spNO.1/a/5/8/14", "Offset", "error")]


@pytest.mark.parametrize(
    ("onset", "field", "message"),
    [
        (4, "Onset", "there is no frame 4 on disk; the clip is left out"),
        ("x", "Onset", "'x' is not a frame number; the clip is left out"),
        (10, "frames", "fewer than 2 frames from onset to offset; the clip is left out"),
    ],
)
def test_a_clip_that_cannot_be_kept_is_named(casme3_tree: Casme3Tree, onset: Any, field: str, message: str):
    casme3_tree.recording("spNO.1", "a", range(5, 11))
    casme3_tree.row("spNO.1", "a", onset, 12, 14)
    report = load(casme3_tree.save())
    assert report.clips == ()
    assert (field, message) in [(problem.field, problem.message) for problem in report.errors]


def test_a_missing_folder_is_named(casme3_tree: Casme3Tree):
    casme3_tree.row("spNO.7", "k", 3, 5, 9)
    report = load(casme3_tree.save())
    assert report.clips == ()
    assert os.path.join("spNO.7", "k", "color") in report.errors[0].message


def test_a_repeated_row_is_read_once(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    report = load(casme3_tree.save())
    assert len(report.clips) == 1
    assert report.problems[0].severity == "warning"
    assert report.problems[0].message.startswith("repeats cas(me)3") and "row 2" in report.problems[0].message
    assert report.problems[0].message.endswith("; this row is left out")


def test_rows_that_contradict_each_other_are_an_error_and_the_first_is_kept(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13, emotion="anger")
    casme3_tree.row("spNO.1", "a", 5, 8, 13, emotion="fear")
    report = load(casme3_tree.save())
    assert [clip.emotion for clip in report.clips] == ["anger"]
    assert report.errors[0].message.startswith("contradicts ")


def test_two_clips_with_one_onset_have_two_names(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    casme3_tree.row("spNO.1", "a", 5, 8, 16)
    assert [clip.clip_id for clip in load(casme3_tree.save()).clips] == [
        "casme3/spNO.1/a/5",
        "casme3/spNO.1/a/5-16",
    ]


@pytest.mark.parametrize(
    ("subject", "letter"),
    [
        ("..", "a"),
        ("../outside", "a"),
        ("/etc", "a"),
        ("spNO.1", ".."),
        ("spNO.1", "a/../.."),
        ("C:\\x", "a"),
    ],
)
def test_a_row_that_leads_out_of_the_database_is_refused(casme3_tree: Casme3Tree, subject: str, letter: str):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    casme3_tree.row(subject, letter, 5, 8, 13)
    report = load(casme3_tree.save())
    assert len(report.clips) == 1
    (problem,) = report.errors
    assert "is not a plain folder name; it is refused" in problem.message


@pytest.mark.parametrize(("subject", "letter", "field"), [("", "a", "Subject"), ("spNO.1", "", "Filename")])
def test_an_empty_subject_or_recording_is_no_path_but_an_empty_cell(
    casme3_tree: Casme3Tree, subject: str, letter: str, field: str
):
    casme3_tree.row(subject, letter, 5, 8, 13)
    (problem,) = load(casme3_tree.save()).problems
    assert (problem.field, problem.severity) == (field, "error")
    assert problem.message == "empty; fill it in; the clip is left out"
    assert problem_kind(problem) != OUTSIDE


@pytest.mark.parametrize("what", ["folder", "frame"])
def test_a_link_out_of_the_database_is_refused(casme3_tree: Casme3Tree, tmp_path: Path, what: str):
    tree = casme3_tree
    tree.recording("spNO.1", "a", range(1, 20))
    outside = tmp_path / "outside"
    outside.mkdir()
    if what == "folder":
        (tree.root / "spNO.1" / "a").rename(outside / "a")
        (tree.root / "spNO.1" / "a").symlink_to(outside / "a")
    else:
        tree.frame("spNO.1", "a", 6).rename(outside / "6.jpg")
        tree.frame("spNO.1", "a", 6).symlink_to(outside / "6.jpg")
    tree.row("spNO.1", "a", 5, 8, 13)
    report = load(tree.save())
    assert report.clips == ()
    assert "is a link out of" in report.errors[0].message
    assert "copy the frames in, or give the real folder as ROOT" in report.errors[0].message


def test_a_link_within_the_database_is_followed(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    (casme3_tree.root / "spNO.1" / "b").symlink_to(casme3_tree.root / "spNO.1" / "a")
    casme3_tree.row("spNO.1", "b", 5, 8, 13)
    report = load(casme3_tree.save())
    assert len(report.clips) == 1 and report.problems == ()


def test_unknown_labels_are_reported_and_the_clip_kept(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13, "9+?", "", "joyful")
    report = load(casme3_tree.save())
    (clip,) = report.clips
    assert (clip.emotion, clip.objective_class, clip.action_units) == (None, "IV", ("9",))
    assert messages(report) == [
        ("spNO.1/a/5/8/13", "emotion", "error"),
        ("spNO.1/a/5/8/13", "AU", "warning"),
        ("spNO.1/a/5/8/13", "Objective class", "warning"),
    ]
    assert "'joyful' is none of anger, disgust" in report.problems[0].message


def test_the_annotated_objective_class_wins(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13, "9", "V", "disgust")
    assert load(casme3_tree.save()).clips[0].objective_class == "V"


@pytest.mark.parametrize("name", ["cas(me)3_part_A_ME_label_JpgIndex_v2.csv", "annotation.csv", "my labels.xlsx"])
def test_the_annotation_may_be_csv_or_have_another_name(casme3_tree: Casme3Tree, name: str):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    report = load(casme3_tree.save(name))
    assert report.annotation.name == name and len(report.clips) == 1
    assert bool(report.published_counts) == name.startswith("cas(me)3")


def test_columns_are_found_by_their_names(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.rows.append(("Subject ", "FileName", "onset", " APEX", "Offset", "AU", "Objective Class", "Emotion"))
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    root = casme3_tree.save(header=("These are", "notes", "above", "the", "header", "", "", ""))
    assert load(root).clips[0].clip_id == "casme3/spNO.1/a/5"
    assert load(root).clips[0].source.endswith("row 3")


def test_published_counts_that_are_not_met_are_said(sound_root: Path):
    mismatches = load(sound_root).count_mismatches
    assert "rows all: 4 in cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx, 860 published" in mismatches
    assert any(message.startswith("emotion anger: 1 in ") for message in mismatches)


def test_published_counts_add_up():
    for field in ("emotion", "objective_class"):
        assert sum(PUBLISHED_COUNTS[field].values()) == PUBLISHED_COUNTS["rows"]["all"] == 860


def test_a_database_that_calls_itself_synthetic_is_known_as_such(sound_root: Path):
    assert not load(sound_root).synthetic
    assert load(sound_root).published_counts
    (sound_root / "README.md").write_text("Synthetic faces, drawn.")
    assert load(sound_root).synthetic
    assert not load(sound_root).published_counts, "counts of people's clips say nothing about drawn ones"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("casme9", "casme2 or casme3"),
        ("casmeii", "casme2"),
        ("CAS(ME)^3", "casme3"),
        ("casme_3", "casme3"),
        ("SMIC", "smic_hs or smic_vis or smic_nir"),
        ("smic-hs", "smic_hs"),
        ("folders", "folder"),
    ],
)
def test_a_name_that_is_nearly_a_databases_is_suggested(name: str, meant: str):
    with pytest.raises(DatabaseError, match=re.escape(f"no database is called {name!r}; did you mean {meant}?")):
        get_database(name)


@pytest.mark.parametrize("name", ["CASME3", "Samm", "SMIC_HS"])
def test_case_does_not_matter_in_a_databases_name(name: str):
    assert get_database(name) is get_database(name.lower())


def test_a_root_one_level_too_high_or_too_deep_is_told_by_the_table(casme3_tree: Casme3Tree, tmp_path: Path):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    root = casme3_tree.save()
    for wrong, holds in ((root.parent, root.name), (root / "spNO.1", "a")):
        with pytest.raises(DatabaseError) as raised:
            load(wrong)
        assert f"ROOT holds: {holds}. {root} holds {OWNERS_NAME}: did you mean {root}?" in str(raised.value)
    (root / OWNERS_NAME).rename(root / "mine.xlsx")  # told by its columns
    with pytest.raises(DatabaseError, match=re.escape(f"{root} holds mine.xlsx: did you mean {root}?")):
        load(root.parent)
    (root / "mine.xlsx").unlink()
    with pytest.raises(DatabaseError, match=r"ROOT holds: spNO\.1\.") as raised:
        load(root)
    assert "did you mean" not in str(raised.value)


def test_a_root_one_level_too_deep_is_told_by_the_folders(casme3_tree: Casme3Tree, tmp_path: Path):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    table = casme3_tree.save() / OWNERS_NAME
    (hint,) = frames_hint(load(casme3_tree.root / "spNO.1", annotation=table))
    assert hint.startswith("No frames for the only row.") and hint.endswith(f"Is {casme3_tree.root} the right folder?")


def test_an_annotation_that_cannot_be_had_is_said_in_plain_words(casme3_tree: Casme3Tree):
    root = casme3_tree.save()
    with pytest.raises(DatabaseError) as raised:
        load(root, annotation="absent.xlsx")
    said = f"absent.xlsx: no such file (paths are relative to the current folder); ROOT holds {OWNERS_NAME}"
    assert str(raised.value) == said
    (root / "labels.xls").write_bytes(b"")
    with pytest.raises(DatabaseError) as raised:
        load(root, annotation=root / "labels.xls")
    assert str(raised.value) == f"{root / 'labels.xls'}: an old Excel file, which is not read; save it as .xlsx"


def test_errors_of_the_whole_database_say_what_to_do(tmp_path: Path, casme3_tree: Casme3Tree):
    assert DATABASES[:4] == ("casme3", "casme3_macro", "casme2", "samm")
    with pytest.raises(DatabaseError, match="no database is called 'cohn-kanade'; there are casme3"):
        get_database("cohn-kanade")
    with pytest.raises(DatabaseError, match="is not a folder; give the folder of CAS"):
        load(tmp_path / "nowhere")
    with pytest.raises(DatabaseError, match=r"no annotation table found.*name it with --annotation"):
        load(casme3_tree.root)
    (casme3_tree.root / "labels.xlsx").write_bytes(b"this is no spreadsheet")
    with pytest.raises(DatabaseError, match=r"labels\.xlsx: cannot be read as a \.xlsx table"):
        load(casme3_tree.root)
    (casme3_tree.root / "labels.xlsx").unlink()
    casme3_tree.save("table.csv", header=("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "x", "y"))
    with pytest.raises(DatabaseError, match=r"table\.csv: no header row.*missing: Objective class, emotion"):
        load(casme3_tree.root)


def test_several_fitting_tables_have_to_be_told_apart(casme3_tree: Casme3Tree):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    casme3_tree.save("one.csv")
    root = casme3_tree.save("two.csv")
    with pytest.raises(DatabaseError, match=r"several annotation tables \(one.csv, two.csv\); name one with"):
        load(root)
    assert load(root, annotation=root / "two.csv").annotation.name == "two.csv"


@pytest.mark.parametrize("onset", [1, 3, 9])
@pytest.mark.parametrize("apex", [None, 0, 3, 5, 12])
@pytest.mark.parametrize("offset", [None, 0, 3, 8, 30])
@pytest.mark.parametrize("on_disk", [range(1, 21), [1, 3, 4, 8, 9], [9], []])
def test_whatever_a_row_says_a_usable_timing_is_sound(onset: int, apex: Any, offset: Any, on_disk: Any):
    timing = resolve_timing(onset, apex, offset, on_disk, 30.0)
    if not timing.usable:
        assert any(severity == "error" for _, _, severity in timing.findings)
        return
    assert timing.frame_numbers[0] == timing.onset == onset
    assert timing.frame_numbers[-1] == timing.offset > onset
    assert timing.apex is None or timing.apex in timing.frame_numbers[1:]
    as_annotated = (timing.apex, timing.offset) == (apex, offset)
    whole = len(timing.frame_numbers) == timing.offset - onset + 1
    assert (as_annotated and whole and apex is not None) == (not timing.findings)


def test_ict_me_every_planted_mistake_is_reported_by_clip(shared_dir: Path):
    report = load(shared_dir / "data" / "ict_me")
    assert [(p.clip, p.field, p.severity, p.message) for p in report.problems] == [
        (
            "spNO.1/h/959/963/0",
            "Offset",
            "warning",
            "0 is not after the onset 959; 967, the last frame of the unbroken run, is used",
        ),
        (
            "spNO.2/b/2970/2963/2981",
            "Apex",
            "warning",
            "2963 is before the onset 2970; the apex is spotted instead",
        ),
        (
            "spNO.2/f/2826/2826/2833",
            "Apex",
            "warning",
            "2826 equals the onset, where nothing has moved yet; the apex is spotted instead",
        ),
    ]
    assert [p.source for p in report.problems] == [f"annotation.xlsx row {row}" for row in (9, 13, 17)]
    assert report.corrections == () and report.count_mismatches == ()
    assert (report.num_rows, len(report.clips), len(report.subjects)) == (320, 320, 32)
    assert report.clip_counts("emotion") == {
        "anger": 35,
        "disgust": 80,
        "fear": 33,
        "happy": 32,
        "others": 51,
        "sad": 32,
        "surprise": 57,
    }
    assert sum(clip.apex is None for clip in report.clips) == 2
