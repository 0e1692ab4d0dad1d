"""The one record that every database yields and every later step reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

APEX_ANNOTATED = "annotated"
APEX_UNKNOWN = "unknown"
APEX_SPOTTED = "spotted"


@dataclass(frozen=True)
class MicroExpressionClip:
    """One micro-expression: the frames from onset to offset, and what the annotation says about them.

    Frames are counted in two ways. `onset`, `apex` and `offset` are frame numbers as the owner of the
    database counts them; `onset_index`, `apex_index` and `offset_index` are positions in `frame_numbers`,
    counted from 0. The two differ by more than a constant when frames are missing on disk.

    Attributes:
        clip_id: Unique name, `<database>/<subject>/<filename>/<onset>`.
        database: Name of the database module that read the clip (`casme3`).
        subject: The person; clips of one person share it, whatever the split.
        filename: The recording, as the annotation names it (a letter in CAS(ME)^3).
        onset: Frame number of the first frame.
        apex: Frame number of the strongest frame, or None where it is unknown and has to be spotted.
        offset: Frame number of the last frame.
        frame_paths: The image files from onset to offset, in order; missing frames are not in it. Empty where
            the frames are those of a video file.
        frame_numbers: The owner's number of each of `frame_paths`.
        fps: Frames per second of the recording.
        emotion: Emotion in the database's own words, lower case; None where the annotation has none.
        objective_class: "I" to "VII" (Davison et al. 2018); None where the database has none.
        action_units: Numbers of the FACS action units, in increasing order, without side and part.
        action_units_raw: The action units as the annotation spells them, sides and parts included.
        apex_source: "annotated", "unknown" (`apex` is None) or "spotted".
        corrections: What was corrected in the annotation of this clip, one sentence each.
        source: Where the annotation is, for messages (`annotation.xlsx row 9`).
        video_path: The video file that holds the frames; `frame_numbers` then count its frames from 0.
        variant: Which of the owner's versions of the frames these are ("raw", "cropped"); "" where there is one.
    """

    clip_id: str
    database: str
    subject: str
    filename: str
    onset: int
    apex: int | None
    offset: int
    frame_paths: tuple[Path, ...]
    frame_numbers: tuple[int, ...]
    fps: float
    emotion: str | None = None
    objective_class: str | None = None
    action_units: tuple[str, ...] = ()
    action_units_raw: str = ""
    apex_source: str = APEX_ANNOTATED
    corrections: tuple[str, ...] = ()
    source: str = ""
    video_path: Path | None = None
    variant: str = ""

    def __post_init__(self) -> None:
        """Refuse a record that no later step could use.

        Raises:
            ValueError: if frames are missing at either end, out of order, or the apex is not one of them.
        """
        if self.video_path is not None and self.frame_paths:
            raise ValueError(f"{self.clip_id}: frames are either picture files or those of a video, not both")
        if self.video_path is None and len(self.frame_paths) != len(self.frame_numbers):
            raise ValueError(
                f"{self.clip_id}: {len(self.frame_paths)} frame paths but {len(self.frame_numbers)} numbers"
            )
        if len(self.frame_numbers) < 2:
            raise ValueError(f"{self.clip_id}: a clip needs 2 frames or more, this one has {len(self.frame_numbers)}")
        if any(b <= a for a, b in zip(self.frame_numbers, self.frame_numbers[1:], strict=False)):
            raise ValueError(f"{self.clip_id}: frame numbers are not in increasing order")
        if (self.frame_numbers[0], self.frame_numbers[-1]) != (self.onset, self.offset):
            raise ValueError(
                f"{self.clip_id}: frames run from {self.frame_numbers[0]} to {self.frame_numbers[-1]}, "
                f"onset and offset are {self.onset} and {self.offset}"
            )
        if self.apex is not None and self.apex not in self.frame_numbers:
            raise ValueError(f"{self.clip_id}: the apex frame {self.apex} is not one of the clip's frames")
        if (self.apex is None) != (self.apex_source == APEX_UNKNOWN):
            raise ValueError(f"{self.clip_id}: apex {self.apex} does not go with source {self.apex_source!r}")

    @property
    def num_frames(self) -> int:
        """Number of frames on disk from onset to offset."""
        return len(self.frame_numbers)

    @property
    def onset_index(self) -> int:
        """Position of the onset in `frame_numbers`: 0."""
        return 0

    @property
    def apex_index(self) -> int | None:
        """Position of the apex in `frame_numbers`, None where the apex is unknown."""
        return None if self.apex is None else self.frame_numbers.index(self.apex)

    @property
    def offset_index(self) -> int:
        """Position of the offset in `frame_numbers`: the last one."""
        return self.num_frames - 1
