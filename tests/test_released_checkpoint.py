"""Conversion to and from the authors' released implementation: tensors, outputs, and what is refused.

The first part is that implementation again, slow and obvious, written from the layout table of its state dict.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import conv3d, gelu, layer_norm, linear, softmax
from transformers import AutoModelForVideoClassification

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification
from hsta_hf.cli.main import main
from hsta_hf.released_checkpoint import ReleasedCheckpointError, from_released, to_released


@dataclass(frozen=True)
class Released:
    """Geometry; pairs are (special, video), the released order."""

    widths: tuple[int, int] = (24, 48)
    heads: tuple[int, int] = (2, 4)
    patches: tuple[int, int] = (12, 16)
    depth: tuple[int, int] = (1, 2)
    num_hsta_layers: int = 2
    mlp_ratio: int = 4
    tubelet: int = 2
    image_size: int = 40
    num_frames: int = 6
    num_labels: int = 5
    channels: int = 3
    qv_bias: bool = True


def _shapes(g: Released) -> Iterator[tuple[str, tuple[int, ...]]]:
    def linear_shapes(key: str, out: int, into: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{key}.weight", (out, into)
        yield f"{key}.bias", (out,)

    def norm_shapes(key: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{key}.weight", (width,)
        yield f"{key}.bias", (width,)

    for s in (0, 1):
        own, other = g.widths[s], g.widths[1 - s]
        yield f"cls_token.{s}", (1, 1, own)
        yield f"patch_embed.{s}.proj.weight", (own, g.channels, g.tubelet, g.patches[s], g.patches[s])
        yield f"patch_embed.{s}.proj.bias", (own,)
        yield from norm_shapes(f"norm.{s}", own)
        for m in range(g.num_hsta_layers):
            for i in range(g.depth[s]):
                block = f"blocks.{m}.blocks.{s}.{i}"
                yield f"{block}.attn.qkv.weight", (3 * own, own)
                if g.qv_bias:
                    yield f"{block}.attn.q_bias", (own,)
                    yield f"{block}.attn.v_bias", (own,)
                yield from linear_shapes(f"{block}.attn.proj", own, own)
                yield from norm_shapes(f"{block}.norm1", own)
                yield from norm_shapes(f"{block}.norm2", own)
                yield from linear_shapes(f"{block}.mlp.fc1", g.mlp_ratio * own, own)
                yield from linear_shapes(f"{block}.mlp.fc2", own, g.mlp_ratio * own)
            yield from norm_shapes(f"blocks.{m}.projs.{s}.0", own)
            yield from linear_shapes(f"blocks.{m}.projs.{s}.2", other, own)
            yield from norm_shapes(f"blocks.{m}.fusion.{s}.norm1", other)
            for name in ("wq", "wk", "wv", "proj"):
                yield from linear_shapes(f"blocks.{m}.fusion.{s}.attn.{name}", other, other)
            yield from norm_shapes(f"blocks.{m}.revert_projs.{s}.0", other)
            yield from linear_shapes(f"blocks.{m}.revert_projs.{s}.2", own, other)
    yield from linear_shapes("head", g.num_labels, sum(g.widths))


def released_tensors(g: Released, seed: int = 0) -> dict[str, torch.Tensor]:
    """A random state dict in the released layout."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, shape in _shapes(g):
        is_norm = len(shape) == 1 and key.endswith("weight")
        weights[key] = float(is_norm) + 0.1 * torch.randn(shape, generator=generator)
    return weights


def released_forward(
    weights: dict[str, torch.Tensor], g: Released, clip: torch.Tensor
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, torch.Tensor]]]:
    """Logits, and both [CLS] (special, video) after each HSTA layer, of `(batch, channels, frames, height, width)`:
    first the video's frames, then the two special ones."""

    def norm(key: str, x: torch.Tensor) -> torch.Tensor:
        return layer_norm(x, x.shape[-1:], weights[f"{key}.weight"], weights[f"{key}.bias"], 1e-6)

    def dense(key: str, x: torch.Tensor) -> torch.Tensor:
        return linear(x, weights[f"{key}.weight"], weights[f"{key}.bias"])

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
        size = q.shape[-1] // heads
        parts = []
        for h in range(heads):
            qh, kh, vh = (x[..., h * size : (h + 1) * size] for x in (q, k, v))
            parts.append(softmax(qh @ kh.transpose(1, 2) / size**0.5, dim=-1) @ vh)
        return torch.cat(parts, dim=-1)

    def usta(key: str, x: torch.Tensor, heads: int) -> torch.Tensor:
        q, k, v = linear(norm(f"{key}.norm1", x), weights[f"{key}.attn.qkv.weight"]).chunk(3, dim=-1)
        if g.qv_bias:
            q, v = q + weights[f"{key}.attn.q_bias"], v + weights[f"{key}.attn.v_bias"]
        x = x + dense(f"{key}.attn.proj", attend(q, k, v, heads))
        return x + dense(f"{key}.mlp.fc2", gelu(dense(f"{key}.mlp.fc1", norm(f"{key}.norm2", x))))

    def mlp(key: str, x: torch.Tensor) -> torch.Tensor:
        return dense(f"{key}.2", gelu(norm(f"{key}.0", x)))

    streams = []
    for s, frames in enumerate((clip[:, :, -2:], clip[:, :, : g.num_frames])):
        kernel = weights[f"patch_embed.{s}.proj.weight"]
        patches = conv3d(frames, kernel, weights[f"patch_embed.{s}.proj.bias"], stride=kernel.shape[2:])
        cls = weights[f"cls_token.{s}"].expand(len(clip), -1, -1)
        x = torch.cat([cls, patches.flatten(2).transpose(1, 2)], dim=1)
        position = torch.arange(x.shape[1], dtype=torch.float64)[:, None]
        dimension = torch.arange(g.widths[s], dtype=torch.float64)
        angles = position / 10000 ** (2 * (dimension // 2) / g.widths[s])
        streams.append(x + torch.where(dimension % 2 == 0, angles.sin(), angles.cos()).to(x.dtype))
    cls_tokens = []
    for m in range(g.num_hsta_layers):
        for s in (0, 1):
            for i in range(g.depth[s]):
                streams[s] = usta(f"blocks.{m}.blocks.{s}.{i}", streams[s], g.heads[s])
        fused = []
        for s in (0, 1):
            projected = mlp(f"blocks.{m}.projs.{s}", streams[s][:, :1])
            key = f"blocks.{m}.fusion.{s}"
            tokens = norm(f"{key}.norm1", torch.cat([projected, streams[1 - s][:, 1:]], dim=1))
            q, k, v = (
                dense(f"{key}.attn.{name}", x) for name, x in (("wq", tokens[:, :1]), ("wk", tokens), ("wv", tokens))
            )
            attended = projected + dense(f"{key}.attn.proj", attend(q, k, v, g.heads[1 - s]))
            fused.append(mlp(f"blocks.{m}.revert_projs.{s}", attended))
        streams = [torch.cat([fused[s], streams[s][:, 1:]], dim=1) for s in (0, 1)]
        cls_tokens.append((streams[0][:, 0], streams[1][:, 0]))
    final = torch.cat([norm(f"norm.{s}", streams[s])[:, 0] for s in (0, 1)], dim=-1)
    return dense("head", final), cls_tokens


def our_settings(g: Released) -> dict[str, Any]:
    return {
        "special_heads": g.heads[0],
        "video_heads": g.heads[1],
        "image_size": g.image_size,
        "num_frames": g.num_frames,
    }


def random_clip(g: Released, batch: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(batch, g.channels, g.num_frames + 2, g.image_size, g.image_size, generator=generator)


def worst_difference(
    model: HSTAForMicroExpressionClassification,
    clip: torch.Tensor,
    logits: torch.Tensor,
    cls_tokens: list[tuple[torch.Tensor, torch.Tensor]],
) -> float:
    """Largest |difference| of the model from the given logits and (special, video) [CLS] after each HSTA layer."""
    frames = clip.transpose(1, 2)
    with torch.no_grad():
        out = model(frames[:, :-2], frames[:, -2:], output_hidden_states=True)
    assert len(out.special_hidden_states) == len(out.video_hidden_states) == len(cls_tokens) + 1
    pairs = [(out.logits, logits)]
    for m, (special, video) in enumerate(cls_tokens):
        pairs += [(out.special_hidden_states[m + 1][:, 0], special), (out.video_hidden_states[m + 1][:, 0], video)]
    assert all(ours.shape == theirs.shape for ours, theirs in pairs)
    return max((ours - theirs).abs().max().item() for ours, theirs in pairs)


def assert_same_tensors(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(wanted)
    for key, value in wanted.items():
        assert found[key].dtype == value.dtype, key
        assert torch.equal(found[key], value), key


def reference_vectors(shared: Path, name: str) -> tuple[dict[str, torch.Tensor], Released, dict[str, torch.Tensor]]:
    folder = shared / "reference"
    noted = json.loads((folder / f"{name}.json").read_text())
    geometry = Released(
        widths=(noted["embed_dim"]["special"], noted["embed_dim"]["video"]),
        heads=(noted["num_heads"]["special"], noted["num_heads"]["video"]),
        patches=(noted["patch_size"]["special"], noted["patch_size"]["video"]),
        depth=(noted["depth"][0][0], noted["depth"][0][1]),
        num_hsta_layers=len(noted["depth"]),
        image_size=noted["image_size"],
        num_frames=noted["num_frames"],
        num_labels=noted["num_classes"],
    )
    return (
        load_file(folder / f"{name}.weights.safetensors"),
        geometry,
        load_file(folder / f"{name}.vectors.safetensors"),
    )


@pytest.mark.parametrize("name", ["released_a", "released_b"])
def test_released_models_give_their_outputs_through_the_command_line(
    name: str, shared_dir: Path, tmp_path: Path
) -> None:
    weights, g, vectors = reference_vectors(shared_dir, name)
    source, folder = shared_dir / "reference" / f"{name}.weights.safetensors", tmp_path / "model"
    heads = ["--special_heads", str(g.heads[0]), "--video_heads", str(g.heads[1])]
    asked = [*heads, "--image_size", str(g.image_size)]
    assert main(["convert", "--checkpoint", str(source), "--output", str(folder), *asked]) == 0
    model = AutoModelForVideoClassification.from_pretrained(folder).eval()
    cls_tokens = [(vectors[f"hsta_{m}.cls_special"], vectors[f"hsta_{m}.cls_video"]) for m in range(g.num_hsta_layers)]
    assert worst_difference(model, vectors["input"], vectors["logits"], cls_tokens) <= 1e-5
    for ending in (".safetensors", ".pth"):
        back = tmp_path / f"back{ending}"
        assert main(["convert", "--to_released", "--checkpoint", str(folder), "--output", str(back)]) == 0
        found = load_file(back) if ending == ".safetensors" else torch.load(back, weights_only=True)
        assert_same_tensors(found, weights)


@pytest.mark.parametrize("name", ["released_a", "released_b"])
def test_the_slow_reference_of_this_file_is_the_released_implementation(name: str, shared_dir: Path) -> None:
    weights, g, vectors = reference_vectors(shared_dir, name)
    assert {key: value.shape for key, value in released_tensors(g).items()} == {
        key: value.shape for key, value in weights.items()
    }
    logits, cls_tokens = released_forward(weights, g, vectors["input"])
    assert (logits - vectors["logits"]).abs().max() <= 1e-5
    for m, (special, video) in enumerate(cls_tokens):
        assert (special - vectors[f"hsta_{m}.cls_special"]).abs().max() <= 1e-5
        assert (video - vectors[f"hsta_{m}.cls_video"]).abs().max() <= 1e-5


GEOMETRIES = {
    "patch 12 does not divide 40": Released(),
    "special stream wider and deeper": Released(widths=(32, 16), heads=(4, 2), depth=(3, 1), patches=(8, 16)),
    "streams alike": Released(widths=(24, 24), heads=(3, 3), patches=(16, 16), depth=(1, 1), num_hsta_layers=3),
    "no q and v biases": Released(qv_bias=False, num_hsta_layers=1),
    "other tubelet, MLP, channels, frames": Released(
        tubelet=1, mlp_ratio=3, channels=1, num_frames=5, num_labels=2, num_hsta_layers=1
    ),
}


@pytest.mark.parametrize("g", GEOMETRIES.values(), ids=GEOMETRIES.keys())
def test_any_geometry_is_read_off_the_tensors_and_comes_back_the_same(g: Released) -> None:
    weights = released_tensors(g)
    model = from_released(weights, **our_settings(g))
    logits, cls_tokens = released_forward(weights, g, random_clip(g))
    assert worst_difference(model, random_clip(g), logits, cls_tokens) <= 1e-5
    assert_same_tensors(to_released(model), weights)
    config = model.config
    assert (config.num_hsta_layers, config.num_labels) == (g.num_hsta_layers, g.num_labels)
    assert (config.num_special_layers, config.num_video_layers) == g.depth
    for s, name in enumerate(("special", "video")):
        stream = config.stream(name)
        assert (stream.hidden_size, stream.num_attention_heads) == (g.widths[s], g.heads[s])
        assert (stream.patch_size, stream.tubelet_size, stream.num_channels) == (g.patches[s], g.tubelet, g.channels)
        assert stream.intermediate_size == g.mlp_ratio * g.widths[s]
        assert (stream.qv_bias, stream.layer_norm_eps, stream.image_size) == (g.qv_bias, 1e-6, g.image_size)
        assert stream.num_frames == (g.num_frames if name == "video" else 2)
    assert (config.block_style, config.first_patch_position) == ("released", 1)
    assert config.classification_loss == "cross_entropy"


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_the_dtype_is_kept(dtype: torch.dtype) -> None:
    weights = {key: value.to(dtype) for key, value in released_tensors(Released()).items()}
    model = from_released(weights, **our_settings(Released()))
    assert model.dtype == dtype
    assert_same_tensors(to_released(model), weights)


def test_what_comes_back_shares_no_memory_with_the_model() -> None:
    model = from_released(released_tensors(Released()), **our_settings(Released()))
    to_released(model)["head.bias"].fill_(5.0)
    assert not (model.classifier.bias == 5.0).any()


def without(*keys: str) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda weights: [weights.pop(key) for key in keys] and None


def with_tensor(
    key: str, *shape: int, dtype: torch.dtype = torch.float32
) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda weights: weights.update({key: torch.zeros(shape, dtype=dtype)})


def drop_matching(pattern: str) -> Callable[[dict[str, torch.Tensor]], None]:
    return lambda weights: [weights.pop(key) for key in list(weights) if re.match(pattern, key)] and None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_tensor("fc_norm.weight", 48), r"unknown: fc_norm\.weight$"),
        (with_tensor("blocks.0.blocks.1.0.gamma_1", 48), r"unknown: blocks\.0\.blocks\.1\.0\.gamma_1$"),
        (with_tensor("pos_embed", 1, 5, 48), r"unknown: pos_embed$"),
        (without("norm.1.bias", "blocks.1.fusion.0.attn.wk.bias"), r"missing: blocks\.1\.f.*wk\.bias, norm\.1\.bias$"),
        (without("blocks.1.blocks.0.0.attn.v_bias"), r"missing: blocks\.1\.blocks\.0\.0\.attn\.v_bias$"),
        (without("cls_token.0"), r"missing: cls_token\.0$"),
        (with_tensor("cls_token.0", 1, 1, 25), r"of another shape: cls_token\.0 is \(1, 1, 25\), wanted \(1, 1, 24\)"),
        (with_tensor("blocks.1.blocks.1.0.attn.qkv.weight", 96, 48), r"qkv\.weight is \(96, 48\), wanted \(144, 48\)"),
        (with_tensor("head.weight", 5, 144), r"head\.weight is \(5, 144\), wanted \(5, 72\)"),
        (with_tensor("head.bias", 5, dtype=torch.float16), r"weight is torch\.float32.*head\.bias \(torch\.float16\)"),
        (drop_matching(r"blocks\.1\.blocks\.1\.1\."), r"HSTA layer 1 has 1 USTA layers on the video .* layer 0 has 2"),
        (drop_matching(r"blocks\.1\.blocks\.1\.0\."), r"HSTA layer 1: the video stream has USTA layers \[1\]"),
        (drop_matching(r"blocks\.1\.blocks\.0\."), r"HSTA layer 1: the special stream has USTA layers \[\]"),
        (drop_matching(r"blocks\.\d\.blocks\.0\."), r"blocks\.0\.blocks\.0\.0\.mlp\.fc1\.weight missing"),
        (drop_matching(r"blocks\.0\."), r"no state dict of the.*blocks\.0\..*Its \d+ keys are.*norm\.1\.weight"),
        (without("head.weight"), r"head\.weight missing"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_its_keys(
    change: Callable[[dict[str, torch.Tensor]], None], said: str
) -> None:
    weights = released_tensors(Released())
    change(weights)
    with pytest.raises(ReleasedCheckpointError, match=said):
        from_released(weights, **our_settings(Released()))


def test_a_hole_among_the_hsta_layers_is_named() -> None:
    weights = released_tensors(Released(num_hsta_layers=3))
    drop_matching(r"blocks\.1\.")(weights)
    with pytest.raises(ReleasedCheckpointError, match=r"HSTA layers \[1\] .* of 3 are missing"):
        from_released(weights, **our_settings(Released()))


def test_every_problem_is_listed_at_once() -> None:
    weights = released_tensors(Released())
    without("norm.0.bias")(weights)
    with_tensor("extra", 1)(weights)
    with_tensor("head.bias", 6)(weights)
    with pytest.raises(ReleasedCheckpointError) as caught:
        from_released(weights, **our_settings(Released()))
    assert [line.strip().split(":")[0] for line in str(caught.value).splitlines()[1:]] == [
        "unknown", "missing", "of another shape",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("widths", "hint"),
    [
        ((384, 768), "released implementation's model of these widths has 12 in both"),
        ((192, 384), "released implementation's model of these widths has 6 in both"),
        ((64, 128), "heads of 64, as usual, would be 2 and 1"),
        ((24, 48), "heads must divide these widths"),
    ],
)
def test_heads_are_asked_for_with_the_widths(widths: tuple[int, int], hint: str) -> None:
    weights = released_tensors(Released(widths=widths, num_hsta_layers=1, depth=(1, 1)))
    for given in ({}, {"video_heads": 2}, {"special_heads": 2}):
        with pytest.raises(ReleasedCheckpointError, match=f"stream is {widths[1]} wide, .* {widths[0]}.*{hint}"):
            from_released(weights, **given)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"video_heads": 5}, "video_heads is 5, which does not divide the video stream's width of 48"),
        ({"special_heads": 0}, "special_heads is 0, which does not divide the special stream's width of 24"),
        ({"image_size": 15}, "image_size is 15 pixels, less than one patch of the video stream: 16"),
        ({"labels": ["a", "b"]}, r"labels are \['a', 'b'\]; the head has 5 rows"),
        ({"labels": list("abcda")}, "the head has 5 rows, so give as many different names"),
        ({"num_frames": 0}, "num_frames is 0; a stream has at least one frame"),
        ({"layer_norm_eps": 0.0}, r"layer_norm_eps is 0\.0; it must be above 0"),
        ({"num_frames": 5}, "num_frames=5 is not a multiple of tubelet_size=2"),
    ],
)
def test_settings_that_do_not_fit_are_named(setting: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        from_released(released_tensors(Released()), **{**our_settings(Released()), **setting})


def test_models_that_the_released_implementation_does_not_have_are_not_written_for_it() -> None:
    stream = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32}
    fields: dict[str, Any] = {"video_config": stream, "special_config": stream, "num_hsta_layers": 1}
    with pytest.raises(ReleasedCheckpointError, match="first_patch_position is 0"):
        to_released(HSTAForMicroExpressionClassification(HSTAConfig(**fields)))
    fields |= {"first_patch_position": 1}
    assert "head.weight" in to_released(HSTAForMicroExpressionClassification(HSTAConfig(**fields)))
    for field, value in {
        "block_style": "paper",
        "use_csta": False,
        "use_video_stream": False,
        "num_special_layers": 0,
        "special_config": {**stream, "hidden_act": "relu"},
    }.items():
        model = HSTAForMicroExpressionClassification(HSTAConfig(**{**fields, field: value}))
        with pytest.raises(ReleasedCheckpointError, match=f"no such model.*{field}"):
            to_released(model)
    fields["special_config"] = {**stream, "image_size": 48}
    with pytest.raises(ReleasedCheckpointError, match="image_size is 32 for the video, 48 for the special stream"):
        to_released(HSTAForMicroExpressionClassification(HSTAConfig(**fields)))
    fields["special_config"] = {**stream, "layer_norm_eps": 1e-5}
    with pytest.raises(ReleasedCheckpointError, match="layer_norm_eps is 1e-06 for the video, 1e-05 for the special"):
        to_released(HSTAForMicroExpressionClassification(HSTAConfig(**fields)))
    fields["video_config"] = fields["special_config"]  # what conversion with another epsilon leaves
    assert "head.weight" in to_released(HSTAForMicroExpressionClassification(HSTAConfig(**fields)))


@pytest.mark.slow
def test_a_full_size_model_converts_runs_and_comes_back(tmp_path: Path) -> None:
    """The released base model's geometry, which has patches of 12 on 224 pixels; through the command line."""
    g = Released(
        widths=(384, 768),
        heads=(12, 12),
        patches=(12, 16),
        depth=(1, 2),
        num_hsta_layers=4,
        image_size=224,
        num_labels=7,
    )
    weights = {key: 0.4 * value if value.ndim > 1 else value for key, value in released_tensors(g).items()}
    file, folder, back = tmp_path / "checkpoint-149.pth", tmp_path / "model", tmp_path / "back.pth"
    torch.save({"model": weights, "epoch": 149, "args": argparse.Namespace(model_header_mode=2)}, file)
    heads = ["--video_heads", "12", "--special_heads", "12"]
    start = time.perf_counter()
    assert main(["convert", "--checkpoint", str(file), "--output", str(folder), *heads]) == 0
    converted = time.perf_counter()
    model = AutoModelForVideoClassification.from_pretrained(folder).eval()
    clip = random_clip(g, batch=1)
    assert model.hsta.special_embeddings.position_embeddings.shape == (1, 1 + 18 * 18, 384)
    assert model.hsta.video_embeddings.position_embeddings.shape == (1, 1 + 3 * 14 * 14, 768)
    logits, cls_tokens = released_forward(weights, g, clip)
    loaded = time.perf_counter()
    worst = worst_difference(model, clip, logits, cls_tokens)
    ran = time.perf_counter()
    assert main(["convert", "--to_released", "--checkpoint", str(folder), "--output", str(back)]) == 0
    wrote = time.perf_counter()
    print(
        f"{model.num_parameters():,} parameters: converted in {converted - start:.1f} s, one clip in "
        f"{ran - loaded:.2f} s, written back in {wrote - ran:.1f} s; largest difference {worst:.1e}"
    )
    assert worst <= 1e-5
    assert_same_tensors(torch.load(back, weights_only=True), weights)
