"""A clip as the model was trained to see it: its face aligned by the onset frame, whatever the clip comes as.

    aligner = FaceAligner(size=224, stabilise=True)
    clip = align_clip("clip.mp4", aligner)
    clip.frames[clip.apex]         # (224, 224, 3) uint8

`AlignedReader` is the same for the processor, which asks for few frames of what may be a long film.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hsta_hf.data.clip import APEX_ANNOTATED, APEX_SPOTTED
from hsta_hf.data.decode import FaceNotFoundError
from hsta_hf.data.face_alignment import FaceAligner, OnsetAlignment
from hsta_hf.video_processing_hsta import locate
from hsta_hf.video_reading_hsta import ClipReader, SmallPictures, Survey, VideoReadError, open_clip

# Aligned frames that are kept between two questions, so that a short clip is decoded and aligned once.
_KEPT_BYTES = 64 << 20


@dataclass(frozen=True)
class AlignedClip:
    """The frames of a clip from onset to offset.

    Attributes:
        name: What messages call the clip; of a file, its path.
        frames: (T, S, S, 3) uint8 RGB, aligned; (T, H, W, 3) as they came where `alignment` is None.
        onset, apex, offset: Indices into `frames`: `onset` is 0 and `offset` T - 1.
        first: Index of the onset frame in the source, which the other indices are counted from.
        apex_source: "annotated" where the apex was given, "spotted" where it was found.
        alignment: What was found in the onset frame; None where faces are not aligned.
    """

    name: str
    frames: np.ndarray
    onset: int
    apex: int
    offset: int
    first: int
    apex_source: str
    alignment: OnsetAlignment | None


class AlignedReader(ClipReader):
    """The frames of another reader, each aligned by one transform that is fitted to the onset frame.

    Frames count as in the other reader. Full-size frames are held one at a time; aligned ones, of a clip whose apex is
    spotted, up to 64 MiB between the two looks at it.

    Args:
        reader: the frames as they are; is closed with this one.
        aligner: fits the transform.
        onset: index of the frame that it is fitted to. Earlier frames cannot be asked for.
    """

    def __init__(self, reader: ClipReader, aligner: FaceAligner, onset: int = 0) -> None:
        self.name = reader.name
        self.alignment: OnsetAlignment | None = None
        self._reader, self._aligner, self._onset = reader, aligner, onset
        self._kept: dict[int, np.ndarray] = {}
        self._shape: tuple[int, ...] = ()

    def survey(self, onset: int, offset: int | None, spot: bool) -> Survey:
        """See `ClipReader.survey`; small pictures are of aligned frames.

        Raises:
            FaceNotFoundError: the onset frame shows no face; names the clip.
            VideoReadError: the clip cannot be read, or its frames differ in size.
        """
        if not spot:
            return self._reader.survey(onset, offset, False)
        small, num_frames, kept_bytes = SmallPictures(onset), self._onset, 0
        for index, picture in self._reader.pictures(self._onset, offset):
            num_frames = index + 1
            wanted = small.wants(index)
            if not wanted and self.alignment is not None:
                continue
            frame = self._aligned(picture)
            if wanted:
                small.add(frame)
            if kept_bytes + frame.nbytes <= _KEPT_BYTES:
                self._kept[index] = frame
                kept_bytes += frame.nbytes
        if num_frames == self._onset:  # too short to hold the onset: how long it is, whoever asked wants to say
            return self._reader.survey(onset, offset, False)
        return small.survey(num_frames)

    def read(self, indices: Sequence[int]) -> dict[int, np.ndarray]:
        """See `ClipReader.read`; frames are aligned.

        Raises:
            FaceNotFoundError, VideoReadError: as `survey`; VideoReadError too if an index lies past the last frame.
        ValueError: an index lies before the onset.
        """
        if min(indices) < self._onset:
            raise ValueError(f"{self.name}: frame {min(indices)} is wanted, which lies before the onset {self._onset}")
        wanted = {index for index in indices if index not in self._kept}
        frames = {index: self._kept[index] for index in indices if index in self._kept}
        if wanted:
            num_frames = self._onset
            for index, picture in self._reader.pictures(self._onset, max(wanted)):
                num_frames = index + 1
                if index in wanted or self.alignment is None:
                    frames[index] = self._aligned(picture)
            if num_frames == self._onset:
                num_frames = self._reader.survey(0, None, False).num_frames
            self._check_last(indices, num_frames)
        return dict(sorted(frames.items()))

    def pictures(self, first: int, last: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """See `ClipReader.pictures`; frames are aligned, and `first` is the onset or later."""
        for index, picture in self._reader.pictures(self._onset, last):
            if index in self._kept:
                frame = self._kept[index]
            elif index >= first or self.alignment is None:
                frame = self._aligned(picture)
            if index >= first:
                yield index, frame

    def close(self) -> None:
        self._kept.clear()
        self._reader.close()

    def _aligned(self, picture: np.ndarray) -> np.ndarray:
        if self.alignment is None:  # the first frame that is looked at is the onset
            try:
                self.alignment = self._aligner.fit(picture)
            except FaceNotFoundError as error:
                raise FaceNotFoundError(f"{self.name}: {error}") from error
            self._shape = picture.shape
        self._check_sizes({picture.shape[:2], self._shape[:2]})
        return self.alignment(picture)


def open_as_trained(
    source: Any, aligner: FaceAligner | None, onset: int | None = None, name: str = "the clip"
) -> ClipReader:
    """A reader of a clip's frames as the model was trained to see them, which `HSTAVideoProcessor` takes as a clip.

    Args:
        source: what the processor takes as one clip; see `video_reading_hsta.open_clip`, whose errors this raises.
        aligner: aligns the frames; None leaves them as they are.
        onset: index of the onset frame; None is the first.
        name: what messages call a source that has no name of its own.
    """
    reader = open_clip(source, name)
    return reader if aligner is None else AlignedReader(reader, aligner, max(onset or 0, 0))


def align_clip(
    source: Any,
    aligner: FaceAligner | None,
    onset: int | None = None,
    apex: int | None = None,
    offset: int | None = None,
    name: str = "the clip",
) -> AlignedClip:
    """All frames of a clip from onset to offset, aligned.

    Args:
        source: a video file, a folder of frames, an array (T, H, W, 3) uint8, or whatever else the processor takes as
            one clip.
        aligner: aligns the frames; None leaves them as they are.
        onset, apex, offset: indices, from 0, of frames in the source. Missing: the first frame, the one that is
            spotted in the aligned frames, the last one.
        name: what messages call a source that has no name of its own.

    Raises:
        FaceNotFoundError: the onset frame shows no face; names the clip.
        FileNotFoundError, VideoReadError: the source cannot be read; names it.
        ValueError: onset, apex and offset do not lie in order inside the clip.
    """
    reader = open_as_trained(source, aligner, onset, name)
    try:
        first, middle, last = locate(reader, onset, apex, offset)
        found = reader.read(range(first, last + 1))
    finally:
        reader.close()
    return AlignedClip(
        name=reader.name,
        frames=np.stack([found[index] for index in range(first, last + 1)]),
        onset=0,
        apex=middle - first,
        offset=last - first,
        first=first,
        apex_source=APEX_SPOTTED if apex is None else APEX_ANNOTATED,
        alignment=reader.alignment if isinstance(reader, AlignedReader) else None,
    )


__all__ = [
    "AlignedClip",
    "AlignedReader",
    "FaceNotFoundError",
    "VideoReadError",
    "align_clip",
    "open_as_trained",
]
