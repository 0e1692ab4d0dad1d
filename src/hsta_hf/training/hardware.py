"""What a training runs on, for its `metrics.json`: a model card says what the training cost."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import torch
from accelerate import PartialState

_CPU_FACTS = Path("/proc/cpuinfo")


def hardware(device: torch.device) -> dict[str, str | int]:
    """The device of a training in words, and how many of them it has.

    Args:
        device: where the training's batches are.

    Returns:
        `device`, the GPU's or the processor's name; `devices`, how many processes train on one each; `threads`, those
        that PyTorch computes with in each process; `platform`, operating system and kind of machine.
    """
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "device": f"{device.type.upper()}, {name}" if device.type != "cuda" else name,
        "devices": PartialState().num_processes,
        "threads": torch.get_num_threads(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    """The processor's name, and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        lines = _CPU_FACTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    name = next((line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("model name")), name)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{name}, {cores} core{'s' if cores != 1 else ''}"
