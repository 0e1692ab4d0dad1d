"""Contact sheets: which clips are on them, what is drawn, and that the same data gives the same picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from hsta_hf.data.contact_sheet import CLIPS_PER_SHEET, difference_picture, write_contact_sheets
from hsta_hf.data.prepare import PrepareOptions, prepare

if TYPE_CHECKING:
    from conftest import Casme3Tree

SIDE = 176  # a tile's height: nothing is resampled at this size
TEXT, GAP = 18, 6


def row(subject: str, number: int, emotion: str | None = "anger", **fields: Any) -> dict[str, Any]:
    known = {
        "clip_id": f"toy/{subject}/{number}",
        "database": "toy",
        "subject": subject,
        "emotion": emotion,
        "objective_class": None,
        "action_units_raw": "4+7",
        "num_frames": 3,
        "frame_numbers": [10, 11, 12],
        "onset_index": 0,
        "apex_index": 1,
        "offset_index": 2,
        "apex_source": "annotated",
    }
    return {**known, **fields}


def flat_frames(*levels: int) -> np.ndarray:
    return np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels])


def write(folder: Path, rows: list[dict[str, Any]], frames: np.ndarray, note: str = "note") -> list[Any]:
    digests = [str(place) for place in range(len(rows))]
    return write_contact_sheets(folder, rows, lambda _: frames, digests, note)


def test_the_difference_is_eight_fold_around_grey():
    first = np.full((2, 2, 3), 100, np.uint8)
    second = first.copy()
    second[0, 0], second[0, 1], second[1, 0] = 101, 99, 200
    expected = np.full((2, 2, 3), 128, np.uint8)
    expected[0, 0], expected[0, 1], expected[1, 0] = 136, 120, 255
    np.testing.assert_array_equal(difference_picture(first, second), expected)


def test_a_line_shows_onset_apex_offset_and_difference(tmp_path: Path):
    (sheet,) = write(tmp_path, [row("a", 1)], flat_frames(50, 60, 70))
    picture = cv2.imread(str(sheet.path))
    top = 2 * TEXT + GAP + TEXT + TEXT  # heading and note, gap, the clip's caption, the tiles' captions
    assert picture.shape == (top + SIDE, 4 * SIDE + 3 * GAP, 3)
    for place, level in enumerate((50, 60, 70, 128 + 8 * 10)):
        left = place * (SIDE + GAP)
        assert (picture[top:, left : left + SIDE] == level).all()
    assert (picture[:TEXT] < 128).any() and (picture[TEXT : 2 * TEXT] < 128).any(), "nothing is written on top"


def test_an_unknown_apex_is_grey_and_nothing_is_guessed(tmp_path: Path):
    (sheet,) = write(tmp_path, [row("a", 1, apex_index=None, apex_source="unknown")], flat_frames(50, 60, 70))
    picture = cv2.imread(str(sheet.path))
    for place in (1, 3):
        assert (picture[-SIDE:, place * (SIDE + GAP) :][:, :SIDE] == 128).all()


def test_clips_are_spread_over_subjects_and_databases(tmp_path: Path):
    rows = [row("talkative", number) for number in range(50)]
    rows += [row(f"s{number}", number) for number in range(3)]
    rows += [row("s0", 99, database="other"), row("talkative", 98, database="other")]
    (sheet,) = write(tmp_path, rows, flat_frames(1, 2, 3))
    assert len(sheet.shown) == CLIPS_PER_SHEET == 6 and sheet.num_clips == len(rows)
    shown = {clip.rsplit("/", 1)[0] for clip in sheet.shown}
    assert {"toy/s0", "toy/s1", "toy/s2", "toy/talkative"} <= shown
    by_clip = {entry["clip_id"]: entry for entry in rows}
    people = [(by_clip[clip]["database"], by_clip[clip]["subject"]) for clip in sheet.shown]
    assert len(set(people)) == 6, "six people are there, so six are shown"


def test_the_choice_hangs_on_content_and_not_on_order(tmp_path: Path):
    rows = [row("one", number) for number in range(20)]
    digests = [f"digest {number}" for number in range(20)]
    frames = flat_frames(1, 2, 3)
    first = write_contact_sheets(tmp_path / "a", rows, lambda _: frames, digests, "")
    again = write_contact_sheets(tmp_path / "b", rows, lambda _: frames, digests, "")
    backwards = write_contact_sheets(tmp_path / "c", rows[::-1], lambda _: frames, digests[::-1], "")
    assert first[0].shown == again[0].shown and set(first[0].shown) == set(backwards[0].shown)
    assert first[0].path.read_bytes() == again[0].path.read_bytes()
    others = write_contact_sheets(tmp_path / "d", rows, lambda _: frames, digests[::-1], "")
    assert set(others[0].shown) != set(first[0].shown)


def test_classes_without_a_name_or_with_a_strange_one_have_their_own_file(tmp_path: Path):
    rows = [row("a", 1, "very/happy"), row("a", 2, "very happy"), row("a", 3, None), row("a", 4, "快乐")]
    rows.append(row("a", 5, "VERY happy"))
    sheets = write(tmp_path, rows, flat_frames(1, 2, 3))
    assert len({sheet.path.name.lower() for sheet in sheets}) == len(sheets) == 5
    assert {sheet.value for sheet in sheets} == {"very/happy", "very happy", "VERY happy", "(none)", "快乐"}
    assert all(sheet.path.parent == tmp_path and sheet.path.is_file() for sheet in sheets)


def test_a_field_that_no_clip_has_gives_no_sheet(tmp_path: Path):
    rows = [row("a", 1, objective_class="III"), row("a", 2)]
    assert {sheet.field for sheet in write(tmp_path / "x", rows, flat_frames(1, 2, 3))} == {
        "emotion",
        "objective_class",
    }
    assert {sheet.field for sheet in write(tmp_path / "y", rows[1:], flat_frames(1, 2, 3))} == {"emotion"}


@pytest.mark.parametrize("shape", [(650, 960), (30, 20), (40, 400)])
def test_frames_of_any_shape_fit(tmp_path: Path, shape: tuple[int, int]):
    (sheet,) = write(tmp_path, [row("a", 1)], np.full((3, *shape, 3), 9, np.uint8))
    height, width = shape
    picture = cv2.imread(str(sheet.path))
    scale = min(176 / height, 352 / width)
    assert picture.shape[1] == 4 * round(width * scale) + 3 * GAP


@pytest.mark.parametrize("synthetic", [False, True])
def test_prepare_links_them_and_warns_of_the_licence(casme3_tree: Casme3Tree, tmp_path: Path, synthetic: bool):
    casme3_tree.recording("spNO.1", "a", range(1, 20))
    casme3_tree.row("spNO.1", "a", 5, 8, 13)
    casme3_tree.row("spNO.1", "a", 6, 8, 13, emotion="happy", objective="I")
    root = casme3_tree.save()
    if synthetic:
        (root / "README.md").write_text("Synthetic faces, drawn.\n")
    report = prepare("casme3", root, tmp_path / "out", PrepareOptions(faces="keep"), progress=False)
    assert report.load.synthetic == synthetic
    text = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    names = sorted(path.name for path in (tmp_path / "out" / "contact_sheets").iterdir())
    assert names == [
        "emotion_anger.png",
        "emotion_happy.png",
        "objective_class_I.png",
        "objective_class_III.png",
    ]
    assert all(f"(contact_sheets/{name})" in text for name in names)
    assert ("does not allow them to be published" in text) == (not synthetic)
