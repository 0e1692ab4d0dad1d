"""Reading VideoMAE checkpoints: every layout gives the same model, and what is not understood is refused by name."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import torch
from huggingface_hub.errors import EntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import VideoMAEForPreTraining

from hsta_hf import videomae_checkpoint_hsta
from hsta_hf.data.labels import get_label_scheme
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.training.model_factory import build_model, build_processor
from hsta_hf.training.recipe import RecipeError, resolve
from hsta_hf.training.trainer import HSTATrainer, layer_of_parameter

Tensors = dict[str, torch.Tensor]
Make = Callable[..., VideoMAEForPreTraining]
Write = Callable[[Path, VideoMAEForPreTraining], Path | str]


@pytest.fixture
def source(random_videomae: Make) -> VideoMAEForPreTraining:
    return random_videomae()


def start(path: Path | str, **fields: Any) -> HSTAForMicroExpressionClassification:
    torch.manual_seed(0)  # what the checkpoint does not bring is then the same in every model that is compared
    return HSTAForMicroExpressionClassification.from_videomae(str(path), **fields).eval()


def frames(count: int, size: int = 32, seed: int = 1) -> torch.Tensor:
    return torch.randn(1, count, 3, size, size, generator=torch.Generator().manual_seed(seed))


# --- the layouts ---


def original(tensors: Tensors) -> Tensors:
    """`VideoMAEModel`'s tensors under the names of VideoMAE's and VideoMAE v2's own code."""
    renamed: Tensors = {}
    for number in range(1 + max(int(key.split(".")[2]) for key in tensors if key.startswith("encoder.layer."))):
        old, new = f"encoder.layer.{number}", f"blocks.{number}"
        attention = f"{old}.attention.attention"
        renamed[f"{new}.attn.qkv.weight"] = torch.cat(
            [tensors[f"{attention}.{name}.weight"] for name in ("query", "key", "value")]
        )
        if f"{attention}.query.bias" in tensors:
            renamed[f"{new}.attn.q_bias"] = tensors[f"{attention}.query.bias"]
            renamed[f"{new}.attn.v_bias"] = tensors[f"{attention}.value.bias"]
        for kind in ("weight", "bias"):
            renamed[f"{new}.norm1.{kind}"] = tensors[f"{old}.layernorm_before.{kind}"]
            renamed[f"{new}.norm2.{kind}"] = tensors[f"{old}.layernorm_after.{kind}"]
            renamed[f"{new}.attn.proj.{kind}"] = tensors[f"{old}.attention.output.dense.{kind}"]
            renamed[f"{new}.mlp.fc1.{kind}"] = tensors[f"{old}.intermediate.dense.{kind}"]
            renamed[f"{new}.mlp.fc2.{kind}"] = tensors[f"{old}.output.dense.{kind}"]
    for kind in ("weight", "bias"):
        renamed[f"patch_embed.proj.{kind}"] = tensors[f"embeddings.patch_embeddings.projection.{kind}"]
    return {key: value.clone() for key, value in renamed.items()}


def prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + key: value for key, value in tensors.items()}


def write_v2_folder(folder: Path, source: VideoMAEForPreTraining, **model_config: Any) -> Path:
    """A folder as VideoMAE v2's Hub repositories are: their own config.json, `model.` before every tensor."""
    folder.mkdir(parents=True)
    config = source.config
    described = {
        "img_size": config.image_size,
        "patch_size": config.patch_size,
        "in_chans": 3,
        "num_classes": 0,
        "embed_dim": config.hidden_size,
        "depth": config.num_hidden_layers,
        "num_heads": config.num_attention_heads,
        "mlp_ratio": config.intermediate_size / config.hidden_size,
        "qkv_bias": config.qv_bias,
        "qk_scale": None,
        "drop_rate": 0.0,
        "attn_drop_rate": 0.0,
        "drop_path_rate": 0.0,
        "norm_layer": "nn.LayerNorm",
        "layer_norm_eps": 1e-6,
        "init_values": 0.0,
        "use_learnable_pos_emb": False,
        "tubelet_size": config.tubelet_size,
        "use_mean_pooling": True,
        "with_cp": False,
        "num_frames": config.num_frames,
        "cos_attn": False,
        **model_config,
    }
    code = {"AutoModel": "modeling_videomaev2.VideoMAEv2", "AutoConfig": "modeling_config.VideoMAEv2Config"}
    (folder / "config.json").write_text(
        json.dumps({"model_type": "VideoMAEv2_Base", "auto_map": code, "model_config": described})
    )
    for name in ("modeling_videomaev2.py", "modeling_config.py"):
        (folder / name).write_text("raise RuntimeError('code of the repository was run')\n")
    tensors = original(source.videomae.state_dict())
    tensors |= {f"fc_norm.{kind}": torch.ones(config.hidden_size) for kind in ("weight", "bias")}
    save_file(prefixed("model.", tensors), folder / "model.safetensors")
    return folder


def write_sharded_v2_folder(folder: Path, source: VideoMAEForPreTraining) -> Path:
    whole = write_v2_folder(folder, source) / "model.safetensors"
    tensors = load_file(whole)
    whole.unlink()
    weight_map = {key: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, key in enumerate(sorted(tensors))}
    for shard in set(weight_map.values()):
        save_file({key: tensors[key] for key, place in weight_map.items() if place == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def write_pretraining_file(folder: Path, source: VideoMAEForPreTraining) -> Path:
    """As VideoMAE's pre-training saves: the encoder beside a decoder, the optimizer and the command line."""
    tensors = prefixed("encoder.", original(source.videomae.state_dict()))
    tensors |= {f"encoder.norm.{kind}": torch.ones(24) for kind in ("weight", "bias")}
    tensors |= {"encoder_to_decoder.weight": torch.ones(16, 24), "mask_token": torch.zeros(1, 1, 16)}
    tensors |= {"decoder.blocks.0.attn.qkv.weight": torch.ones(48, 16), "decoder.head.bias": torch.ones(8)}
    args = argparse.Namespace(model="pretrain_videomae_base_patch16_224", num_frames=16, window_size=(8, 14, 14))
    optimizer = torch.optim.AdamW([nn.Parameter(torch.ones(1))]).state_dict()
    saved = {"model": tensors, "optimizer": optimizer, "epoch": 1600, "scaler": {"scale": 1.0}, "args": args}
    torch.save(saved, folder / "checkpoint.pth")
    return folder / "checkpoint.pth"


def write_finetuned_file(folder: Path, source: VideoMAEForPreTraining) -> Path:
    """As DeepSpeed saves VideoMAE v2's fine-tuning: nested under `module`, a head and its norm beside the encoder."""
    tensors = original(source.videomae.state_dict())
    tensors |= {"fc_norm.weight": torch.ones(24), "head.weight": torch.ones(710, 24), "head.bias": torch.ones(710)}
    torch.save({"module": tensors}, folder / "vit_b_k710.pth")
    return folder / "vit_b_k710.pth"


def write_safetensors_file(folder: Path, source: VideoMAEForPreTraining) -> Path:
    tensors = prefixed("module.", original(source.videomae.state_dict()))
    tensors["module.pos_embed"] = source.videomae.embeddings.position_embeddings.clone()
    save_file(tensors, folder / "videomae.safetensors")
    return folder / "videomae.safetensors"


def write_half_precision_file(folder: Path, source: VideoMAEForPreTraining) -> Path:
    with torch.no_grad():  # the weights of the comparison become what half precision can hold
        for parameter in source.parameters():
            parameter.copy_(parameter.half())
    tensors = {key: value.half() for key, value in original(source.videomae.state_dict()).items()}
    torch.save(tensors, folder / "half.pt")
    return folder / "half.pt"


def write_old_transformers_folder(folder: Path, source: VideoMAEForPreTraining) -> Path:
    """As transformers 4 saved: `q_bias` and `v_bias`, here in a `pytorch_model.bin`."""
    source.save_pretrained(folder / "old")
    tensors = load_file(folder / "old" / "model.safetensors")
    (folder / "old" / "model.safetensors").unlink()
    for name in ("query", "value"):
        tensors = {key.replace(f"{name}.bias", f"{name[0]}_bias"): value for key, value in tensors.items()}
    assert "videomae.encoder.layer.0.attention.attention.q_bias" in tensors
    torch.save(tensors, folder / "old" / "pytorch_model.bin")
    return folder / "old"


def write_hub_cache(folder: Path, source: VideoMAEForPreTraining) -> str:
    """The Hub's cache with a VideoMAE v2 repository in it, as a download leaves it."""
    repository = folder / "hub" / "models--OpenGVLab--VideoMAEv2-Tiny"
    write_v2_folder(repository / "snapshots" / ("a" * 40), source)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    return "OpenGVLab/VideoMAEv2-Tiny"


LAYOUTS: dict[str, Write] = {
    "v2 folder": lambda folder, source: write_v2_folder(folder / "v2", source),
    "v2 shards": lambda folder, source: write_sharded_v2_folder(folder / "v2", source),
    "v2 on the Hub": write_hub_cache,
    "pre-training file": write_pretraining_file,
    "fine-tuned file": write_finetuned_file,
    "safetensors file": write_safetensors_file,
    "half precision": write_half_precision_file,
    "transformers 4": write_old_transformers_folder,
}


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_model_that_transformers_layout_gives(
    layout: str, tmp_path: Path, hub_cache: None, source: VideoMAEForPreTraining
) -> None:
    path = LAYOUTS[layout](tmp_path, source)
    source.save_pretrained(tmp_path / "reference")
    fields: dict[str, Any] = {"num_hsta_layers": 2, "video_config": {"image_size": 32}}
    fields["special_config"] = {"image_size": 32}
    reference = start(tmp_path / "reference", **fields)
    if Path(path).is_file():
        fields["video_config"] = {"num_attention_heads": 4, "image_size": 32}
    model = start(path, **fields)
    for stream in ("video", "special"):
        ours, theirs = model.config.stream(stream), reference.config.stream(stream)
        assert ours.to_dict() == theirs.to_dict()
    weights, wanted = model.state_dict(), reference.state_dict()
    assert set(weights) == set(wanted)
    assert all(torch.equal(weights[key], wanted[key]) for key in wanted)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    pixels = {"pixel_values": frames(6), "special_pixel_values": frames(2, seed=2)}
    with torch.no_grad():
        assert torch.equal(model(**pixels).logits, reference(**pixels).logits)
    assert model.videomae_report is not None and reference.videomae_report is not None
    assert len(model.videomae_report.loaded) == len(reference.videomae_report.loaded)
    assert model.videomae_report.initialised == reference.videomae_report.initialised


def test_nothing_of_a_pre_training_file_goes_unmentioned(tmp_path: Path, source: VideoMAEForPreTraining) -> None:
    heads = {"num_attention_heads": 4}
    report = start(write_pretraining_file(tmp_path, source), num_hsta_layers=1, video_config=heads).videomae_report
    assert report is not None
    skipped = dict(line.split(" ", 1) for line in report.skipped)
    for key in ("optimizer", "epoch", "scaler", "args"):
        assert skipped[key] == "(beside the weights in the file)"
    assert skipped["encoder.norm.weight"].startswith("(a final LayerNorm")
    for key in ("decoder.blocks.0.attn.qkv.weight", "decoder.head.bias", "encoder_to_decoder.weight", "mask_token"):
        assert skipped[key] == "(the pre-training decoder)"
    assert skipped["encoder.blocks.4.mlp.fc2.bias"] == "(deeper than the streams)"
    assert "encoder.blocks.0.attn.qkv.weight[query] -> video stream" in report.loaded
    # 224 pixels are VideoMAE's, but the file does not say so.
    assert "does not tell its number of frames and patches" in report.positions[0]


def test_giant_and_biasless_geometries_are_read_off_the_tensors(tmp_path: Path, random_videomae: Make) -> None:
    source = random_videomae(
        hidden_size=44, num_attention_heads=2, intermediate_size=192, patch_size=14, tubelet_size=1, qv_bias=False
    )
    save_file(original(source.videomae.state_dict()), tmp_path / "giant.safetensors")
    model = start(
        tmp_path / "giant.safetensors",
        special_config={"num_attention_heads": 2, "image_size": 28},
        video_config={"image_size": 28},
    )
    for stream in ("video", "special"):
        config = model.config.stream(stream)
        assert (config.hidden_size, config.intermediate_size, config.num_attention_heads) == (44, 192, 2)
        assert (config.patch_size, config.tubelet_size, config.qv_bias, config.num_channels) == (14, 1, False, 3)
        assert config.layer_norm_eps == 1e-6
    assert not any("layers.0" in name and "cross" not in name for name in model.videomae_report.initialised)


def test_a_v2_configuration_tells_what_tensors_do_not(tmp_path: Path, source: VideoMAEForPreTraining) -> None:
    model = start(write_v2_folder(tmp_path / "v2", source, layer_norm_eps=1e-3, drop_rate=0.1, attn_drop_rate=0.2))
    config = model.config.stream("video")
    assert (config.layer_norm_eps, config.image_size, config.num_attention_heads) == (1e-3, 32, 4)
    assert (config.hidden_dropout_prob, config.attention_probs_dropout_prob) == (0.1, 0.2)


# --- what is refused ---


class NotPlainData:
    """Something that `torch.save` stores as code to call."""


def broken(change: Callable[[Tensors], Any]) -> Write:
    def write(folder: Path, source: VideoMAEForPreTraining) -> Path:
        torch.save(change(original(source.videomae.state_dict())), folder / "broken.pth")
        return folder / "broken.pth"

    return write


def without(key: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: value for name, value in tensors.items() if name != key}


def v2(**model_config: Any) -> Write:
    return lambda folder, source: write_v2_folder(folder / "v2", source, **model_config)


def other_model(folder: Path, source: VideoMAEForPreTraining) -> Path:
    write_v2_folder(folder / "other", source)
    (folder / "other" / "config.json").write_text('{"model_type": "vit"}')
    return folder / "other"


def lost_shard(folder: Path, source: VideoMAEForPreTraining) -> Path:
    (write_sharded_v2_folder(folder / "v2", source) / "model-00002-of-00002.safetensors").unlink()
    return folder / "v2"


def half_a_cache(folder: Path, source: VideoMAEForPreTraining) -> str:
    """The Hub's cache after a download that ended behind config.json."""
    name = write_hub_cache(folder, source)
    next((folder / "hub").rglob("model.safetensors")).unlink()
    return name


def cache_without_a_shard(folder: Path, source: VideoMAEForPreTraining) -> str:
    name = half_a_cache(folder, source)
    lost_shard(folder, source)
    snapshot = next((folder / "hub").rglob("config.json")).parent
    for path in (folder / "v2").glob("model*"):
        path.rename(snapshot / path.name)
    return name


def half_a_file(name: str) -> Write:
    def write(folder: Path, source: VideoMAEForPreTraining) -> Path:
        whole = write_safetensors_file(folder, source).read_bytes()
        (folder / name).write_bytes(whole[: len(whole) // 2])
        return folder / name

    return write


FILES = r"config\.json and one of model\.safetensors, model\.safetensors\.index\.json, pytorch_model\.bin"
REFUSED: dict[str, tuple[Write, str]] = {
    "learned positions": (
        broken(lambda t: {**t, "pos_embed": torch.ones(1, 32, 24)}),
        "pos_embed .*Learned positions",
    ),
    "learned positions, v2": (v2(use_learnable_pos_emb=True), "model_config.use_learnable_pos_emb=True"),
    "cosine attention, v2": (v2(cos_attn=True), "model_config.cos_attn=True"),
    "cosine attention": (
        broken(lambda t: {**t, "blocks.1.attn.scale": torch.ones(4, 1, 1)}),
        r"encoder layer 1 has blocks.1.attn.scale \(cosine attention\), which VideoMAE has not",
    ),
    "LayerScale": (broken(lambda t: {**t, "blocks.0.gamma_1": torch.ones(24)}), r"blocks.0.gamma_1 \(LayerScale\)"),
    "a bias over q, k and v": (broken(lambda t: {**t, "blocks.0.attn.qkv.bias": torch.ones(72)}), "one bias over"),
    "a missing weight": (
        broken(without("blocks.1.mlp.fc1.weight")),
        "encoder layer 1 lacks intermediate.dense.weight",
    ),
    "one bias of two": (broken(without("blocks.0.attn.v_bias")), "layer 0 lacks attention.attention.value.bias"),
    "a missing layer": (
        broken(lambda t: {key.replace("blocks.0", "blocks.4"): value for key, value in t.items()}),
        "encoder layer 0 lacks",
    ),
    "another model": (
        broken(lambda t: {"conv1.weight": torch.ones(1)}),
        r"no VideoMAE encoder: looked for embeddings.patch_embeddings.projection.weight or patch_embed.proj.weight, "
        "found conv1.weight",
    ),
    "two encoders": (broken(lambda t: prefixed("teacher.", t) | prefixed("student.", t)), "several encoders"),
    "no tensors": (broken(lambda t: [1, 2]), "broken.pth holds a list; wanted tensors by name"),
    "code": (broken(lambda t: {**t, "extra": NotPlainData()}), r"holds a \S*NotPlainData, which is more than weights"),
    "half a safetensors file": (half_a_file("half.safetensors"), "no whole file of weights"),
    "half a pth file": (half_a_file("half.pth"), "no whole file of weights"),
    "another config": (other_model, "config.json has model_type 'vit'. Known are 'videomae', and VideoMAE v2's"),
    "config against tensors": (v2(embed_dim=48), "config.json says hidden_size=48, but the tensors have 24"),
    "tubelets against tensors": (v2(tubelet_size=1), "config.json says tubelet_size=1, but the tensors have 2"),
    "no heads": (broken(lambda t: t), "broken.pth does not tell its number of attention heads; say it"),
    "nothing there": (lambda folder, source: folder / "absent", rf"absent has no config\.json\. Looked for {FILES}"),
    "no connection": (
        lambda folder, source: "nobody/no-such-model",
        r"no-such-model is no local .* could not be reached \(HF_HUB_OFFLINE is set\).* lacks its config\.json\. .*"
        r"`--videomae FOLDER`.*`--videomae null`",
    ),
    "no connection for the weights": (
        half_a_cache,
        r"Tiny is no local .* could not be reached .* lacks its model\.safetensors or .* or pytorch_model\.bin\. ",
    ),
    "no connection for a shard": (cache_without_a_shard, r"Tiny .* lacks its model-00002-of-00002\.safetensors\. "),
    "no name of a repository": (lambda folder, source: "no such name", rf"no such name has no config.*{FILES}"),
    "a lost shard": (lost_shard, "v2 has no model-00002-of-00002.safetensors, which its model.safetensors.index.json"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_understood_is_refused_by_name(
    case: str, tmp_path: Path, hub_cache: None, source: VideoMAEForPreTraining
) -> None:
    write, message = REFUSED[case]
    path = write(tmp_path, source)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        start(path)


def test_a_repository_without_a_configuration_is_not_called_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(repository: str, name: str) -> str:
        raise EntryNotFoundError(f"404: no {name} in {repository}")

    monkeypatch.setattr(videomae_checkpoint_hsta, "hf_hub_download", answer)
    with pytest.raises(FileNotFoundError, match=rf"^somebody/a-model has no config\.json\. Looked for {FILES}"):
        start("somebody/a-model")


def test_a_folder_without_weights_names_the_files_looked_for(tmp_path: Path, source: VideoMAEForPreTraining) -> None:
    (write_v2_folder(tmp_path / "v2", source) / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no model\.safetensors or model\.safetensors\.index\.json or"):
        start(tmp_path / "v2")


# --- through a recipe ---


@pytest.mark.parametrize("layout", ["v2 folder", "pre-training file"])
def test_a_recipe_starts_from_every_layout_and_decays_by_layer(
    layout: str, tmp_path: Path, source: VideoMAEForPreTraining
) -> None:
    stream = {"image_size": 32, **({"num_attention_heads": 4} if layout.endswith("file") else {})}
    recipe = resolve(
        {
            "videomae": str(LAYOUTS[layout](tmp_path, source)),
            "model": {"num_hsta_layers": 2, "stream": stream},
            "layer_decay": 0.5,
            "learning_rate": 1e-3,
            "output_dir": str(tmp_path / "run"),
        }
    )
    model = build_model(recipe.model, build_processor(recipe.model), get_label_scheme("casme3_7"))
    loaded = model.hsta.layers[1].video[1].attention.attention.query.weight
    assert torch.equal(loaded, source.videomae.encoder.layer[3].attention.attention.query.weight)
    optimizer = HSTATrainer(model=model, args=recipe.training).create_optimizer()
    rates = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        assert rates[id(parameter)] == pytest.approx(1e-3 * 0.5 ** (3 - layer_of_parameter(name, 2))), name


def test_a_recipe_names_the_field_of_a_checkpoint_without_heads(
    tmp_path: Path, source: VideoMAEForPreTraining
) -> None:
    recipe = resolve({"videomae": str(write_pretraining_file(tmp_path, source))})
    with pytest.raises(RecipeError, match=r"^model: .*checkpoint\.pth does not tell its number of attention heads"):
        build_model(recipe.model, build_processor(recipe.model), get_label_scheme("casme3_7"))
