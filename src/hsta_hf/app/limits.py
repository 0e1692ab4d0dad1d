"""What the page accepts, so that one visitor cannot fill the memory or the disk of the machine that it runs on."""

from __future__ import annotations

from dataclasses import dataclass

MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Limits on one upload and on what is kept of it.

    Attributes:
        file_bytes: of an upload; a larger one is refused while it arrives.
        seconds: length of an uploaded film.
        picture_pixels: width times height of its pictures.
        film_pixels: of all its pictures together, which is what decoding costs: a minute of full HD at 30 a second.
        window_seconds: what is analysed of a film that is longer. A micro-expression lasts under half a second; the
            rest is room for it to begin and to end in.
        window_frames: the most frames that are analysed, whatever the camera's rate.
        kept_bytes: of a clip's frames in memory; larger frames are shrunk.
        kept_clips: clips in memory at a time, over all visitors; the oldest is dropped.
        kept_seconds: how long an untouched clip stays in memory.
        upload_seconds: how long an upload that nobody analyses stays on the disk.
    """

    file_bytes: int = 50 * MEGABYTE
    seconds: float = 30.0
    picture_pixels: int = 3840 * 2160
    film_pixels: int = 60 * 30 * 1920 * 1080
    window_seconds: float = 1.0
    window_frames: int = 200
    kept_bytes: int = 96 * MEGABYTE
    kept_clips: int = 12
    kept_seconds: float = 900.0
    upload_seconds: int = 300
