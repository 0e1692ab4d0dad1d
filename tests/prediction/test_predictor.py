"""The Python way to predict: what the model sees, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from prediction_helpers import BrightFace, moving_clip
from transformers import pipeline

from hsta_hf import HSTAForMicroExpressionClassification, HSTAVideoProcessor
from hsta_hf.data.face_alignment import FaceAligner
from hsta_hf.prediction import Predictor


def test_without_alignment_it_says_what_the_pipeline_says(plain_model: Path, videos: list[Path]) -> None:
    predictor = Predictor.from_pretrained(plain_model, device="cpu", batch_size=3)
    assert "faces are not aligned" in str(predictor.note)
    classify = pipeline("video-classification", model=str(plain_model), device="cpu")
    found = predictor([str(video) for video in videos])
    assert [one.name for one in found] == [str(video) for video in videos]
    for one in found:
        said = {entry["label"]: entry["score"] for entry in classify(one.name, top_k=3)}
        assert one.scores == pytest.approx(said, abs=1e-5)
        assert one.prediction == max(said, key=lambda label: said[label])
        assert one.apex_source == "spotted" and not one.aligned and one.error is None
    assert len({one.prediction for one in found} | {round(one.scores["sad"], 4) for one in found}) > 2


def test_a_model_of_aligned_faces_sees_aligned_faces(aligned_model: Path) -> None:
    frames = moving_clip(11, 10)
    predictor = Predictor.from_pretrained(aligned_model, face_detector=BrightFace(), device="cpu")
    assert predictor.note is None
    (found,) = predictor(frames, onset=2, apex=5, offset=8)
    fitted = FaceAligner(size=48, detector=BrightFace()).fit(frames[2])
    processor = HSTAVideoProcessor.from_pretrained(aligned_model)
    inputs = processor(np.stack([fitted(frame) for frame in frames]), onset=2, apex=5, offset=8, return_tensors="pt")
    with torch.no_grad():
        model = HSTAForMicroExpressionClassification.from_pretrained(aligned_model).eval()
        wanted = model(**inputs).logits.softmax(-1)[0]
    assert list(found.scores.values()) == pytest.approx(wanted.tolist(), abs=1e-5)
    assert (found.onset, found.apex, found.offset, found.aligned, found.num_faces) == (2, 5, 8, True, 1)
    kept = Predictor.from_pretrained(aligned_model, device="cpu", faces="keep")(frames, onset=2, apex=5, offset=8)[0]
    assert not kept.aligned and kept.scores != found.scores


def test_an_older_model_can_be_told_to_align(plain_model: Path, bright_face: Callable[[], BrightFace]) -> None:
    predictor = Predictor.from_pretrained(plain_model, device="cpu", faces="align")
    assert predictor.note is None and predictor.aligner is not None
    assert (predictor.aligner.size, predictor.aligner.stabilise) == (224, True)
    assert predictor(moving_clip(2))[0].aligned


def test_bad_clips_keep_their_place(aligned_model: Path, videos: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    predictor = Predictor.from_pretrained(aligned_model, face_detector=BrightFace(), device="cpu", batch_size=2)
    clips = [str(videos[0]), str(tmp_path / "bad.mp4"), str(tmp_path / "none.mp4"), str(videos[1])]
    found = predictor(clips)
    assert [one.error is None for one in found] == [True, False, False, True]
    assert "bad.mp4" in str(found[1].error) and "does not exist" in str(found[2].error)
    assert found[1].prediction is None and found[1].scores == {}
    dark = predictor(np.zeros((5, 64, 64, 3), np.uint8))[0]
    assert "the video: no face found" in str(dark.error)


def test_frames_come_as_the_model_sees_them(aligned_model: Path) -> None:
    predictor = Predictor.from_pretrained(aligned_model, face_detector=BrightFace(), device="cpu")
    clip = predictor.clip(moving_clip(5), onset=1)
    assert clip.frames.shape == (8, 48, 48, 3) and clip.alignment is not None


def test_several_labels_a_clip(plain_model: Path, tmp_path: Path, videos: list[Path]) -> None:
    model = HSTAForMicroExpressionClassification.from_pretrained(plain_model)
    model.config.problem_type = "multi_label_classification"
    predictor = Predictor(model, HSTAVideoProcessor.from_pretrained(plain_model), device="cpu")
    (found,) = predictor(str(videos[0]))
    assert found.prediction == "+".join(name for name, score in found.scores.items() if score > 0.5)
    assert sum(found.scores.values()) != pytest.approx(1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"faces": "maybe"}, "faces is"), ({"dtype": "int8"}, "dtype is"), ({"batch_size": 0}, "batch_size is")],
)
def test_wrong_arguments_are_refused(plain_model: Path, wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Predictor.from_pretrained(plain_model, device="cpu", **wrong)


def test_half_precision_is_close(plain_model: Path, videos: list[Path]) -> None:
    full, half = (Predictor.from_pretrained(plain_model, device="cpu", dtype=name) for name in ("fp32", "bf16"))
    one, two = full(str(videos[0]))[0], half(str(videos[0]))[0]
    assert one.scores != two.scores
    assert list(one.scores.values()) == pytest.approx(list(two.scores.values()), abs=0.05)


def test_a_missing_detector_is_one_clear_error(aligned_model: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--faces keep"):
        Predictor.from_pretrained(aligned_model, face_detector=tmp_path / "none.onnx", device="cpu")
    (tmp_path / "bad.onnx").write_text(json.dumps({}))
    with pytest.raises(ValueError, match="is no YuNet model"):
        Predictor.from_pretrained(aligned_model, face_detector=tmp_path / "bad.onnx", device="cpu")
