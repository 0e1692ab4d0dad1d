"""The SAMM loader on trees in the owner's layout, with every quirk of his files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from owners.samm import EMOTIONS, OWNERS_NAME, PROSE, SUBJECTS, SammTree, published_clips, write_published

from hsta_hf.data.databases import DatabaseError, LoadReport, get_database


def load(root: Path, **arguments: Any) -> LoadReport:
    return get_database("samm").load(root, **arguments)


def findings(report: LoadReport) -> list[tuple[str, str, str]]:
    return [(problem.field, problem.severity, problem.message) for problem in report.problems]


@pytest.fixture
def tree(tmp_path: Path) -> SammTree:
    """One sound clip in its table."""
    tree = SammTree(tmp_path / "SAMM")
    tree.recording("006_1_2", range(5562, 5580))
    tree.row("006_1_2", 5562, 5568, 5575)
    return tree


def test_a_clip_is_read_as_the_owner_ships_it(tree: SammTree):
    report = load(tree.save())
    assert report.problems == () and report.corrections == ()
    (clip,) = report.clips
    assert (clip.clip_id, clip.subject, clip.filename) == ("samm/006/006_1_2/5562", "006", "006_1_2")
    assert (clip.onset, clip.apex, clip.offset, clip.fps) == (5562, 5568, 5575, 200.0)
    assert (clip.emotion, clip.objective_class, clip.action_units) == ("anger", "III", ("4", "7"))
    assert clip.frame_paths[0].name == "006_05562.jpg" and clip.frame_paths[0].is_file()
    assert clip.source == f"{OWNERS_NAME} row {len(PROSE) + 2}" and clip.variant == ""


@pytest.mark.parametrize("prose", [0, 3, len(PROSE)])
def test_the_header_is_found_by_its_names_below_any_prose(tree: SammTree, prose: int):
    assert len(load(tree.save(prose=PROSE[:prose])).clips) == 1


@pytest.mark.parametrize("digits", [1, 4, 5, 6])
def test_the_padding_with_zeros_differs_between_clips(tree: SammTree, digits: int):
    tree.recording("007_3_1", range(98, 103), digits)
    tree.row("007_3_1", 98, 100, 102)
    report = load(tree.save())
    assert report.problems == () and report.clips[1].frame_numbers == (98, 99, 100, 101, 102)
    assert report.clips[1].frame_paths[0] == tree.frame("007_3_1", 98, digits)


@pytest.mark.parametrize("subject", [6, "6", "06", "006", 6.0])
def test_a_subject_that_has_lost_its_zeros_is_found(tree: SammTree, subject: Any):
    tree.rows.clear()
    tree.row("006_1_2", 5562, 5568, 5575, subject=subject)
    tree.recording("006_1_3", range(1, 6))
    tree.row("006_1_3", 1, 3, 5, subject="006")
    report = load(tree.save())
    assert report.subjects == ("006",) and report.row_counts["subjects"] == {"all": 1}
    assert report.clips[0].frame_paths[0].is_file()


def test_an_apex_of_minus_one_is_to_be_spotted(tree: SammTree):
    tree.rows.clear()
    tree.row("006_1_2", 5562, -1, 5575)
    report = load(tree.save())
    assert (report.clips[0].apex, report.clips[0].apex_source) == (None, "unknown")
    assert findings(report) == [("Apex Frame", "warning", "not annotated; the apex is spotted instead")]


@pytest.mark.parametrize(
    ("cell", "units", "said"),
    [
        ("AU4 + AU7", ("4", "7"), None),
        ("AU 12", ("12",), None),
        ("12B", ("12",), None),
        ("R12C + L12B", ("12",), None),
        ("AU12A + L14C", ("12", "14"), None),
        ("L14", ("14",), None),
        (14, ("14",), None),
        ("R12 or R15", ("12",), "of alternatives the first is used, not R15"),
        ("L14 OR AU12", ("14",), "of alternatives the first is used, not AU12"),
        ("1 + R12 or R15 + 25", ("1", "12", "25"), "of alternatives the first is used, not R15"),
        ("4 or 7 or 9", ("4",), "of alternatives the first is used, not 7, 9"),
        ("or 4", ("4",), "'or' is no action unit"),
        ("4 or", ("4",), "'or' is no action unit"),
    ],
)
def test_action_units_with_sides_intensities_and_alternatives(
    tree: SammTree, cell: Any, units: tuple[str, ...], said: str | None
):
    tree.rows.clear()
    tree.row("006_1_2", 5562, 5568, 5575, cell)
    report = load(tree.save())
    assert report.clips[0].action_units == units and report.clips[0].action_units_raw == str(cell)
    wanted = [] if said is None else [("Action Units", "warning", f"{said}; action units read: {'+'.join(units)}")]
    assert findings(report) == wanted


@pytest.mark.parametrize(("cell", "wanted"), [(1, "I"), ("7", "VII"), ("iv", "IV"), ("VI", "VI")])
def test_the_annotated_objective_class_wins(tree: SammTree, cell: Any, wanted: str):
    tree.rows.clear()
    tree.row("006_1_2", 5562, 5568, 5575, "AU4 + AU7", objective=cell)
    report = load(tree.save())
    assert report.clips[0].objective_class == wanted and report.problems == ()
    assert report.row_counts["objective_class"] == {wanted: 1}


@pytest.mark.parametrize("cell", ["", 8, "x"])
def test_an_objective_class_that_is_none_follows_from_the_units(tree: SammTree, cell: Any):
    tree.rows.clear()
    tree.row("006_1_2", 5562, 5568, 5575, "AU4 + AU7", objective=cell)
    report = load(tree.save())
    assert report.clips[0].objective_class == "III"
    assert findings(report)[0][:2] == ("Objective Classes", "warning")


def test_capitals_are_the_owners_spelling_and_no_correction(tree: SammTree):
    tree.recording("006_1_3", range(1, 6))
    tree.row("006_1_3", 1, 3, 5, emotion="Others")
    report = load(tree.save())
    assert [clip.emotion for clip in report.clips] == ["anger", "other"]
    assert [(c.before, c.after) for c in report.corrections] == [("Others", "other")]


@pytest.mark.parametrize("micro", ["1/2", "Macro", ""])
def test_every_row_is_a_clip_whatever_the_column_micro_says(tree: SammTree, micro: str):
    tree.rows.clear()
    tree.row("006_1_2", 5562, 5568, 5575, micro=micro)
    assert len(load(tree.save()).clips) == 1


def test_the_root_may_be_the_folder_above(tree: SammTree):
    tree.save()
    for root in (tree.root, tree.root.parent):
        annotation = tree.root / OWNERS_NAME if root == tree.root.parent else None
        report = load(root, annotation=annotation)
        assert len(report.clips) == 1 and report.problems == ()


def test_the_table_may_lie_above(tree: SammTree):
    (tree.save() / OWNERS_NAME).rename(tree.root.parent / OWNERS_NAME)
    assert len(load(tree.root).clips) == 1
    assert len(load(tree.root.parent).clips) == 1


def test_the_published_counts_arrive(tmp_path: Path):
    report = load(write_published(tmp_path))
    assert report.count_mismatches == () and report.errors == ()
    assert (report.num_rows, len(report.clips), len(report.subjects)) == (159, 159, 29)
    assert report.clip_counts("emotion") == {name.lower(): count for name, count in EMOTIONS.items()}
    assert sum(clip.apex is None for clip in report.clips) == 3
    (correction,) = report.corrections
    assert (correction.field, correction.before, correction.after) == ("Offset Frame", "573", "5739")
    assert "MEB" in correction.reason and correction.source.endswith(f"row {len(PROSE) + 1 + 57}")


def test_the_published_counts_arrive_from_csv(tmp_path: Path):
    report = load(write_published(tmp_path, "SAMM_Micro_FACS_Codes_v2.csv"))
    assert report.published_counts and report.count_mismatches == () and len(report.clips) == 159


def test_a_subject_in_the_table_who_has_no_clips_is_named(tmp_path: Path):
    report = load(write_published(tmp_path, subject_without_clips=True))
    assert report.count_mismatches == () and report.row_counts["subjects"] == {"all": 30}
    assert len(report.subjects) == len(SUBJECTS) == 29
    (error,) = report.errors
    assert error.clip.startswith("038/038_1_1/") and "there is no folder" in error.message


def test_wrong_counts_are_said(tmp_path: Path):
    tree = SammTree(tmp_path)
    (tmp_path / "006").mkdir()
    for _, filename, emotion, objective in published_clips()[:-1]:
        tree.row(filename, 1, 2, 3, emotion=emotion, objective=objective)
    _, _, emotion, objective = published_clips()[-1]
    roman = ("I", "II", "III", "IV", "V", "VI", "VII")[objective - 1]
    messages = load(tree.save()).count_mismatches
    assert f"rows all: 158 in {OWNERS_NAME}, 159 published" in messages
    assert f"emotion {emotion.lower()}: {EMOTIONS[emotion] - 1} in {OWNERS_NAME}, {EMOTIONS[emotion]} published" in (
        messages
    )
    assert any(message.startswith(f"objective_class {roman}: ") for message in messages)
    assert len(messages) == 3


def offset_in_row_56(tmp_path: Path, onset: int, apex: int, offset: int, rows: int = 159) -> LoadReport:
    tree = SammTree(tmp_path)
    for index in range(rows):
        filename = f"006_1_{index}"
        if index == 56:
            tree.recording(filename, range(onset, onset + 150))
            tree.row(filename, onset, apex, offset)
        else:
            tree.row(filename, 1, 2, 3)
    return load(tree.save())


@pytest.mark.parametrize("wrong", [573, 5730, 5710, 57390, 0])
def test_the_wrong_offset_is_corrected_where_it_cannot_be_right(tmp_path: Path, wrong: int):
    report = offset_in_row_56(tmp_path, 5700, 5720 if wrong == 5710 else 5705, wrong)
    if wrong == 5730:
        assert report.corrections == () and report.clips[0].offset == 5730, "5730 may be right"
    else:
        assert report.clips[0].offset == 5739 and report.corrections[0].after == "5739"


@pytest.mark.parametrize(("onset", "rows"), [(100, 159), (5800, 159), (5700, 158)])
def test_a_row_that_cannot_be_meant_is_left_alone(tmp_path: Path, onset: int, rows: int):
    report = offset_in_row_56(tmp_path, onset, onset + 5, 0, rows)
    assert report.corrections == ()
    assert report.clips[0].offset == onset + 105, "half a second after the apex"


def test_there_is_one_version_of_the_frames(tree: SammTree):
    with pytest.raises(DatabaseError, match=r"SAMM has no variant 'cropped'; there is one version of the frames only"):
        load(tree.save(), variant="cropped")


def test_a_root_without_frames_says_what_is_there(tmp_path: Path):
    tree = SammTree(tmp_path)
    (tmp_path / "SAMM_CROP").mkdir()
    with pytest.raises(DatabaseError, match=r"no frames of SAMM found.*ROOT holds: SAMM_CROP, SAMM_Micro"):
        load(tree.save())


@pytest.mark.parametrize(("subject", "filename"), [("..", "006_1_2"), ("006", "../007"), ("/etc", "x"), ("006", ".")])
def test_a_row_that_leads_out_of_the_database_is_refused(tree: SammTree, subject: str, filename: str):
    tree.row(filename, 1, 2, 3, subject=subject)
    report = load(tree.save())
    assert len(report.clips) == 1 and "it is refused" in report.errors[0].message
