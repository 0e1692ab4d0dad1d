"""`hsta explain`: which frames and face regions carried a model's decision on a clip, and whether that means anything.

hsta explain runs/casme3_flow clip.mp4
hsta explain runs/casme3_flow clip.mp4 --onset 12 --apex 18 --offset 25 --label happy --output explained
hsta explain runs/casme3_flow casme3/spNO.1/a/2585 --dataset data/casme3     # a clip of a prepared dataset

It writes a contact sheet (PNG), a video of one map over the face (MP4) and all numbers (JSON), and prints the share
of relevance of each face region and what the deletion test says. The pictures show faces: treat them as you treat
the clip.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hsta_hf.explanation.explain import Explanation
    from hsta_hf.explanation.sources import ClipFrames
    from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
    from hsta_hf.video_processing_hsta import HSTAVideoProcessor

# `explanation.explain.METHODS`, which takes a second to import; a test holds them equal.
MAPS = ("rollout", "last_layer", "gradient_attention", "integrated_gradients")
SHEET, VIDEO, NUMBERS = "contact_sheet.png", "overlay.mp4", "explanation.json"


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta explain` to the command line."""
    parser = subparsers.add_parser(
        "explain",
        help="show which frames and face regions carried a decision",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="model folder, run folder, or Hub name")
    parser.add_argument("clip", help="video file or folder of frames; with --dataset, a clip_id of it")
    parser.add_argument(
        "--dataset", type=Path, help="prepared dataset that CLIP is in; of a run, its fold's model explains it"
    )
    for name in ("onset", "apex", "offset"):
        parser.add_argument(f"--{name}", type=int, help=f"frame number of the {name} in the video, from 0")
    parser.add_argument("--label", help="the class to explain (default: the likeliest)")
    parser.add_argument("--maps", nargs="+", choices=MAPS, help="maps to make (default: all that can be made)")
    parser.add_argument("--video_map", "--video-map", choices=MAPS, help="the map in the video (default: the last)")
    parser.add_argument("--output", type=Path, help="folder to write to (default: explanation/CLIP)")
    parser.add_argument(
        "--faces",
        choices=("auto", "align", "keep"),
        default="auto",
        help="auto: align faces as the model's processor says; align: do so even if it says nothing; keep: do not",
    )
    parser.add_argument("--face-detector", "--face_detector", metavar="PATH", help="the face detector's ONNX file")
    parser.add_argument(
        "--random_orders", "--random-orders", type=int, default=50, help="random orders of the deletion test"
    )
    parser.add_argument("--steps", type=int, default=24, help="points of a deletion curve after the first")
    parser.add_argument("--seed", type=int, default=0, help="of the random orders")
    parser.add_argument("--fps", type=float, default=8, help="frames of the clip a second in the video")


def run(args: argparse.Namespace) -> int:
    """Explain, write and print; 0 when done, 1 when it cannot be done, 2 for wrong arguments."""
    for name in ("random_orders", "steps", "fps"):
        if not getattr(args, name) > 0:
            print(f"hsta explain: --{name} is {getattr(args, name)}; it must be above 0", file=sys.stderr)
            return 2
    if args.dataset is not None and any(x is not None for x in (args.onset, args.apex, args.offset)):
        print("hsta explain: --dataset has its own onset, apex and offset; leave them out", file=sys.stderr)
        return 2
    if args.maps and args.video_map and args.video_map not in args.maps:
        print(f"hsta explain: --video_map {args.video_map} is not among --maps", file=sys.stderr)
        return 2
    try:
        return _explain(args)
    except (ImportError, OSError, ValueError) as error:
        print(f"hsta explain: {error}", file=sys.stderr)
        return 1


def _explain(args: argparse.Namespace) -> int:
    from hsta_hf.explanation.drawing import save_contact_sheet
    from hsta_hf.explanation.explain import explain_clip, usable_methods
    from hsta_hf.explanation.overlay_video import save_overlay_video
    from hsta_hf.explanation.text import as_json
    from hsta_hf.reporting.files import write_json

    model, processor = _load(args)
    clip = _clip(args, processor)
    methods = args.maps or usable_methods()
    if not args.maps and "integrated_gradients" not in methods:
        print("No integrated gradients: they need captum (pip install 'hsta-hf[explain]').")
    explanation = explain_clip(
        model,
        processor,
        clip.frames,
        clip.onset,
        clip.apex,
        clip.offset,
        label=_label(model, args.label),
        methods=methods,
        random_orders=args.random_orders,
        steps=args.steps,
        seed=args.seed,
    )
    shown = args.video_map or list(explanation.maps)[-1]
    title = args.clip if args.dataset is not None else Path(args.clip).name
    name = title if args.dataset is not None else Path(title).stem
    output = args.output or Path("explanation") / (re.sub(r"[^\w.-]+", "_", name) or "clip")
    notes = _notes(clip)
    save_contact_sheet(explanation, title, output / SHEET, notes)
    save_overlay_video(explanation, shown, title, output / VIDEO, args.fps)
    write_json(
        output / NUMBERS, {"clip": title, "aligned": clip.aligned, "first_frame": clip.first, **as_json(explanation)}
    )
    _tell(explanation, title, shown, notes)
    print(f"\nWritten to {output}: {SHEET}, {VIDEO} ({shown}), {NUMBERS}")
    return 0


def _load(args: argparse.Namespace) -> tuple[HSTAForMicroExpressionClassification, HSTAVideoProcessor]:
    from transformers import AutoModelForVideoClassification, AutoVideoProcessor
    from transformers.utils import logging as hf_logging

    import hsta_hf  # registers HSTA with the Auto classes
    from hsta_hf.explanation.sources import tested_model
    from hsta_hf.training.finished_model import model_folder, not_found

    hf_logging.disable_progress_bar()
    folder = None if args.dataset is None else tested_model(args.model, args.clip)
    path = model_folder(args.model) if folder is None else str(folder)
    try:
        model = AutoModelForVideoClassification.from_pretrained(path)
    except OSError as error:
        raise not_found(path, error) from error
    if not isinstance(model, hsta_hf.HSTAForMicroExpressionClassification):
        raise ValueError(f"{args.model} is a model of type {model.config.model_type!r}; hsta explain explains HSTA.")
    if folder is not None:
        print(f"Model: {path}, which has not seen this clip's person in training.")
    return model.eval(), AutoVideoProcessor.from_pretrained(path)


def _clip(args: argparse.Namespace, processor: HSTAVideoProcessor) -> ClipFrames:
    from hsta_hf.explanation.sources import clip_of_dataset, clip_of_source
    from hsta_hf.prediction.clips import ClipRequest, length_note
    from hsta_hf.prediction.model_source import alignment_note

    if args.dataset is not None:
        return clip_of_dataset(args.dataset, args.clip)
    if (note := alignment_note(processor, args.faces)) is not None:
        print(f"hsta explain: {note}", file=sys.stderr)
    found = clip_of_source(args.clip, processor, args.faces, args.face_detector, args.onset, args.apex, args.offset)
    if args.offset is None and (note := length_note(ClipRequest(args.clip, args.clip))) is not None:
        print(f"hsta explain: {note}", file=sys.stderr)
    return found


def _label(model: HSTAForMicroExpressionClassification, name: str | None) -> int | None:
    if name is None:
        return None
    names = {str(label): number for number, label in (model.config.id2label or {}).items()}
    if name not in names:
        raise ValueError(f"the model has no class {name!r}; its classes are {', '.join(names)}")
    return int(names[name])


def _notes(clip: ClipFrames) -> list[str]:
    """What a reader of the numbers and of the contact sheet has to know of the clip."""
    notes = []
    if clip.first:
        notes.append(f"Frames count from the onset, which is frame {clip.first} of the film.")
    if not clip.aligned:
        notes.append(
            "The faces were not aligned here: if they were not before either, the regions lie beside the face."
        )
    return notes


def _tell(explanation: Explanation, title: str, method: str, notes: list[str]) -> None:
    from hsta_hf.explanation.explain import METHODS
    from hsta_hf.explanation.text import deletion_lines, region_lines, verdicts

    clip = explanation.clip
    print(
        f"{title}: {explanation.label_name} {explanation.score:.3f}, "
        f"onset {clip.onset}, apex {clip.apex}, offset {clip.offset} of {len(clip.frames)} frames"
    )
    print("\n".join([*notes, ""]))
    print(f"Share of relevance by face region, {METHODS[method]}, per cent:")
    print("\n".join(region_lines(explanation, method)))
    print(f"\nDeletion test: area under the score of {explanation.label_name} while patches are made still")
    print("\n".join(deletion_lines(explanation)))
    print("\n".join(verdicts(explanation)))
