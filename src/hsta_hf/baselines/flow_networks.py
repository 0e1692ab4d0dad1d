"""What OFF-ApexNet and STSTNet share: flow as pictures of 28x28, and a plain training of a small network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from transformers import set_seed

from hsta_hf.baselines.base import TrainingPart
from hsta_hf.baselines.flow import flow_settings, onset_to_apex
from hsta_hf.baselines.options import check_above, read_options
from hsta_hf.reporting.files import write_json
from hsta_hf.training.clips import KeyFrames, LabelledClips
from hsta_hf.training.recipe import Recipe, RecipeError

SIZE = 28
WEIGHTS = "model.safetensors"
_LOG_EVERY = 10


@dataclass(frozen=True)
class FlowNetworkOptions:
    """Settings of a network on flow; the defaults are STSTNet's released PyTorch training.

    Attributes:
        epochs: of every fold.
        pretrain_epochs: of the pre-training, where the recipe has one; None: as many as `epochs`.
        learning_rate: of Adam, constant.
        batch_size: clips in a batch.
        scale: "minmax": each channel of a clip is stretched to 0..255 and rounded, as the released pictures are.
            "pixels": u and v as they are, in pixels of the flow, and strain times 10.
        flow: fields of the optical flow that differ from what HSTA would see: method, size, remove_head_motion.
    """

    epochs: int = 800
    pretrain_epochs: int | None = None
    learning_rate: float = 5e-5
    batch_size: int = 256
    scale: Literal["minmax", "pixels"] = "minmax"
    flow: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        check_above(self, epochs=1, pretrain_epochs=1, batch_size=1)
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}; it must be above 0.")


def flow_picture(flow: np.ndarray, scale: str) -> np.ndarray:
    """A flow with its strain as the networks see it.

    Args:
        flow: (height, width, 3), u, v and strain.
        scale: see `FlowNetworkOptions`.

    Returns:
        (3, 28, 28) float32. A channel without any difference in it is 0 with "minmax".
    """
    small = cv2.resize(np.ascontiguousarray(flow), (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)
    if scale == "pixels":
        return np.ascontiguousarray((small * np.array([1, 1, 10], dtype=np.float32)).transpose(2, 0, 1))
    low, high = small.min(axis=(0, 1)), small.max(axis=(0, 1))
    span = np.where(high - low > 1e-9, high - low, np.inf)
    return np.ascontiguousarray(np.rint((small - low) / span * 255).transpose(2, 0, 1).astype(np.float32))


class FlowNetwork:
    """A network on the flow from onset to apex; subclasses name it and build it."""

    name: str
    title: str
    pretrains = True

    def __init__(self, recipe: Recipe) -> None:
        self.options = read_options(FlowNetworkOptions, recipe.model.baseline_options, self.name)
        self.flow = flow_settings(recipe, self.options.flow)

    def build(self, num_labels: int) -> nn.Module:
        """The network, its weights drawn from torch's random state; takes (batch, 3, 28, 28)."""
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """What the pictures depend on."""
        return {"scale": self.options.scale, "size": SIZE, "flow": self.flow}

    def extract(self, clips: LabelledClips, index: int, key: KeyFrames) -> np.ndarray:
        """(3, 28, 28)."""
        return flow_picture(onset_to_apex(clips, index, key, self.flow), self.options.scale)

    def fit(self, part: TrainingPart) -> FittedNetwork:
        """Train with Adam on the loss of the label scheme; the weights after the last epoch are kept."""
        set_seed(part.seed)
        network = self.build(part.scheme.num_labels)
        if part.start is not None:
            _load(network, part.start)
        epochs = self.options.epochs
        if part.pretraining and self.options.pretrain_epochs is not None:
            epochs = self.options.pretrain_epochs
        return train_network(network, part, epochs, self.options.learning_rate, self.options.batch_size)


def _load(network: nn.Module, folder: Path) -> None:
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, RuntimeError) as error:
        raise RecipeError(f"{folder / WEIGHTS} does not hold this network: {error}") from error


def loss_of(part: TrainingPart) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Cross-entropy of (batch, classes) logits and 0-or-1 targets; binary where a clip may have several labels."""
    return F.binary_cross_entropy_with_logits if part.scheme.multi_label else F.cross_entropy


def train_network(
    network: nn.Module, part: TrainingPart, epochs: int, learning_rate: float, batch_size: int
) -> FittedNetwork:
    """Adam at a constant rate over shuffled batches; no class weights, no augmentation, no decay.

    Args:
        network: changed in place.
        part: features are the network's inputs.
        epochs, learning_rate, batch_size: of the training.
    """
    network = network.to(part.device).train()
    pictures = torch.from_numpy(np.array(part.features)).to(part.device)
    targets = torch.from_numpy(part.targets).float().to(part.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    order, loss_function = torch.Generator().manual_seed(part.seed), loss_of(part)
    history: list[dict[str, float]] = []
    for epoch in range(1, epochs + 1):
        total = torch.zeros((), device=part.device)
        for batch in torch.randperm(len(pictures), generator=order).to(part.device).split(batch_size):
            optimizer.zero_grad()
            loss = loss_function(network(pictures[batch]), targets[batch])
            loss.backward()
            optimizer.step()
            total += loss.detach() * len(batch)
        if epoch % _LOG_EVERY == 0 or epoch == epochs:
            mean = float(total) / len(pictures)
            history.append({"epoch": float(epoch), "loss": mean, "learning_rate": learning_rate})
    return FittedNetwork(network.eval(), history)


@dataclass
class FittedNetwork:
    """A trained network."""

    network: nn.Module
    history: list[dict[str, float]] = field(default_factory=list)

    def logits(self, features: np.ndarray) -> np.ndarray:
        """(clips, classes)."""
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            parts = torch.from_numpy(np.array(features)).split(256)
            return torch.cat([self.network(part.to(device)).cpu() for part in parts]).double().numpy()

    def save(self, folder: Path) -> None:
        """Write the weights."""
        state = copy.deepcopy(self.network).cpu().state_dict()
        save_file({name: weight.contiguous() for name, weight in state.items()}, str(folder / WEIGHTS))
        write_json(folder / "network.json", {"parameters": sum(p.numel() for p in self.network.parameters())})
