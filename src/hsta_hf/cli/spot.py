"""`hsta spot`: find micro-expressions in a long recording, and classify them.

hsta spot interview.mp4
hsta spot interview.mp4 --model runs/casme3_flow --output interview.parquet
hsta spot interview.mp4 --threshold 12                   # fewer and surer; takes the movement curve of before

Interrupted, the same command continues.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hsta_hf.cli.termination import terminated_as_interrupted

if TYPE_CHECKING:
    from hsta_hf.data.face_detector import FaceDetector
    from hsta_hf.prediction import Predictor
    from hsta_hf.spotting.intervals import Interval
    from hsta_hf.spotting.recording import Recording, Spotted
    from hsta_hf.spotting.scan import Lengths

_SHOWN_GAPS = 10
_SHORT_SECONDS = 3.0  # about two of the windows in which movement is compared


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta spot` to the command line."""
    parser = subparsers.add_parser(
        "spot",
        help="find micro-expressions in a long recording, and classify them",
        description=f"{__doc__}\nWrites a table with a row an interval (onset, apex, offset), a timeline picture, and "
        "the movement curve. Intervals are\ncandidates: brief movements of the face, whatever their cause.",
        epilog="Exit code: 0 done, also where nothing was found; 1 the recording, or a part of it, cannot be read; "
        "2 wrong usage;\n130 interrupted (Ctrl-C, SIGTERM).",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("video", type=Path, help="a video file; all lengths are in its seconds")
    parser.add_argument("--model", help="classify each interval: model folder, run folder, or Hub name")
    parser.add_argument(
        "--output",
        type=Path,
        help="the table, .csv, .parquet or .jsonl (default: VIDEO_spotted.csv in this folder); beside it, by the same "
        "name, lie the picture (.png) and the curve (.curve.npz)",
    )
    parser.add_argument("--no-timeline", action="store_true", help="draw no picture")
    parser.add_argument("--face-detector", metavar="PATH", help="YuNet's ONNX file (default: the Hub's)")
    parser.add_argument("--fps", type=float, help="frames per second (default: what the file says)")
    parser.add_argument("--shortest", type=float, help="shortest micro-expression in seconds (default: 0.2)")
    parser.add_argument("--longest", type=float, help="longest micro-expression in seconds (default: 0.55)")
    parser.add_argument(
        "--threshold",
        type=float,
        help="how far a peak stands out of the recording's curve, in median absolute deviations above its median",
    )
    parser.add_argument("--no-progress", action="store_true", help="show no progress bar")


def run(args: argparse.Namespace) -> int:
    """Spot, classify, write; the exit code is the parser's epilog."""
    from hsta_hf.data.face_detector import FaceDetector
    from hsta_hf.spotting.intervals import THRESHOLD, find_intervals
    from hsta_hf.spotting.recording import open_recording
    from hsta_hf.spotting.scan import Lengths
    from hsta_hf.spotting.table import check_suffix, intervals_table, table_lines, write_table
    from hsta_hf.spotting.timeline import timeline_drawing

    output = args.output or Path(f"{args.video.stem}_spotted.csv")
    replaced = output.exists()
    threshold = THRESHOLD if args.threshold is None else args.threshold
    given = {name: getattr(args, name) for name in ("shortest", "longest") if getattr(args, name) is not None}
    try:
        check_suffix(output)
        lengths = Lengths(**given)
        if not threshold > 0:
            raise ValueError(f"--threshold is {threshold:g}; it must be above 0")
    except ValueError as error:
        print(f"hsta spot: {error}", file=sys.stderr)
        return 2
    try:
        recording = open_recording(args.video, args.fps)
        output.parent.mkdir(parents=True, exist_ok=True)  # now, not after minutes
        detector = FaceDetector(args.face_detector)
        predictor = _predictor(args.model, detector)  # before the long part: it may not be there
        with terminated_as_interrupted():
            spotted = _curve(recording, detector, lengths, output, not args.no_progress)
            intervals = find_intervals(spotted.curve, threshold)
            predictions = None
            if predictor is not None:
                from hsta_hf.spotting.classify import classify_intervals

                predictions = list(classify_intervals(args.video, intervals, predictor))
    except (OSError, ValueError) as error:
        print(f"hsta spot: {error}", file=sys.stderr)
        return 1
    table = intervals_table(str(args.video), intervals, recording.fps, predictions)
    write_table(output, table)
    lines = _summary(recording, spotted, intervals)
    if not args.no_timeline:
        names = [found.prediction or "" for found in predictions] if predictions is not None else [""] * len(intervals)
        timeline_drawing(spotted.curve, intervals, names, threshold, lines[0]).save_png(output.with_suffix(".png"))
    print("\n".join([*lines, *table_lines(table)]))
    if predictor is not None and predictor.processor.face_alignment is None and intervals:
        print(
            "Faces were aligned before classifying, as hsta prepare aligns them. The model does not note that its "
            "training clips were: if it was trained on frames as they came, do not trust its classes here."
        )
    written = [output, *([] if args.no_timeline else [output.with_suffix(".png")]), output.with_suffix(".curve.npz")]
    print(f"Written: {', '.join(map(str, written))}{' (replacing an earlier table)' * replaced}")
    if spotted.problem is not None:
        print(f"hsta spot: {spotted.problem}; what could be read was spotted in", file=sys.stderr)
        return 1
    return 0


def _predictor(model: str | None, detector: FaceDetector) -> Predictor | None:
    if model is None:
        return None
    from transformers.utils import logging as hf_logging

    from hsta_hf.spotting.classify import load_classifier

    hf_logging.disable_progress_bar()
    return load_classifier(model, detector)


def _curve(recording: Recording, detector: FaceDetector, lengths: Lengths, output: Path, progress: bool) -> Spotted:
    from tqdm.auto import tqdm

    from hsta_hf.spotting.recording import movement_curve

    with tqdm(total=recording.declared_frames, desc="frames", unit="", disable=None if progress else True) as bar:

        def done(count: int) -> None:
            bar.update(count - bar.n)

        return movement_curve(recording, detector, lengths, output.with_suffix(".curve.npz"), done)


def _summary(recording: Recording, spotted: Spotted, intervals: list[Interval]) -> list[str]:
    """What was looked at and found; the first line is the picture's title, too."""
    from hsta_hf.spotting.timeline import clock

    curve = spotted.curve
    lasts = curve.num_frames / curve.fps
    number = f"{len(intervals)} interval{'' if len(intervals) == 1 else 's'}"
    lines = [f"{recording.path.name}: {number} in {clock(lasts)} ({curve.num_frames:,} frames, {curve.fps:g} fps)"]
    if lasts < _SHORT_SECONDS:
        lines.append(
            "That is too short to know its usual movement, from which a micro-expression has to stand out. A film "
            "that is one micro-expression is for hsta predict."
        )
    if spotted.continued:
        lines.append(f"{spotted.continued:,} frames were judged in an earlier run.")
    gaps = curve.faceless()
    if gaps:
        total = sum(last - first + 1 for first, last in gaps)
        places = [
            f"{clock(first / curve.fps)} to {clock((last + 1) / curve.fps)}" for first, last in gaps[:_SHOWN_GAPS]
        ]
        more = f" and {len(gaps) - _SHOWN_GAPS} more" if len(gaps) > _SHOWN_GAPS else ""
        lines.append(f"No face in {total / max(curve.num_frames, 1):.0%} of the frames: {', '.join(places)}{more}.")
    return lines
