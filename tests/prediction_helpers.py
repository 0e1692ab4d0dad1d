"""A small model, clips in which something moves, and a detector that needs no file."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import av
import numpy as np
import torch

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification, HSTAVideoProcessor
from hsta_hf.data.face_detector import Face
from hsta_hf.data.face_geometry import TEMPLATE
from hsta_hf.prediction import ClipRequest, Prediction
from hsta_hf.prediction.clips import PreparedClip, failed

LABELS = {0: "happy", 1: "sad", 2: "surprise"}
_STREAM = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32}


class BrightFace:
    """Sees a face in every frame that is not dark: 64 pixels wide, in the middle, its landmarks the template."""

    score_threshold = 0.7

    def detect(self, frame: np.ndarray) -> list[Face]:
        if frame.mean() < 20:
            return []
        height, width = frame.shape[:2]
        corner = np.array([width / 2 - 32, height / 2 - 32])
        return [Face((*corner, 64.0, 64.0), TEMPLATE * 64 - 0.5 + corner, 0.9)]

    def refine(self, frame: np.ndarray, face: Face) -> Face:
        return face


def save_model(folder: Path, seed: int = 0, **processor: object) -> Path:
    """A 16-wide model of three classes for pictures of 32 pixels."""
    torch.manual_seed(seed)
    config = HSTAConfig.from_preset(
        "tiny",
        num_hsta_layers=1,
        video_config=_STREAM,
        special_config=_STREAM,
        id2label=LABELS,
        label2id={name: i for i, name in LABELS.items()},
    )
    model = HSTAForMicroExpressionClassification(config)
    with torch.no_grad():
        for parameter in model.parameters():  # as it is initialised, it says the same of every clip
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    HSTAVideoProcessor(size={"height": 32, "width": 32}, **processor).save_pretrained(folder)
    return folder


def moving_clip(seed: int, num_frames: int = 9, height: int = 72, width: int = 96) -> np.ndarray:
    """(T, H, W, 3) uint8: smooth noise of which one spot swells and shrinks."""
    rng = np.random.default_rng(seed)
    small = rng.uniform(60, 200, size=(6, 8, 3))
    picture = np.kron(small, np.ones((-(-height // 6), -(-width // 8), 1)))[:height, :width]
    y, x = np.mgrid[:height, :width]
    spot = np.exp(-((y - rng.uniform(20, 50)) ** 2 + (x - rng.uniform(30, 60)) ** 2) / 150)[..., None]
    swell = np.sin(np.linspace(0, np.pi, num_frames))
    return np.stack([np.clip(picture + 50 * s * spot, 0, 255).astype(np.uint8) for s in swell])


def write_video(path: Path, frames: np.ndarray, rate: int = 30) -> Path:
    """The frames as an mp4 file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def crash_on_request(request: ClipRequest) -> PreparedClip | Prediction:
    """Ends its process as a decoder's crash does."""
    if request.name == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    return failed(request, "read")
