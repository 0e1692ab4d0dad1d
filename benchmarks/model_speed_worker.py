"""The measuring half of `model_speed.py`: one group of configurations, in a process of its own.

    python benchmarks/model_speed_worker.py      (started by model_speed.py; reads a task as JSON from standard input)

A group is one step (inference or training) at one batch size: every model, dtype and compile state of it, measured in
the same rounds. What happens is printed as one JSON object a line after `EVENT`, so that a killed process has said
what it had and what it was at.
"""

from __future__ import annotations

import copy
import ctypes
import json
import math
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from model_speed_report import Cell
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification

EVENT = "@model_speed "
LABELS = 7
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

# Sizes by name: "base" is what the issue is about, "smoke" only shows that everything runs.
SIZES: dict[str, dict[str, Any]] = {
    "base": {
        "stream": {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "image_size": 224},
        "hsta": {},
        "videomae": {"num_hidden_layers": 12},
    },
    "smoke": {
        "stream": {"hidden_size": 64, "num_attention_heads": 2, "intermediate_size": 128, "image_size": 64},
        "hsta": {"num_hsta_layers": 2, "num_video_layers": 1},
        "videomae": {"num_hidden_layers": 2},
    },
}

# (m, k, n) of an m x k by k x n product, "T" where the second factor is stored transposed, as nn.Linear stores it.
PRODUCTS: dict[str, list[tuple[int, int, int, str]]] = {
    "cpu": [(1024, 1024, 1024, ""), (2048, 2048, 2048, ""), (4096, 768, 3072, ""), (4096, 768, 3072, "T")],
    "cuda": [(4096, 4096, 4096, ""), (8192, 8192, 8192, ""), (8192, 8192, 8192, "T"), (18848, 768, 3072, "T")],
}


def build_model(name: str, size: str, token_reduction: float) -> nn.Module:
    """A model of :data:`SIZES` with random weights; `name` as in :class:`Cell`."""
    preset = SIZES[size]
    stream = copy.deepcopy(preset["stream"])
    torch.manual_seed(0)
    if name == "videomae":
        fields = {"num_frames": 16, "num_labels": LABELS, **stream, **preset["videomae"]}
        return VideoMAEForVideoClassification(VideoMAEConfig(**fields))
    fields = {"video_config": stream, "special_config": dict(stream), **preset["hsta"]}
    if name == "hsta-efficient":
        if not hasattr(HSTAConfig(), "token_reduction"):
            raise RuntimeError("this hsta-hf has no HSTAConfig.token_reduction, so there is no efficient mode")
        fields["token_reduction"] = token_reduction
    return HSTAForMicroExpressionClassification(HSTAConfig.from_preset("base", num_labels=LABELS, **fields))


def make_inputs(model: nn.Module, batch: int, device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Random clips for a model of :func:`build_model`: the frames it is configured for, and labels."""
    config: Any = model.config

    def clip(stream: Any) -> torch.Tensor:
        shape = (batch, stream.num_frames, stream.num_channels, stream.image_size, stream.image_size)
        return torch.randn(shape).to(device, dtype)

    torch.manual_seed(1)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    if isinstance(config, VideoMAEConfig):
        return {"pixel_values": clip(config), "labels": labels}
    return {
        "pixel_values": clip(config.stream("video")),
        "special_pixel_values": clip(config.stream("special")),
        "labels": labels,
    }


def count_flops(model: Any, inputs: dict[str, torch.Tensor], training: bool) -> int:
    """Floating-point operations of one call, or of forward and backward: a multiply-add is two.

    Matrix products, convolutions and attention are counted, as torch.utils.flop_counter does; the rest (norms, GELU,
    softmax, sorting, the optimizer) is not. Attention is counted on the eager implementation: the fused kernels
    compute some products twice in the backward pass, which is how they work and no work of the model.
    """
    model.set_attn_implementation("eager")
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(training):
        loss = model(**inputs).loss
        if training:
            loss.backward()
    return int(counter.get_total_flops())


class Product:
    """The best matrix product that this device gives in one dtype: what a model's rate is a share of."""

    def __init__(self, device: torch.device, dtype: torch.dtype, quick: bool) -> None:
        self.device = device
        shapes = [(256, 256, 256, "")] if quick else PRODUCTS[device.type]
        best: dict[tuple[int, int, int, str], float] = {}
        for turn in range(1 if quick else 4):  # the first turn warms up; interleaved, so that noise hits all alike
            for shape in shapes:
                self._take(shape, dtype)
                seconds = self._run(1)
                rate = self.flops / min(seconds, self._run(1), self._run(1))
                best[shape] = max(best.get(shape, 0.0), rate) if turn else 0.0
        self._take(max(best, key=lambda shape: best[shape]), dtype)
        self._run(1)

    def _take(self, shape: tuple[int, int, int, str], dtype: torch.dtype) -> None:
        m, k, n, layout = shape
        self.shape = f"{m} x {k} x {n}{' (second factor transposed)' if layout else ''}"
        self.flops = 2 * m * k * n
        self.left = torch.randn(m, k).to(self.device, dtype)
        right = torch.randn(n, k).to(self.device, dtype)
        self.right = right.t() if layout else right.t().contiguous()
        # Written to the same place each time: no page fault, no allocation in the rate.
        self.out = torch.empty(m, n, device=self.device, dtype=dtype)

    def _run(self, times: int) -> float:
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(times):
            torch.mm(self.left, self.right, out=self.out)
        synchronize(self.device)
        return time.perf_counter() - start

    @torch.no_grad()
    def rate(self, seconds: float) -> tuple[float, float]:
        """FLOP/s over about `seconds` of products, and the share of the wall time that the CPU gave (1 when idle)."""
        times = max(2, math.ceil(seconds / max(self._run(1), 1e-6)))
        cpu = time.process_time()
        taken = self._run(times)
        given = (time.process_time() - cpu) / (taken * torch.get_num_threads())
        return self.flops * times / taken, given


def synchronize(device: torch.device) -> None:
    """Wait for the GPU, where there is one."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Runner:
    """One configuration ready to run: `call()` is one inference call or one training step."""

    def __init__(self, cell: Cell, model: nn.Module, optimizer: torch.optim.Optimizer | None, task: Any) -> None:
        self.cell = cell
        self.device = torch.device(task["device"])
        self.model = model
        self.optimizer = optimizer
        dtype = DTYPES[cell.dtype]
        # Training keeps fp32 weights and computes under autocast, as Trainer does with bf16=True.
        self.autocast = optimizer is not None and dtype is not torch.float32
        self.inputs = make_inputs(model, cell.batch, self.device, torch.float32 if optimizer else dtype)
        if optimizer is None:
            self.inputs.pop("labels")
        self.forward: Callable[..., Any] = model
        if cell.compiled:
            self.forward = torch.compile(model, fullgraph=True, dynamic=False, mode=task["compile_mode"])

    def call(self) -> None:
        if self.optimizer is None:
            with torch.no_grad():
                self.forward(**self.inputs)
            return
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            loss = self.forward(**self.inputs).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def seconds(self, calls: int) -> float:
        """Mean wall seconds of a call over `calls` of them, the GPU's work included."""
        synchronize(self.device)
        start = time.perf_counter()
        for _ in range(calls):
            self.call()
        synchronize(self.device)
        return (time.perf_counter() - start) / calls

    def held_bytes(self) -> int:
        """Bytes of weights, buffers and optimizer state. Gradients are born and freed within a step."""
        tensors = [*self.model.parameters(), *self.model.buffers()]
        if self.optimizer is not None:
            tensors += [t for s in self.optimizer.state.values() for t in s.values() if isinstance(t, torch.Tensor)]
        return sum(t.numel() * t.element_size() for t in tensors)

    def peak_bytes(self) -> tuple[float, int | None]:
        """Seconds of one call, and :meth:`held_bytes` plus the most that memory rose above its start during it.

        On a GPU the rise is that of torch's allocator, on Linux that of the resident pages (freed heap is handed back
        first, so that it cannot hide a rise). `None` elsewhere.
        """
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            seconds = self.seconds(1)
            return seconds, self.held_bytes() + torch.cuda.max_memory_allocated(self.device) - before
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
            Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of the resident pages
        except (OSError, AttributeError):
            return self.seconds(1), None
        before = _resident("VmRSS")
        seconds = self.seconds(1)
        return seconds, self.held_bytes() + max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def make_runners(cells: list[Cell], task: dict[str, Any], failed: Callable[[Cell, Exception], None]) -> list[Runner]:
    """A runner for each cell. Cells of one model share its weights (and its optimizer) where their dtype lets them."""
    device = torch.device(task["device"])
    models: dict[tuple[str, str], tuple[nn.Module, torch.optim.Optimizer | None]] = {}
    runners = []
    for cell in cells:
        key = (cell.model, "fp32" if cell.step == "training" else cell.dtype)
        try:
            if key not in models:
                model = build_model(cell.model, task["size"], task["token_reduction"])
                optimizer = None
                if cell.step == "training":
                    model.to(device).train()
                    # A rate small enough to leave the random weights as they are. One step without gradient makes the
                    # optimizer's state, which otherwise the first configuration measured would seem to allocate.
                    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-7, fused=True)
                    for parameter in model.parameters():
                        parameter.grad = torch.zeros_like(parameter)
                    optimizer.step()
                    optimizer.zero_grad(set_to_none=True)
                else:
                    model.to(device, DTYPES[cell.dtype]).eval()
                models[key] = model, optimizer
            runners.append(Runner(cell, *models[key], task))
        except Exception as error:
            failed(cell, error)
    return runners


def measure_group(task: dict[str, Any], emit: Callable[..., None]) -> None:
    """Measure all cells of a group in common rounds: product, model, product, for each cell in turn."""
    device = torch.device(task["device"])
    cells = [Cell(**cell) for cell in task["cells"]]

    def failed(cell: Cell, error: Exception) -> None:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
        emit("failed", cell=cell.name, reason=f"{type(error).__name__}: {reason[:200]}")

    runners = make_runners(cells, task, failed)
    products = {d: Product(device, DTYPES[d], task["quick"]) for d in sorted({cell.dtype for cell in cells})}
    usual: dict[str, float] = {}
    ready = []
    for runner in runners:
        name = runner.cell.name
        emit("at", cell=name, what="compiles and warms up" if runner.cell.compiled else "warms up")
        try:
            start = time.perf_counter()
            usual[name], peak = runner.peak_bytes()
            first = time.perf_counter() - start
            if runner.cell.compiled or device.type == "cuda" or first < 5:  # a long call warms up within itself
                usual[name], peak = runner.peak_bytes()
            emit("memory", cell=name, bytes=peak, first_call_s=first)
            ready.append(runner)
        except Exception as error:
            _recover(runner)
            failed(runner.cell, error)
    spent = dict.fromkeys((runner.cell.name for runner in ready), 0.0)
    for turn in range(task["rounds"]):
        due = [r for r in ready if turn < min(2, task["rounds"]) or spent[r.cell.name] < task["seconds"]]
        if not due:
            break
        for runner in due if turn % 2 == 0 else due[::-1]:  # to and fro: a slow drift favours nobody
            cell, name = runner.cell, runner.cell.name
            emit("at", cell=name, what=f"round {turn + 1}")
            window = 0.01 if task["quick"] else min(2.0, max(0.1, 0.15 * usual[name]))
            try:
                before, given_before = products[cell.dtype].rate(window)
                seconds = runner.seconds(max(1, math.ceil(0.3 / usual[name])) if not task["quick"] else 1)
                after, given_after = products[cell.dtype].rate(window)
            except Exception as error:
                _recover(runner)
                failed(cell, error)
                ready.remove(runner)
                continue
            spent[name] += max(seconds, 0.3)
            given = (given_before + given_after) / 2
            sample = {"round": turn, "seconds": seconds, "product": [before, after], "given": given}
            emit("sample", cell=name, product_shape=products[cell.dtype].shape, **sample)


def _recover(runner: Runner) -> None:
    """Free what a failed call may have left: half-made gradients, cached GPU memory."""
    runner.model.zero_grad(set_to_none=True)
    if runner.device.type == "cuda":
        torch.cuda.empty_cache()


def measure_flops(task: dict[str, Any], emit: Callable[..., None]) -> None:
    """Count each model's FLOPs for one clip, and say what machine this is."""
    emit("machine", **machine(torch.device(task["device"])))
    device = torch.device(task["device"])
    for name in task["models"]:
        emit("at", cell=name, what="counts FLOPs")
        try:
            model = build_model(name, task["size"], task["token_reduction"]).to(device)
            inputs = make_inputs(model, 1, device, torch.float32)
            counts = {step: count_flops(model, inputs, step == "training") for step in task["steps"]}
            emit("flops", model=name, counts=counts)
        except Exception as error:
            emit("no_flops", model=name, reason=f"{type(error).__name__}: {str(error).splitlines()[0][:200]}")


def machine(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on: CPU, threads, versions, GPU and TF32."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
        flags = next((set(line.split()) for line in lines if line.startswith("flags")), set())
        known = [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags]
        cpu += f" ({', '.join(known)})" if known else ""
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "cpu": cpu,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "allocator": {name: value for name, value in os.environ.items() if name.startswith("MALLOC_")},
        "gpu": gpu,
        "tf32": torch.backends.cuda.matmul.allow_tf32 if gpu else None,
    }


def main() -> int:
    """Do the task on standard input."""
    task = json.load(sys.stdin)
    torch.set_num_threads(task["threads"])
    # One switch for products and convolutions alike; torch's defaults differ between the two.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = task["tf32"]

    def emit(event: str, **values: Any) -> None:
        print(EVENT + json.dumps({"event": event, **values}), flush=True)

    (measure_flops if task["kind"] == "flops" else measure_group)(task, emit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
