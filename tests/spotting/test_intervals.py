"""Peaks to intervals, the table, and the picture."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from hsta_hf.prediction import Prediction
from hsta_hf.spotting.intervals import Interval, find_intervals, strengths
from hsta_hf.spotting.rows import MovementCurve, empty_rows, frames_per_step
from hsta_hf.spotting.table import check_suffix, intervals_table, table_lines, write_table
from hsta_hf.spotting.timeline import clock, timeline_drawing


def made_curve(peaks: dict[int, float], length: int = 400, step: int = 1) -> MovementCurve:
    """A curve of about 10 with peaks that rise for 4 steps and fall for 6."""
    rows = empty_rows(length)
    rows["face"], rows["rise"], rows["fall"], rows["region"] = True, 4, 6, 0
    rows["score"] = 10 + np.random.default_rng(0).normal(0, 1, length)
    for place, height in peaks.items():
        rows["score"][place] = height
    return MovementCurve(rows, step, 30.0 * step, length * step)


def test_peaks_above_the_threshold_in_order_of_time() -> None:
    found = find_intervals(made_curve({100: 40.0, 50: 30.0, 200: 12.0}), 5)
    assert [(i.onset, i.apex, i.offset) for i in found] == [(46, 50, 56), (96, 100, 106)]
    assert found[1].strength > found[0].strength > 5


def test_of_peaks_that_share_frames_the_highest_is_kept() -> None:
    found = find_intervals(made_curve({100: 30.0, 105: 40.0, 111: 35.0, 120: 30.0}), 5)
    assert [i.apex for i in found] == [105, 120]


def test_a_step_of_several_frames_covers_them_all() -> None:
    (found,) = find_intervals(made_curve({50: 40.0}, step=6), 5)
    assert (found.onset, found.apex, found.offset) == (46 * 6, 302, 56 * 6 + 5)


def test_the_threshold_is_relative_to_the_recording() -> None:
    curve = made_curve({50: 40.0})
    louder = MovementCurve(curve.rows.copy(), 1, 30.0, 400)
    louder.rows["score"] = 7 * louder.rows["score"] + 100
    np.testing.assert_allclose(strengths(louder), strengths(curve), rtol=1e-4, atol=1e-4)


def test_what_is_not_judged_has_no_strength() -> None:
    curve = made_curve({50: 40.0})
    curve.rows["score"][40:60] = np.nan
    assert find_intervals(curve, 5) == [] and np.isnan(strengths(curve)[40:60]).all()
    with pytest.raises(ValueError, match="threshold is 0"):
        find_intervals(curve, 0)


def test_intervals_end_with_the_recording() -> None:
    found = find_intervals(made_curve({1: 40.0, 398: 40.0}), 5)
    assert [(i.onset, i.offset) for i in found] == [(0, 7), (394, 399)]


@pytest.mark.parametrize(("fps", "step"), [(25, 1), (30, 1), (45, 1), (60, 2), (100, 3), (200, 7), (0.5, 1)])
def test_steps_are_about_a_thirtieth_of_a_second(fps: float, step: int) -> None:
    assert frames_per_step(fps) == step


FOUND = [Interval(10, 15, 22, 9.3, "brows"), Interval(300, 306, 311, 7.25, "mouth")]
SAID = [
    Prediction("one", prediction="sad", scores={"happy": 0.2, "sad": 0.8}),
    Prediction("two", error="no face found"),
]


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_the_table_in_every_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"found{suffix}"
    write_table(path, intervals_table("film.mp4", FOUND, 30.0, SAID))
    if suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        read = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
        rows = read.astype(object).where(read.notna(), None).to_dict("records")
    assert [(row["onset"], row["apex"], row["offset"]) for row in rows] == [(10, 15, 22), (300, 306, 311)]
    assert rows[1]["apex_seconds"] == pytest.approx(10.2) and rows[0]["video"] == "film.mp4"
    assert (rows[0]["prediction"], rows[0]["score_sad"], rows[1]["prediction"]) == ("sad", 0.8, None)
    assert (rows[0]["error"], rows[1]["error"]) == (None, "no face found")


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "none.csv", intervals_table("film.mp4", [], 30.0))
    read = pd.read_csv(tmp_path / "none.csv")
    assert read.empty and {"video", "onset", "apex", "offset", "strength"} <= set(read.columns)
    with pytest.raises(ValueError, match=r"found\.xlsx has to end in \.csv, \.parquet or \.jsonl"):
        check_suffix(Path("found.xlsx"))


def test_lines_say_times_and_classes() -> None:
    lines = table_lines(intervals_table("film.mp4", FOUND, 30.0, SAID))
    assert len(lines) == 3 and "class" in lines[0]
    assert "0:00.33" in lines[1] and "sad 0.80" in lines[1] and "(no face found)" in lines[2]
    assert "class" not in table_lines(intervals_table("film.mp4", FOUND, 30.0))[0]
    assert table_lines(intervals_table("film.mp4", [], 30.0)) == []
    units = [
        Prediction("one", prediction="AU1+AU4", scores={"AU1": 0.9, "AU4": 0.7}),
        Prediction("two", prediction=""),
    ]
    several = table_lines(intervals_table("film.mp4", FOUND, 30.0, units))
    assert several[1].endswith("  AU1+AU4") and several[2].endswith("  (none)")


def test_clock() -> None:
    assert [clock(s) for s in (0, 9.96, 61.25, 3600)] == ["0:00", "0:10", "1:01.2", "60:00"]
    assert [clock(s, 2) for s in (0.333, 59.999)] == ["0:00.33", "1:00"]


def test_the_picture_shows_bands_and_faceless_stretches(tmp_path: Path) -> None:
    curve = made_curve({50: 40.0, 200: 45.0}, length=9000)
    curve.rows["face"][1000:3000] = False
    curve.rows["score"][1000:3000] = np.nan
    found = find_intervals(curve, 5)
    drawing = timeline_drawing(curve, found, ["happy", ""], 5, "film.mp4")
    assert "2 intervals: 0:01.7 brows; 0:06.7 brows" in drawing.text
    drawing.save_png(tmp_path / "timeline.png")
    plain = timeline_drawing(curve, [], [], 5, "film.mp4")
    plain.save_png(tmp_path / "plain.png")
    one, other = (cv2.imread(str(tmp_path / name)) for name in ("timeline.png", "plain.png"))
    assert one.shape == other.shape and (one != other).any()
    assert drawing.height > timeline_drawing(made_curve({}), [], [], 5, "").height  # more rows for a longer film


def test_a_picture_of_nothing_judged_can_be_drawn(tmp_path: Path) -> None:
    curve = MovementCurve(empty_rows(100), 1, 30.0, 100)
    timeline_drawing(curve, [], [], 5, "no_face.mp4").save_png(tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").stat().st_size > 1000
