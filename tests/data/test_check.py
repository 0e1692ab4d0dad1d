"""`hsta check`, called as the command calls it: what it counts, what it calls sound, and what it says."""

from __future__ import annotations

import argparse
import json
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from owners.files import write_picture
from owners.folder import FolderTree

from hsta_hf.cli import check as command
from hsta_hf.data import check
from hsta_hf.data.check import CheckReport, check_database
from hsta_hf.data.check_kinds import DUPLICATE, LABEL, MISSING, ORDER, OTHER, OUTSIDE, SIZE, UNREADABLE, problem_kind
from hsta_hf.data.databases.base import Problem
from hsta_hf.data.databases.timing import resolve_timing
from hsta_hf.data.problem_groups import group_lines

if TYPE_CHECKING:
    from conftest import Casme3Tree

OWN = "own.csv"  # a table of one's own: no published counts apply


class Footage:
    """A CAS(ME)^3 tree whose pictures all differ."""

    def __init__(self, tree: Casme3Tree) -> None:
        self.tree, self.root, self.row, self.save = tree, tree.root, tree.row, tree.save

    def recording(self, subject: str, letter: str, numbers: Iterable[int]) -> None:
        for number in numbers:
            write_picture(self.frame(subject, letter, number), int(subject.rpartition(".")[2]), ord(letter), number)

    def frame(self, subject: str, letter: str, number: int) -> Path:
        return self.tree.frame(subject, letter, number).with_suffix(".png")


@pytest.fixture
def footage(casme3_tree: Casme3Tree) -> Footage:
    """Two subjects, two sound clips; the table is not saved yet."""
    footage = Footage(casme3_tree)
    footage.recording("spNO.1", "a", range(1, 31))
    footage.recording("spNO.2", "b", range(1, 31))
    footage.row("spNO.1", "a", 3, 7, 12)
    footage.row("spNO.2", "b", 3, 7, 12, "1+2", "II", "surprise")
    return footage


def arguments(root: Path, *options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    return parser.parse_args(["check", "casme3", str(root), *options])


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs the command in this process; gives its exit code and what it printed."""

    def run(root: Path, *options: str) -> tuple[int, str]:
        code = command.run(arguments(root, *options))
        printed = capsys.readouterr()
        return code, printed.out + (printed.err if code == 2 else "")

    return run


def found(text: str, what: str) -> str:
    """The cell beside `what` in a printed table."""
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("|")]
    (row,) = (row for row in rows if row[1] == what)
    return row[2]


def named(report: CheckReport, field: str) -> list[tuple[str, str]]:
    return [(problem.severity, problem.message) for problem in report.problems if problem.field == field]


def test_a_sound_database_is_a_table_and_exit_code_0(footage: Footage, run: Callable[..., tuple[int, str]]):
    code, text = run(footage.save(OWN))
    assert code == 0
    assert text.startswith("# casme3: 2 clips of 2 subjects\n")
    owners = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
    assert f"those are of the owner's annotation file, {owners}; own.csv is not called that." in text
    assert text.endswith("\nSound. 2 usable clips, 0 errors, 0 warnings, 0 corrections.\n")
    assert {what: found(text, what) for what in ("rows", "usable clips", "subjects", "frames read")} == {
        "rows": "2",
        "usable clips": "2",
        "subjects": "2",
        "frames read": "20",
    }
    for what in ("clips with missing frames", "unreadable frames", "duplicate rows", "clips that share frames"):
        assert found(text, what) == "0"
    assert found(text, "Emotion surprise") == "1"
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in tables[:10]}) == 1, "columns are as wide as their widest cell"


def test_everything_wrong_is_counted_in_its_line(footage: Footage, run: Callable[..., tuple[int, str]]):
    footage.row("spNO.1", "a", 3, 7, 12)  # repeats
    footage.row("spNO.1", "a", 14, 12, 18)  # apex before the onset
    footage.row("spNO.1", "a", 20, 22, 0)  # offset unknown
    footage.row("spNO.2", "b", 14, 16, 18, "?", "III", "glee")
    footage.row("spNO.2", "b", 20, 22, 26)
    footage.row("spNO.2", "../b", 20, 22, 26)
    footage.row("spNO.9", "z", 20, 22, 26)
    footage.row("spNO.2", "b", 0, 2, 3, "4", "III", "Others")
    footage.frame("spNO.2", "b", 15).unlink()
    footage.frame("spNO.2", "b", 21).write_bytes(b"")
    footage.frame("spNO.2", "b", 24).write_bytes(b"no picture")
    cv2.imwrite(str(footage.frame("spNO.2", "b", 25)), np.zeros((9, 7, 3), np.uint8))
    code, text = run(footage.save(OWN), "--all")
    assert code == 1
    counts = {
        "rows": "10",
        "usable clips": "7",
        "subjects": "2",
        "frames read": "47",
        "clips with missing frames": "2",
        "unreadable frames": "2",
        "clips with frames of another size": "1",
        "bad orders of onset, apex, offset": "2 (apex 1, offset 1)",
        "apex unknown, to be spotted": "1",
        "duplicate rows": "1",
        "clips that share frames": "0",
        "paths that lead outside the root": "1",
        "rows with a label in doubt": "1",
        "corrections applied": "2",
        "rows left out on purpose": "0",
    }
    assert {what: found(text, what) for what in counts} == counts
    assert "spNO.2/../b/20/22/26 (own.csv row 9)" in text
    assert "'../b' is not a plain folder name; it is refused" in text
    assert "Onset 0 -> 1: frames count from 1" in text and "emotion Others -> others: spelling" in text
    assert "Not sound: 7 errors. 7 usable clips, 7 errors, " in text


def test_quick_opens_no_frame_and_says_what_it_did_not_look_at(
    footage: Footage, run: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
):
    footage.frame("spNO.2", "b", 5).write_bytes(b"")
    root = footage.save(OWN)
    assert run(root)[0] == 1
    monkeypatch.setattr(check, "decode_clip", lambda *_, **__: pytest.fail("a frame was opened"))
    code, text = run(root, "--quick")
    assert code == 0
    assert found(text, "unreadable frames") == found(text, "frames read") == "not looked at (--quick)"


def test_strict_takes_warnings_for_unsound(footage: Footage, run: Callable[..., tuple[int, str]]):
    footage.row("spNO.1", "a", 14, "/", 18)
    root = footage.save(OWN)
    code, text = run(root)
    assert code == 0 and "\nSound: nothing is lost. 3 usable clips, 0 errors, 1 warning, 0 corrections.\n" in text
    code, text = run(root, "--strict")
    assert code == 1 and "Not sound: 1 warning (--strict)." in text


def test_counts_that_are_not_the_published_ones_are_not_sound(footage: Footage, run: Callable[..., tuple[int, str]]):
    code, text = run(footage.save())
    assert code == 1
    assert found(text, "Emotion surprise") == "1" and "187 (differs)" in text
    assert "Not sound: 16 counts not as published. 2 usable clips, 0 errors" in text


def test_no_rows_and_no_usable_clips_are_not_sound(
    casme3_tree: Casme3Tree, tmp_path: Path, run: Callable[..., tuple[int, str]]
):
    code, text = run(casme3_tree.save(OWN))
    assert code == 1 and text.splitlines() == [
        "Annotation: own.csv, the table has no rows.",
        f"Not sound: {tmp_path / 'casme3' / OWN}: there are no rows.",
    ]
    casme3_tree.row("spNO.1", "a", 3, 7, 12)
    code, text = run(casme3_tree.save(OWN))
    assert code == 1 and "Not sound: no clip is usable; 1 error." in text
    assert "No frames for the only row. Expected ROOT/<subject>/<letter>/color/<n>.jpg" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--annotation", "absent.csv"], "absent.csv"),
        (["--variant", "cropped"], "casme3 has no variant 'cropped'; it has one version of its frames"),
        (["--workers", "0"], "workers must be 1 or more, got 0"),
        (["--json", "nowhere/report.json"], "make it first"),
    ],
)
def test_what_cannot_be_read_is_exit_code_2(
    footage: Footage, run: Callable[..., tuple[int, str]], options: list[str], said: str
):
    code, text = run(footage.save(OWN), *options)
    assert code == 2 and text.startswith("hsta check: ") and said in text


def test_a_root_that_is_not_there_is_exit_code_2(tmp_path: Path, run: Callable[..., tuple[int, str]]):
    code, text = run(tmp_path / "nowhere")
    assert code == 2 and "is not a folder" in text


def test_the_report_for_programs_has_everything(footage: Footage, tmp_path: Path, run: Callable[..., tuple[int, str]]):
    footage.row("spNO.1", "a", 14, 12, 18)
    footage.row("spNO.1", "a", 16, 17, 20)
    file = tmp_path / "report.json"
    code, _ = run(footage.save(OWN), "--json", str(file), "--strict")
    report = json.loads(file.read_text(encoding="utf-8"))
    assert code == 1 and report["sound"] is False and report["not_sound_because"] == ["2 warnings (--strict)"]
    assert report["database"] == "casme3" and report["decoded"] is True and report["annotation"].endswith(OWN)
    assert report["summary"]["bad_orders"] == {"rows": 1, "onset": 0, "apex": 1, "offset": 0}
    assert {"field": "emotion", "value": "anger", "rows": 3, "published": None, "usable": 3} in report["counts"]
    assert [(p["kind"], p["clip"], p["source"]) for p in report["problems"]] == [
        ("order", "spNO.1/a/14/12/18", "own.csv row 4"),
        ("duplicated footage", "spNO.1/a/16/17/20", "own.csv row 5"),
    ]
    assert report["shared_footage"] == [
        {
            "first": "casme3/spNO.1/a/14",
            "second": "casme3/spNO.1/a/16",
            "frames": 3,
            "same_files": True,
            "same_subject": True,
        }
    ]


@pytest.mark.parametrize("quick", [False, True])
def test_overlapping_rows_are_a_warning_that_names_both(footage: Footage, quick: bool):
    footage.row("spNO.1", "a", 10, 14, 20)
    report = check_database("casme3", footage.save(OWN), quick=quick)
    assert named(report, "footage") == [
        (
            "warning",
            "shares 3 frames with spNO.1/a/3/7/12 (own.csv row 2): these rows overlap; both are kept, "
            "split by subjects",
        )
    ]
    assert report.problems[0].clip == "spNO.1/a/10/14/20" and report.problems[0].source == "own.csv row 4"
    assert report.summary["clips_sharing_footage"] == 2 and not report.unsound()


def test_one_frame_that_ends_one_row_and_begins_the_next_is_no_overlap(footage: Footage):
    footage.row("spNO.1", "a", 12, 14, 20)
    assert check_database("casme3", footage.save(OWN)).shared == ()


@pytest.mark.parametrize(("subject", "severity"), [("spNO.1", "warning"), ("spNO.3", "error")])
def test_a_recording_that_is_there_twice_is_found_by_its_pictures(footage: Footage, subject: str, severity: str):
    for number in range(3, 13):  # other file type, other numbers
        copy = footage.frame(subject, "c", number + 100).with_suffix(".bmp")
        copy.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(copy), cv2.imread(str(footage.frame("spNO.1", "a", number))))
    footage.row(subject, "c", 103, 107, 112)
    report = check_database("casme3", footage.save(OWN))
    ((found_severity, message),) = named(report, "footage")
    assert found_severity == severity
    assert message.startswith("shows 10 frames of spNO.1/a/3/7/12 (own.csv row 2) under other names: the recording")
    assert ("training and test would share it" in message) == (severity == "error")
    assert bool(report.unsound()) == (severity == "error")
    assert check_database("casme3", footage.root, footage.root / OWN, quick=True).shared == (), "needs the pictures"


def test_many_copies_are_one_problem_each(footage: Footage):
    for letter in "cdef":
        shutil.copytree(footage.frame("spNO.1", "a", 1).parent, footage.frame("spNO.1", letter, 1).parent)
        footage.row("spNO.1", letter, 3, 7, 12)
    report = check_database("casme3", footage.save(OWN))
    messages = [message for _, message in named(report, "footage")]
    assert len(report.shared) == 10 and len(messages) == 4
    assert "and with 3 more clips" in messages[-1]


def test_black_and_one_coloured_frames_are_no_shared_footage(footage: Footage):
    for subject, letter in (("spNO.1", "a"), ("spNO.2", "b")):
        for number, level in ((4, 0), (5, 0), (6, 255), (8, 77)):
            plain = np.full((8, 8, 3), (level, level, 0), np.uint8)
            assert cv2.imwrite(str(footage.frame(subject, letter, number)), plain)
    assert check_database("casme3", footage.save(OWN)).shared == ()
    for number in (4, 5):  # the same again with something in the picture
        for subject, letter in (("spNO.1", "a"), ("spNO.2", "b")):
            write_picture(footage.frame(subject, letter, number), 99, number)
    (pair,) = check_database("casme3", footage.root, footage.root / OWN).shared
    assert (pair.frames, pair.same_files, pair.same_subject) == (2, False, False)


def test_errors_are_listed_before_warnings_where_not_all_are_listed(
    footage: Footage, run: Callable[..., tuple[int, str]]
):
    for first in range(3, 24):
        footage.row("spNO.1", "a", first, "/", first + 6)
    footage.row("spNO.9", "z", 3, 7, 12)
    text = run(footage.save(OWN))[1]
    lines = text.splitlines()
    lines = lines[lines.index("- 1 error: frames (missing frames)") :]
    assert lines[1].startswith("  - spNO.9/z/3/7/12 (own.csv row 25): there is no folder ")
    counts = [line for line in lines if line.startswith("- ")]
    assert counts[1].startswith("- 21 warnings: Apex") and counts[-1].endswith(" in all, all with --all")
    at = lines.index(counts[1])
    assert lines[at + 1].startswith("  - spNO.1/a/3///9 (own.csv row 4): ")
    assert lines[at + 3] == "  - … and 19 more"
    in_order = run(footage.root, "--all")[1]
    assert in_order.index("spNO.1/a/3///9") < in_order.index("spNO.9/z") and "more, all with" not in in_order


def test_a_rare_problem_is_not_hidden_by_many_of_another_sort():
    link = "/db/{}/b is a link out of /db; it is refused (copy it); the clip is left out"
    problems = [Problem(f"s{n}/b", "frames", link.format(n), "error", f"t row {n}") for n in range(320)]
    problems.insert(7, Problem("s/c", "AU", "15? has a mark of doubt", "warning", "t row 7"))
    problems.append(Problem("s/d", "odd", "something new", "error", "t row 400"))
    assert group_lines(problems, 10, "all with --all") == [
        "- 320 errors: frames (path outside the root)",
        f"  - s0/b (t row 0): {link.format(0)}",
        f"  - s1/b (t row 1): {link.format(1)}",
        "  - … and 318 more",
        "- 1 error: odd",
        "  - s/d (t row 400): something new",
        "- 1 warning: AU (label)",
        "  - s/c (t row 7): 15? has a mark of doubt",
        "- 322 in all, all with --all",
    ]
    assert group_lines(problems, 2, "all with --all")[-2:] == [
        "- … and 1 problem of 1 other sort",
        "- 322 in all, all with --all",
    ]


def test_an_example_that_says_something_else_is_shown():
    said = ["'15?' has a mark of doubt", "'4?' has a mark of doubt", "'x' is no action unit"]
    problems = [Problem(f"s{n}/b", "AU", message, "warning", f"t row {n}") for n, message in enumerate(said)]
    assert [line.partition(": ")[2] for line in group_lines(problems, 9, "")[1:3]] == [said[0], said[2]]


def test_a_row_has_one_name_in_the_whole_report(footage: Footage):
    footage.row("spNO.1", "a", 10, 9, 0)  # the apex and the offset are not used as annotated
    footage.frame("spNO.1", "a", 15).write_bytes(b"")
    report = check_database("casme3", footage.save(OWN))
    names = {problem.clip for problem in report.problems if problem.source == "own.csv row 4"}
    assert names == {"spNO.1/a/10/9/0"} and {"footage", "frames"} <= {problem.field for problem in report.problems}


def test_a_recipes_name_is_told_from_a_databases(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    options = arguments(tmp_path)
    options.database = "casme3_flow"
    assert command.run(options) == 2
    said = "hsta check: casme3_flow is a recipe, and check takes databases; did you mean casme3?\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("quick", [False, True])
def test_videos_are_checked_as_pictures_are(tmp_path: Path, quick: bool):
    tree = FolderTree(tmp_path / "own")
    tree.video("anna.mp4", 20)  # flat colours: rows overlap in the file, whatever it shows
    tree.row("anna.mp4", "anna", onset=0, apex=4, offset=8)
    tree.row("anna.mp4", "anna", onset=6, apex=8, offset=12)
    tree.row("anna.mp4", "ben", onset=14, apex=16, offset=19)
    tree.row("anna.mp4", "carla", onset=15, apex=16, offset=18)
    report = check_database("folder", tree.save(), quick=quick)
    assert report.num_frames == (None if quick else 26)
    assert [(severity, message.split(" with ")[0]) for severity, message in named(report, "footage")] == [
        ("warning", "shares 3 frames"),
        ("error", "shares 4 frames"),
    ]
    assert "as subjects ben and carla" in report.errors[0].message


def test_any_number_of_workers_finds_the_same(footage: Footage):
    for first in range(13, 27, 2):
        footage.row("spNO.1", "a", first, first + 1, first + 4)
        footage.row("spNO.2", "b", first, first + 2, first + 3)
    footage.frame("spNO.2", "b", 16).write_bytes(b"")
    root = footage.save(OWN)
    one, four = (check_database("casme3", root, workers=workers) for workers in (1, 4))
    assert one.as_json() == four.as_json()
    assert [clip.clip_id for clip in one.clips] == [clip.clip_id for clip in one.load.clips]
    assert one.problems


def test_memory_holds_few_clips_whatever_their_number(footage: Footage, monkeypatch: pytest.MonkeyPatch):
    for first in range(1, 27):
        footage.row("spNO.1", "a", first, first + 2, first + 4)
    lock, alive, most = threading.Lock(), [0], [0]
    real = check.decode_clip

    def counted(clip: Any, size: int | None = None) -> Any:
        with lock:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
        try:
            assert size == 1, "whole pictures would be kept"
            return real(clip, size)
        finally:
            with lock:
                alive[0] -= 1

    monkeypatch.setattr(check, "decode_clip", counted)
    check_database("casme3", footage.save(OWN), workers=3)
    assert 1 <= most[0] <= 3


def test_an_interrupt_stops_it_with_most_clips_not_read(footage: Footage, monkeypatch: pytest.MonkeyPatch):
    for first in range(1, 27):
        footage.row("spNO.1", "a", first, first + 2, first + 4)
    opened = []
    real = check.decode_clip

    def counted(clip: Any, size: int | None = None) -> Any:
        opened.append(clip)
        return real(clip, size)

    def interrupted(steps: Iterator[Any], total: int) -> Iterator[Any]:
        assert total == 28
        yield next(steps)
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "decode_clip", counted)
    with pytest.raises(KeyboardInterrupt):
        check_database("casme3", footage.save(OWN), workers=2, progress=interrupted)
    assert 1 <= len(opened) <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_a_published_class_of_which_nothing_is_there_is_in_the_table(footage: Footage):
    report = check_database("casme3", footage.save(), quick=True)
    counts = {(c["field"], c["value"]): c for c in report.as_json()["counts"]}
    assert counts["emotion", "fear"] == {
        "field": "emotion",
        "value": "fear",
        "rows": 0,
        "published": 86,
        "usable": 0,
    }
    assert [value for field, value in counts if field == "objective_class"] == [
        "I",
        "II",
        "III",
        "IV",
        "V",
        "VI",
        "VII",
    ]


@pytest.mark.parametrize("apex", [None, 3, 2, 9, 30, 5])
@pytest.mark.parametrize("offset", [None, 0, 3, 8, 12])
@pytest.mark.parametrize("on_disk", [range(1, 21), [1, 3, 4, 8, 9], [3], [3, 4, 7, 20], []])
def test_every_rule_of_timing_is_of_a_known_kind(apex: Any, offset: Any, on_disk: Any):
    timing = resolve_timing(3, apex, offset, on_disk, 30.0)
    order = apex is not None and apex <= 3
    for field, message, severity in timing.findings:
        kind = problem_kind(Problem("clip", field, message, severity))
        if "not annotated" in message or "missing;" in message:
            assert kind == OTHER, message
        else:
            assert kind in (ORDER, MISSING), message
        if field == "Apex" and order:
            assert kind == ORDER
        if field == "frames":
            assert kind == MISSING


@pytest.mark.parametrize(
    ("field", "message", "kind"),
    [
        ("row", "repeats own.csv row 3 about the same frames; this row is left out", DUPLICATE),
        ("Subject/Filename", "Filename '..' is not a plain folder name; it is refused; the clip is left out", OUTSIDE),
        ("frames", "/db/a is a link out of /db; it is refused (copy it); the clip is left out", OUTSIDE),
        ("frames", "7.jpg is cut off; the frame is left out", UNREADABLE),
        ("frames", "7 of size 9x7 in a clip of 8x8; left out, since they show another section", SIZE),
        ("frames", "there is no folder /db/a; the clip is left out", MISSING),
        ("emotion", "'glee' is none of anger", LABEL),
        ("Action Units", "'?' is no action unit", LABEL),
        ("face", "no face in 7.jpg; the clip is left out", OTHER),
    ],
)
def test_other_sentences_are_of_a_known_kind(field: str, message: str, kind: str):
    assert problem_kind(Problem("clip", field, message, "error")) == kind


def test_ict_me_has_every_mistake_in_the_table(shared_dir: Path):
    report = check_database("casme3", shared_dir / "data" / "ict_me", quick=True)
    assert report.summary["bad_orders"] == {"rows": 3, "onset": 0, "apex": 2, "offset": 1}
    assert report.summary["apex_unknown"] == 2
    assert not report.unsound() and report.unsound(strict=True)


@pytest.mark.slow
def test_ict_me_has_no_unreadable_and_no_shared_frame(shared_dir: Path):
    report = check_database("casme3", shared_dir / "data" / "ict_me", workers=2)
    assert report.num_frames == sum(clip.num_frames for clip in report.load.clips) == 3870
    assert report.shared == () and report.problems == report.load.problems
