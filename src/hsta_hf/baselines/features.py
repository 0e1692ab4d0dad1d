"""Features of all clips of a run, computed once and kept in a file for all folds and seeds."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
from accelerate import PartialState
from filelock import FileLock
from tqdm.auto import tqdm

from hsta_hf.baselines.base import FeatureBaseline
from hsta_hf.frame_selection import spot_apex
from hsta_hf.training.clips import KeyFrames, LabelledClips

FLUSH_EVERY = 64  # clips that a kill costs at most


def features_file(baseline: FeatureBaseline, clips: LabelledClips, apex: str, directory: Path) -> Path:
    """Where the features lie: a name for each choice of clips, key frames and settings."""
    fields = {"clips": clips.fingerprint, "apex": apex, "baseline": baseline.name, "settings": baseline.settings()}
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:20]
    return directory / f"{baseline.name}-{digest}.npy"


def build_features(baseline: FeatureBaseline, clips: LabelledClips, apex: str, directory: Path) -> np.ndarray:
    """Features of all clips, (clips, …) float32, mapped from a file.

    A computation that was killed goes on where it stopped; a second process waits for the first. No fold is known
    here: what `extract` makes of a clip depends on that clip alone.

    Args:
        baseline: what looks at the clips.
        clips: the clips.
        apex: "annotated" or "spotted", as the recipe says.
        directory: where the file lies; runs may share it.

    Raises:
        ValueError: a clip cannot be processed; the message names it.
    """
    if not baseline.settings():
        return np.zeros((len(clips), 0), dtype=np.float32)
    file = features_file(baseline, clips, apex, directory)
    directory.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        if not file.is_file():
            _compute(baseline, clips, apex, file)
    return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))


def _compute(baseline: FeatureBaseline, clips: LabelledClips, apex: str, file: Path) -> None:
    partial, progress = file.with_suffix(".partial.npy"), file.with_suffix(".done")
    names, keys = clips.column("clip_id"), clips.key_frames(apex)
    first = _extract(baseline, clips, 0, keys[0], names[0])
    done = int(progress.read_text()) if partial.is_file() and progress.is_file() else 0
    array = np.lib.format.open_memmap(
        partial, mode="r+" if done else "w+", dtype=np.float32, shape=(len(clips), *first.shape)
    )
    quiet = not PartialState().is_main_process
    for index in tqdm(
        range(done, len(clips)), desc=f"{baseline.title}: features", unit="clip", mininterval=1, disable=quiet
    ):
        made = _extract(baseline, clips, index, keys[index], names[index]) if index else first
        if made.shape != first.shape:
            raise ValueError(
                f"clip {names[index]}: features of shape {made.shape}, those of {names[0]} have {first.shape}; "
                "prepare the dataset with one --size."
            )
        array[index] = made
        if index % FLUSH_EVERY == FLUSH_EVERY - 1:
            array.flush()
            progress.write_text(str(index + 1))
    array.flush()
    del array
    os.replace(partial, file)
    progress.unlink(missing_ok=True)


def _extract(baseline: FeatureBaseline, clips: LabelledClips, index: int, key: KeyFrames, name: str) -> np.ndarray:
    try:
        return baseline.extract(clips, index, key)
    except ValueError as error:
        raise ValueError(f"clip {name}: {error}") from error


def apex_of(clips: LabelledClips, index: int, key: KeyFrames) -> int:
    """Position of a clip's apex in its frames: as annotated, or spotted where it is not known."""
    return spot_apex(clips.frames(index), key.onset, key.offset) if key.apex is None else key.apex
