"""What the page answers about a clip: where its apex lies, what the model says, and what that rests on."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

import numpy as np

from hsta_hf.app.explaining import Overlay, explain
from hsta_hf.app.intake import Footage
from hsta_hf.app.motion import motion_curve
from hsta_hf.data.clip import APEX_ANNOTATED, APEX_SPOTTED
from hsta_hf.frame_selection import spot_apex
from hsta_hf.prediction import Predictor
from hsta_hf.prediction.clips import PreparedClip


@dataclass(frozen=True)
class Marks:
    """Onset, apex and offset, indices into a clip's frames."""

    onset: int
    apex: int
    offset: int

    def check(self, num_frames: int) -> None:
        """Raise a ValueError if they are not in order inside a clip of so many frames."""
        if not 0 <= self.onset <= self.apex <= self.offset < num_frames:
            raise ValueError(
                f"Onset {self.onset}, apex {self.apex} and offset {self.offset} are not in order inside a clip of "
                f"{num_frames} frames."
            )


@dataclass
class Clip:
    """A visitor's clip while it is on the page.

    Attributes:
        footage: its frames as they came.
        shown: (T, S, S', 3) uint8, the same aligned by the first frame, which the page shows and the curve is made of.
        num_faces: in the first frame; None where faces are not aligned.
        from_onset: the last onset that was asked for, and the frames from there on, aligned by it.
        id: tells it from the visitor's other clips.
    """

    footage: Footage
    shown: np.ndarray
    num_faces: int | None
    from_onset: tuple[int, np.ndarray] = field(repr=False)
    id: str = field(default_factory=lambda: secrets.token_hex(4))


@dataclass(frozen=True)
class Answer:
    """What is said of a clip for one choice of onset, apex and offset.

    Attributes:
        marks: the choice.
        apex_spotted: whether the apex was found here, and not given.
        curve: (T,) motion since the onset, see `motion_curve`.
        scores: by class, in the model's order.
        multi_label: whether each class has a probability of its own; otherwise they sum to 1.
        overlay: what the likeliest class rests on.
    """

    marks: Marks
    apex_spotted: bool
    curve: np.ndarray
    scores: dict[str, float]
    multi_label: bool
    overlay: Overlay

    @property
    def likeliest(self) -> str:
        """The class with the highest score."""
        return max(self.scores, key=lambda label: self.scores[label])


class Analyst:
    """A trained model that answers for one clip at a time, each step as in `hsta predict`.

    Args:
        predictor: the model, with the face alignment of its training.
    """

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    @property
    def aligns(self) -> bool:
        """Whether faces are found and aligned; otherwise frames are taken as they come."""
        return self.predictor.aligner is not None

    def open(self, footage: Footage) -> Clip:
        """Align a clip by its first frame.

        Raises:
            FaceNotFoundError: the first frame shows no face.
        """
        aligned = self.predictor.clip(footage.frames, onset=0, apex=0, offset=len(footage.frames) - 1)
        num_faces = None if aligned.alignment is None else aligned.alignment.num_faces
        return Clip(footage, aligned.frames, num_faces, (0, aligned.frames))

    def answer(self, clip: Clip, onset: int = 0, apex: int | None = None, offset: int | None = None) -> Answer:
        """Classify a clip and explain the likeliest class.

        Args:
            clip: from `open`.
            onset, apex, offset: indices into its frames; apex None is spotted between the others, offset None is the
                last frame.

        Raises:
            ValueError: they are not in order inside the clip.
            FaceNotFoundError: the onset frame shows no face.
        """
        num_frames = len(clip.footage.frames)
        offset = num_frames - 1 if offset is None else offset
        Marks(onset, onset if apex is None else apex, offset).check(num_frames)
        frames = self._aligned(clip, onset)[: offset - onset + 1]
        spotted = apex is None
        apex = onset + spot_apex(frames) if apex is None else apex
        scores = self._scores(clip.footage.name, frames, apex - onset, spotted)
        return Answer(
            Marks(onset, apex, offset),
            spotted,
            motion_curve(clip.shown, onset, self.aligns),
            scores,
            self.predictor.multi_label,
            explain(self.predictor, frames, apex - onset, max(scores, key=lambda label: scores[label])),
        )

    def _aligned(self, clip: Clip, onset: int) -> np.ndarray:
        """The frames from the onset on, aligned by it."""
        if clip.from_onset[0] != onset:
            frames = clip.footage.frames
            aligned = self.predictor.clip(frames, onset=onset, apex=onset, offset=len(frames) - 1)
            clip.from_onset = (onset, aligned.frames)
        return clip.from_onset[1]

    def _scores(self, name: str, frames: np.ndarray, apex: int, spotted: bool) -> dict[str, float]:
        """By class; `frames` are aligned, from onset to offset."""
        offset = len(frames) - 1
        video, special = self.predictor.processor.prepare_unnormalised(frames, 0, apex, offset)
        prepared = PreparedClip(
            name,
            video.numpy(),
            special.numpy(),
            onset=0,
            apex=apex,
            offset=offset,
            apex_source=APEX_SPOTTED if spotted else APEX_ANNOTATED,
        )
        return self.predictor.classify([prepared])[0].scores
