"""The `paper` block style of the model against equations 1 to 16 of the paper, written out here clip by clip.

The reference takes the model's weights by name and shares no code with it. It follows the paper's text, asserts the
shapes that the paper states, and runs in float64. Where the text leaves a choice, this is the reading:

- Width: the paper has one width d; MLP1 (eq. 8) exists to match widths, so each stream has its own here, and the
  sqrt(d) of eq. 10 is of the width in which q and k live, the other stream's.
- Order: eq. 1 puts [CLS] last, eq. 8 first. Attention does not see order; the model has [CLS] first throughout.
- Eq. 6 returns the input for L = 1, so L layers would be L - 1. Tables 1 and 2 (guessing at L = 0, not at L = 1)
  speak for L layers, the input for L = 0.
- Positions: none in the paper's text. VideoMAE's sinusoids, in float32, as the embedding it cites.
- MLP1, MLP2: the paper says only "MLP"; LayerNorm, GELU, Linear as in the released implementation.
- Eq. 14 does not say whether HSTA layers share weights; they do not.
- Before eq. 16 the released implementation has one more LayerNorm per stream on the [CLS], kept here; P is a linear
  layer and a softmax, Y is one-hot, and the mean runs over clips and classes.
"""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification

EPS = 1e-6  # of every LayerNorm, as in the released implementation; the paper gives none
CLASSES = 5
LABELS = [4, 2]  # of two clips


class Stream(NamedTuple):
    """Features z_f (N, d) and z_[CLS] (d,) of one stream of one clip."""

    features: Tensor
    cls: Tensor


class Trace(NamedTuple):
    """What the reference computed for one clip, by stream name: final [CLS], the stream after the embedding and after
    each HSTA layer, USTA maps in the order of eq. 1, CSTA maps in the order of eq. 8."""

    cls: dict[str, Tensor]
    states: dict[str, list[Stream]]
    maps: dict[str, list[Tensor]]
    cross_maps: dict[str, list[Tensor]]


Weights = dict[str, Tensor]


# --- the reference -------------------------------------------------------------------------------------------------


def softmax(scores: list[Tensor]) -> Tensor:
    """SoftMax of eqs. 3 and 10 over one query's scores."""
    powers = [torch.exp(score - max(scores).detach()) for score in scores]
    return torch.stack([power / sum(powers) for power in powers])


def layer_norm(x: Tensor, w: Weights, name: str) -> Tensor:
    """LayerNorm of eq. 3 on one token (d,)."""
    (d,) = x.shape
    mean = x.sum() / d
    variance = ((x - mean) ** 2).sum() / d
    return (x - mean) / torch.sqrt(variance + EPS) * w[f"{name}.weight"] + w[f"{name}.bias"]


def mlp(x: Tensor, w: Weights, name: str) -> Tensor:
    """MLP of eqs. 8 and 11 on one token: LayerNorm, GELU (with the error function), Linear."""
    x = layer_norm(x, w, f"{name}.0")
    x = torch.stack([value * 0.5 * (1 + torch.erf(value / math.sqrt(2))) for value in x])
    return torch.stack([row @ x for row in w[f"{name}.2.weight"]]) + w[f"{name}.2.bias"]


def sinusoid(position: int, d: int) -> Tensor:
    """Row `position` of the sinusoid table of Vaswani et al. (2017), rounded to float32."""
    angles = [position / 10000 ** (2 * (j // 2) / d) for j in range(d)]
    row = [math.cos(angle) if j % 2 else math.sin(angle) for j, angle in enumerate(angles)]
    return torch.tensor(row, dtype=torch.float32).double()


def embed(clip: Tensor, w: Weights, name: str, tubelet: int, patch: tuple[int, int], first: int) -> Stream:
    """The 3D CNN and [CLS] before eq. 7, on one clip (frames, channels, height, width).

    Kernel and stride of the convolution are the tubelet, so each feature is a linear map of one flattened tubelet:
    tubelets run through time, then rows, then columns; what does not fill a tubelet at the border is not seen.
    """
    frames, channels, height, width = clip.shape
    kernels = w[f"{name}.patch_embeddings.projection.weight"]
    d = kernels.shape[0]
    matrix = kernels.reshape(d, channels * tubelet * patch[0] * patch[1])
    features: list[Tensor] = []
    for t in range(0, frames - tubelet + 1, tubelet):
        for y in range(0, height - patch[0] + 1, patch[0]):
            for x in range(0, width - patch[1] + 1, patch[1]):
                cut = clip[t : t + tubelet, :, y : y + patch[0], x : x + patch[1]]
                flat = torch.cat([cut[:, channel].flatten() for channel in range(channels)])
                token = torch.stack([row @ flat for row in matrix]) + w[f"{name}.patch_embeddings.projection.bias"]
                features.append(token + sinusoid(len(features) + first, d))
    cls = w[f"{name}.cls_token"].reshape(d)
    return Stream(torch.stack(features), cls + sinusoid(0, d) if first == 1 else cls)


def usta(z: Stream, w: Weights, name: str) -> tuple[Stream, Tensor]:
    """One USTA layer, eqs. 1 to 4, and its SoftMax matrix (N + 1, N + 1)."""
    n, d = z.features.shape
    assert z.cls.shape == (d,)
    z_in = torch.cat([z.features, z.cls[None]])  # eq. 1
    assert z_in.shape == (n + 1, d)
    matrices = [w[f"{name}.{kind}.weight"].T for kind in ("query", "key", "value")]  # torch keeps W transposed
    assert all(matrix.shape == (d, d) for matrix in matrices)
    assert not any(f"{name}.{kind}.bias" in w for kind in ("query", "key", "value"))
    q, k, v = (z_in @ matrix for matrix in matrices)  # eq. 2
    assert q.shape == k.shape == v.shape == z_in.shape
    attention = torch.stack([softmax([q_i @ k_j / math.sqrt(d) for k_j in k]) for q_i in q])
    assert attention.shape == (n + 1, n + 1)
    rows = []
    for i in range(n + 1):  # eq. 3
        mixed = sum(attention[i, j] * v[j] for j in range(n + 1))
        rows.append(layer_norm(z_in[i] + mixed, w, f"{name}.layernorm"))
    z_out = torch.stack(rows)
    assert z_out.shape == (n + 1, d)
    return Stream(z_out[:n], z_out[n]), attention  # eq. 4


def cascade(z: Stream, depth: int, w: Weights, name: str) -> tuple[Stream, list[Tensor]]:
    """L USTA layers one after the other, eqs. 5 to 7; none for L = 0."""
    maps = []
    for layer in range(depth):
        z, attention = usta(z, w, f"{name}.{layer}")
        maps.append(attention)
    return z, maps


def csta_of_one_cls(cls: Tensor, other_features: Tensor, w: Weights, name: str) -> tuple[Tensor, Tensor]:
    """One stream's new [CLS], eqs. 8 to 11, and its SoftMax row (1 + N,), the [CLS] itself first."""
    (own_d,) = cls.shape
    n, d = other_features.shape
    projected = mlp(cls, w, f"{name}.project")  # eq. 8
    assert projected.shape == (d,)
    concatenated = torch.cat([projected[None], other_features])
    assert concatenated.shape == (1 + n, d)
    matrices = [w[f"{name}.{kind}.weight"].T for kind in ("query", "key", "value")]
    assert all(matrix.shape == (d, d) for matrix in matrices)
    assert not any(f"{name}.{kind}.bias" in w for kind in ("query", "key", "value"))
    q, k, v = projected @ matrices[0], concatenated @ matrices[1], concatenated @ matrices[2]  # eq. 9
    assert q.shape == (d,) and k.shape == v.shape == (1 + n, d)
    attention = softmax([q @ k_j / math.sqrt(d) for k_j in k])
    assert attention.shape == (1 + n,)
    h = projected + sum(attention[j] * v[j] for j in range(1 + n))  # eq. 10
    out = mlp(h, w, f"{name}.revert")  # eq. 11
    assert out.shape == (own_d,)
    return out, attention


def csta(video: Stream, special: Stream, w: Weights, name: str) -> tuple[Stream, Stream, Tensor, Tensor]:
    """CSTA both ways, eqs. 12 and 13: features pass as they are, each [CLS] is renewed from the other's features."""
    video_cls, video_map = csta_of_one_cls(video.cls, special.features, w, f"{name}.video_cross")
    special_cls, special_map = csta_of_one_cls(special.cls, video.features, w, f"{name}.special_cross")
    return Stream(video.features, video_cls), Stream(special.features, special_cls), video_map, special_map


def hsta(config: HSTAConfig, clip: dict[str, Tensor], w: Weights) -> Trace:
    """M HSTA layers on one clip, eqs. 14 and 15, and the released implementation's last LayerNorm on each [CLS]."""
    streams: dict[str, Stream] = {}
    for name, pixels in clip.items():
        geometry = config.stream(name)
        size = geometry.patch_size
        patch = (size, size) if isinstance(size, int) else (size[0], size[1])
        embeddings = f"hsta.{name}_embeddings"
        streams[name] = embed(pixels, w, embeddings, geometry.tubelet_size, patch, config.first_patch_position)
    trace = Trace({}, {name: [z] for name, z in streams.items()}, {n: [] for n in clip}, {n: [] for n in clip})
    depths = {"video": config.num_video_layers, "special": config.num_special_layers}
    for m in range(config.num_hsta_layers):  # eq. 15
        for name in clip:  # eq. 14: the two USTA cascades, then the CSTA
            streams[name], maps = cascade(streams[name], depths[name], w, f"hsta.layers.{m}.{name}")
            trace.maps[name].extend(maps)
        if len(clip) == 2 and config.use_csta:
            video, special, video_map, special_map = csta(streams["video"], streams["special"], w, f"hsta.layers.{m}")
            streams = {"video": video, "special": special}
            trace.cross_maps["video"].append(video_map)
            trace.cross_maps["special"].append(special_map)
        for name in clip:
            trace.states[name].append(streams[name])
    for name in clip:
        trace.cls[name] = layer_norm(streams[name].cls, w, f"hsta.{name}_layernorm")
    return trace


def prediction(cls: dict[str, Tensor], w: Weights) -> Tensor:
    """Logits of P in eq. 16 for one clip: a linear map of [v_[CLS] || s_[CLS]].

    The head's columns are stored special first; the paper's order only renames them.
    """
    head = w["classifier.weight"]
    special = cls["special"].shape[0] if "special" in cls else 0
    columns = {"special": head[:, :special], "video": head[:, special:]}
    matrix = torch.cat([columns[name] for name in ("video", "special") if name in cls], dim=1)
    joined = torch.cat([cls[name] for name in ("video", "special") if name in cls])
    assert matrix.shape == (CLASSES, joined.shape[0])
    return torch.stack([row @ joined for row in matrix]) + w["classifier.bias"]


def loss(logits: list[Tensor], labels: list[int]) -> Tensor:
    """Eq. 16: mean squared error between scores and one-hot labels."""
    errors = []
    for clip_logits, label in zip(logits, labels, strict=True):
        scores = softmax(list(clip_logits))
        errors += [(scores[c] - (1.0 if c == label else 0.0)) ** 2 for c in range(CLASSES)]
    return torch.stack(errors).mean()


# --- the model and its inputs --------------------------------------------------------------------------------------

SMALL = {"hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 16, "patch_size": 8}
NARROW = {**SMALL, "hidden_size": 6, "patch_size": 6}  # 6 does not divide 16: a border is not seen
FLOW = {"num_channels": 2, "num_frames": 3, "tubelet_size": 1, "image_size": [8, 20], "patch_size": [4, 10]}

# name: fields of HSTAConfig. Where no stream is given, both are SMALL: the paper's one width d.
GEOMETRIES: dict[str, dict[str, Any]] = {
    "one width, M=1, L=1": {"num_hsta_layers": 1, "num_video_layers": 1, "num_special_layers": 1},
    "two widths, the paper's L_v=2, L_s=1": {"special_config": NARROW, "num_hsta_layers": 2},
    "M=3, L_v < L_s": {"special_config": NARROW, "num_hsta_layers": 3, "num_video_layers": 1, "num_special_layers": 2},
    "CSTA alone (table 2, a2)": {"video_config": NARROW, "num_video_layers": 0, "num_special_layers": 0},
    "L_s=0": {"special_config": NARROW, "num_hsta_layers": 2, "num_video_layers": 1, "num_special_layers": 0},
    "L_v=0": {"special_config": NARROW, "num_hsta_layers": 2, "num_video_layers": 0, "num_special_layers": 1},
    "no CSTA (table 2, a5)": {"use_csta": False, "num_hsta_layers": 2, "num_special_layers": 2},
    "nothing (table 2, a1)": {"use_csta": False, "num_video_layers": 0, "num_special_layers": 0},
    "video alone (table 1)": {"use_special_stream": False, "num_hsta_layers": 1, "num_video_layers": 3},
    "special alone (table 1)": {"use_video_stream": False, "num_hsta_layers": 1, "num_special_layers": 3},
    "positions as released": {"special_config": NARROW, "num_hsta_layers": 2, "first_patch_position": 1},
    "flow: oblong, no tubelets, two channels": {"special_config": {**SMALL, **FLOW}, "num_hsta_layers": 2},
}


def build(name: str, dtype: torch.dtype) -> HSTAForMicroExpressionClassification:
    """The model of a geometry. Weights are drawn so large that attention is far from uniform."""
    fields = {"video_config": SMALL, "special_config": SMALL, **GEOMETRIES[name]}
    model = HSTAForMicroExpressionClassification(HSTAConfig(block_style="paper", num_labels=CLASSES, **fields)).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(1.2 * drawn / math.sqrt(parameter[0].numel()))
            else:  # biases around 0, LayerNorm's gains around 1
                parameter.copy_(0.4 * drawn + float(parameter_name.endswith("weight")))
    return model.to(dtype)


def draw_pixels(config: HSTAConfig) -> dict[str, Tensor]:
    """(clips, frames, channels, height, width) in float32 for each stream in use, by stream name."""
    generator = torch.Generator().manual_seed(1)
    drawn = {}
    for name, used in (("video", config.use_video_stream), ("special", config.use_special_stream)):
        stream = config.stream(name)
        size = stream.image_size
        height, width = (size, size) if isinstance(size, int) else size
        if used:
            shape = (len(LABELS), stream.num_frames, stream.num_channels, height, width)
            drawn[name] = torch.randn(shape, generator=generator)
    return drawn


def inputs(pixels: dict[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    names = {"video": "pixel_values", "special": "special_pixel_values"}
    return {names[stream]: value.to(dtype) for stream, value in pixels.items()}


class Reference(NamedTuple):
    """A geometry's inputs in float32, and what the reference makes of them in float64."""

    pixels: dict[str, Tensor]
    traces: list[Trace]
    logits: list[Tensor]
    loss: Tensor
    gradients: dict[str, Tensor | None]


@functools.cache
def reference(name: str) -> Reference:
    model = build(name, torch.float64)
    weights = {n: p.detach().clone().requires_grad_() for n, p in model.named_parameters()}
    pixels = draw_pixels(model.config)
    traces = [hsta(model.config, {s: v[b].double() for s, v in pixels.items()}, weights) for b in range(len(LABELS))]
    logits = [prediction(trace.cls, weights) for trace in traces]
    error = loss(logits, LABELS)
    error.backward()
    return Reference(pixels, traces, logits, error, {n: weight.grad for n, weight in weights.items()})


def assert_equal(ours: Tensor, slow: Tensor, tolerance: float, what: str) -> None:
    assert ours.shape == slow.shape, f"{what}: {tuple(ours.shape)} against {tuple(slow.shape)}"
    difference = (ours.double() - slow).abs().max().item()
    assert difference <= tolerance, f"{what}: differs by {difference:.1e}, more than {tolerance:.0e}"


# --- the tests -----------------------------------------------------------------------------------------------------

PRECISIONS = pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 2e-5)], ids=["float64", "float32"]
)
EVERY_GEOMETRY = pytest.mark.parametrize("name", GEOMETRIES)


@PRECISIONS
@EVERY_GEOMETRY
def test_model_follows_the_equations(name: str, dtype: torch.dtype, tolerance: float) -> None:
    model, expected = build(name, dtype), reference(name)
    with torch.no_grad():
        out = model(**inputs(expected.pixels, dtype), labels=torch.tensor(LABELS), output_hidden_states=True)
    assert_equal(out.loss, expected.loss, tolerance, "loss")
    for b, trace in enumerate(expected.traces):
        assert_equal(out.logits[b], expected.logits[b], tolerance, f"logits of clip {b}")
        for stream in expected.pixels:
            assert_equal(out[f"{stream}_cls"][b], trace.cls[stream], tolerance, f"{stream} [CLS] of clip {b}")
            states = out[f"{stream}_hidden_states"]
            assert len(states) == 1 + model.config.num_hsta_layers
            for m, (ours, slow) in enumerate(zip(states, trace.states[stream], strict=True)):
                where = f"{stream} stream of clip {b} after HSTA layer {m}"
                assert_equal(ours[b, 0], slow.cls, tolerance, f"[CLS], {where}")
                assert_equal(ours[b, 1:], slow.features, tolerance, f"features, {where}")


@PRECISIONS
@EVERY_GEOMETRY
def test_attention_maps_are_the_softmax_matrices(name: str, dtype: torch.dtype, tolerance: float) -> None:
    model, expected = build(name, dtype), reference(name)
    with torch.no_grad():
        out = model(**inputs(expected.pixels, dtype), output_attentions=True)
    checked = 0
    for b, trace in enumerate(expected.traces):
        for stream in expected.pixels:
            for i, (ours, slow) in enumerate(zip(out[f"{stream}_attentions"], trace.maps[stream], strict=True)):
                cls_first = torch.roll(slow, shifts=(1, 1), dims=(0, 1))  # eq. 1 has the [CLS] last
                assert_equal(ours[b], cls_first[None], tolerance, f"USTA map {i} of the {stream} stream")
                assert (slow - 1 / slow.shape[-1]).abs().max() > 0.01, "a uniform map would show nothing"
                checked += 1
            crossed = out.get(f"{stream}_cross_attentions") or ()
            for i, (ours, slow) in enumerate(zip(crossed, trace.cross_maps[stream], strict=True)):
                assert_equal(ours[b], slow[None, None], tolerance, f"CSTA map {i} of the {stream} stream")
                assert (slow - 1 / slow.shape[-1]).abs().max() > 0.01, "a uniform map would show nothing"
                checked += 1
    config = model.config
    per_layer = config.num_video_layers * config.use_video_stream
    per_layer += config.num_special_layers * config.use_special_stream + 2 * config.crosses_streams
    assert checked == len(LABELS) * config.num_hsta_layers * per_layer


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@EVERY_GEOMETRY
def test_logits_alone_are_the_same(name: str, implementation: str) -> None:
    """The pass of inference: nothing but logits asked for, which may skip work that no output needs."""
    model, expected = build(name, torch.float64), reference(name)
    model.set_attn_implementation(implementation)
    with torch.no_grad():
        logits = model(**inputs(expected.pixels, torch.float64)).logits
    assert_equal(logits, torch.stack(expected.logits), 1e-12, "logits")


@EVERY_GEOMETRY
def test_gradients_are_those_of_the_equations(name: str) -> None:
    model, expected = build(name, torch.float64).train(), reference(name)  # the paper's model has no dropout
    model(**inputs(expected.pixels, torch.float64), labels=torch.tensor(LABELS)).loss.backward()
    for parameter_name, parameter in model.named_parameters():
        slow = expected.gradients[parameter_name]
        if slow is None:  # no [CLS] has seen it, such as the tubelet embedding in a model without any attention
            assert parameter.grad is None or parameter.grad.abs().max() == 0, parameter_name
        else:
            assert parameter.grad is not None, f"{parameter_name} gets no gradient"
            assert_equal(parameter.grad, slow, 1e-12, f"gradient of {parameter_name}")
    reached = {n.split(".")[-2] for n, gradient in expected.gradients.items() if gradient is not None}
    assert "classifier" in reached
    assert ("projection" in reached) == (name != "nothing (table 2, a1)"), "pixels reach the loss through attention"
