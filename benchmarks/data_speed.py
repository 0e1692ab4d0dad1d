"""Clips per second of training's loader, beside opening JPEGs; opening time and memory at two dataset sizes.

    python benchmarks/data_speed.py                # a few minutes on two cores; leave the machine alone meanwhile
    python benchmarks/data_speed.py --frames 16    # clips of 16 frames in place of 50
    python benchmarks/data_speed.py --quick        # toy sizes: shows that it runs

Everything is made here and deleted at the end: textured noise that drifts, as JPEG, and `hsta prepare` on it. The
tables have the ratios that the project asks for beside; nothing fails on a time.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pyarrow as pa
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.prepare_parts import BATCH_CLIPS, FILE_BYTES
from hsta_hf.data.prepared import MANIFEST
from hsta_hf.frame_selection import sample_uniform
from hsta_hf.training.arguments import DataArguments
from hsta_hf.training.clip_streams import ClipStreams
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.dataset import ClipCollator, ClipDataset
from hsta_hf.training.tensor_cache import build_cache
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

WORKERS, FRAMES, BATCH = 2, 8, 8
STREAM = ("pixel_values",)
SCHEME = "three_class"
EMOTIONS = ("positive", "surprise")  # of one alone, no label scheme is taken
# What the owners ship (width, height): CASME II's frames as recorded, and as cropped by them.
SIZES = {"640x480, as recorded": (640, 480), "280x340, cropped": (280, 340)}
QUALITY = 90  # of the JPEGs
ALL, WANTED, PREPARED, RESIZED = (
    "PIL opens all frames of the clip, then samples",
    "PIL opens the wanted frames only",
    "prepared, frames kept at {side}",
    "prepared, frames kept as they are, resized on reading",
)
TARGETS = {ALL: 20.0, WANTED: 5.0}
SLOWER_OPENING, MORE_MEMORY = 0.5, 0.10  # seconds; share


@dataclass(frozen=True)
class Scale:
    """How much is measured: clips and frames of the JPEG folders, side of what is made of them, rounds, clips of both
    prepared sets, their side, and how many clips are drawn from each.

    Fifty frames are a quarter of a second at the 200 frames a second of CASME II, whose sizes these are; what opens
    every frame takes the longer, the longer the clips are.
    """

    clips: int = 24
    frames: int = 50
    side: int = 224
    rounds: int = 5
    passes: int = 40
    sets: tuple[int, int] = (100, 10_000)
    set_side: int = 48
    drawn: int = 10_000


QUICK = Scale(clips=2, frames=9, side=32, rounds=2, passes=2, sets=(4, 40), set_side=16, drawn=24)


def write_clips(root: Path, clips: int, frames: int, size: tuple[int, int]) -> int:
    """A database in hsta-hf's `folder` layout, of textured noise that drifts; returns the bytes of its JPEGs."""
    rng, (width, height), written = np.random.default_rng(0), size, 0
    rows = []
    for clip in tqdm(range(clips), desc=f"writing JPEGs of {width}x{height}", unit="clip", mininterval=1):
        folder = root / f"clip{clip:03d}"
        folder.mkdir(parents=True)
        texture = np.full((height, width, 3), 128, dtype=np.float32)
        for sigma, strength in ((16.0, 40.0), (1.5, 10.0)):
            blurred = cv2.GaussianBlur(rng.standard_normal((height, width, 3), dtype=np.float32), (0, 0), sigma)
            texture += strength * blurred / blurred.std()
        for number in range(frames):
            drift = np.array([[1, 0, 0.3 * number], [0, 1, 0.2 * number]], dtype=np.float32)
            moved = cv2.warpAffine(texture, drift, size, borderMode=cv2.BORDER_REFLECT)
            noisy = moved + 2 * rng.standard_normal((height, width, 3), dtype=np.float32)
            picture = np.clip(noisy, 0, 255).astype(np.uint8)
            data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
            (folder / f"img{number:04d}.jpg").write_bytes(data.tobytes())
            written += data.size
        rows.append([folder.name, f"s{clip % 4}", 0, frames // 2, frames - 1, EMOTIONS[clip % 2], 30])
    with (root / "clips.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "subject", "onset", "apex", "offset", "emotion", "fps"])
        writer.writerows(rows)
    return written


class JpegClips(Dataset[dict[str, Any]]):
    """Clips from folders of JPEGs: `FRAMES` of each, uniformly spread, as (FRAMES, side, side, 3) uint8.

    Args:
        folders: one a clip.
        side: pictures are resized to a square of this many pixels, only those that are kept.
        only_wanted: whether frames are chosen before they are opened.
    """

    def __init__(self, folders: Sequence[Path], side: int, only_wanted: bool) -> None:
        self.files = [sorted(folder.glob("*.jpg")) for folder in folders]
        self.side, self.only_wanted = side, only_wanted

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> dict[str, Any]:
        files = self.files[index]
        chosen = sample_uniform(0, len(files) - 1, FRAMES).tolist()
        if self.only_wanted:
            files, chosen = [files[i] for i in chosen], list(range(FRAMES))
        pictures = [Image.open(file).convert("RGB") for file in files]
        size = (self.side, self.side)
        kept = [np.asarray(pictures[i].resize(size, Image.Resampling.BILINEAR)) for i in chosen]
        return {"pixel_values": np.stack(kept), "labels": 0, "key": None}


def open_streams(prepared: Path, side: int) -> ClipStreams:
    """Open a prepared dataset as training does."""
    processor = HSTAVideoProcessor(size={"height": side, "width": side}, num_frames=FRAMES)
    clips = load_labelled_clips(prepared, SCHEME)
    with contextlib.redirect_stdout(sys.stderr):  # it says how it reads; stdout is for the tables
        return build_cache(clips, processor, DataArguments(), prepared / "unused", STREAM)


def loader(dataset: Any, order: Sequence[int]) -> DataLoader[Any]:
    """The same loader for all; its workers stay, so that a second pass is timed without their start."""
    return DataLoader(
        dataset,
        BATCH,
        sampler=order,
        collate_fn=ClipCollator(),
        num_workers=WORKERS,
        persistent_workers=True,
    )


def clips_per_second(batches: DataLoader[Any], side: int) -> float:
    """Rate of one pass."""
    started, seen = time.perf_counter(), 0
    for batch in batches:
        assert batch["pixel_values"].shape[1:] == (FRAMES, side, side, 3)
        assert batch["pixel_values"].dtype == torch.uint8
        seen += len(batch["labels"])
    return seen / (time.perf_counter() - started)


def measure_speed(work: Path, name: str, size: tuple[int, int], scale: Scale) -> dict[str, list[float]]:
    """Clips/s of each way, round by round; the ways take turns, since a machine's rate drifts."""
    root = work / "jpeg"
    written = write_clips(root, scale.clips, scale.frames, size)
    each = written / scale.clips / scale.frames / 1e3
    told = f"{name}: {scale.clips} clips of {scale.frames} frames, JPEGs of {each:.0f} kB (quality {QUALITY})"
    print(told, file=sys.stderr)
    for kept, side in (("side", scale.side), ("native", None)):
        prepare("folder", root, work / kept, PrepareOptions(faces="keep", size=side), progress=False)
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    once = list(range(scale.clips))
    often = once * scale.passes
    ways: dict[str, DataLoader[Any]] = {
        ALL: loader(JpegClips(folders, scale.side, only_wanted=False), once),
        WANTED: loader(JpegClips(folders, scale.side, only_wanted=True), once),
    }
    for way, kept, order in ((PREPARED, "side", often), (RESIZED, "native", once * max(1, scale.passes // 8))):
        streams = open_streams(work / kept, scale.side)
        ways[way] = loader(ClipDataset(streams, once, [0] * scale.clips, STREAM), order)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for batches in ways.values():
        clips_per_second(batches, scale.side)  # starts the workers, fills the system's file cache
    for number in range(scale.rounds):
        for way in list(ways) if number % 2 == 0 else list(ways)[::-1]:
            rates[way].append(clips_per_second(ways[way], scale.side))
    ways.clear()
    for folder in (root, work / "side", work / "native"):
        shutil.rmtree(folder)
    return rates


# ---- opening and memory


def repeat_clips(prepared: Path, out: Path, times: int) -> None:
    """Every clip of a prepared dataset `times` times, in files and batches as `hsta prepare` makes them."""
    shutil.copytree(prepared, out, ignore=shutil.ignore_patterns("*.arrow"))
    state = json.loads((out / "state.json").read_text(encoding="utf-8"))
    tables = []
    for entry in state["_data_files"]:
        with pa.memory_map(str(prepared / entry["filename"])) as source:
            tables.append(pa.ipc.open_stream(source).read_all())
    clips = pa.concat_tables(tables).combine_chunks()
    per_file = max(1, FILE_BYTES // clips.nbytes)
    names = []
    for first in range(0, times, per_file):
        names.append(f"clips-{first:05d}.arrow")
        with pa.OSFile(str(out / names[-1]), "wb") as sink, pa.ipc.new_stream(sink, clips.schema) as writer:
            for _ in range(min(per_file, times - first)):
                writer.write_table(clips, max_chunksize=BATCH_CLIPS)
    state["_data_files"] = [{"filename": name} for name in names]
    (out / "state.json").write_text(json.dumps(state), encoding="utf-8")
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    manifest["num_clips"] = times * len(clips)
    (out / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def memory_of_processes() -> dict[str, list[int]]:
    """Bytes of this process and of each worker: resident, and of no other process (unique)."""
    processes = [psutil.Process(), *psutil.Process().children()]
    full = [process.memory_full_info() for process in processes]
    return {"resident": [info.rss for info in full], "unique": [info.uss for info in full]}


def measure_set(prepared: Path, side: int, drawn: int) -> dict[str, Any]:
    """Opening time and memory of a prepared set, in a process of its own (see `--measure`).

    Returns:
        "clips"; "seconds" of opening, three times; "memory": most of "resident" and "unique" bytes while `drawn`
        clips were read, this process first, then the workers.
    """
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        streams = open_streams(prepared, side)
        seconds.append(time.perf_counter() - started)
    order = np.random.default_rng(0).permutation(np.resize(np.arange(len(streams)), drawn)).tolist()
    batches = loader(ClipDataset(streams, range(len(streams)), [0] * len(streams), STREAM), order)
    most: dict[str, list[int]] = {}
    looks = max(1, len(batches) // 50)
    for number, _ in enumerate(batches):
        if number % looks == 0 or number == len(batches) - 1:
            for kind, values in memory_of_processes().items():
                most[kind] = [max(pair) for pair in zip(values, most.get(kind, values), strict=True)]
    return {"clips": len(streams), "seconds": seconds, "memory": most}


def measure_sets(work: Path, scale: Scale) -> list[dict[str, Any]]:
    """`measure_set` of a small and a large prepared set of the same clips."""
    small, large = scale.sets
    side = scale.set_side
    write_clips(work / "jpeg", small, scale.frames, (side, side))
    prepare("folder", work / "jpeg", work / "small", PrepareOptions(faces="keep"), progress=False)
    repeat_clips(work / "small", work / "large", large // small)
    found = []
    for name in ("small", "large"):
        command = [sys.executable, __file__, "--measure", str(work / name), str(side), str(scale.drawn)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"the {name} set could not be measured:\n{done.stderr}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    return found


# ---- the report


def verdict(met: bool) -> str:
    """As it stands in the table."""
    return "PASS" if met else "FAIL"


def speed_table(rates: dict[str, dict[str, list[float]]], side: int) -> str:
    """Clips/s of each way, and how many times faster the prepared loader is within a round."""
    lines = [
        "| frames on disk | way | clips/s (slowest-fastest) | prepared is faster | wanted | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, ways in rates.items():
        for way, values in ways.items():
            ratio, wanted, met = "", "", ""
            if way != PREPARED:
                times = statistics.median(a / b for a, b in zip(ways[PREPARED], values, strict=True))
                ratio = f"{times:.1f}x"
            if way in TARGETS:
                wanted, met = f">= {TARGETS[way]:g}x", verdict(times >= TARGETS[way])
            spread = f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"
            lines.append(f"| {name} | {way.format(side=side)} | {spread} | {ratio} | {wanted} | {met} |")
    return "\n".join(lines)


def set_table(sets: Sequence[dict[str, Any]]) -> str:
    """Opening and memory of the large set beside the small one."""
    small, large = sets
    lines = [
        f"| | {small['clips']:,} clips | {large['clips']:,} clips | difference | wanted | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    one, two = (statistics.median(entry["seconds"]) for entry in sets)
    lines.append(
        f"| opening | {one:.3f} s | {two:.3f} s | {two - one:+.3f} s | within {SLOWER_OPENING} s | "
        f"{verdict(abs(two - one) <= SLOWER_OPENING)} |"
    )
    for kind in ("resident", "unique"):
        for who, part in (("training process", slice(0, 1)), (f"its {WORKERS} workers", slice(1, None))):
            a, b = (sum(entry["memory"][kind][part]) / 2**20 for entry in sets)
            met = abs(b / a - 1) < MORE_MEMORY
            judged = f"below {MORE_MEMORY:.0%} | {verdict(met)}" if kind == "resident" else " | "
            lines.append(
                f"| {kind} memory while iterating, {who} | {a:.0f} MiB | {b:.0f} MiB | {b / a - 1:+.1%} | {judged} |"
            )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="toy sizes: shows that it runs")
    parser.add_argument("--frames", type=int, default=Scale.frames, help="frames of a clip on disk (%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to make the data (4 GB); by default the temporary folder")
    parser.add_argument("--measure", nargs=3, metavar=("PREPARED", "SIDE", "DRAWN"), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.measure:
        prepared, side, drawn = args.measure
        print(json.dumps(measure_set(Path(prepared), int(side), int(drawn))))
        return 0
    if args.frames < FRAMES:
        parser.error(f"--frames must be {FRAMES} or more: so many are wanted of each clip")
    scale = QUICK if args.quick else Scale(frames=args.frames)
    rates = {}
    with tempfile.TemporaryDirectory(prefix="hsta-data-speed-", dir=args.folder) as folder:
        for number, (name, size) in enumerate(SIZES.items()):
            work = Path(folder) / str(number)
            work.mkdir()
            rates[name] = measure_speed(work, name, size, scale)
        (Path(folder) / "sets").mkdir()
        sets = measure_sets(Path(folder) / "sets", scale)
    print(f"{FRAMES} frames of {scale.side} pixels a clip, {scale.frames} frames a clip on disk, {WORKERS} workers,")
    print(f"batches of {BATCH}, uint8; files in the system's cache; median of {scale.rounds} rounds.\n")
    print(speed_table(rates, scale.side))
    small, large = scale.sets
    print("\nOpening (dataset, labels, places of the frames), and reading in random order", end=" ")
    print(f"{scale.drawn:,} clips, frames of {scale.set_side} pixels.")
    print(f"The large set holds the {small} clips of the small one {large // small} times.\n")
    print(set_table(sets))
    print(f"\nMachine: {psutil.cpu_count()} logical CPUs, load {psutil.getloadavg()[0]:.1f} at the end.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
