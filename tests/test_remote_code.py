"""A saved folder works with `trust_remote_code=True` where hsta_hf cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from hsta_hf.auto_registration import register_auto_classes
from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

register_auto_classes()

CODE_FILES = {
    "configuration_hsta.py",
    "modeling_hsta.py",
    "video_processing_hsta.py",
    "token_reduction_hsta.py",
    "clip_arguments_hsta.py",
    "video_reading_hsta.py",
    "frame_selection.py",
    "optical_flow_hsta.py",
    "videomae_checkpoint_hsta.py",
    "videomae_start_hsta.py",
}

# The package is hidden by a finder that stands first, wherever and however it is installed.
REMOTE = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in sys.argv[4].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
try:
    import hsta_hf
except ModuleNotFoundError:
    pass
else:
    sys.exit("hsta_hf can still be imported")

import torch
from transformers import AutoConfig, AutoModel, AutoModelForVideoClassification, AutoVideoProcessor, pipeline

folder, video, resaved = sys.argv[1:4]
config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
model = AutoModel.from_pretrained(folder, trust_remote_code=True)
classifier = AutoModelForVideoClassification.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoVideoProcessor.from_pretrained(folder, trust_remote_code=True)
inputs = processor(video)
with torch.no_grad():
    logits = classifier(**inputs).logits[0].tolist()
answer = pipeline("video-classification", model=folder, trust_remote_code=True)(video, top_k=7)
classifier.save_pretrained(resaved)
processor.save_pretrained(resaved)
print(json.dumps({
    "types": [type(thing).__name__ for thing in (config, model, classifier, processor)],
    "modules": [type(thing).__module__ for thing in (config, model, classifier, processor)],
    "logits": logits,
    "scores": {entry["label"]: entry["score"] for entry in answer},
    "imported": [name for name in sys.modules if name.split(".")[0] == "hsta_hf"],
}))
"""


def save_model_and_video(folder: Path, **fields: object) -> HSTAForMicroExpressionClassification:
    torch.manual_seed(1)
    stream = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32}
    config = HSTAConfig(video_config=stream, special_config=stream, num_hsta_layers=2, num_labels=7)
    model = HSTAForMicroExpressionClassification(config).eval()
    model.save_pretrained(folder)
    HSTAVideoProcessor(**{"size": {"height": 32, "width": 32}, **fields}).save_pretrained(folder)
    picture = np.kron(
        np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), dtype=np.uint8)
    )
    with av.open(str(folder / "clip.mp4"), "w") as container:
        written = container.add_stream("mpeg4", rate=30)
        written.height, written.width, written.pix_fmt = 48, 64, "yuv420p"
        for t in range(10):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, t, axis=0), format="rgb24")
            container.mux(written.encode(frame))
        container.mux(written.encode())
    return model


def run_remote(
    folder: Path, resaved: Path, tmp_path: Path, hidden: str = "hsta_hf"
) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
        "HF_MODULES_CACHE": str(tmp_path / f"modules_{folder.name}"),
    }
    arguments = [str(folder), str(folder / "clip.mp4"), str(resaved), hidden]
    return subprocess.run(
        [sys.executable, "-I", "-W", "default", "-c", REMOTE, *arguments],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip


def complaints(stderr: str) -> list[str]:
    """Lines of stderr other than progress bars."""
    lines = stderr.replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip() and "it/s]" not in line and "?it/s" not in line]


def check_answer(
    done: subprocess.CompletedProcess[str], model: HSTAForMicroExpressionClassification, folder: Path
) -> None:
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["types"] == ["HSTAConfig", "HSTAModel", "HSTAForMicroExpressionClassification", "HSTAVideoProcessor"]
    assert all(module.startswith("transformers_modules.") for module in answer["modules"])
    assert answer["imported"] == []
    with torch.no_grad():
        logits = model(**HSTAVideoProcessor.from_pretrained(folder)(folder / "clip.mp4")).logits[0]
    assert answer["logits"] == pytest.approx(logits.tolist(), abs=1e-6)
    assert sum(answer["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["scores"]["LABEL_3"] == pytest.approx(logits.softmax(-1)[3].item(), abs=1e-6)


def test_saving_writes_the_code_and_says_where_it_is(tmp_path: Path) -> None:
    save_model_and_video(tmp_path)
    assert {path.name for path in tmp_path.glob("*.py")} == CODE_FILES
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert auto_map == {
        "AutoConfig": "configuration_hsta.HSTAConfig",
        "AutoModel": "modeling_hsta.HSTAModel",
        "AutoModelForVideoClassification": "modeling_hsta.HSTAForMicroExpressionClassification",
    }
    saved = json.loads((tmp_path / "video_preprocessor_config.json").read_text())
    assert saved["auto_map"] == {"AutoVideoProcessor": "video_processing_hsta.HSTAVideoProcessor"}


@pytest.mark.parametrize("name", sorted(CODE_FILES))
def test_code_files_import_nothing_of_the_package_but_each_other(name: str) -> None:
    from transformers.dynamic_module_utils import get_imports, get_relative_imports

    import hsta_hf

    path = Path(hsta_hf.__file__).parent / name
    assert "hsta_hf" not in get_imports(path)
    assert "cv2" not in get_imports(path)  # else transformers refuses to load the folder without OpenCV
    assert {f"{module}.py" for module in get_relative_imports(path)} <= CODE_FILES


def test_works_without_the_package_and_logs_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "first"
    model = save_model_and_video(folder, special_input="optical_flow")
    done = run_remote(folder, tmp_path / "second", tmp_path)
    check_answer(done, model, folder)
    assert not complaints(done.stderr)
    # What was saved without the package is whole again.
    assert {path.name for path in (tmp_path / "second").glob("*.py")} == CODE_FILES
    first, second = (json.loads((f / "config.json").read_text()) for f in (folder, tmp_path / "second"))
    assert second["auto_map"] == first["auto_map"]


def test_works_without_opencv_where_no_flow_is_asked_for(tmp_path: Path) -> None:
    folder = tmp_path / "no_flow"
    model = save_model_and_video(folder)
    check_answer(run_remote(folder, tmp_path / "again", tmp_path, hidden="hsta_hf,cv2"), model, folder)
