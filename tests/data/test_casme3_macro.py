"""The loader of CAS(ME)^3's macro-expressions on trees in the owner's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from owners.casme3_macro import HEADER, OWNERS_NAME, MacroTree, write_published

from hsta_hf.data.databases import DatabaseError, LoadReport, get_database


def load(root: Path, **arguments: Any) -> LoadReport:
    return get_database("casme3_macro").load(root, **arguments)


@pytest.fixture
def tree(tmp_path: Path) -> MacroTree:
    """A recording of four seconds and more, with one sound row."""
    tree = MacroTree(tmp_path / "casme3")
    tree.recording("spNO.1", "a", range(1, 161))
    tree.row("spNO.1", "a", 10, 60, 150)
    return tree


def test_a_clip_of_seconds_is_read_whole(tree: MacroTree):
    report = load(tree.save())
    assert report.problems == () and report.corrections == () and report.left_out == {}
    (clip,) = report.clips
    assert (clip.clip_id, clip.database) == ("casme3_macro/spNO.1/a/10", "casme3_macro")
    assert (clip.onset, clip.apex, clip.offset, clip.num_frames, clip.fps) == (10, 60, 150, 141, 30.0)
    assert (clip.emotion, clip.objective_class, clip.action_units) == ("anger", "III", ("4", "7"))


@pytest.mark.parametrize("kind", ["Micro-expression", "micro", "MICRO EXPRESSION"])
def test_micro_expressions_are_left_out_and_counted(tree: MacroTree, kind: str):
    tree.row("spNO.1", "a", 20, 23, 26, kind=kind)
    tree.row("spNO.2", "z", 20, 23, 26, kind=kind)
    report = load(tree.save())
    assert (report.num_rows, len(report.clips), report.problems) == (3, 1, ())
    assert report.left_out == {"micro-expressions": 2}
    assert report.row_counts["rows"] == {"all": 1} and report.row_counts["subjects"] == {"all": 1}


@pytest.mark.parametrize("kind", ["", "expression"])
def test_a_row_of_an_unknown_kind_is_read_and_said(tree: MacroTree, kind: str):
    tree.rows.clear()
    tree.row("spNO.1", "a", 10, 60, 150, kind=kind)
    report = load(tree.save())
    assert len(report.clips) == 1 and report.left_out == {}
    assert [(p.field, p.severity, p.message) for p in report.problems] == [
        ("Expression type", "warning", f"{kind!r} is neither macro nor micro; the row is read as macro")
    ]


@pytest.mark.parametrize(("offset", "said"), [(0, "0 is not after the onset 10"), ("", "missing"), (10, "10 is not")])
def test_an_unknown_end_is_not_guessed(tree: MacroTree, offset: Any, said: str):
    tree.row("spNO.1", "a", 10, 60, offset)
    report = load(tree.save())
    assert len(report.clips) == 1
    (error,) = report.errors
    assert error.field == "Offset" and error.message.startswith(said)
    assert error.message.endswith("where the expression ends cannot be known; the clip is left out")


def test_onset_0_becomes_1_and_other_rules_hold_as_in_casme3(tree: MacroTree):
    tree.row("spNO.1", "a", 0, 5, 100)
    tree.row("spNO.1", "a", 30, 30, 100)
    tree.row("spNO.1", "a", 10, 60, 150)
    report = load(tree.save())
    assert [clip.onset for clip in report.clips] == [10, 1, 30]
    assert [correction.reason for correction in report.corrections] == ["frames count from 1"]
    assert [problem.field for problem in report.problems] == ["Apex", "row"]


def test_corrections_of_micro_expressions_are_not_applied(tmp_path: Path):
    tree = MacroTree(tmp_path)
    tree.recording("spNO.40", "e", range(2300, 2410))
    tree.row("spNO.40", "e", 2327, 2363, 0)
    report = load(tree.save())
    assert report.corrections == () and report.clips == ()


def test_clips_do_not_collide_with_those_of_casme3(tree: MacroTree):
    macro = load(tree.save()).clips
    tree.save("cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx")
    micro = get_database("casme3").load(tree.root).clips
    assert {clip.clip_id for clip in macro}.isdisjoint(clip.clip_id for clip in micro)
    assert macro[0].subject == micro[0].subject, "the same people: no split may part them"


def test_each_database_finds_its_own_table_in_one_folder(tree: MacroTree):
    tree.save()
    micro = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
    tree.save(micro)
    for name, table in (("casme3", micro), ("casme3_macro", OWNERS_NAME)):
        found = get_database(name).load(tree.root).annotation
        assert found is not None and found.name == table


def test_a_table_without_the_kind_of_expression_is_refused(tree: MacroTree):
    header = tuple("note" if name == "Expression type" else name for name in HEADER)
    with pytest.raises(DatabaseError, match="missing: Expression type"):
        load(tree.save("labels.csv", header))


@pytest.mark.parametrize("name", [OWNERS_NAME, "cas(me)3_part_A_MaE_label_JpgIndex_v2.csv"])
def test_wrong_counts_are_said(tree: MacroTree, name: str):
    assert load(tree.save(name)).count_mismatches == (
        f"rows all: 1 in {name}, 3346 published",
        f"subjects all: 1 in {name}, 98 published",
    )


@pytest.mark.slow
def test_the_published_counts_arrive(tmp_path: Path):
    report = load(write_published(tmp_path))
    assert report.count_mismatches == () and report.problems == ()
    assert (len(report.clips), len(report.subjects)) == (3346, 98)
    assert len({clip.clip_id for clip in report.clips}) == 3346
    assert [correction.before for correction in report.corrections] == ["Others"] * 3


def test_a_row_that_leads_out_of_the_database_is_refused(tree: MacroTree):
    tree.row("..", "a", 1, 2, 3)
    tree.row("spNO.1", "/etc", 1, 2, 3)
    report = load(tree.save())
    assert len(report.clips) == 1 and len(report.errors) == 2
    assert all("it is refused" in error.message for error in report.errors)
