"""`hsta spot` from a video file to table and picture."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from moving_face import BROWS, MOUTH, SIZE, KnownFace, film, tent, write_video
from prediction_helpers import LABELS, save_model

from hsta_hf.cli.main import main
from hsta_hf.data import face_alignment, face_detector


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    moved = [(BROWS, tent(240, 60, 66, 74, 1.5)), (MOUTH, tent(240, 180, 185, 190, 1.5))]
    frames = film(240, moved)
    frames[100:130] = 4
    return write_video(tmp_path_factory.mktemp("spot") / "film.mp4", frames)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def known_face(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = tmp_path / "weights.onnx"
    weights.write_bytes(b"weights")
    for module in (face_detector, face_alignment):
        monkeypatch.setattr(module, "FaceDetector", lambda given=None: KnownFace(weights))
    monkeypatch.chdir(tmp_path)


def test_table_and_picture_of_a_recording(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spot", str(video), "--threshold", "8", "--no-progress"]) == 0
    printed = capsys.readouterr().out
    assert "film.mp4: 2 intervals in 0:08 (240 frames, 30 fps)" in printed
    assert "No face in" in printed and "0:03.3 to" in printed
    table = pd.read_csv(tmp_path / "film_spotted.csv")
    assert list(table["region"]) == ["brows", "mouth"]
    for row, (onset, apex, offset) in zip(table.to_dict("records"), [(60, 66, 74), (180, 185, 190)], strict=True):
        assert abs(row["onset"] - onset) <= 3 and abs(row["apex"] - apex) <= 2 and abs(row["offset"] - offset) <= 3
    picture = cv2.imread(str(tmp_path / "film_spotted.png"))
    assert picture is not None and picture.shape[1] == 2000


def test_a_second_run_takes_the_curve_of_the_first(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.jsonl"
    common = ["spot", str(video), "--output", str(output), "--no-timeline", "--no-progress"]
    assert main([*common, "--threshold", "8"]) == 0
    printed = capsys.readouterr().out
    assert "earlier run" not in printed and "replacing" not in printed and "too short" not in printed
    assert "found.curve.npz" in printed and "found.png" not in printed
    assert main([*common, "--threshold", "1000"]) == 0
    printed = capsys.readouterr().out
    assert "(replacing an earlier table)" in printed
    assert "240 frames were judged in an earlier run" in printed and "0 intervals" in printed
    assert output.read_text() == "" and not output.with_suffix(".png").exists()


def test_with_a_model_each_interval_has_a_class(
    video: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.parquet"
    assert main(["spot", str(video), "--model", str(model), "--output", str(output), "--threshold", "8"]) == 0
    table = pd.read_parquet(output)
    scores = table[[f"score_{name}" for name in LABELS.values()]].to_numpy()
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)
    assert [LABELS[i] for i in scores.argmax(axis=1)] == list(table["prediction"])
    assert "if it was trained on frames as they came, do not trust" in capsys.readouterr().out
    assert main(["spot", str(video), "--model", str(model), "--output", str(output), "--threshold", "1000"]) == 0
    assert "do not trust" not in capsys.readouterr().out  # nothing was classified


def test_a_model_sees_what_the_processor_makes_of_the_aligned_clip(video: Path, model: Path, tmp_path: Path) -> None:
    """The scores are those of the interval's own frames, aligned one by one, through processor and model."""
    import torch
    from transformers import AutoModelForVideoClassification, AutoVideoProcessor

    from hsta_hf.data.face_alignment import FaceAligner
    from hsta_hf.video_reading_hsta import VideoFileReader

    output = tmp_path / "found.jsonl"
    assert main(["spot", str(video), "--model", str(model), "--output", str(output), "--threshold", "8"]) == 0
    row = json.loads(output.read_text().splitlines()[1])
    frames = [f for _, f in VideoFileReader("film", str(video)).pictures(row["onset"], row["offset"])]
    fit = FaceAligner(size=224, stabilise=True, detector=KnownFace()).fit(frames[0])
    clip = np.stack([fit(frame) for frame in frames])
    inputs = AutoVideoProcessor.from_pretrained(model)(clip, apex=row["apex"] - row["onset"], return_tensors="pt")
    with torch.inference_mode():
        wanted = AutoModelForVideoClassification.from_pretrained(model).eval()(**inputs).logits.softmax(-1)[0]
    np.testing.assert_allclose([row[f"score_{name}"] for name in LABELS.values()], wanted, atol=1e-5)


def test_a_recording_without_a_face_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_video(tmp_path / "dark.mp4", np.full((60, SIZE, SIZE, 3), 3, np.uint8))
    assert main(["spot", str(path), "--no-progress"]) == 0
    printed = capsys.readouterr().out
    assert "No face in 100% of the frames: 0:00 to 0:02" in printed
    assert "too short to know its usual movement" in printed and "is for hsta predict" in printed


def test_mistakes_are_named(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["spot", str(tmp_path / "nothing.mp4")]) == 1
    assert "nothing.mp4 is no file" in capsys.readouterr().err
    assert main(["spot", str(video), "--output", "found.xlsx"]) == 2
    assert "found.xlsx has to end in" in capsys.readouterr().err
    assert main(["spot", str(video), "--shortest", "0.9"]) == 2
    assert "shortest must be above 0" in capsys.readouterr().err
    assert main(["spot", str(video), "--threshold", "0"]) == 2
    assert "--threshold is 0" in capsys.readouterr().err
    assert main(["spot", str(video), "--model", str(tmp_path)]) == 1
    assert "holds neither a model nor a run" in capsys.readouterr().err
