"""Training with sharded weights (FSDP2): what has to be settled with accelerate, and whole weights out of shards.

Each process then keeps a part of every weight, as a DTensor, and gathers a block's weights only while it computes with
them. Functions that say so have to be called by all processes at once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import torch
from accelerate import Accelerator
from accelerate.utils import DynamoBackend, disable_fsdp_ram_efficient_loading
from torch import nn

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_ADVICE = "Or launch without FSDP (accelerate launch --multi_gpu): each process holds the whole model then."


def fsdp_is_asked_for() -> bool:
    """Whether `accelerate launch` or the training arguments ask for FSDP."""
    return os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def read_weights_everywhere() -> None:
    """Under FSDP: let every process read and draw the whole model before it keeps its shards.

    accelerate's default is that only the first one does and the others hold nothing, which saves memory for models
    far larger than this one; what is then made of a model before it is sharded would be made of nothing.
    """
    if fsdp_is_asked_for():
        disable_fsdp_ram_efficient_loading()


def settle_sharding(accelerator: Accelerator, model: nn.Module) -> None:
    """Check what FSDP is asked for, and have it shard `model` block by block.

    Blocks are the module classes of `_no_split_modules`, with the patch embeddings in place of the whole embeddings:
    accelerate shards what `get_input_embeddings` returns by itself, and a weight can be sharded once only.

    Raises:
        ValueError: FSDP is asked for in a form that does not work; the message says which does.
    """
    plugin = getattr(accelerator.state, "fsdp_plugin", None)
    if plugin is None:
        if fsdp_is_asked_for() and accelerator.num_processes > 1:
            raise ValueError(f"FSDP is asked for, and accelerate does not offer it on {accelerator.device}. {_ADVICE}")
        return
    if plugin.fsdp_version != 2:
        raise ValueError(
            f"FSDP {plugin.fsdp_version} is asked for; checkpoints and the moving average work with FSDP 2 only "
            f"(--fsdp_version 2). {_ADVICE}"
        )
    if "FULL_STATE_DICT" not in str(plugin.state_dict_type):
        raise ValueError(
            f"FSDP is asked for with {getattr(plugin.state_dict_type, 'name', plugin.state_dict_type)}, whose "
            "checkpoints are read with pickle, which can run any code. Use --fsdp_state_dict_type FULL_STATE_DICT: "
            f"the first process writes them whole. {_ADVICE}"
        )
    if plugin.activation_checkpointing:
        raise ValueError(
            "FSDP is asked for with activation checkpointing of its own, which renames weights. Set "
            "gradient_checkpointing in the recipe instead, which does the same."
        )
    dynamo = getattr(accelerator.state, "dynamo_plugin", None)
    if dynamo is not None and dynamo.backend != DynamoBackend.NO:
        raise ValueError(
            "FSDP is asked for together with torch_compile, which renames weights; switch one of them off."
        )
    _wrap_blocks(plugin, model)


def _wrap_blocks(plugin: Any, model: nn.Module) -> None:
    from torch.distributed.fsdp.wrap import size_based_auto_wrap_policy, transformer_auto_wrap_policy

    network = cast("Any", model)
    patches, embeddings = network.get_input_embeddings(), None
    for module in model.modules():
        if patches in module.children():
            embeddings = type(module).__name__
    if getattr(plugin.auto_wrap_policy, "func", plugin.auto_wrap_policy) is size_based_auto_wrap_policy:
        raise ValueError(
            "FSDP is asked for with SIZE_BASED_WRAP; HSTA is sharded block by block, whatever their size. Use "
            "--fsdp_auto_wrap_policy TRANSFORMER_BASED_WRAP."
        )
    names = plugin.transformer_cls_names_to_wrap or network._no_split_modules
    names = {type(patches).__name__ if name == embeddings else name for name in names}
    plugin.auto_wrap_policy = transformer_auto_wrap_policy
    plugin.transformer_cls_names_to_wrap = sorted(names)


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether this process holds a part of the tensor only."""
    return hasattr(tensor, "full_tensor")


def shard(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a tensor that this process holds, sharing its memory; all of it if it is not sharded."""
    return cast("DTensor", tensor.detach()).to_local() if is_sharded(tensor) else tensor.detach()


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """All of a tensor, gathered if it is sharded; all processes have to call it."""
    return cast("DTensor", tensor.detach()).full_tensor() if is_sharded(tensor) else tensor.detach()


def placed_like(value: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A whole tensor, on the device of another one and sharded as that is; all processes have to call it."""
    if not is_sharded(other):
        return value.to(other.device)
    from torch.distributed.tensor import distribute_tensor

    mesh = cast("DTensor", other).device_mesh
    return distribute_tensor(value.to(mesh.device_type), mesh, cast("DTensor", other).placements).to(other.device)


def reshard(model: nn.Module) -> None:
    """Let go of gathered weights.

    The outermost ones stay gathered after an evaluation; changes to the shards would be lost on what computes next.
    """
    for module in model.modules():
        again = getattr(module, "reshard", None)  # what `fully_shard` gives to a module
        if callable(again):
            again()


def whole_weights(model: nn.Module) -> dict[str, torch.Tensor] | None:
    """A sharded model's state in the computer's memory; None if it is not sharded. All processes have to call it."""
    reshard(model)
    state = model.state_dict()
    if not any(map(is_sharded, state.values())):
        return None
    return {name: whole(tensor).cpu() for name, tensor in state.items()}
