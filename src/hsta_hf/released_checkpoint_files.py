"""Files of the authors' released implementation, read and written; and the model folder of a converted one.

No file is unpickled beyond tensors, plain containers and the settings (`argparse.Namespace`) that the released
training script puts beside them: what else a pickle may hold runs code while it is read.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers.image_utils import SizeDict

import hsta_hf  # noqa: F401 - registers the classes, so that saving a model copies their code files
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.released_checkpoint import ReleasedCheckpointError
from hsta_hf.reporting.files import replacing
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

# Names under which training scripts nest a state dict; `model_ema` is a second one beside `model`.
NESTINGS = ("model", "module", "state_dict", "model_state_dict", "model_ema")
# What wrappers put before every name: DistributedDataParallel and DeepSpeed, torch.compile, a module that holds it.
PREFIXES = ("module.", "_orig_mod.", "model.")
PICKLED = (".pth", ".pt", ".bin", ".ckpt")
# Settings of the released training script that say what the tensors cannot.
_SETTINGS = ("model_header_mode", "num_frames", "input_size")


@dataclass(frozen=True)
class ReleasedCheckpoint:
    """A released checkpoint as read.

    Args:
        weights: the state dict, prefixes stripped.
        nesting: where in the file it lay, outermost name first; empty if at the top.
        prefix: what was stripped off every name.
        left_unread: other entries of the file (optimiser, epoch, …).
        settings: those of the training script's settings, where the file has them, that the tensors do not tell:
            `model_header_mode`, `num_frames`, `input_size`.
    """

    weights: dict[str, torch.Tensor]
    nesting: tuple[str, ...] = ()
    prefix: str = ""
    left_unread: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)


def read_released_checkpoint(path: str | Path, nesting: str | None = None) -> ReleasedCheckpoint:
    """Read a released checkpoint: `.safetensors`, or `.pth`, `.pt`, `.bin`, `.ckpt` with `weights_only=True`.

    The state dict may lie at the top, or nested under `model`, `module`, `state_dict`, `model_state_dict` or
    `model_ema`, also one in another. The prefixes `module.`, `_orig_mod.` and `model.` are stripped where every name
    has them.

    Args:
        path: the file.
        nesting: the entry to take where there are several, or one of another name.

    Raises:
        FileNotFoundError: there is no such file.
        ReleasedCheckpointError: the file is of another type, damaged, holds objects that only unpickling could read,
            or its nesting is not understood; the message lists the entries at the top.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give the checkpoint file itself.")
    content = _content(path)
    trail: list[str] = []
    left: list[str] = []
    noted = content.get("args")
    settings = vars(noted) if isinstance(noted, argparse.Namespace) else noted if isinstance(noted, dict) else {}
    while nesting is not None or not all(isinstance(value, torch.Tensor) for value in content.values()) or not content:
        candidates = [nesting] if nesting is not None else [name for name in NESTINGS if name in content]
        nested = [(name, content[name]) for name in candidates if isinstance(content.get(name), Mapping)]
        if len(nested) != 1:
            where = f"{path}, under {' / '.join(trail)}," if trail else str(path)
            several = f"several state dicts ({', '.join(name for name, _ in nested)})"
            none = f"no state dict at its top, nor under {', '.join([nesting] if nesting else NESTINGS)}"
            raise ReleasedCheckpointError(
                f"{where} has {several if nested else none}; name the entry to take with nesting (--nesting NAME). "
                f"Its entries are {_entries(content)}."
            )
        trail.append(nested[0][0])
        left += [str(name) for name in content if name != trail[-1]]
        content, nesting = nested[0][1], None
    prefix = _prefix(list(content))
    return ReleasedCheckpoint(
        weights={str(key)[len(prefix) :]: value.detach() for key, value in content.items()},
        nesting=tuple(trail),
        prefix=prefix,
        left_unread=tuple(left),
        settings={name: settings[name] for name in _SETTINGS if settings.get(name) is not None},
    )


def _content(path: Path) -> Mapping[Any, Any]:
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ReleasedCheckpointError(f"{path} is no whole safetensors file: {error}") from error
    if path.suffix not in PICKLED:
        raise ReleasedCheckpointError(f"{path}: the name must end in .safetensors, {', '.join(PICKLED)}.")
    try:
        # A Namespace is a bag of attributes: reading one runs nothing.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"holds a {found[1]}" if found else "holds something"
        raise ReleasedCheckpointError(
            f"{path} {what}, which only unpickling could read, or is damaged. Unpickling runs code that the file "
            "brings, so it is not done here. If you trust who made the file, write its tensors into one of their own: "
            f"python -c \"import torch; torch.save(torch.load({str(path)!r}, weights_only=False)['model'], "
            "'weights.pth')\""
        ) from error
    except (RuntimeError, EOFError, ValueError) as error:
        raise ReleasedCheckpointError(f"{path} cannot be read as a PyTorch file: {error}") from error
    if not isinstance(content, Mapping):
        raise ReleasedCheckpointError(f"{path} holds a {type(content).__name__}; wanted is a state dict.")
    return content


def _entries(content: Mapping[Any, Any]) -> str:
    return ", ".join(f"{key} ({type(value).__name__})" for key, value in content.items()) or "nothing"


def _prefix(keys: list[Any]) -> str:
    prefix = ""
    while True:
        found = [one for one in PREFIXES if all(str(key).startswith(prefix + one) for key in keys)]
        if not found:
            return prefix
        prefix += found[0]


def write_released_checkpoint(weights: Mapping[str, torch.Tensor], path: str | Path, overwrite: bool = False) -> None:
    """Write a state dict as `.safetensors`, or as `.pth` or `.pt` that `torch.load(…, weights_only=True)` reads.

    Raises:
        FileExistsError: if the file exists and `overwrite` is off.
        ReleasedCheckpointError: for a name of another ending.
    """
    path = Path(path)
    if path.suffix not in (".safetensors", ".pth", ".pt"):
        raise ReleasedCheckpointError(f"{path}: the name of the output must end in .safetensors, .pth or .pt.")
    if path.is_dir() or (path.exists() and not overwrite):
        raise FileExistsError(f"{path} exists; give another name, or replace the file with --overwrite.")
    with replacing(path) as temporary:
        if path.suffix == ".safetensors":
            save_file(dict(weights), temporary)
        else:
            torch.save(dict(weights), temporary)


def released_processor(
    model: HSTAForMicroExpressionClassification, special_frames: Sequence[str] = ("onset", "apex")
) -> HSTAVideoProcessor:
    """The released implementation's preprocessing for a converted model: the whole picture resized to the model's
    square, ImageNet's mean and standard deviation.

    Unlike there, where the video stream's frames are drawn at random, also at test time, they are chosen uniformly.
    """
    config = model.config
    video, special = config.stream("video"), config.stream("special")
    assert isinstance(video.image_size, int) and video.image_size == special.image_size
    if len(special_frames) != special.num_frames:
        raise ReleasedCheckpointError(
            f"special_frames are {list(special_frames)}; the special stream has {special.num_frames} frames."
        )
    return HSTAVideoProcessor(
        size={"height": video.image_size, "width": video.image_size},
        num_frames=video.num_frames,
        special_frames=list(special_frames),
    )


# Fields of the processor that say how pictures become a stream, and those that count only where one shows movement.
_PICTURE_FIELDS = (
    *("video_input", "special_input", "special_frames", "do_sample_frames"),
    *("do_resize", "resample", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std"),
)
_FLOW_FIELDS = ("flow_method", "flow_size", "flow_scale", "strain_scale", "remove_head_motion")
_DIFFERENCE_FIELDS = ("difference_scale", "flow_method", "remove_head_motion")


def untold_fields(
    model: HSTAForMicroExpressionClassification, processor: HSTAVideoProcessor
) -> dict[str, str | int | float | bool]:
    """Fields of a processor that conversion of the model's tensors would set otherwise, with their values in words.

    The released layout has no place for them; who converts it back has to set them. Empty for what
    [`released_processor`] makes with "onset" and "apex".
    """
    config = model.config
    side = config.stream("video").image_size
    assumed = HSTAVideoProcessor(size={"height": side, "width": side})
    inputs = {processor.video_input, processor.special_input}
    counting = [
        *_PICTURE_FIELDS,
        *(_FLOW_FIELDS if "optical_flow" in inputs else ()),
        *(_DIFFERENCE_FIELDS if "difference" in inputs else ()),
    ]
    found = {name: _in_words(getattr(processor, name)) for name in dict.fromkeys(counting)}
    untold = {name: value for name, value in found.items() if value != _in_words(getattr(assumed, name))}
    for name in ("size", "special_size"):
        size = _in_words(getattr(processor, name) or processor.size)
        if size != _in_words(assumed.size):
            untold[name] = size
    if processor.num_frames != config.stream("video").num_frames:
        untold["num_frames"] = processor.num_frames
    return untold


def _in_words(value: Any) -> Any:
    """A field's value to compare and print: a list with spaces, a size as HEIGHTxWIDTH."""
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    if isinstance(value, (Mapping, SizeDict)):
        return f"{value['height']}x{value['width']}"
    return value


def check_folder(folder: str | Path, overwrite: bool = False) -> None:
    """Raise `FileExistsError` if a model may not be written there: something is, and `overwrite` is off, or what is
    there is no HSTA model."""
    folder = Path(folder)
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not folder.is_dir() or not (folder / "config.json").is_file():
        raise FileExistsError(f"{folder} exists and is no saved model; it is left alone. Give a new folder.")
    if not overwrite:
        raise FileExistsError(f"{folder} holds a model; give a new folder, or replace its files with --overwrite.")


def save_model_folder(
    model: HSTAForMicroExpressionClassification,
    processor: HSTAVideoProcessor,
    folder: str | Path,
    overwrite: bool = False,
) -> None:
    """Save weights, configuration, processor and code files as one folder, as a training does.

    A new folder appears whole or not at all. Over an old model its files are replaced one by one; others stay.

    Raises:
        FileExistsError: if `folder` is not empty and `overwrite` is off, or it is no saved model.
    """
    folder = Path(folder).resolve()  # "." has no name to derive another from
    check_folder(folder, overwrite)
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    processor.save_pretrained(temporary)
    if folder.is_dir():
        for file in temporary.iterdir():
            os.replace(file, folder / file.name)
        temporary.rmdir()
    else:
        os.replace(temporary, folder)


__all__ = [
    "ReleasedCheckpoint",
    "check_folder",
    "read_released_checkpoint",
    "released_processor",
    "save_model_folder",
    "untold_fields",
    "write_released_checkpoint",
]
