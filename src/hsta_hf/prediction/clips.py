"""One clip on its way to the model: what was asked, the model's inputs, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hsta_hf.data.clip import APEX_ANNOTATED, APEX_SPOTTED
from hsta_hf.data.face_alignment import FaceAligner
from hsta_hf.prediction.aligned_clip import AlignedReader, open_as_trained
from hsta_hf.video_processing_hsta import HSTAVideoProcessor, locate

LONGEST_CLIP = 1.0  # seconds; twice what the field calls a micro-expression
# Batches do not reach over a multiple of so many clips, so that a share of a large job, done alone, gives the same. It
# is also what a kill costs at most, and what a Ray worker gets at once.
SHARE = 64


@dataclass(frozen=True)
class ClipRequest:
    """One clip to classify.

    Attributes:
        source: what the processor takes as one clip.
        name: what to call it; of a file, its path.
        onset, apex, offset: frame indices from 0, where they are known.
        error: why the clip is not even looked at, as where a row of a table is wrong; None elsewhere.
    """

    source: Any
    name: str
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class PreparedClip:
    """One clip as the model's inputs, short of the processor's `finish`: pictures stay small until the device.

    Attributes:
        name: what it is called.
        video, special: (F, 3, H, W) and (S, 3, H', W'), what `HSTAVideoProcessor.prepare_unnormalised` returns.
        onset, apex, offset: indices of its frames.
        apex_source: "annotated" where the apex was given, "spotted" where it was found.
        num_faces: how many faces its onset frame shows, of which the largest is taken; None where frames are not
            aligned.
        warning: a sentence for the user; None where there is nothing to say.
    """

    name: str
    video: np.ndarray
    special: np.ndarray
    onset: int
    apex: int
    offset: int
    apex_source: str
    num_faces: int | None = None
    warning: str | None = None


@dataclass(frozen=True)
class Prediction:
    """What the model says of one clip, or why it says nothing.

    Attributes:
        name: what the clip is called; of a file, its path.
        prediction: the likeliest class; of a multi-label model, those above 0.5 joined by "+". None with an error.
        scores: by class, softmax or (multi-label) sigmoid; empty with an error.
        onset, apex, offset: indices of its frames, from 0; with an error, those that were given.
        apex_source: "annotated" where the apex was given, "spotted" where it was found; None with an error.
        aligned: whether its face was aligned.
        num_faces: how many faces its onset frame shows; None where none was looked for.
        warning: a sentence for the user, as where a film is too long for one micro-expression; None elsewhere.
        error: why the clip could not be classified; None if it was.
    """

    name: str
    prediction: str | None = None
    scores: dict[str, float] = field(default_factory=dict)
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    apex_source: str | None = None
    aligned: bool = False
    num_faces: int | None = None
    warning: str | None = None
    error: str | None = None


Prepare = Callable[[ClipRequest], PreparedClip | Prediction]


def failed(request: ClipRequest, error: str) -> Prediction:
    """The prediction that says why there is none."""
    return Prediction(request.name, onset=request.onset, apex=request.apex, offset=request.offset, error=error)


@dataclass(frozen=True)
class ClipPreparer:
    """Makes model inputs of clips; may be called in several threads at once, and travels to other processes.

    Attributes:
        processor: the one saved with the model.
        aligner: aligns faces; None takes frames as they come.
    """

    processor: HSTAVideoProcessor
    aligner: FaceAligner | None

    def __call__(self, request: ClipRequest) -> PreparedClip | Prediction:
        """One clip as the model's inputs; a `Prediction` with an error where that is impossible."""
        if request.error is not None:
            return failed(request, request.error)
        try:
            reader = open_as_trained(request.source, self.aligner, request.onset, request.name)
            try:
                onset, apex, offset = locate(reader, request.onset, request.apex, request.offset)
                video, special = self.processor.prepare_unnormalised(reader, onset, apex, offset)  # type: ignore[arg-type]
            finally:
                reader.close()
            warning = length_note(request) if request.offset is None else None
        except (OSError, ValueError, TypeError) as error:
            return failed(request, str(error))
        alignment = reader.alignment if isinstance(reader, AlignedReader) else None
        return PreparedClip(
            name=request.name,
            video=video.numpy(),
            special=special.numpy(),
            onset=onset,
            apex=apex,
            offset=offset,
            apex_source=APEX_SPOTTED if request.apex is None else APEX_ANNOTATED,
            num_faces=None if alignment is None else alignment.num_faces,
            warning=warning,
        )


def length_note(request: ClipRequest) -> str | None:
    """A warning for a film much longer than a micro-expression; None for others, and where no length is known."""
    import av

    if not isinstance(request.source, (str, Path)) or not Path(request.source).is_file():
        return None
    with av.open(str(request.source)) as container:
        seconds = (container.duration or 0) / av.time_base
    if seconds <= LONGEST_CLIP:
        return None
    return (
        f"{request.name} lasts {seconds:.1f} s and is taken as one micro-expression, which lasts under half a second: "
        "the answer means little. Cut it from onset to offset."
    )
