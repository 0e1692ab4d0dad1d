"""`hsta convert`: a checkpoint of the authors' released implementation to a model folder, and back.

hsta convert --checkpoint checkpoint-149.pth --output models/released --video_heads 12 --special_heads 12
hsta convert --checkpoint weights.safetensors --output models/released --video_heads 12 --special_heads 12 \\
    --image_size 224 --num_frames 6 --labels happy disgust fear anger sad surprise others
hsta convert --to_released --checkpoint models/released --output weights.pth
hsta convert --to_released --checkpoint runs/demo --output weights.pth

Only a model with the released settings can go back: one trained here needs `--model.first_patch_position 1` from the
start of its training.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hsta_hf.training.finished_model import model_folder

if TYPE_CHECKING:
    from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
    from hsta_hf.released_checkpoint import ReleasedGeometry, StreamGeometry
    from hsta_hf.released_checkpoint_files import ReleasedCheckpoint
    from hsta_hf.video_processing_hsta import HSTAVideoProcessor

# What is assumed where neither the command nor the file says anything: the released command line's values.
_DEFAULTS: dict[str, Any] = {
    "image_size": 224,
    "num_frames": 6,
    "special_frames": ["onset", "apex"],
    "layer_norm_eps": 1e-6,
    "labels": None,
}
# What the released training script calls them, in the settings that it saves beside the weights.
_NOTED = {"image_size": "input_size", "num_frames": "num_frames"}
_CLS_HEAD = 2  # model_header_mode of a head that reads the two [CLS]
_NARROWEST_HEAD = 16  # half of the narrowest released head; below, the number of heads is likely a slip
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `hsta convert` to the command line."""
    parser = subparsers.add_parser(
        "convert",
        help="turn a checkpoint of the authors' released implementation into a model folder, or back",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--checkpoint",
        required=True,
        help=".pth, .pt or .safetensors file; with --to_released, a model folder, run folder or Hub name",
    )
    parser.add_argument("--output", required=True, help="model folder to write; with --to_released, a file")
    parser.add_argument(
        "--to_released",
        "--to-released",
        action="store_true",
        help="the other way; only for models with the released settings",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the files of an output that exists")
    asked = parser.add_argument_group("what the tensors do not tell")
    asked.add_argument("--video_heads", "--video-heads", type=int, help="attention heads, video stream (required)")
    asked.add_argument("--special_heads", "--special-heads", type=int, help="the same, special stream (required)")
    asked.add_argument("--image_size", "--image-size", type=int, help="height and width in pixels (224)")
    asked.add_argument("--num_frames", "--num-frames", type=int, help="frames of the video stream (6)")
    asked.add_argument(
        "--special_frames", "--special-frames", nargs="+", metavar="NAME", help="special frames (onset apex)"
    )
    asked.add_argument("--layer_norm_eps", "--layer-norm-eps", type=float, help="epsilon of every LayerNorm (1e-6)")
    asked.add_argument("--labels", nargs="+", metavar="NAME", help="label names, in the order of the head's rows")
    asked.add_argument("--nesting", help="entry of the file that holds the state dict, where there are several")


def run(args: argparse.Namespace) -> int:
    """Convert; 0 when done, 1 when the checkpoint is refused or cannot be read, 2 for options that do not go
    together."""
    asked = ("video_heads", "special_heads", *_DEFAULTS, "nesting")
    useless = [name for name in asked if getattr(args, name) is not None]
    if args.to_released and useless:
        print(f"hsta convert: --to_released takes no --{useless[0]}; the model knows it", file=sys.stderr)
        return 2
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    try:
        return _to_released(args) if args.to_released else _from_released(args)
    except (OSError, ValueError) as error:
        print(f"hsta convert: {error}", file=sys.stderr)
        return 1


def _from_released(args: argparse.Namespace) -> int:
    from hsta_hf.released_checkpoint import from_released, read_geometry
    from hsta_hf.released_checkpoint_files import (
        check_folder,
        read_released_checkpoint,
        released_processor,
        save_model_folder,
    )

    if any((Path(args.checkpoint) / name).is_file() for name in ("config.json", "recipe.yaml")):
        raise FileNotFoundError(f"{args.checkpoint} is a folder with a model; give --to_released to write it back.")
    check_folder(args.output, args.overwrite)
    checkpoint = read_released_checkpoint(args.checkpoint, args.nesting)
    values, said, assumed = _settings(args, checkpoint)
    names = values.pop("special_frames")
    model = from_released(
        checkpoint.weights,
        video_heads=args.video_heads,
        special_heads=args.special_heads,
        special_frames=len(names),
        **values,
    )
    said.insert(0, _heads_line(model))
    processor = released_processor(model, names)
    save_model_folder(model, processor, args.output, args.overwrite)
    for name in ("video", "special"):
        stream = model.config.stream(name)
        if (size := stream.hidden_size // stream.num_attention_heads) < _NARROWEST_HEAD:
            print(
                f"hsta convert: WARNING: heads of {size} are unusual (the released models have 32 or 64): check "
                f"--{name}_heads",
                file=sys.stderr,
            )
    print("\n".join(_geometry_lines(read_geometry(checkpoint.weights), checkpoint, args.checkpoint)))
    print("Asked for, as the tensors do not tell it:")
    print("\n".join(f"  {line}" for line in said))
    print("Assumed:")
    print("\n".join(f"  {line}" for line in assumed))
    if model.config.stream("video").num_channels != 3 or model.config.stream("special").num_channels != 3:
        print("The processor makes 3 channels; this model takes others, so give it tensors of your own.")
    print(f"Wrote model and processor to {args.output}")
    return 0


def _settings(args: argparse.Namespace, checkpoint: ReleasedCheckpoint) -> tuple[dict[str, Any], list[str], list[str]]:
    """Values of `_DEFAULTS`' settings from the command, else the file, else the default; what was said, and what was
    assumed, in words."""
    from hsta_hf.released_checkpoint import ReleasedCheckpointError

    noted = checkpoint.settings
    mode = noted.get("model_header_mode", _CLS_HEAD)
    if mode != _CLS_HEAD:
        raise ReleasedCheckpointError(
            f"{args.checkpoint} was trained with model_header_mode {mode}, as its settings say; only a head on the "
            f"two [CLS] ({_CLS_HEAD}) can be converted."
        )
    said: list[str] = []
    assumed: list[str] = []
    values: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        given, found = getattr(args, name), noted.get(_NOTED.get(name, ""))
        if given is not None and found is not None and given != found:
            raise ReleasedCheckpointError(
                f"--{name} is {given}, but {args.checkpoint} was trained with {_NOTED[name]} {found}, as its settings "
                f"say. Leave --{name} out."
            )
        values[name] = default if given is None and found is None else found if given is None else given
        text = " ".join(map(str, values[name])) if isinstance(values[name], list) else values[name]
        if given is not None:
            said.append(f"{name}: {text}")
        elif found is not None:
            said.append(f"{name}: {text} (from the training settings in the file)")
        elif values[name] is not None:
            assumed.append(f"{name}: {text} (--{name})")
        else:
            assumed.append(f"{name}: LABEL_0, LABEL_1, … (--{name})")
    if "model_header_mode" in noted:
        said.append(f"the head reads the two [CLS] (model_header_mode {mode}, from the training settings in the file)")
    else:
        assumed.append(f"the head reads the two [CLS] (model_header_mode {_CLS_HEAD} of the released command)")
    assumed.append("both streams see RGB frames (video_input and special_input of the processor)")
    assumed.append("preprocessing: whole picture resized, ImageNet mean and standard deviation; loss: cross-entropy")
    assumed.append("video frames: uniform over the clip; the released code drew them at random, at test time too")
    return values, said, assumed


def _heads_line(model: HSTAForMicroExpressionClassification) -> str:
    parts = []
    for name in ("video", "special"):
        stream = model.config.stream(name)
        size = stream.hidden_size // stream.num_attention_heads
        parts.append(f"{stream.num_attention_heads} in the {name} stream ({size} wide)")
    return f"heads: {', '.join(parts)}"


def _geometry_lines(geometry: ReleasedGeometry, checkpoint: ReleasedCheckpoint, path: str) -> list[str]:
    """What the tensors told, a few lines."""

    def stream(name: str, found: StreamGeometry) -> str:
        bias = "q and v biases" if found.qv_bias else "no q and v biases"
        return (
            f"  {name} stream: width {found.hidden_size}, MLP {found.intermediate_size}, patch {found.patch_size}, "
            f"tubelet {found.tubelet_size}, {found.num_channels} channels, {bias}"
        )

    parameters = sum(value.numel() for value in checkpoint.weights.values())
    dtype = str(geometry.dtype).removeprefix("torch.")
    place = f", under {' / '.join(checkpoint.nesting)}" if checkpoint.nesting else ""
    prefix = f", prefix {checkpoint.prefix} stripped" if checkpoint.prefix else ""
    lines = [
        f"Read off the tensors of {path}{place}{prefix}:",
        f"  {len(checkpoint.weights)} tensors, {parameters:,} parameters, {dtype}",
        f"  M={geometry.num_hsta_layers}, L_v={geometry.video.num_layers}, L_s={geometry.special.num_layers}, "
        f"{geometry.num_labels} labels",
        stream("video", geometry.video),
        stream("special", geometry.special),
    ]
    if checkpoint.left_unread:
        lines.append(f"Left in the file: {', '.join(checkpoint.left_unread)}")
    return lines


def _to_released(args: argparse.Namespace) -> int:
    _refuse_absent(args.checkpoint)
    from transformers import AutoConfig

    from hsta_hf.configuration_hsta import HSTAConfig
    from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
    from hsta_hf.released_checkpoint import ReleasedCheckpointError, to_released
    from hsta_hf.released_checkpoint_files import untold_fields, write_released_checkpoint

    if Path(args.checkpoint).is_file():
        raise ReleasedCheckpointError(f"{args.checkpoint} is a file; --to_released takes a model folder.")
    folder = model_folder(args.checkpoint)
    saved = AutoConfig.from_pretrained(folder)
    if not isinstance(saved, HSTAConfig):
        raise ReleasedCheckpointError(f"{folder} is a {saved.model_type} model; wanted is a saved HSTA model.")
    # dtype: as saved; the default of older transformers is float32, which would change the tensors.
    loaded: Any = HSTAForMicroExpressionClassification.from_pretrained(
        folder, dtype="auto", use_safetensors=True, output_loading_info=True
    )
    model, report = loaded
    for kind in ("missing", "mismatched", "unexpected"):
        if keys := sorted(str(key) for key in report[f"{kind}_keys"]):
            raise ReleasedCheckpointError(f"{folder} is not whole; {kind} weights: {', '.join(keys)}.")
    weights = to_released(model)
    write_released_checkpoint(weights, args.output, args.overwrite)
    config = model.config
    video, special = config.stream("video"), config.stream("special")
    processor = _processor(folder)
    if folder != args.checkpoint:
        print(f"Took the model in {folder}")
    print(f"Wrote {len(weights)} tensors to {args.output}. What they do not tell, for the way back:")
    print(f"  --video_heads {video.num_attention_heads} --special_heads {special.num_attention_heads} \\")
    print(
        f"  --image_size {video.image_size} --num_frames {video.num_frames} --layer_norm_eps {video.layer_norm_eps} \\"
    )
    names = processor.special_frames if processor else []
    if len(names) == special.num_frames:
        print(f"  --special_frames {shlex.join(names)} \\")
    else:
        print(f"  --special_frames (names of {special.num_frames}, which the model does not say) \\")
    print(f"  --labels {shlex.join(str(config.id2label[i]) for i in range(config.num_labels))}")
    print(f"and of the model's own: loss {config.classification_loss}.")
    untold = untold_fields(model, processor) if processor else {}
    if untold:
        listed = ", ".join(f"{field} {value}" for field, value in untold.items())
        print(
            f"hsta convert: WARNING: {args.output} cannot tell how its processor makes the streams: {listed}. Who "
            "converts it back must set these: special_frames with --special_frames, the others in "
            "video_preprocessor_config.json of the folder that comes back.",
            file=sys.stderr,
        )
    return 0


def _refuse_absent(path: str) -> None:
    """Raise `FileNotFoundError` for a path that does not exist, unless it can be a Hub name: `org/name`, with no
    folder `org` here that would make it a misspelt path."""
    if not Path(path).exists() and (not _HUB_NAME.fullmatch(path) or Path(path).parent.exists()):
        raise FileNotFoundError(f"{path} does not exist.")


def _processor(folder: str) -> HSTAVideoProcessor | None:
    """The video processor saved with a model; None, said aloud, where there is none to read."""
    from hsta_hf.video_processing_hsta import HSTAVideoProcessor

    try:
        return HSTAVideoProcessor.from_pretrained(folder)
    except (OSError, ValueError) as error:
        print(
            f"hsta convert: WARNING: {folder} has no video processor to read, so what its streams are given is not "
            f"known here ({str(error).splitlines()[0]})",
            file=sys.stderr,
        )
        return None
