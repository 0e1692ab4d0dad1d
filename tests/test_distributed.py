"""DDP, FSDP and `accelerate launch` on two processes of this machine's CPU (gloo)."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize
from hsta_hf.training.arguments import HSTATrainingArguments

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_gloo_available(), reason="this PyTorch was built without gloo"),
]

STREAM = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32, "patch_size": 16}
SPECIAL = {**STREAM, "hidden_size": 16, "num_attention_heads": 2, "patch_size": 12}
WORLD = 2
# What decides which parameters take part in a step.
KINDS: dict[str, dict[str, Any]] = {
    "released": {},
    "paper": {"block_style": "paper"},
    "without CSTA": {"use_csta": False},
    "video alone": {"use_special_stream": False},
    "special alone": {"use_video_stream": False},
    "no special layers": {"num_special_layers": 0},
}


def small_model(kind: str) -> HSTAForMicroExpressionClassification:
    torch.manual_seed(0)
    config = HSTAConfig(
        video_config=dict(STREAM), special_config=dict(SPECIAL), num_hsta_layers=2, num_labels=5, **KINDS[kind]
    )
    return HSTAForMicroExpressionClassification(config).train()


def whole_batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "pixel_values": torch.randn(4, 6, 3, 32, 32, generator=generator),
        "special_pixel_values": torch.randn(4, 2, 3, 32, 32, generator=generator),
        "labels": torch.tensor([3, 0, 2, 1]),
    }


def share(rank: int) -> dict[str, torch.Tensor]:
    return {name: x[rank::WORLD] for name, x in whole_batch().items()}


def one_process(kind: str, steps: int = 1) -> tuple[list[float], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Losses, last gradients and weights of `steps` of SGD on the whole batch in one process."""
    model = small_model(kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(**whole_batch()).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, {name: p.grad for name, p in model.named_parameters()}, dict(model.named_parameters())


def mean_loss(loss: torch.Tensor) -> float:
    total = loss.detach().clone()
    dist.all_reduce(total)
    return total.item() / WORLD


def spawned(rank: int, work: Callable[..., None], port: int, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=WORLD, timeout=timedelta(seconds=120)
    )
    try:
        work(rank, *arguments)
    finally:
        dist.destroy_process_group()


def on_two_processes(work: Callable[..., None], *arguments: Any) -> None:
    """Run `work(rank, *arguments)` in two processes; an error in either is raised here."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(spawned, (work, port, arguments), nprocs=WORLD)


def ddp_steps(rank: int, kinds: list[str], folder: Path, checkpointing: bool) -> None:
    for number, kind in enumerate(kinds):
        model = small_model(kind)
        if checkpointing:
            enable_checkpointing(model)
        # The default find_unused_parameters=False: a parameter without a gradient makes the second step fail.
        wrapped = torch.nn.parallel.DistributedDataParallel(model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        losses = []
        for _ in range(2):
            optimizer.zero_grad()
            loss = wrapped(**share(rank)).loss
            loss.backward()
            optimizer.step()
            losses.append(mean_loss(loss))
        if rank == 0:
            gradients = {name: p.grad.contiguous() for name, p in model.named_parameters()}
            save_file({**gradients, "losses": torch.tensor(losses)}, folder / f"{number}.safetensors")


def enable_checkpointing(model: HSTAForMicroExpressionClassification) -> None:
    # the name that transformers 5.23 brought, or the older one
    name = "activation_checkpointing_enable"
    getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
def test_ddp_gives_the_gradients_of_one_process_on_the_whole_batch(checkpointing: bool, tmp_path: Path) -> None:
    kinds = list(KINDS)
    on_two_processes(ddp_steps, kinds, tmp_path, checkpointing)
    for number, kind in enumerate(kinds):
        losses, gradients, _ = one_process(kind, steps=2)
        found = load_file(tmp_path / f"{number}.safetensors")
        torch.testing.assert_close(found.pop("losses"), torch.tensor(losses))
        assert found.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert gradient is not None, f"{kind}: {name} takes no part in the loss"
            torch.testing.assert_close(
                found[name], gradient, atol=1e-6, rtol=1e-4, msg=lambda m, where=f"{kind} {name}": f"{where}: {m}"
            )


def fsdp2_steps(rank: int, kind: str, folder: Path) -> None:
    """`fully_shard` on every module class that `_no_split_modules` names, then on the model."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor

    model = small_model(kind)
    mesh = init_device_mesh("cpu", (WORLD,))
    names = [name for name, module in model.named_modules() if type(module).__name__ in model._no_split_modules]
    for name in names:
        fully_shard(model.get_submodule(name), mesh=mesh)
    fully_shard(model, mesh=mesh)
    assert all(isinstance(p, DTensor) for p in model.parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = model(**share(rank)).loss
        loss.backward()
        optimizer.step()
        losses.append(mean_loss(loss))
    weights = {name: p.full_tensor().detach().contiguous() for name, p in model.named_parameters()}
    if rank == 0:
        save_file({**weights, "losses": torch.tensor(losses)}, folder / "fsdp.safetensors")
        (folder / "wrapped.json").write_text(json.dumps(names))


def fsdp1_steps(rank: int, kind: str, folder: Path) -> None:
    """accelerate's FSDP plugin, which reads `_no_split_modules` to decide what it wraps."""
    from accelerate import FullyShardedDataParallelPlugin
    from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType

    model = small_model(kind)
    plugin = FullyShardedDataParallelPlugin(
        fsdp_version=1, auto_wrap_policy="transformer_based_wrap", use_orig_params=True
    )
    plugin.set_auto_wrap_policy(model)
    sharded = FullyShardedDataParallel(
        model, auto_wrap_policy=plugin.auto_wrap_policy, use_orig_params=True, device_id=torch.device("cpu")
    )
    units = [m.module for m in sharded.modules() if isinstance(m, FullyShardedDataParallel)][1:]
    optimizer = torch.optim.SGD(sharded.parameters(), lr=0.1)
    losses = []
    for _ in range(3):
        optimizer.zero_grad()
        loss = sharded(**share(rank)).loss
        loss.backward()
        optimizer.step()
        losses.append(mean_loss(loss))
    with FullyShardedDataParallel.state_dict_type(sharded, StateDictType.FULL_STATE_DICT):
        weights = {name: x.contiguous() for name, x in sharded.state_dict().items()}
    if rank == 0:
        save_file({**weights, "losses": torch.tensor(losses)}, folder / "fsdp.safetensors")
        (folder / "wrapped.json").write_text(json.dumps([type(unit).__name__ for unit in units]))


@pytest.mark.parametrize("kind", ["released", "paper"])
@pytest.mark.parametrize("steps", [fsdp1_steps, fsdp2_steps], ids=["FSDP1 of accelerate", "fully_shard"])
def test_fsdp_trains_as_one_process_does(steps: Callable[..., None], kind: str, tmp_path: Path) -> None:
    on_two_processes(steps, kind, tmp_path)
    losses, _, weights = one_process(kind, steps=3)
    found = load_file(tmp_path / "fsdp.safetensors")
    torch.testing.assert_close(found.pop("losses"), torch.tensor(losses))
    assert losses[-1] < losses[0]
    assert found.keys() == weights.keys()
    for name, weight in weights.items():
        torch.testing.assert_close(
            found[name], weight.detach(), atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    # 2 embeddings, and in each of 2 HSTA layers 2 video, 1 special and 2 cross-attention blocks
    assert len(json.loads((tmp_path / "wrapped.json").read_text())) == 2 + 2 * (2 + 1 + 2)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    synthesize(folder / "database", num_subjects=4, clips_per_subject=7, size=64, num_frames=(8, 10))
    prepare("casme3", folder / "database", folder / "prepared", PrepareOptions(faces="keep"), progress=False)
    return folder / "prepared"


def train(recipe: dict[str, Any], folder: Path, processes: int) -> Path:
    """Run `scripts/train.py` on so many processes of the CPU; returns the run folder."""
    folder.mkdir(exist_ok=True)
    (folder / "recipe.yaml").write_text(json.dumps({**recipe, "output_dir": str(folder / "run")}))
    script = [str(Path(__file__).resolve().parents[1] / "scripts" / "train.py"), str(folder / "recipe.yaml")]
    command = [sys.executable, *script]
    if processes > 1:
        # `--cpu` would start one process only; what starts several is meant for GPUs, and takes the CPU when told so.
        command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_machines", "1"]
        command += ["--num_processes", str(processes), "--mixed_precision", "no", "--dynamo_backend", "no"]
        command += ["--num_cpu_threads_per_process", "1", "--main_process_port", "0", *script]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Took ") == 1  # one process speaks for all
    return folder / "run"


def test_two_processes_of_the_training_script_compute_what_one_does(prepared: Path, tmp_path: Path) -> None:
    recipe = {
        "dataset": str(prepared),
        "num_folds": 2,
        "preset": "tiny",
        "model": {"num_hsta_layers": 1, "stream": {**STREAM, "num_attention_heads": 2}},
        "num_train_epochs": 4,
        "warmup_epochs": 1,
        "learning_rate": 1e-3,
        "total_batch_size": 4,
        "ema_decay": 0.9,
        "final_model": True,
        "disable_tqdm": True,
        "use_cpu": True,
    }
    one, two = (train(recipe, tmp_path / str(processes), processes) for processes in (1, 2))
    pooled = [json.loads((run / "metrics.json").read_text())["pooled"] for run in (one, two)]
    assert pooled[1] == pytest.approx(pooled[0], abs=1e-3)
    tables = [pd.read_parquet(run / "predictions.parquet") for run in (one, two)]
    scores = [name for name in tables[0] if name.startswith("score_")]
    assert scores and tables[0]["clip"].tolist() == tables[1]["clip"].tolist()
    np.testing.assert_allclose(tables[1][scores], tables[0][scores], atol=1e-5)
    # Had each process taken whole batches, there would be half as many steps.
    steps = [load_log(run)[-1]["step"] for run in (one, two)]
    assert steps[0] == steps[1] == 4 * (14 // 4)
    weights = [load_file(run / "final" / "model" / "model.safetensors") for run in (one, two)]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-4, rtol=1e-3)

    # Started again with one fold finished and the other not, all processes go past the one and train the other.
    for lost in (two / "folds" / "fold-01-seed-42", two / "final"):
        (lost / "metrics.json").unlink()
    train(recipe, tmp_path / "2", 2)
    again = pd.read_parquet(two / "predictions.parquet")
    np.testing.assert_allclose(again[scores], tables[1][scores], atol=1e-6)


def load_log(run: Path) -> list[dict[str, Any]]:
    entries = json.loads((run / "folds" / "fold-00-seed-42" / "log_history.json").read_text())
    return [entry for entry in entries if "loss" in entry]


def test_a_total_batch_that_cannot_be_shared_is_refused() -> None:
    arguments = HSTATrainingArguments(total_batch_size=9, gradient_accumulation_steps=2, use_cpu=True)
    with pytest.raises(ValueError, match=r"total_batch_size is 9, which 2 shares .* multiple of 2"):
        arguments.share_batches()
    arguments = HSTATrainingArguments(total_batch_size=8, gradient_accumulation_steps=2, use_cpu=True)
    arguments.share_batches()
    assert arguments.per_device_train_batch_size == 4
