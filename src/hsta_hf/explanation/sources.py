"""Where a clip to explain comes from: a film or frames of the user's, aligned here, or a prepared dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsta_hf.data.prepared import NotPreparedError, frames_at, load_prepared
from hsta_hf.prediction.aligned_clip import align_clip
from hsta_hf.prediction.model_source import alignment_to_use, make_aligner
from hsta_hf.reporting.predictions import read_predictions
from hsta_hf.training.run_folder import RunFolder
from hsta_hf.video_processing_hsta import HSTAVideoProcessor
from hsta_hf.video_reading_hsta import open_clip

MOST_FRAMES = 1000
"""All frames of a clip are held in memory and drawn; a micro-expression filmed at 200 a second has 100."""


@dataclass(frozen=True)
class ClipFrames:
    """The frames of a clip, and its key frames as indices into them; `apex` None is to be spotted.

    Attributes:
        aligned: whether faces are where the regions suppose them.
        first: index in the source of the first of the frames.
    """

    frames: np.ndarray
    onset: int
    apex: int | None
    offset: int
    aligned: bool
    first: int = 0


def clip_of_source(
    source: str,
    processor: HSTAVideoProcessor,
    faces: str,
    face_detector: str | Path | None,
    onset: int | None,
    apex: int | None,
    offset: int | None,
) -> ClipFrames:
    """A video file or a folder of frames, aligned as the model's training clips were.

    Args:
        source: the path.
        processor: of the model.
        faces: "auto", "align" or "keep"; see `prediction.model_source.alignment_to_use`.
        face_detector: the detector's ONNX file; None as in `FaceDetector`.
        onset, apex, offset: indices of frames in the source.

    Raises:
        ValueError: the clip has more than `MOST_FRAMES` frames; else as `prediction.aligned_clip.align_clip`.
    """
    if offset is None:
        reader = open_clip(source, source)
        try:
            last = reader.survey(0, None, False).num_frames - 1
        finally:
            reader.close()
    else:
        last = offset
    if last - (onset or 0) >= MOST_FRAMES:
        raise ValueError(
            f"{source} has {last - (onset or 0) + 1} frames from onset to offset, and an explanation is of one "
            f"micro-expression, of {MOST_FRAMES} frames at most; say where it is with --onset and --offset."
        )
    aligner = make_aligner(alignment_to_use(processor, faces), face_detector)
    clip = align_clip(source, aligner, onset, apex, offset, name=source)
    return ClipFrames(clip.frames, clip.onset, clip.apex, clip.offset, aligner is not None, clip.first)


def clip_of_dataset(dataset: str | Path, clip_id: str) -> ClipFrames:
    """A clip of a prepared dataset, with its annotated key frames.

    Raises:
        NotPreparedError: `dataset` is no prepared dataset, or has no such clip; names some that it has.
    """
    rows = load_prepared(dataset)
    names = rows.data.column("clip_id").to_pylist()
    if clip_id not in names:
        raise NotPreparedError(f"{dataset} has no clip {clip_id!r}; its clips are named like {names[0]!r}.")
    index = names.index(clip_id)
    onset, apex, offset, aligned = (
        rows.data.column(name)[index].as_py() for name in ("onset_index", "apex_index", "offset_index", "face_matrix")
    )
    return ClipFrames(np.array(frames_at(rows, index)), onset, apex, offset, aligned is not None)


def tested_model(run: str, clip_id: str) -> Path | None:
    """The model of a run that never saw a clip in training: its fold's. None if `run` is no run that tested it."""
    folder = Path(run)
    if not (folder / "recipe.yaml").is_file() or not (folder / "predictions.parquet").is_file():
        return None
    table = read_predictions(folder / "predictions.parquet")
    rows = table[table["clip"] == clip_id]
    if rows.empty:
        return None
    return RunFolder(folder).fold(int(rows["fold"].iloc[0]), int(rows["seed"].iloc[0])) / "model"
