"""Clips aligned by their onset frame: the same frames whatever the source, and little memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from prediction_helpers import BrightFace, moving_clip, write_video

from hsta_hf.data.decode import FaceNotFoundError
from hsta_hf.data.face_alignment import FaceAligner
from hsta_hf.frame_selection import spot_apex
from hsta_hf.prediction import align_clip
from hsta_hf.prediction.aligned_clip import AlignedReader, open_as_trained
from hsta_hf.video_reading_hsta import ClipReader, VideoReadError, open_clip


def aligner(stabilise: bool = False) -> FaceAligner:
    return FaceAligner(size=48, stabilise=stabilise, detector=BrightFace())


@pytest.mark.parametrize("stabilise", [False, True])
def test_an_array_is_aligned_as_prepare_aligns_a_clip(stabilise: bool) -> None:
    frames = moving_clip(1, 12)
    fitted = aligner(stabilise).fit(frames[2])
    wanted = np.stack([fitted(frame) for frame in frames[2:11]])
    clip = align_clip(frames, aligner(stabilise), onset=2, apex=5, offset=10)
    np.testing.assert_array_equal(clip.frames, wanted)
    assert (clip.onset, clip.apex, clip.offset, clip.first) == (0, 3, 8, 2)
    assert clip.apex_source == "annotated" and clip.frames.dtype == np.uint8
    assert clip.alignment is not None and clip.alignment.num_faces == 1


def test_an_unknown_apex_is_spotted_in_the_aligned_frames() -> None:
    frames = moving_clip(3, 14)
    clip = align_clip(frames, aligner(), onset=1)
    assert (clip.first, clip.offset, clip.apex_source) == (1, 12, "spotted")
    assert clip.apex == spot_apex(clip.frames)


def test_a_folder_of_frames_and_a_video_give_their_frames(tmp_path: Path) -> None:
    frames = moving_clip(4, 6)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number}.png")
    from_folder = align_clip(tmp_path / "frames", aligner())
    np.testing.assert_array_equal(from_folder.frames, align_clip(frames, aligner()).frames)
    assert from_folder.name == str(tmp_path / "frames")
    video = write_video(tmp_path / "clip.mp4", frames)
    decoded = np.stack([frame for _, frame in open_clip(video, "").pictures(0)])
    np.testing.assert_array_equal(align_clip(video, aligner()).frames, align_clip(decoded, aligner()).frames)


def test_without_an_aligner_frames_come_as_they_are() -> None:
    frames = moving_clip(5, 7)
    clip = align_clip(frames, None, onset=1, offset=5)
    np.testing.assert_array_equal(clip.frames, frames[1:6])
    assert clip.alignment is None


def test_a_clip_without_a_face_is_named(tmp_path: Path) -> None:
    dark = write_video(tmp_path / "dark.mp4", np.zeros((5, 64, 64, 3), np.uint8))
    with pytest.raises(FaceNotFoundError, match=r"dark\.mp4: no face found in the onset frame \(64x64 pixels\)"):
        align_clip(dark, aligner())


@pytest.mark.parametrize("keys", [{"onset": 9}, {"offset": 7}, {"onset": 2, "apex": 3, "offset": 7}, {"onset": 8}])
def test_key_frames_past_the_end_are_refused(keys: dict[str, int], tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", moving_clip(6, 7))
    for source in (video, moving_clip(6, 7)):
        with pytest.raises(ValueError, match=r"7 frames|is wanted"):
            align_clip(source, aligner(), **keys)


def test_key_frames_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="are not in order"):
        align_clip(moving_clip(6, 7), aligner(), onset=5, apex=3)
    with pytest.raises(ValueError, match="are not in order"):
        align_clip(moving_clip(6, 7), aligner(), onset=-1)


def test_frames_of_another_size_are_refused(tmp_path: Path) -> None:
    for number, frame in enumerate([*moving_clip(1, 3), *moving_clip(1, 3, width=80)]):
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    with pytest.raises(VideoReadError, match="different sizes"):
        align_clip(tmp_path, aligner())


class Counting(ClipReader):
    """Frames made on demand, counted: a film too long to be held."""

    def __init__(self, num_frames: int) -> None:
        super().__init__("a film", num_frames, self._make)
        self.made = 0

    def _make(self, index: int) -> np.ndarray:
        self.made += 1
        return np.full((64, 80, 3), 60 + index % 100, np.uint8)


def test_a_short_clip_is_looked_at_once_and_a_long_one_is_not_kept() -> None:
    short = Counting(20)
    reader = open_as_trained(short, aligner())
    reader.survey(0, None, spot=True)
    reader.read([0, 7, 19])
    assert short.made == 20
    long = Counting(3000)  # at most 256 small pictures of it, and 64 MiB of aligned frames
    aligned = AlignedReader(long, FaceAligner(size=224, detector=BrightFace()))
    survey = aligned.survey(0, None, spot=True)
    assert survey.num_frames == 3000 and survey.small is not None and len(survey.small) <= 256
    assert sum(frame.nbytes for frame in aligned._kept.values()) <= 64 << 20
    assert set(aligned.read([0, 1, 2999])) == {0, 1, 2999}


def test_frames_before_the_onset_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="before the onset 3"):
        open_as_trained(moving_clip(1), aligner(), onset=3).read([2, 4])
