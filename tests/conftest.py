"""Shared fixtures. Tests never reach a hub: HF_HUB_OFFLINE is set before anything imports transformers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

if TYPE_CHECKING:
    from transformers import VideoMAEForPreTraining

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference data beside the checkout; tests that need it skip where it does not exist."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference data in {SHARED.name}/ beside the checkout, which is absent")
    return SHARED


@pytest.fixture(scope="session")
def random_videomae() -> Callable[..., VideoMAEForPreTraining]:
    """Makes small VideoMAEs for 16 frames of 32 pixels, with any field of their configuration changed.

    Every parameter is random: as VideoMAE is initialised, its biases are zero and its LayerNorms do nothing, so that a
    lost one would not show.
    """
    import torch
    from transformers import VideoMAEConfig, VideoMAEForPreTraining

    def make(seed: int = 3, **fields: Any) -> VideoMAEForPreTraining:
        encoder = {"hidden_size": 24, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 5}
        decoder = {"decoder_hidden_size": 16, "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1}
        other = {"image_size": 32, "patch_size": 16, "num_frames": 16, "layer_norm_eps": 1e-6}
        model = VideoMAEForPreTraining(VideoMAEConfig(**{**encoder, **decoder, **other, **fields})).eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator)
                if parameter.ndim > 1:  # tokens and scores then stay near 1 at any width
                    parameter.copy_(noise * parameter[0].numel() ** -0.5)
                else:
                    parameter.copy_(1 + 0.1 * noise if name.endswith("weight") else 0.2 * noise)
        return model

    return make
