"""A head followed: it stands still in the small pictures, and cuts and faceless frames are noticed."""

from __future__ import annotations

import numpy as np
import pytest
from moving_face import BROWS, SIZE, KnownFace, film, tent

from hsta_hf.data.face_alignment import FaceAligner
from hsta_hf.spotting.tracking import CROP, FaceFrame, HeadTracker

FPS = 30.0


def follow(frames: np.ndarray, detector: KnownFace | None = None) -> list[FaceFrame | None]:
    tracker = HeadTracker(FaceAligner(size=CROP, detector=detector or KnownFace()), FPS)
    return [tracker.follow(frame) for frame in frames]


def differences(faces: list[FaceFrame | None]) -> np.ndarray:
    """Mean difference of each small picture to the first, over the face."""
    crops = np.stack([face.crop for face in faces if face is not None]).astype(np.float32)[:, 22:95, 22:90]
    return np.abs(crops - crops[0]).mean(axis=(1, 2))


def test_a_swaying_head_stands_still() -> None:
    time = np.arange(60)
    head = np.stack([4 * np.sin(time / 9), 3 * np.sin(time / 13)], axis=1)
    faces = follow(film(60, head=head, noise=0.5))
    assert [face.starts for face in faces if face is not None] == [True] + 59 * [False]
    moved = film(60, head=head, noise=0.5).astype(np.float32)[:, 40:120, 40:120, 0]
    assert np.abs(moved - moved[0]).mean(axis=(1, 2)).max() > 8  # without following
    assert differences(faces).max() < 2.0
    wanted = np.linalg.norm(np.diff(head, axis=0), axis=1) * CROP / 128
    assert np.allclose([face.motion for face in faces[1:] if face is not None], wanted, atol=0.15)


def test_an_expression_does_not_move_the_head() -> None:
    faces = follow(film(40, [(BROWS, tent(40, 10, 17, 25, 2.0))], noise=0.5))
    assert max(face.motion for face in faces if face is not None) < 0.1


def test_a_cut_starts_a_new_stretch() -> None:
    faces = follow(np.concatenate([film(20, seed=1), film(20, seed=2)]))
    assert [i for i, face in enumerate(faces) if face is not None and face.starts] == [0, 20]


def test_frames_without_a_face_have_none_and_it_is_found_again() -> None:
    dark = np.full((45, SIZE, SIZE, 3), 8, np.uint8)
    detector = KnownFace()
    faces = follow(np.concatenate([film(20), dark, film(60)]), detector)
    missing = [i for i, face in enumerate(faces) if face is None]
    assert missing == list(range(20, 80))  # looked for once a second: found again within one
    assert faces[80] is not None and faces[80].starts
    assert detector.looked < 12


def test_a_face_that_is_not_where_it_is_followed_to_is_lost() -> None:
    class Elsewhere(KnownFace):
        def detect(self, frame: np.ndarray) -> list:
            found = super().detect(frame)
            if self.looked > 1:
                for face in found:
                    face.landmarks[:] += 40
            return found

    faces = follow(film(40), Elsewhere())
    assert faces[0] is not None and any(face is None or face.starts for face in faces[1:])


def test_the_aligner_makes_the_crops_that_are_followed() -> None:
    with pytest.raises(ValueError, match=f"crops of {CROP} pixels, not 96"):
        HeadTracker(FaceAligner(size=96, detector=KnownFace()), FPS)
