"""`hsta export`: write a trained model as an ONNX file and check it in ONNX Runtime.

hsta export runs/demo hsta.onnx
hsta export runs/demo/folds/fold-00-seed-42/model hsta.onnx --overwrite
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hsta_hf.onnx_export import DEFAULT_OPSET, OnnxExportError, check_request, export_onnx
from hsta_hf.training.finished_model import about_model, model_folder

if TYPE_CHECKING:
    from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
    from hsta_hf.video_processing_hsta import HSTAVideoProcessor


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add `hsta export` to the command line."""
    parser = subparsers.add_parser(
        "export",
        help="write a trained model as an ONNX file",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", help="model folder, run folder, or Hub name")
    parser.add_argument("output", type=Path, help="the .onnx file to write")
    parser.add_argument("--overwrite", action="store_true", help="replace OUTPUT if it exists")
    parser.add_argument(
        "--opset", type=int, default=DEFAULT_OPSET, help="version of the ONNX operators (default: %(default)s)"
    )


def load(path: str) -> tuple[HSTAForMicroExpressionClassification, HSTAVideoProcessor | None]:
    """The classifier of a model folder, run folder or Hub name in float32, and its video processor if it has one.

    Raises:
        OSError: if there is no model.
        ValueError: if it is not an HSTA classifier, or weights are missing.
    """
    import torch
    from transformers import AutoConfig, AutoModelForVideoClassification, AutoVideoProcessor

    import hsta_hf  # registers HSTA with the Auto classes

    folder = model_folder(path)
    config = AutoConfig.from_pretrained(folder)
    if not isinstance(config, hsta_hf.HSTAConfig):
        raise ValueError(f"is a model of type {config.model_type!r}; hsta export writes HSTA models.")
    model, loading = AutoModelForVideoClassification.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, output_loading_info=True
    )
    if loading["missing_keys"]:  # transformers fills them with random numbers
        raise ValueError(
            f"has no weights for {', '.join(sorted(loading['missing_keys']))}; export the folder of a trained "
            "classifier."
        )
    try:
        processor = AutoVideoProcessor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        print(
            "hsta export: no video processor is saved with the model, so the file will not say how frames are to be "
            f"prepared ({str(error).splitlines()[0]})",
            file=sys.stderr,
        )
        return model, None
    return model, processor


def run(args: argparse.Namespace) -> int:
    """Export; 0 when OUTPUT is written and agrees with PyTorch, 1 when it does not, 2 when it cannot be done."""
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    try:
        check_request(args.output, opset=args.opset, overwrite=args.overwrite)
    except (ImportError, OSError, ValueError) as error:
        print(f"hsta export: {error}", file=sys.stderr)
        return 2
    print(f"Loading {args.model} ...", flush=True)
    try:
        model, processor = load(args.model)
    except (OSError, ValueError) as error:
        print(f"hsta export: {about_model(args.model, error)}", file=sys.stderr)
        return 1
    try:
        written = export_onnx(
            model,
            args.output,
            processor=processor,
            opset=args.opset,
            overwrite=args.overwrite,
            progress=lambda line: print(line, flush=True),
        )
    except (OnnxExportError, OSError, ValueError) as error:
        print(f"hsta export: {error}", file=sys.stderr)
        return 1
    print(written)
    return 0
