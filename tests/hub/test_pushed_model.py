"""A pushed model is loaded by another process, by name and at a pinned revision, with hsta_hf and without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hub_server import HubServer

import hsta_hf
from hsta_hf import HSTAForMicroExpressionClassification, HSTAVideoProcessor

REPO = "lab/hsta-drawn"
ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(hsta_hf.__file__).parents[1]

# The package is hidden by a finder that stands first, wherever and however it is installed.
PROGRAM = """
import json, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "hsta_hf":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

way, repo, video, *revisions = sys.argv[1:]
if way == "without":
    sys.meta_path.insert(0, Blocker())
    options = {"trust_remote_code": True}
else:
    import hsta_hf
    options = {}

import torch
from transformers import AutoModel, AutoModelForVideoClassification, AutoVideoProcessor, pipeline

found = []
for revision in revisions:
    named = {**options, "revision": revision} if revision != "newest" else options
    backbone = AutoModel.from_pretrained(repo, **named)
    classifier = AutoModelForVideoClassification.from_pretrained(repo, **named).eval()
    processor = AutoVideoProcessor.from_pretrained(repo, **named)
    with torch.no_grad():
        logits = classifier(**processor(video)).logits[0].tolist()
    answer = pipeline("video-classification", model=repo, **named)(video, top_k=7)
    parts = (backbone, classifier, processor)
    found.append({
        "types": [type(part).__name__ for part in parts],
        "modules": [type(part).__module__ for part in parts],
        "marks": [getattr(sys.modules[type(part).__module__], "MARK", None) for part in (backbone, classifier)],
        "logits": logits,
        "scores": {entry["label"]: entry["score"] for entry in answer},
    })
print(json.dumps(found))
"""


def write_video(path: Path) -> Path:
    picture = np.kron(
        np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8), np.ones((8, 8, 1), dtype=np.uint8)
    )
    with av.open(str(path), "w") as container:
        written = container.add_stream("mpeg4", rate=30)
        written.height, written.width, written.pix_fmt = 48, 64, "yuv420p"
        for t in range(10):
            frame = av.VideoFrame.from_ndarray(np.roll(picture, t, axis=0), format="rgb24")
            container.mux(written.encode(frame))
        container.mux(written.encode())
    return path


def python(hub: HubServer, home: Path, *arguments: str, isolated: bool = False) -> str:
    """What another process prints, which knows of the Hub nothing but its variables."""
    environment = {**os.environ, **hub.environment(home), "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, *(["-I"] if isolated else []), *arguments]
    home.mkdir(exist_ok=True)
    done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected(folder: Path, video: Path) -> torch.Tensor:
    model = HSTAForMicroExpressionClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(**HSTAVideoProcessor.from_pretrained(folder)(video)).logits[0]


def check(found: dict[str, Any], logits: torch.Tensor) -> None:
    assert found["types"] == ["HSTAModel", "HSTAForMicroExpressionClassification", "HSTAVideoProcessor"]
    assert found["logits"] == pytest.approx(logits.tolist(), abs=1e-5)
    assert sorted(found["scores"].values()) == pytest.approx(sorted(logits.softmax(-1).tolist()), abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["with", "without"])
def test_the_first_of_two_pushes_is_loaded_at_its_revision_and_the_second_by_name(
    run: Path, tmp_path: Path, way: str
) -> None:
    video = write_video(tmp_path / "clip.mp4")
    first, second = (run / "folds" / f"fold-0{fold}-seed-42" / "model" for fold in (0, 1))
    with (second / "modeling_hsta.py").open("a", encoding="utf-8") as file:
        file.write("\nMARK = 'of the second push'\n")
    script = str(ROOT / "scripts" / "push_to_hub.py")
    with HubServer() as hub:
        push = [script, str(run), "--repo", REPO, "--license", "cc-by-nc-4.0"]
        assert "a new private repository; commit " in python(hub, tmp_path / "pusher", *push, "--tag", "v1")
        pinned = hub.repository(REPO, "models").resolve("main")
        assert pinned is not None
        python(hub, tmp_path / "pusher", *push, "--fold", "1")
        loader = ["-c", PROGRAM, way, REPO, str(video), pinned, "v1", "newest"]
        printed = python(hub, tmp_path / "loader", *loader, isolated=way == "without")
    by_commit, by_tag, newest = json.loads(printed.splitlines()[-1])
    old, new = expected(first, video), expected(second, video)
    assert not torch.allclose(old, new, atol=1e-4)
    check(by_commit, old)
    check(by_tag, old)
    check(newest, new)
    for found in (by_commit, by_tag, newest):
        remote = all(module.startswith("transformers_modules.") for module in found["modules"])
        assert remote if way == "without" else all(module.startswith("hsta_hf.") for module in found["modules"])
    if way == "without":  # the code is pinned with the weights
        assert by_commit["marks"] == by_tag["marks"] == [None, None]
        assert newest["marks"] == ["of the second push"] * 2
