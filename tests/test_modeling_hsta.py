"""HSTAModel and its classifier: shapes, styles, streams, losses, attention implementations, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from hsta_hf.configuration_hsta import HSTAConfig
from hsta_hf.modeling_hsta import HSTACrossAttention, HSTAForMicroExpressionClassification, HSTAModel

STREAM = {
    "hidden_size": 24,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": 32,
    "patch_size": 16,
}
SPECIAL = {**STREAM, "hidden_size": 16, "num_attention_heads": 2, "patch_size": 12}  # 12 does not divide 32


def small_config(**fields: Any) -> HSTAConfig:
    fields = {"num_hsta_layers": 2, "num_labels": 5, **fields}
    return HSTAConfig(video_config=dict(STREAM), special_config=dict(SPECIAL), **fields)


def small_model(seed: int = 0, **fields: Any) -> HSTAForMicroExpressionClassification:
    torch.manual_seed(seed)
    return HSTAForMicroExpressionClassification(small_config(**fields)).eval()


@pytest.fixture
def pixels() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "pixel_values": torch.randn(3, 6, 3, 32, 32, generator=generator),
        "special_pixel_values": torch.randn(3, 2, 3, 32, 32, generator=generator),
    }


@pytest.mark.parametrize("block_style", ["released", "paper"])
def test_outputs_have_the_documented_shapes(block_style: str, pixels: dict[str, torch.Tensor]) -> None:
    model = small_model(block_style=block_style)
    labels = torch.tensor([0, 1, 4])
    with torch.no_grad():
        out = model(**pixels, labels=labels, output_attentions=True, output_hidden_states=True)
    assert out.loss.ndim == 0
    assert out.logits.shape == (3, 5)
    assert out.video_cls.shape == (3, 24)
    assert out.special_cls.shape == (3, 16)
    heads_v, heads_s = (4, 2) if block_style == "released" else (1, 1)
    n_v, n_s = 1 + 3 * 4, 1 + 4  # 3 tubelets of 2x2 patches; 1 tubelet of 2x2 patches
    assert [h.shape for h in out.video_hidden_states] == [(3, n_v, 24)] * 3
    assert [h.shape for h in out.special_hidden_states] == [(3, n_s, 16)] * 3
    assert [a.shape for a in out.video_attentions] == [(3, heads_v, n_v, n_v)] * 4
    assert [a.shape for a in out.special_attentions] == [(3, heads_s, n_s, n_s)] * 2
    assert [a.shape for a in out.video_cross_attentions] == [(3, heads_s, 1, n_s)] * 2
    assert [a.shape for a in out.special_cross_attentions] == [(3, heads_v, 1, n_v)] * 2
    for maps in (out.video_attentions, out.video_cross_attentions, out.special_cross_attentions):
        for attention in maps:
            torch.testing.assert_close(attention.sum(-1), torch.ones_like(attention.sum(-1)))


def test_outputs_not_asked_for_are_absent(pixels: dict[str, torch.Tensor]) -> None:
    out = small_model()(**pixels)
    assert set(out.keys()) == {"logits", "video_cls", "special_cls"}


@pytest.mark.parametrize("block_style", ["released", "paper"])
def test_sdpa_and_eager_agree(block_style: str, pixels: dict[str, torch.Tensor]) -> None:
    model = small_model(block_style=block_style)
    logits = {}
    for implementation in ("eager", "sdpa"):
        model.set_attn_implementation(implementation)
        assert model.config.stream("video")._attn_implementation == implementation
        with torch.no_grad():
            logits[implementation] = model(**pixels).logits
    assert (logits["eager"] - logits["sdpa"]).abs().max() <= 1e-5


def test_asking_for_attentions_under_sdpa_changes_no_logit(pixels: dict[str, torch.Tensor]) -> None:
    model = small_model()
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        plain, mapped = model(**pixels), model(**pixels, output_attentions=True)
    assert (plain.logits - mapped.logits).abs().max() <= 1e-5
    assert len(mapped.video_attentions) == 4


class ScaledLinear(nn.Linear):
    """Stands for an adapter: a layer that computes more than its weight says."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(hidden_states)


@pytest.mark.parametrize("block_style", ["released", "paper"])
def test_csta_attends_without_keys_and_values_to_the_same_numbers(block_style: str) -> None:
    config = small_config(block_style=block_style)
    torch.manual_seed(5)
    video, special = config.stream("video"), config.stream("special")
    cross = HSTACrossAttention(video, special, block_style).eval()
    for parameter in cross.parameters():
        nn.init.normal_(parameter, std=0.5)
    cls, patches = torch.randn(3, 1, video.hidden_size), torch.randn(3, 7, special.hidden_size)

    def run() -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        cross.zero_grad()
        result, weights = cross(cls, patches, True)
        result.square().sum().backward()
        return result.detach(), weights.detach(), [p.grad.clone() for p in cross.parameters()]

    folded = run()
    for name in ("key", "value"):  # another class of the same weights: keys and values are computed
        getattr(cross, name).__class__ = type("Linear", (nn.Linear,), {})
    projected = run()
    torch.testing.assert_close(folded[0], projected[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(folded[1], projected[1], atol=1e-5, rtol=1e-5)
    for ours, expected in zip(folded[2], projected[2], strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)


def test_csta_calls_layers_that_are_more_than_their_weight(pixels: dict[str, torch.Tensor]) -> None:
    model = small_model()
    with torch.no_grad():
        plain = model(**pixels).logits
        model.hsta.layers[0].video_cross.value.__class__ = ScaledLinear
        assert not torch.allclose(model(**pixels).logits, plain, atol=1e-6)


@pytest.mark.parametrize("use_csta", [True, False])
@pytest.mark.parametrize("block_style", ["released", "paper"])
def test_what_no_output_needs_is_not_computed_and_changes_nothing(
    block_style: str, use_csta: bool, pixels: dict[str, torch.Tensor]
) -> None:
    model = small_model(block_style=block_style, use_csta=use_csta)
    multiplications = []
    logits = []
    for wanted in (False, True):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            logits.append(model(**pixels, output_hidden_states=wanted).logits)
        multiplications.append(counter.get_total_flops())
    torch.testing.assert_close(logits[0], logits[1], atol=1e-5, rtol=1e-5)
    # With a CSTA the last layer's patches are read; without one its queries and MLP serve the [CLS] alone.
    assert multiplications[0] == multiplications[1] if use_csta else multiplications[0] < multiplications[1]


@pytest.mark.parametrize("how", ["float32", "bfloat16", "autocast"])
def test_the_position_table_is_not_copied_in_a_step(how: str, pixels: dict[str, torch.Tensor]) -> None:
    model = small_model()
    if how == "bfloat16":
        model, pixels = model.to(torch.bfloat16), {name: x.to(torch.bfloat16) for name, x in pixels.items()}
    shapes = {x.position_embeddings.shape for x in (model.hsta.video_embeddings, model.hsta.special_embeddings)}
    copied = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.clone) and result.shape in shapes:
                copied.append(func)
            return result

    with Copies(), torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        model(**pixels)
        assert not copied
        model.hsta.video_embeddings.position_embeddings.clone()
    assert copied, "this test would see a copy"


def test_csta_reads_both_streams_as_they_were_and_changes_cls_only(pixels: dict[str, torch.Tensor]) -> None:
    model = small_model(num_hsta_layers=1, num_video_layers=0, num_special_layers=0).hsta
    with torch.no_grad():
        out = model(**pixels, output_hidden_states=True)
        video, special = out.video_hidden_states[0], out.special_hidden_states[0]
        layer = model.layers[0]
        video_cls, _ = layer.video_cross(video[:, :1], special[:, 1:])
        special_cls, _ = layer.special_cross(special[:, :1], video[:, 1:])
    torch.testing.assert_close(out.video_hidden_states[1][:, :1], video_cls)
    torch.testing.assert_close(out.special_hidden_states[1][:, :1], special_cls)
    torch.testing.assert_close(out.video_hidden_states[1][:, 1:], video[:, 1:])
    torch.testing.assert_close(out.special_hidden_states[1][:, 1:], special[:, 1:])


@pytest.mark.parametrize("stream", ["video", "special"])
@pytest.mark.parametrize("block_style", ["released", "paper"])
def test_one_stream_alone_runs_without_the_others_pixels(
    stream: str, block_style: str, pixels: dict[str, torch.Tensor]
) -> None:
    other = "special" if stream == "video" else "video"
    model = small_model(**{f"use_{other}_stream": False}, block_style=block_style)
    assert not any(f"{other}." in name or f"{other}_" in name for name, _ in model.named_parameters())
    name = "pixel_values" if stream == "video" else "special_pixel_values"
    with torch.no_grad():
        alone = model(**{name: pixels[name]}, output_attentions=True)
        both = model(**pixels)
    torch.testing.assert_close(alone.logits, both.logits)
    assert alone[f"{stream}_cls"] is not None
    assert getattr(alone, f"{other}_cls") is None
    assert getattr(alone, f"{other}_attentions") is None
    assert getattr(alone, f"{stream}_cross_attentions") is None


@pytest.mark.parametrize(
    ("m", "l_v", "l_s"), [(1, 0, 0), (1, 12, 0), (1, 0, 12), (12, 1, 1), (3, 2, 1), (4, 2, 1), (8, 1, 1)]
)
@pytest.mark.parametrize("use_csta", [True, False])
def test_every_depth_builds_trains_and_has_as_many_layers_as_asked(
    m: int, l_v: int, l_s: int, use_csta: bool, pixels: dict[str, torch.Tensor]
) -> None:
    model = small_model(num_hsta_layers=m, num_video_layers=l_v, num_special_layers=l_s, use_csta=use_csta).train()
    assert len(model.hsta.layers) == m
    assert all(len(layer.video) == l_v and len(layer.special) == l_s for layer in model.hsta.layers)
    assert all((layer.video_cross is not None) == use_csta for layer in model.hsta.layers)
    loss = model(**pixels, labels=torch.tensor([0, 1, 2])).loss
    loss.backward()
    assert torch.isfinite(loss)
    assert model.classifier.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("block_style", ["released", "paper"])
def test_m_from_1_to_12_and_l_from_0_to_12_run(block_style: str, pixels: dict[str, torch.Tensor]) -> None:
    depths = [(m, 1, 1) for m in range(1, 13)] + [(1, depth, depth) for depth in range(13)]
    for m, l_v, l_s in depths:
        model = small_model(num_hsta_layers=m, num_video_layers=l_v, num_special_layers=l_s, block_style=block_style)
        with torch.no_grad():
            out = model(**pixels, output_attentions=True)
        assert torch.isfinite(out.logits).all()
        found = (len(out.video_attentions), len(out.special_attentions), len(out.video_cross_attentions))
        assert found == (m * l_v, m * l_s, m)


@pytest.mark.parametrize("block_style", ["released", "paper"])
@pytest.mark.parametrize("classification_loss", ["mse", "cross_entropy"])
def test_both_styles_and_losses_overfit_three_clips(
    block_style: str, classification_loss: str, pixels: dict[str, torch.Tensor]
) -> None:
    model = small_model(block_style=block_style, classification_loss=classification_loss).train()
    labels = torch.tensor([3, 0, 2])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(**pixels, labels=labels).loss.backward()
        optimizer.step()
    assert model.eval()(**pixels).logits.argmax(-1).tolist() == labels.tolist()


def test_losses_are_what_the_paper_and_the_released_code_say(pixels: dict[str, torch.Tensor]) -> None:
    labels = torch.tensor([3, 0, 2])
    for loss in ("mse", "cross_entropy"):
        out = small_model(classification_loss=loss)(**pixels, labels=labels)
        scores = out.logits.softmax(-1)
        one_hot = torch.eye(5)[labels]
        slow = ((scores - one_hot) ** 2).mean() if loss == "mse" else -(one_hot * scores.log()).sum(-1).mean()
        torch.testing.assert_close(out.loss, slow)


@pytest.mark.parametrize("classification_loss", ["mse", "cross_entropy"])
def test_action_units_are_a_multi_label_target(classification_loss: str, pixels: dict[str, torch.Tensor]) -> None:
    model = small_model(problem_type="multi_label_classification", classification_loss=classification_loss)
    labels = torch.tensor([[1, 0, 0, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 1]])
    out = model(**pixels, labels=labels)
    scores, target = out.logits.sigmoid(), labels.float()
    slow = (scores - target) ** 2
    if classification_loss == "cross_entropy":
        slow = -(target * scores.log() + (1 - target) * (1 - scores).log())
    torch.testing.assert_close(out.loss, slow.mean())
    with pytest.raises(ValueError, match=r"labels have shape \(3,\); wanted \(3, 5\)"):
        model(**pixels, labels=torch.tensor([0, 1, 2]))


def test_wrong_inputs_are_named(pixels: dict[str, torch.Tensor]) -> None:
    model = small_model()
    with pytest.raises(ValueError, match="HSTA needs special_pixel_values"):
        model(pixels["pixel_values"])
    with pytest.raises(ValueError, match=r"pixel_values has shape \(6, 3, 32, 32\); wanted \(batch, frames"):
        model(pixels["pixel_values"][0], pixels["special_pixel_values"])
    with pytest.raises(ValueError, match="The input has 4 frames"):
        model(pixels["pixel_values"][:, :4], pixels["special_pixel_values"])
    seven = torch.cat([pixels["pixel_values"], pixels["pixel_values"][:, :1]], dim=1)
    with pytest.raises(ValueError, match=r"The input has 7 frames; .*num_frames=6"):
        model(seven, pixels["special_pixel_values"])
    with pytest.raises(ValueError, match=r"The input has 1 frames; .*num_frames=2"):
        model(pixels["pixel_values"], pixels["special_pixel_values"][:, :1])
    with pytest.raises(ValueError, match="problem_type is 'regression'"):
        small_model(problem_type="regression")(**pixels, labels=torch.tensor([0, 1, 2]))


def test_dropout_and_stochastic_depth_act_in_training_only(pixels: dict[str, torch.Tensor]) -> None:
    model = small_model(drop_path_rate=0.5, classifier_dropout=0.5)
    with torch.no_grad():
        torch.testing.assert_close(model(**pixels).logits, model(**pixels).logits)
        model.train()
        assert not torch.allclose(model(**pixels).logits, model(**pixels).logits)
    rates = [layer.video[0].drop_path.rate for layer in model.hsta.layers]
    assert rates == [0.0, 0.5]


def test_gradient_checkpointing_gives_the_same_gradients(pixels: dict[str, torch.Tensor]) -> None:
    labels = torch.tensor([0, 1, 2])
    grads = []
    for checkpointing in (False, True):
        model = small_model().train()
        if checkpointing:
            # the name that transformers 5.23 brought, or the older one
            name = "activation_checkpointing_enable"
            getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()
            assert model.hsta.layers[0].video[0].gradient_checkpointing
        model(**pixels, labels=labels).loss.backward()
        grads.append({name: p.grad.clone() for name, p in model.named_parameters()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grads[1][name], grad, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("first_patch_position", [0, 1])
def test_saving_writes_safetensors_and_loading_gives_the_same_logits(
    first_patch_position: int, pixels: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    model = small_model(first_patch_position=first_patch_position)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert set(weights) == {name for name, _ in model.named_parameters()}, "positions are computed, not stored"
    again = HSTAForMicroExpressionClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(again(**pixels).logits, model(**pixels).logits)
    headless = HSTAModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(headless(**pixels).video_cls, model(**pixels).video_cls)


def test_positions_start_where_the_configuration_says() -> None:
    released = small_model(first_patch_position=1).hsta.video_embeddings.position_embeddings
    videomae = small_model(first_patch_position=0).hsta.video_embeddings.position_embeddings
    assert released.shape == videomae.shape == (1, 13, 24)
    assert videomae[0, 0].abs().sum() == 0
    torch.testing.assert_close(released[0, :-1], videomae[0, 1:])
