"""How memory and time of `hsta spot` grow with the length of a recording.

    python benchmarks/spotting_memory.py FACE WORK --face-detector face_detection_yunet_2023mar.onnx
    python benchmarks/spotting_memory.py recording.mp4 work --minutes 1 10 30 --size 1280 720

FACE is a video of a face; it is scaled into pictures of the wanted size, repeated to a minute, and that minute is
copied behind itself, packet by packet, as often as a length needs. `hsta spot` then runs on each length in a process
of its own. Prints its peak memory (resident set) and its time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from hsta_hf.reporting.files import replacing
from hsta_hf.video_reading_hsta import VideoFileReader

FPS = 30


def main() -> None:
    """Make the videos, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("face", type=Path, help="a video of a face")
    parser.add_argument("work", type=Path, help="folder for the videos")
    parser.add_argument("--minutes", type=int, nargs="+", default=[1, 30], help="lengths (%(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=[1280, 720], help="width and height (%(default)s)")
    parser.add_argument("--face-detector", type=Path, help="YuNet's file; default: as hsta prepare finds it")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    width, height = options.size
    minute = options.work / f"minute-{width}x{height}.mp4"
    if not minute.is_file():
        write_minute(options.face, minute, width, height)
    detector = [] if options.face_detector is None else ["--face-detector", str(options.face_detector)]
    print(f"| {width}x{height}, {FPS} fps | peak memory | time | CPU time |")
    print("| --- | --- | --- | --- |")
    for minutes in options.minutes:
        video = options.work / f"{minutes}-minutes-{width}x{height}.mp4"
        if not video.is_file():
            repeat(minute, video, minutes)
        output = video.with_suffix(".csv")
        output.with_suffix(".curve.npz").unlink(missing_ok=True)
        command = ["-m", "hsta_hf.cli.main", "spot", str(video), "--output", str(output), "--no-progress", *detector]
        peak, seconds, busy = measured(command)
        print(
            f"| {minutes} min | {peak:.0f} MB | {seconds:.0f} s | {busy:.0f} s, {busy / minutes:.1f} a minute |",
            flush=True,
        )


def write_minute(face: Path, path: Path, width: int, height: int) -> None:
    """A minute of the face, in the middle of pictures of that size, forward and back."""
    frames = [frame for _, frame in VideoFileReader(str(face), str(face)).pictures(0, 60 * FPS - 1)]
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        options = {"crf": "18", "preset": "veryfast", "g": str(FPS), "bf": "0"}
        stream = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(60 * FPS):
            place = number % (2 * len(frames))
            frame = frames[min(place, 2 * len(frames) - 1 - place)]
            container.mux(stream.encode(av.VideoFrame.from_ndarray(fitted(frame, width, height), format="rgb24")))
        container.mux(stream.encode())


def fitted(frame: np.ndarray, width: int, height: int) -> np.ndarray:
    """The frame as large as the picture allows, with its edges repeated beside it."""
    scale = min(width / frame.shape[1], height / frame.shape[0])
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    scaled = cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    right, bottom = width - size[0] - left, height - size[1] - top
    return cv2.copyMakeBorder(scaled, top, bottom, left, right, cv2.BORDER_REPLICATE)


def repeat(minute: Path, path: Path, times: int) -> None:
    """The minute so many times over, without encoding it anew."""
    with replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as out:
        stream = None
        for number in range(times):
            with av.open(str(minute)) as source:
                packets = source.streams.video[0]
                if stream is None:
                    stream = out.add_stream_from_template(packets)
                assert packets.time_base is not None
                later = round(Fraction(60 * number) / packets.time_base)
                for packet in source.demux(packets):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.dts, packet.pts, packet.stream = packet.dts + later, packet.pts + later, stream
                    out.mux(packet)


def measured(arguments: list[str]) -> tuple[float, float, float]:
    """Peak memory in MB, seconds, and CPU seconds of this Python with these arguments, in a process of its own."""
    start = time.perf_counter()
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(arguments)} ended with status {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    used: resource.struct_rusage = usage
    return used.ru_maxrss * unit / 1e6, time.perf_counter() - start, used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
