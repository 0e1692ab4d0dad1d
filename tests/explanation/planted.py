"""Small models for explanations: random ones of every kind, and one that looks at a single patch by construction."""

from __future__ import annotations

from typing import Any

import torch

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification
from hsta_hf.explanation.maps import patch_grids

STREAM = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 8, "image_size": 16, "patch_size": 8}
KINDS: dict[str, dict[str, Any]] = {
    "released": {},
    "paper": {"block_style": "paper"},
    "video alone": {"use_special_stream": False},
    "special alone": {"use_video_stream": False},
    "no crossing": {"use_csta": False},
    "merged patches": {"token_reduction": 0.4},
    "no layers of the special stream": {"num_special_layers": 0},
    "no layers of the video stream": {"num_video_layers": 0, "token_reduction": 0.3},
}


def random_model(kind: str, seed: int = 0, **fields: Any) -> HSTAForMicroExpressionClassification:
    """A model whose every parameter is random, so that no attention is even."""
    given = {
        "num_hsta_layers": 2,
        "num_video_layers": 2,
        "num_special_layers": 1,
        "video_config": {**STREAM, "num_frames": 6},
        "special_config": {**STREAM, "num_frames": 2, "tubelet_size": 1, "hidden_size": 24},
        "num_labels": 3,
    }
    model = HSTAForMicroExpressionClassification(HSTAConfig.from_preset("tiny", **{**given, **KINDS[kind], **fields}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 2 * parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 1 + 0.2 * noise)
    return model.double().eval()


def random_streams(
    model: HSTAForMicroExpressionClassification, batch: int = 1, seed: int = 1
) -> dict[str, torch.Tensor]:
    """Random inputs by stream."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        name: (grid.tubelets * grid.tubelet_size, 3, grid.rows * grid.patch_height, grid.columns * grid.patch_width)
        for name, grid in patch_grids(model.config).items()
    }
    return {
        name: torch.rand((batch, *shape), generator=generator, dtype=torch.float64) for name, shape in shapes.items()
    }


def planted_model(patch: int, through_crossing: bool) -> HSTAForMicroExpressionClassification:
    """A model that answers class 1 the surer, the brighter one patch is, and looks at no other.

    Each patch's token holds its number as a 1 in one place, and its brightness in the last place. The [CLS] of the
    video stream asks for the token with a 1 in place `patch`, and takes nothing but its brightness.

    Args:
        patch: its number among the 8 of the video stream, or, through the crossing, among the 4 of the special stream.
        through_crossing: whether the [CLS] of the video stream looks through a USTA at its own stream, or through a
            CSTA at the other.
    """
    stream = {**STREAM, "num_attention_heads": 1}
    model = HSTAForMicroExpressionClassification(
        HSTAConfig.from_preset(
            "tiny",
            num_hsta_layers=1,
            num_video_layers=0 if through_crossing else 1,
            num_special_layers=0,
            video_config={**stream, "num_frames": 4},
            special_config={**stream, "num_frames": 2},
            use_special_stream=through_crossing,
            num_labels=2,
        )
    )
    last = torch.zeros(16, 16)
    last[15, 15] = 1.0
    asked = torch.zeros(16)
    asked[patch] = 20.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "layernorm" in name and name.endswith("weight") else 0.0)
        for embeddings in (model.hsta.video_embeddings, model.hsta.special_embeddings):
            if embeddings is not None:
                numbers = torch.zeros(embeddings.position_embeddings.shape[1], 16)
                numbers[1:, : len(numbers) - 1] = torch.eye(len(numbers) - 1)
                embeddings.position_embeddings.copy_(numbers[None])
                embeddings.cls_token[..., 14] = 1.0
                projection = embeddings.patch_embeddings.projection.weight
                projection[15] = 1.0 / projection[15].numel()
        layer = model.hsta.layers[0]
        if through_crossing:
            cross = layer.video_cross
            cross.project[2].bias[14] = 1.0
            cross.query.bias.copy_(asked)
            cross.key.weight.copy_(torch.eye(16))
            cross.value.weight.copy_(last)
            cross.output.weight.copy_(last)
            for module in (cross.revert[0], cross.project[0], layer.special_cross.revert[0]):
                module.weight.fill_(1.0)
            cross.revert[2].weight.copy_(torch.eye(16))
        else:
            usta = layer.video[0]
            usta.attention.attention.query.bias.copy_(asked)
            usta.attention.attention.key.weight.copy_(torch.eye(16))
            usta.attention.attention.value.weight.copy_(last)
            usta.attention.output.dense.weight.copy_(last)
        model.classifier.weight[1, 31 if through_crossing else 15] = 4.0
        model.classifier.bias[1] = -4.0
    return model.double().eval()
