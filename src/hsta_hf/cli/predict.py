"""`hsta predict`: classify video files with a trained model.

hsta predict runs/demo clip.mp4
hsta predict runs/demo/folds/fold-00-seed-42/model one.mp4 two.mp4 --top_k 3
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

LONGEST_CLIP = 1.0  # seconds; twice what the field calls a micro-expression


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta predict` to the command line."""
    parser = subparsers.add_parser(
        "predict",
        help="classify video files with a trained model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="model folder, run folder, or Hub name")
    parser.add_argument("videos", nargs="+", help="video files, or folders of frames")
    parser.add_argument("--top_k", "--top-k", type=int, default=3, help="classes to print for each video")
    parser.add_argument("--json", action="store_true", help="print JSON, one line a video")


def model_folder(path: str) -> str:
    """The model in a run folder: the final one, or else the first fold's; other paths are models themselves."""
    folder = Path(path)
    if folder.is_dir() and not (folder / "recipe.yaml").is_file() and not (folder / "config.json").is_file():
        runs = [str(inner.parent) for inner in sorted(folder.glob("*/recipe.yaml"))]
        hint = f"; did you mean {' or '.join(runs)}?" if runs else ""
        raise FileNotFoundError(f"{folder} holds neither a model nor a run{hint}")
    if not (folder / "recipe.yaml").is_file():
        return path
    found = [folder / "final" / "model", *sorted(folder.glob("folds/fold-*/model"))]
    for candidate in found:
        if (candidate / "config.json").is_file():
            return str(candidate)
    raise FileNotFoundError(f"{folder} is a run folder without a finished model; start its training again.")


def length_note(video: str) -> str | None:
    """A warning for a film much longer than a micro-expression; None for others, and where no length is known."""
    import av

    if not Path(video).is_file():
        return None
    with av.open(video) as container:
        seconds = (container.duration or 0) / av.time_base
    if seconds <= LONGEST_CLIP:
        return None
    return (
        f"{video} lasts {seconds:.1f} s and is taken as one micro-expression, which lasts under half a second: "
        "the answer means little. Cut it from onset to offset."
    )


def run(args: argparse.Namespace) -> int:
    """Print the most likely classes of each video; 0 when done, 1 when the model or a video cannot be read."""
    if args.top_k < 1:
        print(f"hsta predict: --top_k is {args.top_k}; it must be 1 or more", file=sys.stderr)
        return 2
    from transformers import pipeline
    from transformers.utils import logging as hf_logging

    import hsta_hf  # noqa: F401 - registers HSTA with the pipeline

    hf_logging.disable_progress_bar()
    try:
        classifier = pipeline("video-classification", model=model_folder(args.model))
    except (OSError, ValueError) as error:
        print(f"hsta predict: {args.model}: {error}", file=sys.stderr)
        return 1
    failed = False
    for video in args.videos:
        try:
            found = classifier(video, top_k=min(args.top_k, classifier.model.config.num_labels))
        except (OSError, ValueError) as error:
            print(f"hsta predict: {error}", file=sys.stderr)
            failed = True
            continue
        if (note := length_note(video)) is not None:
            print(f"hsta predict: {note}", file=sys.stderr)
        if args.json:
            print(json.dumps({"video": video, "scores": found}))
        else:
            print(video)
            for entry in found:
                print(f"  {entry['label']:<16}{entry['score']:.3f}")
    return int(failed)
