"""`hsta demo-app`: a web page that takes a clip, spots its apex, classifies it, and shows what that rests on.

hsta demo-app runs/demo                                       # http://127.0.0.1:7860
hsta demo-app org/hsta-casme3 --port 8000 --open
hsta demo-app org/hsta-casme3 --export-space my_space         # write a Hugging Face Space instead
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta demo-app` to the command line."""
    parser = subparsers.add_parser(
        "demo-app",
        help="a web page to try a trained model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="model folder, run folder, or Hub name")
    parser.add_argument(
        "--faces",
        choices=("auto", "align", "keep"),
        default="auto",
        help="auto: align faces if the model's processor says that its clips were aligned; align: in any case; keep: "
        "take frames as they come",
    )
    parser.add_argument("--face-detector", "--face_detector", type=Path, help="the face detector's ONNX file")
    parser.add_argument("--device", help="where the model runs (default: a GPU where there is one)")
    parser.add_argument(
        "--host", help="address to listen on (default: this machine only; 0.0.0.0 lets others in)", metavar="ADDRESS"
    )
    parser.add_argument("--port", type=int, help="port to listen on (default: the first free one from 7860 on)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument(
        "--export-space",
        "--export_space",
        type=Path,
        metavar="DIR",
        help="write the page as a Hugging Face Space to DIR, which must not exist or be empty, and serve nothing",
    )


def run(args: argparse.Namespace) -> int:
    """Serve the page until it is stopped; 0 when done, 1 without model, detector or port, 2 without Gradio."""
    from transformers.utils import logging as hf_logging

    from hsta_hf.app.serving import GradioMissingError, serve
    from hsta_hf.app.space import export_space
    from hsta_hf.training.finished_model import about_model

    hf_logging.disable_progress_bar()
    try:
        if args.export_space is not None:
            print(export_space(args.model, args.export_space, faces=args.faces, face_detector=args.face_detector))
            return 0
        print(f"Loading {args.model} …", flush=True)
        serve(
            args.model,
            face_detector=args.face_detector,
            faces=args.faces,
            device=args.device,
            host=args.host,
            port=args.port,
            open_browser=args.open,
        )
    except GradioMissingError as error:
        print(f"hsta demo-app: {error}", file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"hsta demo-app: {about_model(args.model, error)}", file=sys.stderr)
        return 1
    return 0
