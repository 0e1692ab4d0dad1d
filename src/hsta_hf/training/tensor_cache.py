"""Streams of motion on disk, computed once and shared by all folds, seeds and epochs.

Optical flow is the same in every epoch and expensive, so its results are kept as arrays in files. A clip has
`temporal_variants` versions: version 0 is what evaluation and the pipeline see; the others are drawn once, with the
clip's name and the version as seed (frames at random, apex moved), and training picks among them. Streams of pictures
are not kept here: they are read from the prepared dataset, see `clip_streams.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from accelerate import PartialState
from filelock import FileLock
from tqdm.auto import tqdm

from hsta_hf.data.prepared import flow_at
from hsta_hf.frame_selection import spot_apex
from hsta_hf.training.arguments import DataArguments
from hsta_hf.training.clip_streams import STREAMS, ClipStreams, draw_version, name_seed, stream_kinds
from hsta_hf.training.clips import KeyFrames, LabelledClips
from hsta_hf.training.mapped_files import MappedArray, locate_frames
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

STREAM_FILES = dict(zip(STREAMS, ("video.npy", "special.npy"), strict=True))


def motion_streams(processor: HSTAVideoProcessor, streams: Sequence[str] = STREAMS) -> tuple[str, ...]:
    """Which of `streams` are cached: those that do not show pictures."""
    kinds = stream_kinds(processor)
    return tuple(name for name in STREAMS if name in streams and kinds[name] != "frames")


def uses_stored_flow(clips: LabelledClips, processor: HSTAVideoProcessor, arguments: DataArguments) -> bool:
    """Whether the special stream's flow can be what `hsta prepare --flow` stored: same settings, annotated apexes."""
    return (
        processor.special_input == "optical_flow"
        and arguments.apex == "annotated"
        and clips.flow is not None
        and dict(clips.flow) == processor.flow_settings()
    )


def cache_key(
    clips: LabelledClips, processor: HSTAVideoProcessor, arguments: DataArguments, streams: Sequence[str] = STREAMS
) -> str:
    """Digest of all that decides what the cache holds: clips, processor fields, versions, number format, streams."""
    drawn = arguments.temporal_variants > 1
    settings = processor.to_dict()
    # Decide nothing: where its code lies, noted once it was saved, and how other clips were aligned.
    for name in ("auto_map", "face_alignment"):
        settings.pop(name, None)
    fields = {
        "clips": clips.fingerprint,
        "processor": settings,
        "apex": arguments.apex,
        "variants": arguments.temporal_variants,
        "random_frames": arguments.random_frames and drawn,
        "apex_jitter": arguments.apex_jitter if drawn else 0,
        "dtype": arguments.cache_dtype,
    }
    motion = motion_streams(processor, streams)
    if motion != STREAMS:
        fields["streams"] = motion
    if "special_pixel_values" in motion and uses_stored_flow(clips, processor, arguments):
        fields["stored_flow"] = True
    return hashlib.sha256(json.dumps(fields, sort_keys=True, default=str).encode()).hexdigest()[:20]


def build_cache(
    clips: LabelledClips,
    processor: HSTAVideoProcessor,
    arguments: DataArguments,
    directory: Path,
    streams: Sequence[str] = STREAMS,
) -> ClipStreams:
    """Open the streams of these clips, computing what the cache in `directory` does not hold yet.

    A computation that was killed goes on where it stopped; a second process waits for the first.

    Args:
        clips: the clips.
        processor: makes the streams.
        arguments: versions of each clip, and the cache's number format.
        directory: where caches lie; untouched where nothing has to be computed.
        streams: which streams will be read.

    Raises:
        ValueError: a clip cannot be processed; the message names it.
    """
    motion = motion_streams(processor, streams)
    keys = clips.key_frames(arguments.apex)
    folder = directory / cache_key(clips, processor, arguments, streams)
    if PartialState().is_main_process:
        for line in _stream_lines(clips, processor, arguments, folder, streams):
            print(line, flush=True)
    cached = {}
    if motion:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            if not (folder / "complete").is_file():
                _fill(clips, processor, arguments, folder, motion, keys)
        cached = {name: MappedArray.open(folder / STREAM_FILES[name]) for name in motion}
    spotted = np.full(len(clips), -1, dtype=np.int64)
    if set(streams) - set(motion) and "apex" in processor.special_frames:
        spotted = _spotted(clips, keys, directory)
    return ClipStreams(
        processor,
        arguments,
        clips.places if clips.places is not None else locate_frames(clips.rows),
        np.array([[key.onset, -1 if key.apex is None else key.apex, key.offset] for key in keys], dtype=np.int64),
        spotted,
        np.array([name_seed(name) for name in clips.column("clip_id")], dtype=np.uint64),
        cached,
    )


def _stream_lines(
    clips: LabelledClips, processor: HSTAVideoProcessor, arguments: DataArguments, folder: Path, streams: Sequence[str]
) -> list[str]:
    """A sentence for each stream that is read: what it shows, and where that comes from."""
    versions = _versions_text(arguments)
    kept = f"computed once now{versions} and kept in {folder}"
    if (folder / "complete").is_file():
        kept = f"computed before, read from {folder}"
    lines = []
    for name, title in zip(STREAMS, ("Video stream", "Special stream"), strict=True):
        kind = stream_kinds(processor)[name]
        if name not in streams:
            continue
        if kind == "frames":
            lines.append(f"{title}: pictures, read from the prepared dataset as they are needed.")
        elif kind == "difference":
            which = "each frame" if name == "pixel_values" else f"the {_and(processor.special_frames)} frame"
            lines.append(f"{title}: difference of {which} from the onset frame, {kept}.")
        elif name == "pixel_values":
            lines.append(f"{title}: optical flow from the onset to each frame, {kept}.")
        else:
            lines.append(f"{title}: {_special_flow(clips, processor, arguments, kept)}.")
    return lines


def _versions_text(arguments: DataArguments) -> str:
    """How many versions of each clip are kept, and what sets them apart."""
    drawn = arguments.temporal_variants - 1
    if drawn < 1:
        return ""
    changed = ["other frames"] if arguments.random_frames else []
    changed += ["the apex moved"] if arguments.apex_jitter else []
    what = f" with {_and(changed)}" if changed else ""
    return f", in {drawn + 1} versions of each clip (as evaluated, and {drawn}{what} for training)"


def _special_flow(clips: LabelledClips, processor: HSTAVideoProcessor, arguments: DataArguments, kept: str) -> str:
    """Which flow the special stream shows, which of it `hsta prepare` stored, and why not all of it."""
    spans = {"onset": "from onset to apex", "apex": "from apex to offset", "offset": "from onset to offset"}
    wanted = [spans[frame] for frame in processor.special_frames]
    if uses_stored_flow(clips, processor, arguments):
        stored = [spans[frame] for frame in processor.special_frames if frame != "offset"]  # prepare stores no other
        computed = [span for span in wanted if span not in stored]
        if arguments.apex_jitter and arguments.temporal_variants > 1 and stored:
            computed.append("where a version has its apex moved")
        if stored and None in clips.column("apex_index"):
            computed.append("where no apex is annotated")
        taken = f"takes the flow that hsta prepare stored {_and(stored)}"
        if not computed:
            return f"{taken}, {kept.replace('computed', 'fitted to the stream')}"
        flow = f"optical flow {_and(computed)}, {kept}"
        return f"{taken}; {flow}" if stored else flow
    text = f"optical flow {_and(wanted)}, {kept}"
    if clips.flow is None:
        return text
    asked = processor.flow_settings()
    other = [name for name in asked if asked[name] != clips.flow.get(name)]
    different = [f"{name} is {asked[name]} and was {clips.flow.get(name)}" for name in other]
    why = "; ".join(different) or "apexes are spotted anew"
    return f"{text}; what hsta prepare stored is another flow: {why}"


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def _on_all(work: Callable[[int], None], indices: Sequence[int], description: str) -> None:
    """Do `work` for each index on a few threads, with a progress bar."""
    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        done = pool.map(work, indices)
        list(tqdm(done, total=len(indices), desc=description, unit="clip", mininterval=1))


def _fill(
    clips: LabelledClips,
    processor: HSTAVideoProcessor,
    arguments: DataArguments,
    folder: Path,
    motion: tuple[str, ...],
    keys: list[KeyFrames],
) -> None:
    flags = folder / "done.npy"
    names = clips.column("clip_id")
    files = {name: folder / STREAM_FILES[name] for name in motion}
    stored = "special_pixel_values" in motion and uses_stored_flow(clips, processor, arguments)
    if not flags.is_file():
        first = _versions(clips, 0, keys[0], processor, 1, arguments, names[0], stored)
        for name, file in files.items():
            shape = (len(clips), arguments.temporal_variants, *first[name].shape[1:])
            np.lib.format.open_memmap(file, mode="w+", dtype=arguments.cache_dtype, shape=shape).flush()
        # Last, under its final name at once: where this file is, the arrays are.
        np.save(folder / "new.npy", np.zeros(len(clips), dtype=np.uint8), allow_pickle=False)
        os.replace(folder / "new.npy", flags)
    done = np.lib.format.open_memmap(flags, mode="r+")
    arrays = {name: np.lib.format.open_memmap(file, mode="r+") for name, file in files.items()}

    def process(index: int) -> None:
        versions = arguments.temporal_variants
        made = _versions(clips, index, keys[index], processor, versions, arguments, names[index], stored)
        for name, array in arrays.items():
            array[index] = made[name]
        done[index] = 1

    _on_all(process, np.flatnonzero(done == 0).tolist(), "processing clips")
    for array in (*arrays.values(), done):
        array.flush()
    (folder / "complete").touch()


def _versions(
    clips: LabelledClips,
    index: int,
    key: KeyFrames,
    processor: HSTAVideoProcessor,
    variants: int,
    arguments: DataArguments,
    name: str,
    stored_flow: bool,
) -> dict[str, np.ndarray]:
    """All versions of one clip: by stream, (variants, frames, C, H, W)."""
    frames = clips.frames(index)
    flows = flow_at(clips.rows, index) if stored_flow else None
    made = []
    try:
        for variant in range(variants):
            version, video = key, None
            if variant:
                rng = np.random.default_rng([name_seed(name), variant])
                version, video = draw_version(key, processor.num_frames, arguments, rng)
            same = flows if version.apex is not None and version.apex == key.apex else None
            made.append(
                processor.prepare_unnormalised(frames, version.onset, version.apex, version.offset, video, same)
            )
    except ValueError as error:
        raise ValueError(f"clip {name}: {error}") from error
    video_versions, special_versions = zip(*made, strict=True)
    stacked = (np.stack([stream.numpy() for stream in versions]) for versions in (video_versions, special_versions))
    return dict(zip(STREAMS, stacked, strict=True))


def _spotted(clips: LabelledClips, keys: list[KeyFrames], directory: Path) -> np.ndarray:
    """(clips,) the apex that the processor spots where none is given, -1 elsewhere; kept in `directory`."""
    found = np.full(len(clips), -1, dtype=np.int64)
    unknown = [index for index, key in enumerate(keys) if key.apex is None]
    if not unknown:
        return found
    directory.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(json.dumps([clips.fingerprint, unknown]).encode()).hexdigest()[:20]
    file = directory / f"apexes-{digest}.npy"
    with FileLock(directory / "apexes.lock"):
        if not file.is_file():

            def spot(index: int) -> None:
                found[index] = spot_apex(clips.frames(index), keys[index].onset, keys[index].offset)

            _on_all(spot, unknown, "spotting apexes")
            new = file.with_suffix(".new.npy")
            np.save(new, found, allow_pickle=False)
            os.replace(new, file)
    return np.asarray(np.load(file, allow_pickle=False), dtype=np.int64)
