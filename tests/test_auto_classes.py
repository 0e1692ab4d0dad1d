"""After `import hsta_hf`, transformers' Auto classes and pipeline know HSTA and have nothing to complain about."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForVideoClassification,
    AutoVideoProcessor,
    pipeline,
)

from hsta_hf.auto_registration import register_auto_classes
from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification, HSTAModel
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

register_auto_classes()

LABELS = ["anger", "disgust", "fear", "happy", "others", "sad", "surprise"]


def save_small_model(folder: Path, **fields: object) -> HSTAForMicroExpressionClassification:
    """A randomly initialised HSTA and its processor in `folder`, as training leaves them."""
    torch.manual_seed(0)
    stream = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32}
    config = HSTAConfig(
        video_config=stream, special_config=stream, num_hsta_layers=1, id2label=dict(enumerate(LABELS)),
        label2id={name: number for number, name in enumerate(LABELS)},
    )  # fmt: skip
    model = HSTAForMicroExpressionClassification(config).eval()
    model.save_pretrained(folder)
    HSTAVideoProcessor(**{"size": {"height": 32, "width": 32}, **fields}).save_pretrained(folder)
    return model


def write_video(path: Path, seed: int = 0) -> None:
    """Twelve frames of coarse noise that shifts, encoded with PyAV."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 10, 3), dtype=np.uint8)
    picture = np.kron(noise, np.ones((8, 8, 1), dtype=np.uint8))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 80, "yuv420p"
        for t in range(12):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, t, axis=1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_auto_classes_return_hsta(tmp_path: Path) -> None:
    model = save_small_model(tmp_path, special_input="optical_flow")
    assert type(AutoConfig.from_pretrained(tmp_path)) is HSTAConfig
    assert type(AutoModel.from_pretrained(tmp_path)) is HSTAModel
    classifier = AutoModelForVideoClassification.from_pretrained(tmp_path)
    processor = AutoVideoProcessor.from_pretrained(tmp_path)
    assert type(classifier) is HSTAForMicroExpressionClassification
    assert type(processor) is HSTAVideoProcessor and processor.special_input == "optical_flow"
    write_video(tmp_path / "clip.mp4")
    inputs = processor(tmp_path / "clip.mp4")
    loaded = classifier.state_dict()
    assert all(torch.equal(loaded[name], weight) for name, weight in model.state_dict().items())
    with torch.no_grad():  # the last digit may depend on where in memory the weights lie
        torch.testing.assert_close(classifier.eval()(**inputs).logits, model(**inputs).logits, rtol=0, atol=1e-6)


def test_pipeline_gives_the_models_scores(tmp_path: Path) -> None:
    model = save_small_model(tmp_path)
    write_video(tmp_path / "a.mp4", seed=1)
    write_video(tmp_path / "b.mp4", seed=2)
    classify = pipeline("video-classification", model=str(tmp_path))
    inputs = HSTAVideoProcessor.from_pretrained(tmp_path)(tmp_path / "a.mp4")
    with torch.no_grad():
        scores = model(**inputs).logits.softmax(-1)[0]
    answer = classify(str(tmp_path / "a.mp4"), top_k=7)
    assert {entry["label"] for entry in answer} == set(LABELS)
    for entry in answer:
        assert entry["score"] == pytest.approx(scores[LABELS.index(entry["label"])].item(), abs=1e-6)
    both = classify([str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")], top_k=7)
    assert both[0] == answer and both[1] != answer
    assert len(classify(str(tmp_path / "a.mp4"))) == 5


def test_pipeline_names_a_broken_file(tmp_path: Path) -> None:
    save_small_model(tmp_path)
    (tmp_path / "broken.mp4").write_bytes(b"nothing of use")
    with pytest.raises(ValueError, match=r"broken\.mp4"):
        pipeline("video-classification", model=str(tmp_path))(str(tmp_path / "broken.mp4"))


QUIET = """
import sys
import hsta_hf
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor, pipeline
folder, video = sys.argv[1:]
for auto in (AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor):
    print(type(auto.from_pretrained(folder)).__module__)
print(pipeline("video-classification", model=folder)(video)[0]["label"])
"""


def complaints(stderr: str) -> list[str]:
    """Lines of stderr other than progress bars."""
    lines = stderr.replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and "it/s]" not in line and "?it/s" not in line]


def test_importing_the_package_is_enough_and_nothing_is_logged(tmp_path: Path) -> None:
    save_small_model(tmp_path / "model")
    write_video(tmp_path / "clip.mp4")
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", QUIET, str(tmp_path / "model"), str(tmp_path / "clip.mp4")],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")},
    )
    assert done.returncode == 0, done.stderr
    *modules, label = done.stdout.split()
    assert [module.split(".")[0] for module in modules] == ["hsta_hf"] * 4
    assert label in LABELS
    assert not complaints(done.stderr)


def test_real_footage_through_the_pipeline(tmp_path: Path, shared_dir: Path) -> None:
    path = shared_dir / "media" / "single_face.mp4"
    if not path.is_file():
        pytest.skip("needs media/single_face.mp4 in the reference data, which is absent")
    save_small_model(tmp_path)
    answer = pipeline("video-classification", model=str(tmp_path))(str(path), top_k=7)
    assert sum(entry["score"] for entry in answer) == pytest.approx(1, abs=1e-4)
