"""`torch.compile` takes the model as one graph, with eager's numbers, and `torch.export` exports it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification

STREAM = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 48, "image_size": 32, "patch_size": 16}
SPECIAL = {**STREAM, "hidden_size": 16, "num_attention_heads": 2, "patch_size": 12}  # 12 does not divide 32
NUM_LABELS = 5
# Two HSTA layers: stochastic depth acts from the second on.
DROPPING = {"drop_path_rate": 0.5, "classifier_dropout": 0.2}
EVERYTHING = {"output_attentions": True, "output_hidden_states": True}


@pytest.fixture(autouse=True)
def fresh_dynamo() -> Iterator[None]:
    """Every test counts its own graphs; the cache of compiled code would hide those of an earlier test."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def small_model(dropout: float = 0.0, **fields: Any) -> HSTAForMicroExpressionClassification:
    torch.manual_seed(0)
    rates = {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    config = HSTAConfig(
        video_config={**STREAM, **rates},
        special_config={**SPECIAL, **rates},
        **{"num_hsta_layers": 2, "num_video_layers": 1, "num_labels": NUM_LABELS, **fields},
    )
    model = HSTAForMicroExpressionClassification(config).eval()
    model.set_attn_implementation("sdpa")
    return model


def inputs(batch: int = 3, problem_type: str = "single_label_classification") -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    labels = torch.arange(batch) % NUM_LABELS
    if problem_type == "multi_label_classification":
        labels = torch.randint(0, 2, (batch, NUM_LABELS), generator=generator)
    return {
        "pixel_values": torch.randn(batch, 6, 3, 32, 32, generator=generator),
        "special_pixel_values": torch.randn(batch, 2, 3, 32, 32, generator=generator),
        "labels": labels,
    }


def flat(output: Any) -> dict[str, torch.Tensor]:
    """Every tensor of a model output under its own name."""
    tensors: dict[str, torch.Tensor] = {}
    for name, value in output.items():
        entries = enumerate(value) if isinstance(value, tuple) else [(0, value)]
        tensors.update({f"{name}.{i}": tensor for i, tensor in entries})
    return tensors


def step(
    model: HSTAForMicroExpressionClassification, forward: Any, given: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Outputs of one forward pass, and in training the gradients of its loss; the same random numbers every time."""
    torch.manual_seed(5)
    model.zero_grad()
    with torch.set_grad_enabled(model.training):
        output = forward(**given)
    if model.training:
        output.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return {name: x.detach() for name, x in flat(output).items()}, gradients


def check_against_eager(model: HSTAForMicroExpressionClassification, given: dict[str, Any], backend: str) -> None:
    """One graph without a break, and eager's outputs and gradients."""
    counter = CompileCounterWithBackend(backend)
    found = step(model, torch.compile(model, backend=counter, fullgraph=True), given)
    assert counter.frame_count == 1
    expected = step(model, model, given)
    for ours, eagers in zip(found, expected, strict=True):
        assert ours.keys() == eagers.keys()
        for name, tensor in eagers.items():
            torch.testing.assert_close(ours[name], tensor, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert len(found[1]) == (len(list(model.parameters())) if model.training else 0)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("block_style", ["released", "paper"])
def test_both_styles_are_one_graph(block_style: str, training: bool) -> None:
    model = small_model(block_style=block_style).train(training)
    check_against_eager(model, inputs(), "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"use_special_stream": False},
        {"use_video_stream": False, "block_style": "paper"},
        {"use_csta": False, "classification_loss": "cross_entropy"},
        {"num_video_layers": 2, "num_special_layers": 0, "first_patch_position": 1},
        {"problem_type": "multi_label_classification", "block_style": "paper"},
        {"problem_type": "multi_label_classification", "classification_loss": "cross_entropy"},
        {"token_reduction": 0.5},
        {"token_reduction": 0.5, "block_style": "paper", "use_special_stream": False},
    ],
    ids=str,
)
def test_every_kind_of_model_is_one_graph(fields: dict[str, Any]) -> None:
    model = small_model(**fields).train()
    problem = fields.get("problem_type", "single_label_classification")
    check_against_eager(model, inputs(problem_type=problem), "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"block_style": "paper"},
        {"use_special_stream": False, "token_reduction": 0.5},
        {"use_video_stream": False, "block_style": "paper"},
    ],
    ids=str,
)
def test_maps_and_hidden_states_come_out_of_one_graph(fields: dict[str, Any], training: bool) -> None:
    model = small_model(**fields).train(training)
    check_against_eager(model, {**inputs(), **EVERYTHING}, "aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize(("block_style", "attention"), [("released", "sdpa"), ("paper", "eager")])
def test_dropout_and_stochastic_depth_are_in_the_graph(block_style: str, attention: str) -> None:
    model = small_model(dropout=0.2, block_style=block_style, **DROPPING).train()
    model.set_attn_implementation(attention)
    forward = torch.compile(model, backend="aot_eager", fullgraph=True)
    given = inputs()
    losses = []
    for seed in range(4):
        torch.manual_seed(seed)
        model.zero_grad()
        loss = forward(**given).loss
        loss.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
        losses.append(loss.item())
    assert len(set(losses)) == 4, "each forward pass drops anew"
    torch.manual_seed(0)
    assert forward(**given).loss.item() == losses[0]


@pytest.mark.slow
@pytest.mark.parametrize(("block_style", "dropout"), [("released", 0.2), ("released", 0.0), ("paper", 0.2)])
def test_gradient_checkpointing_is_in_the_graph(block_style: str, dropout: float) -> None:
    model = small_model(dropout=dropout, block_style=block_style, **(DROPPING if dropout else {})).train()
    given = inputs()
    plain = step(model, torch.compile(model, backend="aot_eager", fullgraph=True), given)
    torch._dynamo.reset()
    enable_checkpointing(model)
    checkpointed = step(model, torch.compile(model, backend="aot_eager", fullgraph=True), given)
    for ours, theirs in zip(checkpointed, plain, strict=True):
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def enable_checkpointing(model: HSTAForMicroExpressionClassification) -> None:
    # the name that transformers 5.23 brought, or the older one
    name = "activation_checkpointing_enable"
    getattr(model, name if hasattr(model, name) else "gradient_checkpointing_enable")()
    assert model.hsta.layers[0].video[0].gradient_checkpointing


@pytest.mark.slow
def test_a_new_batch_size_does_not_compile_anew_each_time() -> None:
    """The first other batch size makes the batch dimension dynamic; every one after it runs the same graph."""
    model = small_model().train()
    counter = CompileCounterWithBackend("aot_eager")
    forward = torch.compile(model, backend=counter, fullgraph=True)
    for batch in (4, 2, 3, 5, 8, 7, 16):
        forward(**inputs(batch)).loss.backward()
    assert counter.frame_count == 2
    forward(**inputs(1))  # PyTorch specialises on 1, once
    forward(**inputs(6))
    forward(**inputs(1))
    assert counter.frame_count <= 3


@pytest.mark.slow
def test_dynamic_shapes_compile_on_the_first_call_only() -> None:
    model = small_model()
    counter = CompileCounterWithBackend("aot_eager")
    forward = torch.compile(model, backend=counter, fullgraph=True, dynamic=True)
    compiled = []
    for batch in (4, 2, 8):
        with torch.no_grad():
            found, expected = forward(**inputs(batch)).logits, model(**inputs(batch)).logits
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
        compiled.append(counter.frame_count)
    assert compiled[0] > 0
    assert compiled == [compiled[0]] * 3


@pytest.mark.slow
def test_explain_finds_no_graph_break() -> None:
    explained = torch._dynamo.explain(small_model().train())(**inputs(), **EVERYTHING)
    assert explained.graph_break_count == 0, explained.break_reasons
    assert explained.graph_count == 1


@pytest.mark.slow
@pytest.mark.parametrize("block_style", ["released", "paper"])
def test_the_default_backend_gives_eager_numbers(block_style: str) -> None:
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        pytest.skip(f"torch.compile's default backend needs a C++ compiler; there is no {compiler}")
    model = small_model(block_style=block_style, num_hsta_layers=1)
    check_against_eager(model, inputs(), "inductor")
    torch._dynamo.reset()
    check_against_eager(model.train(), inputs(), "inductor")


class Logits(nn.Module):
    """`torch.export` wants named inputs and plain tensors."""

    def __init__(self, model: HSTAForMicroExpressionClassification) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor, special_pixel_values: torch.Tensor) -> torch.Tensor:
        return self.model(pixel_values, special_pixel_values).logits


def check_export(model: HSTAForMicroExpressionClassification, strict: bool) -> None:
    batch = torch.export.Dim("batch")
    example = inputs(2)
    del example["labels"]
    program = torch.export.export(
        Logits(model), (), example, dynamic_shapes={name: {0: batch} for name in example}, strict=strict
    )
    for size in (1, 3, 5):
        given = inputs(size)
        del given["labels"]
        with torch.no_grad():
            found, expected = program.module()(**given), model(**given).logits
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)


def test_export_takes_any_batch() -> None:
    check_export(small_model(), strict=False)


@pytest.mark.slow
@pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
@pytest.mark.parametrize(
    "fields",
    [
        {"block_style": "paper"},
        {"use_csta": False},
        {"use_special_stream": False},
        {"use_video_stream": False},
        {"token_reduction": 0.5},
    ],
    ids=str,
)
def test_every_kind_of_model_exports(fields: dict[str, Any], strict: bool) -> None:
    check_export(small_model(**fields), strict)


@pytest.mark.slow
def test_the_whole_output_exports() -> None:
    """Not only the logits: the output dataclass with maps and hidden states goes through `torch.export` as it is."""
    model = small_model()
    given = {**inputs(), **EVERYTHING}
    with torch.no_grad():
        found = flat(torch.export.export(model, (), given).module()(**given))
        expected = flat(model(**given))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-6, rtol=1e-5)
