"""How far `spot_apex` is from the annotated apexes of a prepared dataset.

    python benchmarks/apex_spotting.py PREPARED

Prints one table, in frames: the mean distance to the annotated apex of `spot_apex`, of the clip's middle, and of the
frame that differs most from the onset, over the clips whose apex was annotated (not spotted).
"""

from __future__ import annotations

import argparse
import sys
import time

import numpy as np
from tqdm.auto import tqdm

from hsta_hf.data.prepared import clip_frames, load_prepared
from hsta_hf.frame_selection import spot_apex


def most_different_from_onset(frames: np.ndarray) -> int:
    """Index of the frame of (T, H, W, 3) with the largest mean absolute difference to the first."""
    difference = np.abs(frames.astype(np.int16) - frames[0].astype(np.int16))
    return int(difference.mean(axis=(1, 2, 3)).argmax())


def main(argv: list[str] | None = None) -> int:
    """Measure and print; returns 1 where no clip has an annotated apex."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prepared", help="folder written by `hsta prepare`")
    dataset = load_prepared(parser.parse_args(argv).prepared)
    distances: dict[str, list[int]] = {"spot_apex": [], "middle of the clip": [], "most different from onset": []}
    seconds = 0.0
    for row in tqdm(dataset, desc="clips"):
        if row["apex_source"] != "annotated":
            continue
        frames, apex = clip_frames(row), row["apex_index"]
        start = time.perf_counter()
        spotted = spot_apex(frames)
        seconds += time.perf_counter() - start
        guesses = (spotted, (len(frames) - 1) // 2, most_different_from_onset(frames))
        for values, guess in zip(distances.values(), guesses, strict=True):
            values.append(abs(guess - apex))
    count = len(distances["spot_apex"])
    if not count:
        print("No clip of this dataset has an annotated apex.", file=sys.stderr)
        return 1
    print(f"{count} clips with an annotated apex; spot_apex took {1000 * seconds / count:.1f} ms a clip")
    for name, values in distances.items():
        exact = np.mean(np.array(values) <= 1)
        print(f"{name:28s} {np.mean(values):5.2f} frames off on average, {exact:4.0%} within one frame")
    return 0


if __name__ == "__main__":
    sys.exit(main())
