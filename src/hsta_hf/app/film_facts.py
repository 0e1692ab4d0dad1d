"""How long a film is and how large, found without decoding a picture of it, and whether the page takes it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from hsta_hf.app.limits import MEGABYTE, Limits

# Demuxers that read one file. Playlists (HLS, concat) would open whatever other file or address they name.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,ogg,flv,asf,gif"
_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}


class IntakeError(ValueError):
    """An upload that the page does not take; the message is for the visitor, says why and what to do."""


@dataclass(frozen=True)
class FilmFacts:
    """What is known of a film before it is decoded.

    Attributes:
        name: of the file, as the visitor knows it.
        times: (T,) float64, when each frame is shown, in seconds after the first, in order.
        width, height: of its pictures in pixels, before they are turned upright.
    """

    name: str
    times: np.ndarray
    width: int
    height: int

    @property
    def num_frames(self) -> int:
        """Number of frames."""
        return len(self.times)

    @property
    def frame_seconds(self) -> float:
        """Time from one frame to the next, the median of the film; 0 for a single frame."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else 0.0

    @property
    def seconds(self) -> float:
        """Length of the film."""
        return float(self.times[-1]) + self.frame_seconds

    def window(self, start: float, limits: Limits) -> tuple[int, int]:
        """First and last frame of what is analysed, `start` seconds into the film."""
        whole = self.seconds <= limits.window_seconds + 1e-6
        first = 0 if whole else min(int(np.searchsorted(self.times, start - 1e-6)), self.num_frames - 1)
        end = self.num_frames if whole else int(np.searchsorted(self.times, self.times[first] + limits.window_seconds))
        return first, min(max(end, first + 1), first + limits.window_frames) - 1


def film_facts(path: Path, limits: Limits) -> FilmFacts:
    """Look at a film's packets.

    Raises:
        IntakeError: it is no film, or one beyond the limits.
    """
    name = path.name
    try:
        size = os.path.getsize(path)
    except OSError as error:
        raise IntakeError("The upload is not there any more: it was deleted. Please upload the clip again.") from error
    if size == 0:
        raise IntakeError(f"{name} is empty (0 bytes). Please choose another file.")
    if size > limits.file_bytes:
        raise IntakeError(
            f"{name} has {size / MEGABYTE:.0f} MB; this page takes up to {limits.file_bytes / MEGABYTE:.0f} MB. "
            "Please cut the clip from onset to offset, or save it smaller."
        )
    try:
        with av.open(str(path), mode="r", options=_OPTIONS) as container:
            streams = [s for s in container.streams.video if "attached_pic" not in str(s.disposition)]
            if not streams:
                raise IntakeError(f"{name} holds no moving pictures. Please choose a video file.")
            stream = streams[0]
            width, height = stream.codec_context.width, stream.codec_context.height
            times = _times(container, stream, limits, name)
    except av.error.FFmpegError as error:
        raise IntakeError(
            f"{name} cannot be read as a video: it is another kind of file, damaged, or cut off. Please choose a "
            "video, such as MP4, MOV or WebM."
        ) from error
    facts = FilmFacts(name, times, width, height)
    _check(facts, limits)
    return facts


def _times(container: av.container.InputContainer, stream: av.VideoStream, limits: Limits, name: str) -> np.ndarray:
    """When each frame is shown, in seconds after the first; by the file's rate where its packets do not say."""
    stamps: list[int | None] = []
    most = limits.film_pixels // (32 * 32)
    for packet in container.demux(stream):
        if packet.size and not packet.is_discard:
            stamps.append(packet.pts)
        if len(stamps) > most:
            raise IntakeError(f"{name} has more than {most} frames. Please cut it from onset to offset.")
    if not stamps:
        raise IntakeError(f"{name} holds no pictures. Please choose another file.")
    known = [stamp for stamp in stamps if stamp is not None]
    if len(known) == len(stamps) and stream.time_base and len(set(known)) > len(known) // 2:
        shown = np.sort(np.array(known, dtype=np.float64)) * float(stream.time_base)
        return shown - shown[0]
    rate = float(stream.average_rate or stream.guessed_rate or 25)
    return np.arange(len(stamps)) / rate


def _check(facts: FilmFacts, limits: Limits) -> None:
    """Refuse what would take too long or too much memory to decode."""
    pixels = facts.width * facts.height
    cut = "Please cut the clip from onset to offset (your phone's gallery can) and upload that."
    if facts.seconds > limits.seconds:
        raise IntakeError(
            f"{facts.name} lasts {facts.seconds:.0f} s; this page takes up to {limits.seconds:.0f}. {cut}"
        )
    if pixels > limits.picture_pixels:
        raise IntakeError(
            f"{facts.name} has pictures of {facts.width}x{facts.height} pixels, more than this page takes. Please "
            "save it smaller."
        )
    if pixels * facts.num_frames > limits.film_pixels:
        raise IntakeError(
            f"{facts.name} has {facts.num_frames} pictures of {facts.width}x{facts.height} pixels, more than this "
            f"page decodes. {cut}"
        )
