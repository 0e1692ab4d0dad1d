"""Uploads: what is refused before it is decoded, what is taken of a long film, and that the file is deleted."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from prediction_helpers import moving_clip, write_video

from hsta_hf.app.intake import IntakeError, delete_upload, film_facts, read_footage, take_in
from hsta_hf.app.limits import Limits
from hsta_hf.video_reading_hsta import open_clip

LIMITS = Limits()


def decoded(path: Path) -> np.ndarray:
    return np.stack([frame for _, frame in open_clip(path, "").pictures(0)])


def test_a_short_clip_is_taken_whole(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_clip(1, 12))
    facts = film_facts(video, LIMITS)
    assert (facts.name, facts.num_frames, facts.width, facts.height) == ("clip.mp4", 12, 96, 72)
    assert facts.seconds == pytest.approx(0.4) and facts.frame_seconds == pytest.approx(1 / 30)
    footage = read_footage(facts, video, 0.0, LIMITS)
    np.testing.assert_array_equal(footage.frames, decoded(video))
    np.testing.assert_allclose(footage.times, np.arange(12) / 30, atol=1e-6)
    assert footage.notes == ()


def test_of_a_long_film_the_window_that_was_asked_for_is_taken(tmp_path: Path) -> None:
    video = write_video(tmp_path / "film.mp4", moving_clip(2, 75))
    footage = read_footage(film_facts(video, LIMITS), video, 1.2, LIMITS)
    np.testing.assert_array_equal(footage.frames, decoded(video)[36:66])
    assert footage.times[0] == 0 and "2.5 s" in footage.notes[0] and "1.0 s from 1.2 s on" in footage.notes[0]
    last = read_footage(film_facts(video, LIMITS), video, 99.0, LIMITS)  # beyond the end: its last frame
    assert len(last.frames) == 1 and "fewer than three" in last.notes[1]
    few = replace(LIMITS, window_frames=10)
    assert len(read_footage(film_facts(video, few), video, 0.5, few).frames) == 10


def test_films_without_a_declared_length_are_measured_by_their_packets(tmp_path: Path) -> None:
    # What browsers record: Matroska, its length left open since nobody can seek in a stream.
    with av.open(str(tmp_path / "recorded.webm"), "w", format="webm", options={"live": "1"}) as container:
        stream = container.add_stream("libvpx", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        for frame in moving_clip(3, 45):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    facts = film_facts(tmp_path / "recorded.webm", LIMITS)
    assert facts.num_frames == 45 and facts.seconds == pytest.approx(1.5, abs=0.02)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (replace(LIMITS, file_bytes=1000), "has 0 MB; this page takes up to 0 MB"),
        (replace(LIMITS, seconds=0.3), "lasts 0 s"),
        (replace(LIMITS, picture_pixels=96 * 72 - 1), "96x72 pixels"),
        (replace(LIMITS, film_pixels=96 * 72 * 12 - 1), "has 12 pictures of 96x72"),
    ],
)
def test_films_beyond_the_limits_are_refused_undecoded(
    limits: Limits, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_clip(1, 12))
    monkeypatch.setattr("hsta_hf.app.intake.VideoFileReader", None)  # whoever decodes fails
    with pytest.raises(IntakeError, match=message):
        take_in(video, 0.0, tmp_path, limits)
    assert not video.exists()


def test_what_is_no_video_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("This is a letter.\n" * 50)
    with pytest.raises(IntakeError, match=r"notes\.mp4 cannot be read as a video"):
        film_facts(tmp_path / "notes.mp4", LIMITS)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(IntakeError, match="is empty"):
        film_facts(tmp_path / "empty.mp4", LIMITS)
    with pytest.raises(IntakeError, match="is not there any more"):
        film_facts(tmp_path / "gone.mp4", LIMITS)
    whole = write_video(tmp_path / "whole.mp4", moving_clip(1, 30)).read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntakeError, match=r"half\.mp4"):
        take_in(tmp_path / "half.mp4", 0.0, tmp_path, LIMITS)


def test_playlists_that_name_other_files_are_refused(tmp_path: Path) -> None:
    write_video(tmp_path / "secret.mp4", moving_clip(1, 6))
    listed = tmp_path / "list.mp4"
    listed.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with av.open(str(listed)) as container:  # FFmpeg by itself would follow it
        assert container.streams.video
    with pytest.raises(IntakeError, match="cannot be read as a video"):
        film_facts(listed, LIMITS)


def test_an_upload_is_deleted_with_its_folder_and_nothing_else_is(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    video = write_video(uploads / "abc" / "clip.mp4", moving_clip(1, 12))
    other = write_video(uploads / "def" / "clip.mp4", moving_clip(1, 12))
    take_in(video, 0.0, uploads, LIMITS)
    assert sorted(uploads.rglob("*")) == [other.parent, other]
    bad = uploads / "bad" / "clip.mp4"
    bad.parent.mkdir()
    bad.write_text("no video")
    with pytest.raises(IntakeError):
        take_in(bad, 0.0, uploads, LIMITS)
    assert not bad.parent.exists()
    with pytest.raises(ValueError, match="is no upload"):
        delete_upload(uploads / ".." / "mine.mp4", uploads)
    (uploads / "loose.mp4").touch()
    delete_upload(uploads / "loose.mp4", uploads)
    assert os.listdir(uploads) == ["def"]


def test_large_frames_are_shrunk_to_what_is_kept(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_clip(1, 12))
    small = replace(LIMITS, kept_bytes=12 * 3 * 48 * 36)
    footage = take_in(video, 0.0, tmp_path, small)
    assert footage.frames.shape == (12, 36, 48, 3) and "from 96x72 to 48x36" in footage.notes[0]
