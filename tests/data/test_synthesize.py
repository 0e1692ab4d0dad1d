"""The synthetic database: repeatable, in CAS(ME)^3's layout, moved as its labels say."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
import pytest

from hsta_hf.cli import synthesize as command
from hsta_hf.data.drawn_clip import draw_clip
from hsta_hf.data.drawn_face import DrawnSubject, draw_subject
from hsta_hf.data.drawn_motion import deformation, parse_action_units, peak_displacement
from hsta_hf.data.synthesize import (
    ANNOTATION_COLUMNS,
    ANNOTATION_FILE,
    EMOTIONS,
    EXPRESSIONS,
    database_subject,
    emotion_of,
    plan,
    random_action_units,
    synthesize,
)

ALL_COMBINATIONS = [units for combinations in EXPRESSIONS.values() for units in combinations]


@pytest.fixture(scope="module")
def subject() -> DrawnSubject:
    return draw_subject(5, size=192)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("synthetic") / "db"
    return synthesize(out, num_subjects=2, clips_per_subject=15, size=64, seed=3)


@pytest.fixture(scope="module")
def annotation(database: Path) -> pd.DataFrame:
    return pd.read_excel(database / ANNOTATION_FILE, dtype={"AU": str, "Filename": str})


def clip_of(subject: DrawnSubject, units: str, seed: int = 0, **options: float | tuple[float, float]):
    return draw_clip(subject, units, np.random.default_rng(seed), **options)  # type: ignore[arg-type]


def test_same_seed_same_bytes() -> None:
    one, two = (clip_of(draw_subject([1, 2], size=64), "6+12", seed=9) for _ in range(2))
    assert one.frames.tobytes() == two.frames.tobytes()
    assert (one.onset, one.apex, one.offset, one.amplitude) == (two.onset, two.apex, two.offset, two.amplitude)
    other = clip_of(draw_subject([1, 2], size=64), "6+12", seed=10)
    assert one.frames.tobytes() != other.frames.tobytes()


def test_subjects_differ_in_shape_skin_and_place() -> None:
    subjects = [draw_subject(seed, size=64) for seed in range(6)]
    for i, one in enumerate(subjects):
        for two in subjects[i + 1 :]:
            assert one.geometry != two.geometry
            assert one.position != two.position
            assert np.abs(one.texture.astype(int) - two.texture.astype(int)).mean() > 4
    tones = [np.median(person.texture[60:75, 55:73, :3]) for person in subjects]
    assert np.ptp(tones) > 30


def test_frames_and_indices(subject: DrawnSubject) -> None:
    for seed in range(12):
        clip = clip_of(subject, "1+2", seed, num_frames=(8, 20), lead=(2, 5))
        assert clip.frames.shape == (len(clip.activation), 192, 192, 3) and clip.frames.dtype == np.uint8
        assert 8 <= clip.offset - clip.onset + 1 <= 20
        assert 2 <= clip.onset <= 5 and 2 <= len(clip.frames) - 1 - clip.offset <= 5
        assert clip.onset < clip.apex < clip.offset
        assert clip.apex - clip.onset <= clip.offset - clip.apex, "rising takes no longer than falling"
        assert int(clip.activation.argmax()) == clip.apex and clip.activation[clip.apex] == 1
        assert not clip.activation[: clip.onset + 1].any() and clip.activation[clip.offset] < 0.3


def test_a_face_fills_the_frame_with_its_eyes_where_they_are_said_to_be(subject: DrawnSubject) -> None:
    clip = clip_of(subject, "12", distractors=0.0, head_motion=0.0, amplitude=(0.5, 0.5))
    x, y = subject.position
    half = 0.5 * subject.pupil_distance
    grey = cv2.GaussianBlur(cv2.cvtColor(clip.frames[0], cv2.COLOR_RGB2GRAY), (0, 0), 1.5).astype(float)
    for side in (-1, 1):
        pupil = grey[round(y) - 4 : round(y) + 5, round(x + side * half) - 6 : round(x + side * half) + 7].min()
        cheek = grey[round(y + 0.7 * half) + 4, round(x + side * half)]
        assert pupil < 0.6 * cheek


@pytest.mark.parametrize("amplitude", [0.5, 1.0, 2.0, 4.0])
def test_amplitude_is_the_peak_of_the_field(subject: DrawnSubject, amplitude: float) -> None:
    for units in ("4", "6+12", "R12", "15+17", "5", "1+2+4+20"):
        clip = clip_of(subject, units, amplitude=(amplitude, amplitude))
        assert clip.amplitude == pytest.approx(amplitude)
        field = deformation(subject, units, np.random.default_rng(0))
        scale = amplitude / peak_displacement(subject, field)
        assert peak_displacement(subject, field.scaled(scale)) == pytest.approx(amplitude, rel=1e-5)


def test_default_amplitudes_stay_within_micro_expressions(subject: DrawnSubject) -> None:
    amplitudes = [clip_of(subject, "9", seed, num_frames=(8, 8)).amplitude for seed in range(40)]
    assert 0.5 <= min(amplitudes) < 0.9 and 2.5 < max(amplitudes) <= 4.0


@pytest.mark.parametrize("amplitude", [1.0, 3.0])
@pytest.mark.parametrize(("units", "landmark"), [("1+2", "brow_middle"), ("12", "corner"), ("20", "corner")])
def test_optical_flow_sees_about_the_amplitude(
    subject: DrawnSubject, units: str, landmark: str, amplitude: float
) -> None:
    """Loosely: flow around the landmark that moves most, against flow where nothing moves."""
    clip = clip_of(subject, units, 4, distractors=0.0, head_motion=0.0, amplitude=(amplitude, amplitude))
    grey = [cv2.cvtColor(clip.frames[i], cv2.COLOR_RGB2GRAY) for i in (clip.onset, clip.apex)]
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(grey[0], grey[1], None)
    flow = np.asarray(flow) * 224 / subject.size

    def around(x: float, y: float) -> np.ndarray:
        column, row, half = (round(v) for v in (x, y, 0.10 * subject.pupil_distance))
        return np.median(flow[row - half : row + half + 1, column - half : column + half + 1].reshape(-1, 2), 0)

    x, y = np.array(subject.geometry.landmarks()[landmark]) * subject.pupil_distance
    moves = [np.linalg.norm(around(subject.position[0] + side * x, subject.position[1] + y)) for side in (-1, 1)]
    assert 0.35 * amplitude < max(moves) < 1.3 * amplitude
    still = np.linalg.norm(around(subject.position[0], subject.position[1] + 0.25 * subject.pupil_distance))
    assert still < 0.3 * amplitude


def test_action_units_move_what_they_are_named_after(subject: DrawnSubject) -> None:
    points = subject.geometry.landmarks()
    canvas = subject.canvas

    def motion(units: str, landmark: str, side: int = 1) -> tuple[float, float]:
        """(out, down) at a landmark on one side, relative to the peak of the field."""
        field = deformation(subject, units).field
        x, y = np.round(canvas.to_pixels(np.array(points[landmark]) * [side, 1])).astype(int)
        vector = field[y, x] / np.abs(field).max()
        return float(vector[0]) * side, float(vector[1])

    for side in (-1, 1):
        assert motion("1+2", "brow_inner", side)[1] < -0.4 and motion("1+2", "brow_outer", side)[1] < -0.4
        assert motion("4", "brow_inner", side)[0] < -0.2 and motion("4", "brow_inner", side)[1] > 0.2
        assert motion("12", "corner", side)[0] > 0.3 and motion("12", "corner", side)[1] < -0.3
        assert motion("15", "corner", side)[1] > 0.4
        assert motion("20", "corner", side)[0] > 0.5 and motion("18", "corner", side)[0] < -0.5
        assert motion("10", "upper_lip", side)[1] < -0.5
    assert motion("17", "chin_boss")[1] < -0.5
    for units, landmark in (("12", "corner"), ("10", "nasolabial"), ("14", "corner"), ("1+2", "brow_middle")):
        left = np.hypot(*motion("+".join("L" + unit for unit in units.split("+")), landmark, 1))
        right = np.hypot(*motion("+".join("L" + unit for unit in units.split("+")), landmark, -1))
        assert left > 3 * right, f"L{units} moves the subject's left, the right of the image"


def test_lids_and_lips_move(subject: DrawnSubject) -> None:
    assert deformation(subject, "5").upper_lids.max() < 0 < deformation(subject, "7").upper_lids.min()
    assert deformation(subject, "7").lower_lids.max() < 0
    left, _ = subject.eyes
    row, column = left.skin.shape[0] // 2, left.skin.shape[1] // 2
    middle = slice(row - 3, row + 4), slice(column - 3, column + 4)
    open_eye, shut = left.draw().astype(int), left.draw(closing=1.0).astype(int)
    assert np.abs(shut - open_eye)[middle].mean() > 8
    # A raised lid uncovers what a lowered one hides: above the rest position, only the first changes the lid.
    rest = int(left.upper[column])
    raised, lowered = left.draw(upper_shift=-0.05).astype(int), left.draw(upper_shift=0.05).astype(int)
    assert np.abs(raised - open_eye)[rest - 3 : rest, column].mean() > 8
    assert np.abs(lowered - open_eye)[rest + 1 : rest + 4, column].mean() > 8
    assert np.array_equal(left.draw(), left.draw(0.0, 0.0, 0.0, (0.0, 0.0)))
    mouth, line = subject.mouth, int(subject.mouth.line[subject.mouth.line.size // 2])
    change = np.abs(mouth.draw(0.08).astype(int) - mouth.draw().astype(int))[..., :3].max(-1)
    assert change[line - 1 : line + 5, change.shape[1] // 2].max() > 20 and not change[:4].any()


def test_every_expression_can_be_drawn_and_belongs_to_one_emotion() -> None:
    person = draw_subject(1, size=64)
    assert len(set(ALL_COMBINATIONS)) == len(ALL_COMBINATIONS)
    for emotion, combinations in EXPRESSIONS.items():
        for units in combinations:
            assert emotion_of(units) == emotion
            assert clip_of(person, units, num_frames=(8, 8)).action_units == units
    assert emotion_of("12+6") == "happy"
    with pytest.raises(KeyError, match="no emotion"):
        emotion_of("6+9")


def test_errors_say_what_to_do(subject: DrawnSubject) -> None:
    with pytest.raises(ValueError, match="cannot draw action unit '99'"):
        parse_action_units("6+99")
    with pytest.raises(ValueError, match="amplitude"):
        clip_of(subject, "12", amplitude=(3.0, 1.0))
    with pytest.raises(ValueError, match="num_frames"):
        clip_of(subject, "12", num_frames=(2, 4))
    with pytest.raises(ValueError, match="64 pixels"):
        draw_subject(0, size=32)
    with pytest.raises(ValueError, match="unknown emotion"):
        random_action_units("joy", np.random.default_rng(0))
    with pytest.raises(ValueError, match="unknown emotions in balance: joy"):
        plan(2, 2, 0, {"joy": 1.0})


def test_balance_is_near_uniform_by_default_and_follows_weights() -> None:
    counts = Counter(item.emotion for item in plan(16, 14, 0))
    assert set(counts) == set(EMOTIONS) and max(counts.values()) - min(counts.values()) <= 1
    for subject in range(16):
        assert {i.emotion for i in plan(16, 14, 0) if i.subject == subject} == set(EMOTIONS)
    weighted = Counter(item.emotion for item in plan(10, 10, 0, {"happy": 3, "sad": 1}))
    assert set(weighted) == {"happy", "sad"} and abs(weighted["happy"] - 75) <= 1


def test_layout_on_disk(database: Path, annotation: pd.DataFrame) -> None:
    assert tuple(annotation.columns) == ANNOTATION_COLUMNS
    assert len(annotation) == 30 and set(annotation.Subject) == {"spNO.1", "spNO.2"}
    assert not (database.parent / "db.partial").exists()
    assert "SYNTHETIC" in (database / "README.txt").read_text(encoding="utf-8")
    for row in annotation.itertuples():
        assert row.Onset < row.Apex < row.Offset
        assert row.Filename in "abcdefghijklm"
        folder = database / str(row.Subject) / str(row.Filename) / "color"
        for number in range(row.Onset - 2, row.Offset + 3):
            assert (folder / f"{number}.jpg").is_file(), f"{folder}/{number}.jpg"
    shared = annotation.groupby(["Subject", "Filename"]).size()
    assert shared.max() == 2, "with 15 clips, two letters hold two"
    image = cv2.imread(str(next(database.rglob("*.jpg"))))
    assert image is not None and image.shape == (64, 64, 3)


def test_labels_agree_with_action_units(database: Path) -> None:
    table = pd.read_excel(database / ANNOTATION_FILE, dtype=str)
    for units, emotion, objective in zip(table["AU"], table["emotion"], table["Objective class"], strict=True):
        assert emotion_of(units) == emotion
        assert EXPRESSIONS[emotion][units] == objective


def test_disk_holds_what_memory_holds(database: Path, annotation: pd.DataFrame) -> None:
    planned = plan(2, 15, 3)[0]
    person = database_subject(0, size=64, seed=3)
    clip = draw_clip(person, planned.action_units, np.random.default_rng([3, 3, 0, 0]))
    row = annotation.iloc[0]
    stored = cv2.imread(str(database / "spNO.1" / str(row["Filename"]) / "color" / f"{row['Apex']}.jpg"))
    assert stored is not None
    assert np.abs(stored[..., ::-1].astype(int) - clip.frames[clip.apex].astype(int)).mean() < 5


def run_command(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers(dest="command"))
    return command.run(parser.parse_args(["synthesize", *arguments]))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "db"
    small = ["--subjects", "1", "--clips-per-subject", "2", "--size", "64", "--quiet"]
    assert run_command(str(out), *small, "--balance", "happy=1", "--amplitude", "1", "2") == 0
    assert "ynthetic" in capsys.readouterr().out
    assert set(pd.read_excel(out / ANNOTATION_FILE)["emotion"]) == {"happy"}
    before = sorted(path.name for path in out.rglob("*"))
    assert run_command(str(out), *small) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert sorted(path.name for path in out.rglob("*")) == before
    assert run_command(str(tmp_path / "b"), *small, "--balance", "happy") == 2
    assert "EMOTION=WEIGHT" in capsys.readouterr().err


def test_an_interrupted_run_is_replaced_but_a_stranger_is_not(tmp_path: Path) -> None:
    options = dict(num_subjects=1, clips_per_subject=1, size=64)
    partial = tmp_path / "db.partial"
    partial.mkdir()
    (partial / "thesis.txt").write_text("precious")
    with pytest.raises(FileExistsError, match=r"db\.partial"):
        synthesize(tmp_path / "db", **options)  # type: ignore[arg-type]
    assert (partial / "thesis.txt").read_text() == "precious"
    (partial / "thesis.txt").unlink()
    (partial / "README.txt").write_text("SYNTHETIC DATABASE: drawn faces of persons who do not exist.\n")
    (partial / "old.jpg").write_bytes(b"")
    out = synthesize(tmp_path / "db", **options)  # type: ignore[arg-type]
    assert (out / ANNOTATION_FILE).is_file() and not (out / "old.jpg").exists()


def test_videos_hold_the_clips_from_onset_to_offset(tmp_path: Path) -> None:
    synthesize(tmp_path / "db", num_subjects=1, clips_per_subject=2, size=64, videos=True)
    table = pd.read_excel(tmp_path / "db" / ANNOTATION_FILE)
    for row in table.itertuples():
        path = tmp_path / "db" / "videos" / f"{row.Subject}_{row.Filename}_{row.Onset}_{row.emotion}.mp4"
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert len(frames) == row.Offset - row.Onset + 1
        picture = tmp_path / "db" / row.Subject / row.Filename / "color" / f"{row.Apex}.jpg"
        apex = cv2.imread(str(picture))[..., ::-1].astype(int)
        assert np.abs(frames[row.Apex - row.Onset] - apex).mean() < 6
