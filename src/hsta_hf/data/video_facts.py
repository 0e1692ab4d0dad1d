"""How many frames a video file holds and at what rate, without decoding it where that can be had."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av

from hsta_hf.video_reading_hsta import VideoFileReader, VideoReadError


@dataclass(frozen=True)
class VideoFacts:
    """What a listing needs of a video.

    Attributes:
        num_frames: Number of frames; they are counted from 0.
        fps: Frames per second as the file declares them; None if it does not.
    """

    num_frames: int
    fps: float | None


def video_facts(path: Path) -> VideoFacts:
    """Count a video's frames.

    The number that the file declares is taken if it holds as many packets. Some formats declare none (Matroska), and
    in a file that was cut off or edited the two differ: the frames are then decoded and counted.

    Raises:
        ValueError: if the file is no video, or damaged, or cut off; the message names it.
    """
    reader = VideoFileReader(path.name, str(path))
    try:
        with av.open(str(path), mode="r") as container:
            streams = [s for s in container.streams.video if "attached_pic" not in str(s.disposition)]
            fps = float(streams[0].average_rate) if streams and streams[0].average_rate else None
            declared = streams[0].frames if streams else 0
            if declared:
                packets = [packet.is_discard for packet in container.demux(streams[0]) if packet.size]
                if len(packets) == declared and not any(packets):
                    return VideoFacts(declared, fps)
    except av.error.FFmpegError as error:
        raise VideoReadError(
            f"{path.name} cannot be read: it is not a video, damaged or cut off ({error.strerror})"
        ) from error
    return VideoFacts(reader.survey(0, None, spot=False).num_frames, fps)
