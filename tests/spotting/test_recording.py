"""A recording from its file, interrupted and continued, damaged, and of other kinds than are wanted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from moving_face import BROWS, KnownFace, film, tent, write_video

from hsta_hf.spotting import curve as curve_module
from hsta_hf.spotting.recording import movement_curve, open_recording
from hsta_hf.spotting.scan import Lengths
from hsta_hf.video_reading_hsta import VideoReadError


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frames = film(170, [(BROWS, tent(170, 80, 86, 94, 1.5))])
    return write_video(tmp_path_factory.mktemp("recording") / "film.mp4", frames)


@pytest.fixture
def detector(tmp_path: Path) -> KnownFace:
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"weights")
    return KnownFace(weights)


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curve_module, "BLOCK_SECONDS", 2.0)


class Killed(Exception):
    """Stands for the end of a process."""


def killed_at(frame: int):
    def progress(count: int) -> None:
        if count == frame:
            raise Killed

    return progress


@pytest.mark.parametrize("frame", [101, *(pytest.param(n, marks=pytest.mark.slow) for n in (30, 160))])
def test_killed_and_continued_the_curve_is_the_same(
    video: Path, detector: KnownFace, tmp_path: Path, frame: int
) -> None:
    recording, cache = open_recording(video), tmp_path / "film.curve.npz"
    whole = movement_curve(recording, detector, Lengths())
    with pytest.raises(Killed):
        movement_curve(recording, detector, Lengths(), cache, killed_at(frame))
    assert cache.exists() == (frame > 100)  # a block of 60 frames, and what it looks at beyond
    again = movement_curve(recording, detector, Lengths(), cache)
    assert again.continued == {30: 0, 101: 60, 160: 120}[frame]
    np.testing.assert_array_equal(again.curve.rows, whole.curve.rows)
    assert again.curve.num_frames == whole.curve.num_frames == 170


def test_a_finished_curve_is_taken_as_it_is(video: Path, detector: KnownFace, tmp_path: Path) -> None:
    recording, cache = open_recording(video), tmp_path / "film.curve.npz"
    first = movement_curve(recording, detector, Lengths(), cache)
    looked = detector.looked
    second = movement_curve(recording, detector, Lengths(), cache)
    assert detector.looked == looked and second.continued == 170
    np.testing.assert_array_equal(first.curve.rows, second.curve.rows)


@pytest.mark.parametrize(
    "change", ["damaged", "video", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lengths", "detector"))]
)
def test_a_curve_of_something_else_is_not_taken(video: Path, detector: KnownFace, tmp_path: Path, change: str) -> None:
    cache = tmp_path / "film.curve.npz"
    movement_curve(open_recording(video), detector, Lengths(), cache)
    lengths = Lengths()
    if change == "lengths":
        lengths = Lengths(0.2, 0.6)
    elif change == "detector":
        assert detector.path is not None
        detector.path.write_bytes(b"others")
    elif change == "video":
        video = write_video(tmp_path / "film.mp4", film(30))
    else:
        cache.write_bytes(cache.read_bytes()[:100])
    found = movement_curve(open_recording(video), detector, lengths, cache)
    assert found.continued == 0 and len(found.curve.rows) == (30 if change == "video" else 170)


def test_of_a_recording_that_is_cut_off_what_can_be_read_is_kept(
    video: Path, detector: KnownFace, tmp_path: Path
) -> None:
    import av

    path = tmp_path / "cut.avi"  # AVI's index is at its end: without it, frames can still be read
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=30)
        stream.height = stream.width = 160
        stream.pix_fmt = "yuvj420p"
        for frame in film(90):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    found = movement_curve(open_recording(path), detector, Lengths(), tmp_path / "cut.curve.npz")
    assert found.problem is not None and "cut.avi" in found.problem
    assert 20 < found.curve.num_frames < 90 and found.curve.rows["face"].all()
    again = movement_curve(open_recording(path), detector, Lengths(), tmp_path / "cut.curve.npz")
    assert again.problem is not None  # the next run says so, too


def test_files_that_are_no_recordings_are_named(tmp_path: Path, video: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.mp4 is no file"):
        open_recording(tmp_path / "nothing.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with pytest.raises(VideoReadError, match=r"text\.mp4"):
        open_recording(text)
    with pytest.raises(VideoReadError, match=r"0\.1 frames per second cannot be"):
        open_recording(video, fps=0.1)
    assert open_recording(video).fps == 30 and open_recording(video, fps=25).fps == 25
    assert open_recording(video).declared_frames == 170
