"""The model to predict with: how its faces were aligned, and where and how exactly it computes."""

from __future__ import annotations

from pathlib import Path

import torch

from hsta_hf.data.face_alignment import Detector, FaceAligner
from hsta_hf.video_processing_hsta import HSTAVideoProcessor

FACES = ("auto", "align", "keep")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# What `hsta prepare` does unless told otherwise, for models that do not say how their clips were aligned.
USUAL_ALIGNMENT = {"size": 224, "stabilise": True}


def alignment_to_use(processor: HSTAVideoProcessor, faces: str) -> dict[str, int | bool] | None:
    """How clips are to be aligned: `face_alignment` of the processor, or None.

    Args:
        processor: the model's.
        faces: "auto": as the processor says; "keep": not at all, for clips that are aligned already; "align": as it
            says, or where it says nothing, as `hsta prepare` does by itself.

    Raises:
        ValueError: `faces` is another word.
    """
    if faces not in FACES:
        raise ValueError(f"faces is {faces!r}; use one of {', '.join(FACES)}")
    if faces == "keep":
        return None
    return processor.face_alignment or (dict(USUAL_ALIGNMENT) if faces == "align" else None)


def alignment_note(processor: HSTAVideoProcessor, faces: str) -> str | None:
    """A sentence where frames are taken as they come and nobody asked for that; None elsewhere."""
    if faces != "auto" or processor.face_alignment is not None:
        return None
    return (
        "faces are not aligned: the model's processor names no face alignment, since it was trained on frames as they "
        'came, or by an older hsta-hf. If its clips were aligned, --faces align (faces="align") does the same here.'
    )


def make_aligner(
    alignment: dict[str, int | bool] | None, face_detector: str | Path | Detector | None
) -> FaceAligner | None:
    """What aligns clips; None where nothing is to be aligned.

    Args:
        alignment: what `alignment_to_use` returned.
        face_detector: the detector's ONNX file, or a detector; None: see `FaceDetector`.

    Raises:
        FileNotFoundError, ValueError: there is no detector, see `FaceDetector`; the message says how to do without.
    """
    if alignment is None:
        return None
    size, stabilise = int(alignment["size"]), bool(alignment["stabilise"])
    if face_detector is not None and not isinstance(face_detector, (str, Path)):
        return FaceAligner(size=size, stabilise=stabilise, detector=face_detector)
    try:
        return FaceAligner(face_detector, size=size, stabilise=stabilise)
    except (FileNotFoundError, ValueError) as error:
        message = (
            f'{error}. --faces keep (faces="keep") needs no detector: for clips that are aligned already, or a model '
            "that was trained on frames as they came"
        )
        raise type(error)(message) from error


def pick_device(device: str | torch.device | None) -> torch.device:
    """The device asked for, or else a GPU where there is one."""
    if device is not None:
        return torch.device(device)
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def pick_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The number format of matrix products, the rest stays float32.

    Args:
        dtype: "fp32", "bf16", "fp16", or "auto": bf16 on GPUs that multiply it, fp16 on other GPUs, else fp32, since
            a CPU without AMX is slower with bf16.
        device: where the model runs.

    Raises:
        ValueError: there is no such format, or fp16 is asked of a CPU.
    """
    if dtype != "auto" and dtype not in DTYPES:
        raise ValueError(f"dtype is {dtype!r}; use one of auto, {', '.join(DTYPES)}")
    if dtype != "auto":
        return DTYPES[dtype]
    if device.type != "cuda":
        return torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
