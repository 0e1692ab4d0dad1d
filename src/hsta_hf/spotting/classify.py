"""Each spotted interval through a model: the recording is read a second time, and one interval's face is held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from hsta_hf.data.decode import FaceNotFoundError
from hsta_hf.data.face_alignment import Detector, OnsetAlignment
from hsta_hf.prediction import ClipRequest, Prediction, Predictor
from hsta_hf.prediction.clips import ClipPreparer, failed
from hsta_hf.spotting.intervals import Interval
from hsta_hf.video_reading_hsta import VideoFileReader


def load_classifier(name: str, detector: str | Path | Detector | None) -> Predictor:
    """The model of a model folder, run folder or Hub repository, with what aligns its clips.

    Whole recordings are never aligned beforehand: where the model's processor does not say how its faces were, they
    are aligned as `hsta prepare` does by itself.

    Raises:
        OSError, ValueError: if there is no such model, or the face detector cannot be had.
    """
    return Predictor.from_pretrained(name, detector, faces="align")


def classify_intervals(video: Path, intervals: Sequence[Interval], predictor: Predictor) -> Iterator[Prediction]:
    """What the model says of each interval, in the intervals' order.

    Args:
        video: the recording.
        intervals: of it, in order, none sharing a frame with another.
        predictor: of `load_classifier`.

    Yields:
        One prediction an interval, its frames those of the recording; with an error where the onset frame shows no
        face.

    Raises:
        VideoReadError: if the video cannot be read.
    """
    if not intervals:
        return
    assert predictor.aligner is not None
    prepare = ClipPreparer(predictor.processor, None)  # crops are aligned here, a frame at a time
    waiting = list(intervals)
    alignment: OnsetAlignment | None = None
    crops: list[np.ndarray] = []
    problem = ""
    for index, frame in VideoFileReader(str(video), str(video)).pictures(intervals[0].onset, intervals[-1].offset):
        item = waiting[0]
        if index < item.onset:
            continue
        if index == item.onset:
            crops = []
            try:
                alignment = predictor.aligner.fit(frame)
            except FaceNotFoundError as error:
                alignment, problem = None, str(error)
        if alignment is not None:
            crops.append(alignment(frame))
        if index == item.offset:
            name = f"{video}, frames {item.onset} to {item.offset}"
            if alignment is None:
                yield failed(ClipRequest(None, name, item.onset, item.apex, item.offset), problem)
            else:
                request = ClipRequest(np.stack(crops), name, 0, item.apex - item.onset, item.offset - item.onset)
                yield predictor.classify([prepare(request)])[0]
            waiting.pop(0)
            if not waiting:
                return
