"""Small models and videos, shared by the tests of prediction."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from prediction_helpers import BrightFace, moving_clip, save_model, write_video


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was trained on frames as they came."""
    return save_model(tmp_path_factory.mktemp("plain") / "model")


@pytest.fixture(scope="session")
def aligned_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights, trained on aligned faces."""
    folder = tmp_path_factory.mktemp("aligned") / "model"
    return save_model(folder, face_alignment={"size": 48, "stabilise": False})


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Seven short videos."""
    folder = tmp_path_factory.mktemp("videos")
    return [write_video(folder / f"clip{number}.mp4", moving_clip(number, 6 + number)) for number in range(7)]


@pytest.fixture
def bright_face(monkeypatch: pytest.MonkeyPatch) -> Callable[[], BrightFace]:
    """In place of YuNet everywhere in this process."""
    monkeypatch.setattr("hsta_hf.data.face_alignment.FaceDetector", lambda weights=None: BrightFace())
    return BrightFace
