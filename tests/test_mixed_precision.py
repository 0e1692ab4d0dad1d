"""bf16 and fp16: the model trains under autocast, and runs in half precision, with every attention implementation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers.utils import is_flash_attn_2_available

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification

STREAM = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "image_size": 32, "patch_size": 16}
SPECIAL = {**STREAM, "hidden_size": 16, "num_attention_heads": 2, "patch_size": 12}  # 12 does not divide 32
HALF = [torch.bfloat16, torch.float16]
# Spacing of numbers at 1: 2^-8 and 2^-11. Logits are sums over some layers of such roundings.
TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 4e-3}


def small_model(**fields: Any) -> HSTAForMicroExpressionClassification:
    torch.manual_seed(0)
    config = HSTAConfig(
        video_config=dict(STREAM),
        special_config=dict(SPECIAL),
        **{"num_hsta_layers": 2, "num_labels": 5, "initializer_range": 0.1, **fields},
    )
    return HSTAForMicroExpressionClassification(config).eval()


@pytest.fixture
def given() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "pixel_values": torch.randn(4, 6, 3, 32, 32, generator=generator),
        "special_pixel_values": torch.randn(4, 2, 3, 32, 32, generator=generator),
        "labels": torch.tensor([3, 0, 2, 1]),
    }


@pytest.mark.parametrize(("classification_loss", "attention"), [("mse", "sdpa"), ("cross_entropy", "eager")])
@pytest.mark.parametrize("block_style", ["released", "paper"])
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_it_trains_under_autocast(
    dtype: torch.dtype, block_style: str, classification_loss: str, attention: str, given: dict[str, torch.Tensor]
) -> None:
    model = small_model(block_style=block_style, classification_loss=classification_loss).train()
    model.set_attn_implementation(attention)
    with torch.no_grad():
        exact = model(**given)
    # fp16 gradients may underflow, which a scaler prevents; on CPU, too.
    scaler = torch.amp.GradScaler("cpu", enabled=dtype == torch.float16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for number in range(10):
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype):
            output = model(**given)
        if number == 0:
            assert output.logits.dtype == dtype
            assert exact.logits.abs().max() > 0.1, "there is something to compare"
            assert (output.logits.float() - exact.logits).abs().max() <= TOLERANCE[dtype] * exact.logits.abs().max()
            torch.testing.assert_close(output.loss.float(), exact.loss, rtol=2 * TOLERANCE[dtype], atol=0.0)
        scaler.scale(output.loss).backward()
        scaler.unscale_(optimizer)
        for name, parameter in model.named_parameters():
            assert parameter.dtype == torch.float32
            if parameter.grad is not None:
                assert parameter.grad.dtype == torch.float32
                assert torch.isfinite(parameter.grad).all(), name
        scaler.step(optimizer)
        scaler.update()
        losses.append(output.loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("block_style", ["released", "paper"])
def test_autocast_gradients_are_close_to_exact_ones(
    block_style: str, dtype: torch.dtype, given: dict[str, torch.Tensor]
) -> None:
    model = small_model(block_style=block_style, classification_loss="cross_entropy").train()
    model(**given).loss.backward()
    exact = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    with torch.autocast("cpu", dtype):
        loss = model(**given).loss
    loss.backward()
    found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert found.shape == exact.shape
    assert (found - exact).norm() <= 3 * TOLERANCE[dtype] * exact.norm()


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_action_units_train_under_autocast(dtype: torch.dtype, given: dict[str, torch.Tensor]) -> None:
    labels = torch.tensor([[1, 0, 0, 1, 1], [0, 0, 0, 0, 0], [0, 1, 0, 0, 1], [1, 1, 0, 0, 0]])
    for loss in ("mse", "cross_entropy"):
        model = small_model(problem_type="multi_label_classification", classification_loss=loss).train()
        with torch.autocast("cpu", dtype):
            output = model(**{**given, "labels": labels})
        output.loss.backward()
        assert torch.isfinite(output.loss)
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("block_style", ["released", "paper"])
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_weights_in_half_precision_give_close_logits(
    dtype: torch.dtype, block_style: str, attention: str, given: dict[str, torch.Tensor]
) -> None:
    model = small_model(block_style=block_style)
    model.set_attn_implementation(attention)
    with torch.no_grad():
        exact = model(**given).logits
        model.to(dtype)
        half = {name: x if name == "labels" else x.to(dtype) for name, x in given.items()}
        output = model(**half, output_attentions=True, output_hidden_states=True)
    assert output.logits.dtype == output.video_hidden_states[-1].dtype == output.video_attentions[0].dtype == dtype
    assert (output.logits.float() - exact).abs().max() <= 3 * TOLERANCE[dtype] * exact.abs().max()


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_autocast_with_gradient_checkpointing_gives_the_same_gradients(
    dtype: torch.dtype, given: dict[str, torch.Tensor]
) -> None:
    gradients = []
    for checkpointing in (False, True):
        model = small_model().train()
        if checkpointing:
            # the name that transformers 5.23 brought, or the older one
            name = "activation_checkpointing_enable"
            getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()
        with torch.autocast("cpu", dtype):
            loss = model(**given).loss
        loss.backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("block_style", ["released", "paper"])
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_flash_attention_2_agrees_with_sdpa_on_a_gpu(
    dtype: torch.dtype, block_style: str, given: dict[str, torch.Tensor]
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("flash_attention_2 needs a CUDA GPU; there is none")
    if not is_flash_attn_2_available():
        pytest.skip("flash_attention_2 needs the package flash-attn, which is not installed")
    # Heads of 8 and 32 numbers, as the package wants: multiples of 8.
    model = small_model(block_style=block_style).to("cuda", dtype).train()
    half = {name: x.cuda() if name == "labels" else x.to("cuda", dtype) for name, x in given.items()}
    logits = {}
    for attention in ("sdpa", "flash_attention_2"):
        model.set_attn_implementation(attention)
        model.zero_grad()
        output = model(**half)
        output.loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        logits[attention] = output.logits.detach().float()
    difference = (logits["sdpa"] - logits["flash_attention_2"]).abs().max()
    assert difference <= 3 * TOLERANCE[dtype] * logits["sdpa"].abs().max()
