"""Classify clips with a trained model, from Python.

predictor = Predictor.from_pretrained("runs/demo")
for found in predictor(["a.mp4", "b.mp4"]):
    print(found.name, found.prediction, found.scores)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hsta_hf.clip_arguments_hsta import as_clips, clip_name, per_clip
from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.data.face_alignment import Detector, FaceAligner
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.prediction.ahead import prepared_ahead
from hsta_hf.prediction.aligned_clip import AlignedClip, align_clip
from hsta_hf.prediction.clips import SHARE, ClipPreparer, ClipRequest, Prediction, PreparedClip
from hsta_hf.prediction.model_source import (
    alignment_note,
    alignment_to_use,
    make_aligner,
    pick_device,
    pick_dtype,
)
from hsta_hf.reporting.predictions import scores_of_logits
from hsta_hf.training.finished_model import model_folder, not_found
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

_NOTES = ("auto_map", "_name_or_path", "transformers_version", "training_data")  # of a configuration, deciding nothing


class Predictor:
    """A trained model with its processor, and the face alignment that its clips had in training.

    Args:
        model: the model; it is put on the device, in evaluation mode.
        processor: the one saved with it.
        aligner: aligns faces; None takes frames as they come.
        device: see `from_pretrained`.
        dtype: see `from_pretrained`.
        batch_size: clips that the model takes at once.

    Attributes:
        prepare: one clip as the model's inputs, on the CPU.
        labels: names of the classes, in the order of the logits.
        share: batches do not reach over a multiple of so many clips.
        note: a sentence where faces are not aligned and nobody asked for that; None elsewhere.
    """

    def __init__(
        self,
        model: HSTAForMicroExpressionClassification,
        processor: HSTAVideoProcessor,
        aligner: FaceAligner | None = None,
        device: str | torch.device | None = None,
        dtype: str = "auto",
        batch_size: int = 8,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be 1 or more")
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self.model: Any = model.to(self.device).eval()  # type: ignore[arg-type]
        self.processor = processor
        self.aligner = aligner
        self.batch_size = batch_size
        self.prepare = ClipPreparer(processor, aligner)
        config: Any = model.config
        self.labels = [str(config.id2label[number]) for number in range(config.num_labels)]
        self.multi_label = config.problem_type == "multi_label_classification"
        self.note: str | None = None
        self.share = SHARE

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path,
        face_detector: str | Path | Detector | None = None,
        device: str | torch.device | None = None,
        dtype: str = "auto",
        faces: str = "auto",
        batch_size: int = 8,
        revision: str | None = None,
    ) -> Predictor:
        """Load a model for prediction.

        Args:
            model: a model folder, a run folder (its final model, or else its first fold's), or a Hub name.
            face_detector: the face detector's ONNX file, or a detector of your own; None: see `FaceDetector`. Not
                looked at where faces are not aligned.
            device: where the model runs; None takes a GPU where there is one.
            dtype: "fp32", "bf16", "fp16" or "auto": format of matrix products; see `pick_dtype`.
            faces: "auto" aligns faces if the model's processor says that they were aligned in training; "keep" takes
                frames as they come; "align" aligns in any case.
            batch_size: clips that the model takes at once.
            revision: of a Hub repository.

        Raises:
            OSError, ValueError: the model, its processor or the face detector cannot be loaded.
        """
        folder = model_folder(str(model))
        try:
            processor = HSTAVideoProcessor.from_pretrained(folder, revision=revision or "main")
        except OSError as error:
            raise not_found(folder, error) from error
        kind = HSTAConfig.get_config_dict(folder, revision=revision or "main")[0].get("model_type")
        if kind != HSTAConfig.model_type:
            raise ValueError(f"{folder} is a model of type {kind!r}; wanted is an HSTA model")
        alignment = alignment_to_use(processor, faces)
        network = HSTAForMicroExpressionClassification.from_pretrained(
            folder, revision=revision or "main", dtype=torch.float32
        )
        aligner = make_aligner(alignment, face_detector)
        predictor = cls(network, processor, aligner, device, dtype, batch_size)
        predictor.note = alignment_note(processor, faces)
        return predictor

    def __call__(
        self,
        videos: Any,
        onset: int | Sequence[int | None] | None = None,
        apex: int | Sequence[int | None] | None = None,
        offset: int | Sequence[int | None] | None = None,
    ) -> list[Prediction]:
        """Classify one clip or several.

        Args:
            videos: one clip or a list of clips, whatever `HSTAVideoProcessor.preprocess` takes.
            onset, apex, offset: frame indices from 0; for several clips, lists with one entry (or None) each.
                Missing: the first frame, the apex that is spotted, the last frame.

        Returns:
            One `Prediction` a clip, in order. A clip that cannot be read, or shows no face, has its `error` set.
        """
        clips = as_clips(videos)
        keys = [
            per_clip(value, len(clips), name) for name, value in (("onset", onset), ("apex", apex), ("offset", offset))
        ]
        requests = [
            ClipRequest(clip, name_of(clip, clip_name(number, len(clips))), *key)
            for number, (clip, *key) in enumerate(zip(clips, *keys, strict=True))
        ]
        return list(self.predict(requests))

    def predict(self, requests: Iterable[ClipRequest], workers: int = 0) -> Iterator[Prediction]:
        """Classify many clips, a batch at a time; what `hsta predict` does.

        Args:
            requests: the clips. They are read as they are needed, and few are in memory at once.
            workers: processes that read and align clips while the model computes; 0 does it in this one. The script
                that asks for them has to be guarded by `if __name__ == "__main__":`, as ever with processes.

        Yields:
            One `Prediction` for each request, in order. Scores do not depend on `workers`.
        """
        shared = self.device.type == "cpu"  # the model needs the processors that prepare clips
        ahead = (4 if shared else 2) * self.batch_size
        clips = prepared_ahead(self.prepare, requests, workers, ahead, in_turns=shared)
        while True:
            waiting: list[PreparedClip | Prediction] = []
            sound = number = 0
            for clip in islice(clips, self.share):
                number += 1
                waiting.append(clip)
                sound += isinstance(clip, PreparedClip)
                if sound == self.batch_size:
                    yield from self.classify(waiting)
                    waiting, sound = [], 0
            yield from self.classify(waiting)
            if number < self.share:
                return

    def fingerprint(self) -> dict[str, Any]:
        """What decides the scores besides the clips, fit for JSON: weights, settings and the face detector."""
        digest = hashlib.sha256()
        for name, tensor in self.model.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
        faces: list[Any] = []
        if self.aligner is not None:
            path = getattr(self.aligner.detector, "path", None)
            detector = type(self.aligner.detector).__name__ if path is None else Path(path).read_bytes().hex()
            faces = [self.aligner.size, self.aligner.stabilise, hashlib.sha256(detector.encode()).hexdigest()]
        processor = {name: value for name, value in self.processor.to_dict().items() if name != "auto_map"}
        config = {name: value for name, value in self.model.config.to_dict().items() if name not in _NOTES}
        settings = {
            "weights": digest.hexdigest(),
            "config": config,
            "processor": processor,
            "faces": faces,
            "dtype": str(self.dtype),
            "batch_size": self.batch_size,
        }
        return dict(json.loads(json.dumps(settings, sort_keys=True, default=str)))

    def clip(
        self,
        source: Any,
        onset: int | None = None,
        apex: int | None = None,
        offset: int | None = None,
    ) -> AlignedClip:
        """The frames of one clip as this model was trained to see them; arguments and errors of `align_clip`."""
        return align_clip(source, self.aligner, onset, apex, offset)

    def classify(self, clips: Sequence[PreparedClip | Prediction]) -> list[Prediction]:
        """What the model says of prepared clips, as one batch; what is a `Prediction` already stays as it is."""
        sound = [clip for clip in clips if isinstance(clip, PreparedClip)]
        scores = iter(self.scores(sound)) if sound else iter(())
        return [self._prediction(clip, next(scores)) if isinstance(clip, PreparedClip) else clip for clip in clips]

    @torch.inference_mode()
    def scores(self, clips: Sequence[PreparedClip]) -> np.ndarray:
        """(clips, classes) float64: softmax or (multi-label) sigmoid."""
        video = torch.from_numpy(np.stack([clip.video for clip in clips])).to(self.device)
        special = torch.from_numpy(np.stack([clip.special for clip in clips])).to(self.device)
        inputs = {
            "pixel_values": self.processor.finish(video, self.processor.video_input),
            "special_pixel_values": self.processor.finish(special, self.processor.special_input),
        }
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            logits = self.model(**inputs).logits
        return scores_of_logits(logits.float().cpu().numpy(), self.multi_label)

    def _prediction(self, clip: PreparedClip, scores: np.ndarray) -> Prediction:
        if self.multi_label:
            chosen = "+".join(name for name, score in zip(self.labels, scores, strict=True) if score > 0.5)
        else:
            chosen = self.labels[int(scores.argmax())]
        return Prediction(
            clip.name,
            prediction=chosen,
            scores=dict(zip(self.labels, scores.tolist(), strict=True)),
            onset=clip.onset,
            apex=clip.apex,
            offset=clip.offset,
            apex_source=clip.apex_source,
            aligned=clip.num_faces is not None,
            num_faces=clip.num_faces,
            warning=clip.warning,
        )


def name_of(source: Any, otherwise: str) -> str:
    """The path of a clip, or else what it is called in a batch."""
    return str(source) if isinstance(source, (str, Path)) else otherwise
