"""Relevance from gradients of one class's score: through the attention maps, and along the way from a still clip.

- `gradient_attention`: gradient x attention (Chefer et al. 2021, "Generic Attention-model Explainability for
  Interpreting Bi-Modal and Encoder-Decoder Transformers"). A map counts where more of it would raise the score: each
  head's map times its gradient, negative parts dropped, heads averaged. The result is followed from the [CLS] back to
  the patches as in rollout, over the tokens of both streams, with the residual path at full weight as there.
- `integrated_gradients` (Sundararajan et al. 2017), computed by captum: gradients with respect to the pixels, averaged
  on the straight way from a clip in which nothing moves to this one, times what differs. They add up to the difference
  of the two scores.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from hsta_hf.explanation.maps import RelevanceMap, Streams, patch_grids
from hsta_hf.explanation.rollout import as_maps, follow_back, model_inputs, record_attention, token_numbers
from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification

IG_STEPS = 32
"""Points on the way, by Gauss and Legendre; the tests see what is left of the difference at that number."""
_AT_ONCE = 16  # points in one batch


def gradient_attention(
    model: HSTAForMicroExpressionClassification, inputs: Streams, classes: torch.Tensor
) -> list[RelevanceMap]:
    """Gradient x attention of each clip of a batch; see the module.

    Args:
        model: in evaluation mode.
        inputs: by stream, `(batch, frames, channels, height, width)`.
        classes: `(batch,)` the class whose logit is explained, for each clip.
    """
    with torch.enable_grad():
        watched = {name: pixels.detach().requires_grad_() for name, pixels in inputs.items()}  # weights may be frozen
        recorded = record_attention(model, watched)
        maps = [tensor for layer in recorded.layers for tensor in layer.tensors()]
        score = recorded.logits.gather(1, classes[:, None]).sum()
        # The last layer's patches go nowhere, so maps of their queries have no gradient.
        gradients = torch.autograd.grad(score, maps, allow_unused=True)
    useful = iter(
        [
            torch.zeros_like(weights).mean(dim=1)
            if gradient is None
            else (weights.detach() * gradient).clamp(min=0).mean(dim=1)
            for weights, gradient in zip(maps, gradients, strict=True)
        ]
    )
    layers = [layer.replaced(useful) for layer in recorded.layers]
    rows = follow_back(layers, token_numbers(model, recorded.groups), 1.0, 1.0)
    return as_maps("gradient_attention", rows, recorded.groups, model)


def integrated_gradients(
    model: HSTAForMicroExpressionClassification,
    inputs: Streams,
    still: Streams,
    classes: torch.Tensor,
    steps: int = IG_STEPS,
) -> list[RelevanceMap]:
    """Integrated gradients of each clip of a batch, summed over the pixels of each patch.

    Args:
        model: in evaluation mode.
        inputs: by stream, `(batch, frames, channels, height, width)`.
        still: the same clips without movement, of the same shapes.
        classes: `(batch,)` the class whose logit is explained, for each clip.
        steps: points on the way.

    Returns:
        One map per clip, signed. Its sum is the class's logit less that of the still clip, to within what `steps`
        points see of the way.

    Raises:
        ImportError: if captum is not installed; the message says how to install it.
    """
    captum = _captum()
    names = list(inputs)

    def score(*streams: torch.Tensor) -> torch.Tensor:
        logits = model(**model_inputs(dict(zip(names, streams, strict=True)))).logits
        return logits

    found = captum(score).attribute(
        inputs=tuple(inputs.values()),
        baselines=tuple(still[name] for name in names),
        target=classes,
        n_steps=steps,
        method="gausslegendre",
        internal_batch_size=max(_AT_ONCE, len(classes)),
    )
    grids = patch_grids(model.config)
    streams = {
        name: grids[name].of_pixels(values.detach().double()).cpu().numpy()
        for name, values in zip(names, found, strict=True)
    }
    return [
        RelevanceMap("integrated_gradients", {name: values[i] for name, values in streams.items()})
        for i in range(len(classes))
    ]


def has_captum() -> bool:
    """Whether integrated gradients can be computed here."""
    try:
        _captum()
    except ImportError:
        return False
    return True


def _captum() -> Callable:
    try:
        from captum.attr import IntegratedGradients
    except ImportError as error:
        raise ImportError(
            "Integrated gradients are computed by captum, which is not installed: pip install 'hsta-hf[explain]', or "
            "pip install captum."
        ) from error
    return IntegratedGradients
