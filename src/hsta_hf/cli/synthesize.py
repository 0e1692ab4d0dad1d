"""`hsta synthesize OUT`: write a database of synthetic, drawn faces in CAS(ME)^3's layout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hsta_hf.data.synthesize import ANNOTATION_FILE, EMOTIONS, synthesize


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `synthesize` to the commands of `hsta`."""
    parser = subparsers.add_parser(
        "synthesize",
        help="draw a synthetic database of faces in CAS(ME)^3's layout",
        description="Draws persons who do not exist and moves their faces by FACS action units. Everything it "
        "writes is synthetic; no number measured on it is a result on people.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; must not exist or be empty")
    parser.add_argument("--subjects", type=int, default=16, metavar="N", help="how many persons to draw")
    parser.add_argument("--clips-per-subject", type=int, default=14, metavar="K", help="clips of each person")
    parser.add_argument("--size", type=int, default=192, help="side of the square frames in pixels")
    parser.add_argument("--seed", type=int, default=0, help="the same seed draws the same frames")
    parser.add_argument(
        "--amplitude",
        type=float,
        nargs=2,
        default=(0.5, 4.0),
        metavar=("LOW", "HIGH"),
        help="largest displacement, in pixels of a frame of 224 pixels",
    )
    parser.add_argument(
        "--num-frames", type=int, nargs=2, default=(8, 20), metavar=("LOW", "HIGH"), help="frames, onset to offset"
    )
    parser.add_argument(
        "--distractors", type=float, default=0.6, help="chance of a blink, shift of gaze or other movement in a clip"
    )
    parser.add_argument("--head-motion", type=float, default=1.0, help="strength of the head's drift; 0 for none")
    parser.add_argument(
        "--balance",
        nargs="+",
        default=None,
        metavar="EMOTION=WEIGHT",
        help=f"weights of the emotions ({', '.join(EMOTIONS)}); equal if not given",
    )
    parser.add_argument("--videos", action="store_true", help="also write every clip as a video file, in OUT/videos")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def parse_balance(pairs: list[str] | None) -> dict[str, float] | None:
    """["happy=2", "sad=1"] -> {"happy": 2.0, "sad": 1.0}.

    Raises:
        ValueError: a pair that is not EMOTION=WEIGHT.
    """
    if pairs is None:
        return None
    balance = {}
    for pair in pairs:
        emotion, _, weight = pair.partition("=")
        try:
            balance[emotion] = float(weight)
        except ValueError:
            raise ValueError(f"--balance {pair!r} is not of the form EMOTION=WEIGHT, for example happy=2") from None
    return balance


def run(args: argparse.Namespace) -> int:
    """Write the database; 0 if it is there, 2 if the arguments cannot be met."""
    try:
        out = synthesize(
            args.out,
            num_subjects=args.subjects,
            clips_per_subject=args.clips_per_subject,
            size=args.size,
            seed=args.seed,
            amplitude=tuple(args.amplitude),
            num_frames=tuple(args.num_frames),
            distractors=args.distractors,
            head_motion=args.head_motion,
            balance=parse_balance(args.balance),
            videos=args.videos,
            progress=not args.quiet,
        )
    except (ValueError, FileExistsError) as error:
        print(f"hsta synthesize: {error}", file=sys.stderr)
        return 2
    clips = args.subjects * args.clips_per_subject
    print(f"Synthetic database (drawn faces, no real persons): {args.subjects} subjects, {clips} clips in {out}")
    print(f"Annotation: {out / ANNOTATION_FILE}")
    return 0
