"""Analysts of small models, shared by the tests of the page."""

from __future__ import annotations

from pathlib import Path

import pytest
from prediction_helpers import BrightFace, save_model

from hsta_hf.app.analysis import Analyst
from hsta_hf.prediction import Predictor


@pytest.fixture(scope="session")
def plain_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes frames as they come."""
    return save_model(tmp_path_factory.mktemp("plain") / "model")


@pytest.fixture(scope="session")
def aligned_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of aligned faces."""
    return save_model(tmp_path_factory.mktemp("aligned") / "model", face_alignment={"size": 48, "stabilise": False})


@pytest.fixture(scope="session")
def plain_analyst(plain_model: Path) -> Analyst:
    return Analyst(Predictor.from_pretrained(plain_model, device="cpu"))


@pytest.fixture(scope="session")
def aligned_analyst(aligned_model: Path) -> Analyst:
    return Analyst(Predictor.from_pretrained(aligned_model, face_detector=BrightFace(), device="cpu"))
