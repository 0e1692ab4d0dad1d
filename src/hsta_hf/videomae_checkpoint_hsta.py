"""Reading a VideoMAE or VideoMAE v2 checkpoint, whichever layout it comes in, without running any code of its own.

Two layouts of tensors are known, wherever they lie in the file and whatever stands before their names:

- transformers': `embeddings.patch_embeddings.projection`, `encoder.layer.{i}.attention.attention.query`, …
- the original one of VideoMAE and VideoMAE v2: `patch_embed.proj`, `blocks.{i}.attn.qkv`, `attn.q_bias`, …

The file is copied into saved model folders, so it imports nothing of this package.
"""

from __future__ import annotations

import argparse
import json
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download, is_offline_mode
from huggingface_hub.errors import (
    EntryNotFoundError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import VideoMAEConfig
from transformers.models.videomae.modeling_videomae import get_sinusoid_encoding_table

CONFIG_FILE = "config.json"
WEIGHT_FILES = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")

# The tubelet embedding tells where the encoder lies: what stands before its name stands before all of the encoder's.
_TUBELETS = {
    "embeddings.patch_embeddings.projection": r"encoder\.layer\.(\d+)\.(.+)",
    "patch_embed.proj": r"blocks\.(\d+)\.(.+)",
}
# A layer's modules in the original layout, and in transformers'.
_MODULES = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_RENAMED = {f"{old}.{kind}": f"{new}.{kind}" for old, new in _MODULES.items() for kind in ("weight", "bias")}
_ATTENTION = "attention.attention"
_RENAMED |= {"attn.q_bias": f"{_ATTENTION}.query.bias", "attn.v_bias": f"{_ATTENTION}.value.bias"}
# Checkpoints that transformers wrote before its version 5.
_RENAMED |= {f"{_ATTENTION}.q_bias": f"{_ATTENTION}.query.bias", f"{_ATTENTION}.v_bias": f"{_ATTENTION}.value.bias"}
_WEIGHTS = [f"{_ATTENTION}.{name}.weight" for name in ("query", "key", "value")]
_BIASES = {f"{_ATTENTION}.query.bias", f"{_ATTENTION}.value.bias"}
_NEEDED = {f"{module}.{kind}" for module in _MODULES.values() for kind in ("weight", "bias")} | set(_WEIGHTS)

# What other models have in a layer, by how the tensor's name begins.
_UNSUPPORTED = {
    "gamma_": "LayerScale",
    "attn.scale": "cosine attention",
    "attn.qkv.bias": "one bias over q, k and v",
    "mlp.layers": "MMAction2's layout",
}
_SKIPPED = {
    "decoder": "the pre-training decoder",
    "encoder_to_decoder": "the pre-training decoder",
    "mask_token": "the pre-training decoder",
    "norm.": "a final LayerNorm; HSTA's belong to its [CLS]",
    "layernorm.": "a final LayerNorm; HSTA's belong to its [CLS]",
    "fc_norm.": "a final LayerNorm; HSTA's belong to its [CLS]",
    "head.": "a head of another task",
    "classifier.": "a head of another task",
}
# Fields of a VideoMAE v2 `model_config`, and what VideoMAEConfig calls them.
_V2_FIELDS = {
    "img_size": "image_size",
    "num_frames": "num_frames",
    "num_heads": "num_attention_heads",
    "layer_norm_eps": "layer_norm_eps",
    "drop_rate": "hidden_dropout_prob",
    "attn_drop_rate": "attention_probs_dropout_prob",
}
_V2_GEOMETRY = {
    "embed_dim": "hidden_size",
    "patch_size": "patch_size",
    "tubelet_size": "tubelet_size",
    "in_chans": "num_channels",
    "qkv_bias": "qv_bias",
}
_ORIGINAL_EPS = 1e-6  # of every VideoMAE and VideoMAE v2 model in its authors' code


@dataclass
class VideoMAECheckpoint:
    """The encoder of a VideoMAE checkpoint.

    Attributes:
        origin: the file, folder or Hub repository.
        tensors: the tubelet embedding and the encoder layers, under the names that `VideoMAEModel` gives them.
        names: for each of them its name in the checkpoint.
        geometry: fields of `VideoMAEConfig` that the checkpoint tells. A bare file tells no `num_attention_heads`,
            `image_size` and `num_frames`.
        skipped: the checkpoint's other entries, each with the reason.
    """

    origin: str
    tensors: dict[str, torch.Tensor] = field(repr=False)
    names: dict[str, str] = field(repr=False)
    geometry: dict[str, Any]
    skipped: list[str] = field(repr=False)


def read_videomae(path_or_repo: str) -> VideoMAECheckpoint:
    """Read a VideoMAE checkpoint.

    Args:
        path_or_repo: a folder or Hub repository that holds `config.json` and weights (safetensors, sharded or not, or
            else `pytorch_model.bin`, read with `weights_only=True`), as transformers or VideoMAE v2 write it; or one
            file of weights, `.safetensors` or what `torch.save` wrote.

    Raises:
        FileNotFoundError: if there is no such file, folder or repository, or it lacks the files looked for.
        ValueError: if the tensors are in neither layout, an encoder layer has parts that VideoMAE's has not (or lacks
            some), positions were learned, or the configuration and the tensors disagree.
    """
    origin = str(path_or_repo)
    if Path(origin).is_file():
        return _checkpoint(origin, *_load(Path(origin)), described=None)
    unreached: list[str] = []
    config = _find(origin, CONFIG_FILE, unreached)
    # Without the configuration there is nothing to do with weights, and an unreachable Hub is slow to ask again.
    names = WEIGHT_FILES if config is not None else ()
    found = next((path for name in names if (path := _find(origin, name, unreached)) is not None), None)
    if config is None or found is None:
        if unreached:
            raise _out_of_reach(origin, unreached)
        missing = CONFIG_FILE if config is None else " or ".join(WEIGHT_FILES)
        raise FileNotFoundError(
            f"{origin} has no {missing}. Looked for {CONFIG_FILE} and one of {', '.join(WEIGHT_FILES)} in a local "
            "folder of that name, then on the Hub and in its cache. Give a folder or Hub repository with a VideoMAE "
            "or VideoMAE v2 model, or one .safetensors or .pth file."
        )
    try:
        described = json.loads(config.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{origin}: {CONFIG_FILE} is no JSON ({error}).") from error
    entries: dict[str, Any] = {}
    skipped: list[str] = []
    for path in _shards(origin, found) if found.name.endswith(".index.json") else [found]:
        part, beside = _load(path)
        entries |= part
        skipped += beside
    return _checkpoint(origin, entries, skipped, described)


def _find(origin: str, name: str, unreached: list[str]) -> Path | None:
    """The file of that name, or None; `unreached` takes the name where nobody could be asked for it."""
    folder = Path(origin)
    if folder.is_dir():
        return folder / name if (folder / name).is_file() else None
    if folder.is_absolute() or origin.count("/") > 1 or origin.startswith("."):  # no name of a Hub repository
        return None
    try:
        return Path(hf_hub_download(origin, name))
    except LocalEntryNotFoundError:  # out of reach, and not in the cache
        unreached.append(name)
        return None
    except (EntryNotFoundError, HFValidationError):  # not in the repository
        return None
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{origin} is no local file or folder, and no repository of the Hub that you can read; looked for {name} "
            f"there. {error}"
        ) from error


def _out_of_reach(origin: str, unreached: list[str]) -> FileNotFoundError:
    why = "HF_HUB_OFFLINE is set" if is_offline_mode() else "no connection"
    return FileNotFoundError(
        f"{origin} is no local file or folder, and the Hub could not be reached ({why}); the Hub's cache on this "
        f"machine lacks its {' or '.join(unreached)}. Where there is a connection, `hf download {origin} --local-dir "
        "FOLDER` makes a local copy, which `--videomae FOLDER` takes (in Python: from_videomae(FOLDER)); "
        "`--videomae null` starts from scratch."
    )


def _shards(origin: str, index: Path) -> list[Path]:
    names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    unreached: list[str] = []
    paths = [_find(origin, name, unreached) for name in names]
    if unreached:
        raise _out_of_reach(origin, unreached)
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    if missing:
        raise FileNotFoundError(f"{origin} has no {', '.join(missing)}, which its {index.name} names.")
    return [path for path in paths if path is not None]


def _load(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The tensors of a file by name, and what lay beside them."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path), []
        # Checkpoints of the original training code carry their command line's argparse.Namespace, which is plain data.
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        if named is not None:
            raise ValueError(
                f"{path} holds a {named[1]}, which is more than weights and is not loaded, because loading it can run "
                "code. Save its tensors as safetensors where you trust the file, and give that."
            ) from error
        raise ValueError(f"{path} is no whole file of weights: {error}") from error
    skipped: list[str] = []
    while isinstance(loaded, Mapping):
        nested = next((key for key in ("model", "module", "state_dict") if isinstance(loaded.get(key), Mapping)), None)
        if nested is None:
            return dict(loaded), skipped
        skipped += [f"{key} (beside the weights in the file)" for key in loaded if key != nested]
        loaded = loaded[nested]
    raise ValueError(f"{path} holds a {type(loaded).__name__}; wanted tensors by name, alone or under 'model'.")


def _checkpoint(
    origin: str, entries: dict[str, Any], skipped: list[str], described: dict[str, Any] | None
) -> VideoMAECheckpoint:
    tubelets, prefix = _locate(origin, entries)
    checkpoint = VideoMAECheckpoint(origin, {}, {}, {}, list(skipped))
    layers: dict[int, dict[str, str]] = {}
    for key, value in entries.items():
        name = key.removeprefix(prefix)
        layer = re.fullmatch(_TUBELETS[tubelets], name) if key.startswith(prefix) else None
        if not isinstance(value, torch.Tensor):
            checkpoint.skipped.append(f"{key} (a {type(value).__name__}, no tensor)")
        elif layer is not None:
            layers.setdefault(int(layer[1]), {})[layer[2]] = key
        elif key.startswith(prefix + tubelets):
            _put(checkpoint, f"embeddings.patch_embeddings.projection.{name.rsplit('.', 1)[1]}", key, value)
        elif name in ("pos_embed", "embeddings.position_embeddings"):
            checkpoint.skipped.append(_positions(origin, key, value))
        else:
            parts = name.removeprefix("module.").removeprefix("model.")
            reason = next((why for start, why in _SKIPPED.items() if parts.startswith(start)), "no place for it")
            checkpoint.skipped.append(f"{key} ({reason})")
    for number in range(max(layers, default=-1) + 1):
        _put_layer(checkpoint, number, layers.get(number, {}), entries)
    checkpoint.geometry = _geometry(checkpoint, described, original=tubelets == "patch_embed.proj")
    return checkpoint


def _locate(origin: str, entries: dict[str, Any]) -> tuple[str, str]:
    """Which layout it is, as the name of its tubelet embedding, and what stands before the encoder's names."""
    found = [
        (tubelets, key.removesuffix(f"{tubelets}.weight"))
        for key in entries
        for tubelets in _TUBELETS
        if key == f"{tubelets}.weight" or key.endswith(f".{tubelets}.weight")
    ]
    if len(found) != 1:
        what = "several encoders" if found else "no VideoMAE encoder"
        wanted = " or ".join(f"{name}.weight" for name in _TUBELETS)
        names = ", ".join([prefix + tubelets for tubelets, prefix in found] or list(entries)[:6]) or "nothing"
        raise ValueError(f"{origin} holds {what}: looked for {wanted}, found {names}.")
    return found[0]


def _put(checkpoint: VideoMAECheckpoint, name: str, key: str, value: torch.Tensor) -> None:
    checkpoint.tensors[name], checkpoint.names[name] = value, key


def _put_layer(checkpoint: VideoMAECheckpoint, number: int, keys: dict[str, str], entries: dict[str, Any]) -> None:
    """One encoder layer under transformers' names; nothing of it may be missing or left over."""
    layer: dict[str, tuple[str, torch.Tensor]] = {}
    for name, key in keys.items():
        if name == "attn.qkv.weight":
            thirds = entries[key].chunk(3)
            layer |= {new: (f"{key}[{new.split('.')[2]}]", part) for new, part in zip(_WEIGHTS, thirds, strict=True)}
        else:
            layer[_RENAMED.get(name, name)] = (key, entries[key])
    left_over = [
        next((f"{key} ({why})" for start, why in _UNSUPPORTED.items() if keys_name.startswith(start)), key)
        for keys_name, key in keys.items()
        if keys_name != "attn.qkv.weight" and _RENAMED.get(keys_name, keys_name) not in _NEEDED | _BIASES
    ]
    missing = sorted(_NEEDED - set(layer))
    if len(_BIASES & set(layer)) == 1:
        missing += sorted(_BIASES - set(layer))
    if left_over or missing:
        problems = [f"has {', '.join(left_over)}, which VideoMAE has not"] if left_over else []
        problems += [f"lacks {', '.join(missing)}"] if missing else []
        raise ValueError(f"{checkpoint.origin}: encoder layer {number} {' and '.join(problems)}.")
    for name, (key, value) in layer.items():
        _put(checkpoint, f"encoder.layer.{number}.{name}", key, value)


def _positions(origin: str, key: str, value: torch.Tensor) -> str:
    """The line of the report for a stored position table, which has to be the one that is computed here."""
    if value.ndim == 3 and value.shape[0] == 1:
        table = get_sinusoid_encoding_table(value.shape[1], value.shape[2])
        if torch.allclose(value.float(), table, atol=1e-2 if value.dtype != torch.float32 else 1e-5):
            return f"{key} (the sinusoid table, which is computed)"
    raise ValueError(
        f"{origin}: {key} of shape {tuple(value.shape)} is not VideoMAE's sinusoid table. Learned positions are not "
        "supported: HSTA's streams compute theirs."
    )


def _geometry(checkpoint: VideoMAECheckpoint, described: dict[str, Any] | None, original: bool) -> dict[str, Any]:
    """Fields of `VideoMAEConfig`: what the tensors tell, and what the configuration adds to it."""
    projection = checkpoint.tensors["embeddings.patch_embeddings.projection.weight"]
    width, channels, tubelet, *patch = projection.shape
    told: dict[str, Any] = {
        "hidden_size": width,
        "num_channels": channels,
        "tubelet_size": tubelet,
        "patch_size": patch[0] if patch[0] == patch[1] else patch,
    }
    if "encoder.layer.0.intermediate.dense.weight" in checkpoint.tensors:
        told["intermediate_size"] = checkpoint.tensors["encoder.layer.0.intermediate.dense.weight"].shape[0]
        told["qv_bias"] = f"encoder.layer.0.{_ATTENTION}.query.bias" in checkpoint.tensors
    if described is None:
        return told | {"layer_norm_eps": _ORIGINAL_EPS if original else VideoMAEConfig().layer_norm_eps}
    asked = _described(checkpoint.origin, described)
    for name, value in told.items():
        given = asked.get(name, value)
        given = given[0] if isinstance(given, (list, tuple)) and len(set(given)) == 1 else given
        if given != value:
            raise ValueError(f"{checkpoint.origin}: {CONFIG_FILE} says {name}={given}, but the tensors have {value}.")
    return asked | told


def _described(origin: str, config: dict[str, Any]) -> dict[str, Any]:
    """What a `config.json` of transformers' VideoMAE or of VideoMAE v2 says, under `VideoMAEConfig`'s names."""
    if config.get("model_type") == VideoMAEConfig.model_type:
        return VideoMAEConfig.from_dict(config).to_dict()
    v2 = config.get("model_config")
    if not isinstance(v2, dict) or "embed_dim" not in v2:
        raise ValueError(
            f"{origin}: {CONFIG_FILE} has model_type {config.get('model_type')!r}. Known are "
            f"{VideoMAEConfig.model_type!r}, and VideoMAE v2's, whose model_config holds embed_dim."
        )
    for name in ("use_learnable_pos_emb", "cos_attn", "qk_scale"):
        if v2.get(name):
            raise ValueError(
                f"{origin}: {CONFIG_FILE} sets model_config.{name}={v2[name]}, which HSTA cannot take over."
            )
    fields = {new: v2[old] for old, new in (_V2_FIELDS | _V2_GEOMETRY).items() if old in v2}
    return {"layer_norm_eps": _ORIGINAL_EPS, **fields}
