"""Clips per second of `hsta predict`, beside the bare model on ready tensors of the same size, in the same run.

    python benchmarks/predict_speed.py                          # 1,000 videos, base model; leave the machine alone
    python benchmarks/predict_speed.py --preset small --clips 200 --repeats 3
    python benchmarks/predict_speed.py --face-detector FILE     # align faces as a model of aligned faces asks for
    python benchmarks/predict_speed.py --quick                  # toy sizes: shows that it runs

The videos are made here and deleted at the end: drawn faces that move, as mp4 of 320 x 320 pixels and about twelve
frames, and among them damaged files. The model is untrained, which changes no time. `predict` is the command itself,
with its start left out: decoding, alignment, apex spotting, the model, the table. Wall time tells nothing where other
programs run: the processor time of all processes is given beside, whose ratio is that of two machines left alone.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import psutil
import torch

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification, HSTAVideoProcessor
from hsta_hf.data.drawn_clip import draw_clip
from hsta_hf.data.synthesize import database_subject
from hsta_hf.prediction import Predictor
from hsta_hf.prediction.ahead import usual_workers
from hsta_hf.prediction.inputs import requests_of
from hsta_hf.prediction.job import local_runner, predict_to_file

TARGET = 0.8
ACTION_UNITS = ("6+12", "4+7", "9", "1+2+4", "15", "1+2+5", "14", "10")
FACES = 8  # drawn faces; drawing takes longer than all the rest


@dataclass(frozen=True)
class Cost:
    """What a piece of work took: clips a second, processor seconds a clip, and the most memory of all processes."""

    rate: float
    cpu: float
    peak_mib: float


def write_videos(folder: Path, count: int, size: int, corrupt: int, seed: int = 0) -> list[Path]:
    """Draw and encode `count` videos, of which `corrupt` are then damaged; returns the damaged ones.

    A drawn clip serves several videos, each with other noise and another place in the picture.
    """
    folder.mkdir(parents=True)
    chance = np.random.default_rng(seed)
    clips = []
    for number in range(min(FACES, count)):
        subject = database_subject(number, size=size, seed=seed)
        units = ACTION_UNITS[number % len(ACTION_UNITS)]
        clips.append(draw_clip(subject, units, chance, amplitude=(1.0, 2.0), num_frames=(10, 14)))
    for number in range(count):
        clip = clips[number % len(clips)]
        shift = chance.integers(-6, 7, size=2)
        frames = [np.roll(frame, tuple(shift), axis=(0, 1)) for frame in clip.frames[clip.onset : clip.offset + 1]]
        write_video(folder / f"{number:05d}.mp4", frames)
    chosen = random.Random(seed).sample(range(count), corrupt)
    for place, number in enumerate(sorted(chosen)):
        damage(folder / f"{number:05d}.mp4", place)
    return [folder / f"{number:05d}.mp4" for number in sorted(chosen)]


def write_video(path: Path, frames: list[np.ndarray]) -> None:
    """(H, W, 3) uint8 frames as mp4, 30 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())


def damage(path: Path, kind: int) -> None:
    """Empty, cut off, without its beginning, noise, or text."""
    data = path.read_bytes()
    noise = random.Random(kind).randbytes(2000)
    path.write_bytes([b"", data[: len(data) // 2], data[500:], noise, b"not a video\n" * 20][kind % 5])


@contextmanager
def watched(clips: int) -> Iterator[Callable[[], Cost]]:
    """Time, processor time of this process and its children, and the memory that they hold together at most."""
    process, peak, over = psutil.Process(), [0], threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            found = 0
            for one in (process, *process.children(recursive=True)):
                try:
                    found += one.memory_full_info().uss
                except psutil.Error:
                    continue  # it has ended
            peak[0] = max(peak[0], found)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    start, used = time.perf_counter(), sum(os.times()[:4])
    taken: list[float] = []
    yield lambda: Cost(clips / taken[0], taken[1] / clips, peak[0] / 2**20)
    taken += [time.perf_counter() - start, sum(os.times()[:4]) - used]
    over.set()
    watcher.join()


def bare_model(predictor: Predictor, clips: int, batch: int) -> Cost:
    """The model on tensors that are ready, as large as a batch of clips, for as many batches as the clips make."""
    processor, config = predictor.processor, predictor.model.config
    shapes = {
        "pixel_values": (batch, processor.num_frames, 3, *_side(config.video_config.image_size)),
        "special_pixel_values": (batch, len(processor.special_frames), 3, *_side(config.special_config.image_size)),
    }
    inputs = {name: torch.randn(shape) for name, shape in shapes.items()}
    batches = -(-clips // batch)
    with torch.inference_mode():
        predictor.model(**inputs)
        with watched(batches * batch) as cost:
            for _ in range(batches):
                predictor.model(**inputs)
    return cost()


def _side(size: int | list[int] | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def predict(predictor: Predictor, folder: Path, output: Path, workers: int) -> tuple[Cost, int]:
    """The command's work on all videos of a folder; also how many could not be classified."""
    requests = requests_of([str(folder)])
    with watched(len(requests)) as cost:
        failures, _ = predict_to_file(predictor, requests, output, local_runner(predictor, workers), progress=False)
    return cost(), failures


def make_predictor(preset: str, image_size: int, detector: str | None, batch: int) -> Predictor:
    """An untrained model of seven classes, and its processor."""
    torch.manual_seed(0)
    side = {"image_size": image_size}
    config = HSTAConfig.from_preset(preset, video_config=side, special_config=side, num_labels=7)
    processor = HSTAVideoProcessor(size={"height": image_size, "width": image_size})
    aligner = None
    if detector is not None:
        from hsta_hf.data.face_alignment import FaceAligner

        aligner = FaceAligner(detector, size=224, stabilise=True)
    return Predictor(HSTAForMicroExpressionClassification(config), processor, aligner, "cpu", "fp32", batch)


def main() -> None:
    """Make the videos, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--corrupt", type=int, default=50, help="how many of the files are damaged")
    parser.add_argument("--preset", default="base", choices=("tiny", "small", "base"))
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--workers", type=int, help="as of hsta predict; by default its own choice")
    parser.add_argument("--threads", type=int, default=2, help="torch threads of the model")
    parser.add_argument("--bare-clips", type=int, default=120, help="for the bare model, before predict and after it")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--face-detector", help="align faces with this detector; without it frames are kept")
    parser.add_argument("--quick", action="store_true", help="toy sizes")
    args = parser.parse_args()
    clips, corrupt, preset, image, size = args.clips, args.corrupt, args.preset, 224, 320
    if args.quick:
        clips, corrupt, preset, image, size = 20, 5, "tiny", 32, 96
    bare = min(args.bare_clips, clips - corrupt)
    torch.set_num_threads(args.threads)
    workers = usual_workers(clips) if args.workers is None else args.workers
    predictor = make_predictor(preset, image, args.face_detector, args.batch)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "videos"
        damaged = write_videos(folder, clips, size, corrupt)
        faces = "faces aligned and stabilised" if args.face_detector else "frames as they are"
        print(
            f"{clips} videos of {size} x {size} pixels, {corrupt} damaged; {preset} model of {image} x {image}, fp32, "
            f"{args.threads} threads, batches of {args.batch}; {workers} workers; {faces}"
        )
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
        print("| run | bare, clips/s | predict | ratio | bare, CPU s a clip | predict | ratio | peak MiB |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
        ratios = []
        for run in range(args.repeats):
            before = bare_model(predictor, bare, args.batch)
            cost, failures = predict(predictor, folder, Path(temporary) / f"{run}.parquet", workers)
            after = bare_model(predictor, bare, args.batch)
            assert failures == len(damaged), f"{failures} clips failed, {len(damaged)} are damaged"
            sound = (clips - corrupt) / clips  # damaged files cost next to nothing and count for nothing
            bare_rate, bare_cpu = 2 / (1 / before.rate + 1 / after.rate), (before.cpu + after.cpu) / 2
            rate, cpu = cost.rate * sound, cost.cpu / sound
            ratios.append((rate / bare_rate, bare_cpu / cpu))
            print(
                f"| {run + 1} | {bare_rate:.2f} | {rate:.2f} | {ratios[-1][0]:.2f} | {bare_cpu:.3f} | {cpu:.3f} | "
                f"{ratios[-1][1]:.2f} | {cost.peak_mib:.0f} |",
                flush=True,
            )
        wall, cpu = (statistics.median(values) for values in zip(*ratios, strict=True))
        print(f"\nMedian ratio of rates {wall:.2f}, of processor time {cpu:.2f}; asked for is {TARGET} or more.")


if __name__ == "__main__":
    main()
