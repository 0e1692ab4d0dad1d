"""Augmentation of clips, a batch at a time, on the device that the batch is on.

Every transformation also does what it must to the numbers: mirroring changes the sign of horizontal flow, and
zooming, cropping and turning do the same to flow vectors as to the picture. Optical strain, the third flow channel,
does not change under any of them, since crops keep the picture's shape. One draw holds for all frames and both streams
of a clip, and comes from the clip's key (seed, epoch, position in the epoch) alone. Two things belong to the batch:
mixup needs a clip's neighbour, and noise, which differs from pixel to pixel, is drawn for the whole batch from its
first clip's key.

All random numbers are drawn on the CPU, so that every device gets the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch.nn import functional as F

from hsta_hf.training.arguments import AugmentationArguments

MOTION_INPUTS = ("difference", "optical_flow")
GREY = (0.2989, 0.587, 0.114)  # torchvision's weights of red, green and blue


@dataclass(frozen=True)
class AugmentationDraw:
    """Random numbers of one batch: tensors (batch,).

    `erase` is (batch, 4), top, left, bottom, right as shares of the picture. The crop's box is `crop_side` of the
    picture wide and high; its middle is `crop_x`, `crop_y` halves of the picture away from the picture's middle.
    """

    flip: torch.Tensor
    shift_x: torch.Tensor
    shift_y: torch.Tensor
    zoom: torch.Tensor
    angle: torch.Tensor
    amplitude: torch.Tensor
    contrast: torch.Tensor
    brightness: torch.Tensor
    erase: torch.Tensor
    mix: torch.Tensor
    noise_seed: int
    saturation: torch.Tensor
    crop_side: torch.Tensor
    crop_x: torch.Tensor
    crop_y: torch.Tensor

    def to(self, device: torch.device) -> AugmentationDraw:
        """The same numbers on `device`."""
        moved = {
            field.name: getattr(self, field.name).to(device) for field in fields(self) if field.name != "noise_seed"
        }
        return replace(self, **moved)


def clip_rng(key: Sequence[int], purpose: int) -> np.random.Generator:
    """The random numbers of one draw of one clip; `purpose` keeps independent uses apart."""
    return np.random.default_rng([*key, purpose])


class BatchAugmentation:
    """Apply a recipe's augmentation to batches.

    Args:
        arguments: what to do and how much of it.
        video_input: what the video stream shows: "frames", "difference" or "optical_flow".
        special_input: likewise for the special stream.
        finish: what follows on the colours: takes a stream and what it shows, and rescales and normalises pictures;
            None where that was done before.
        mirror: for each class, the class that it is in a mirrored picture (`LabelScheme.mirror`); None where classes
            have no side.
    """

    def __init__(
        self,
        arguments: AugmentationArguments,
        video_input: str,
        special_input: str,
        finish: Callable[[torch.Tensor, str], torch.Tensor] | None = None,
        mirror: Sequence[int] | None = None,
    ) -> None:
        self.arguments = arguments
        self.inputs = {"pixel_values": video_input, "special_pixel_values": special_input}
        self.finish = finish
        self.mirror = None if mirror is None else torch.tensor(mirror)

    def draw(self, keys: Sequence[Sequence[int]]) -> AugmentationDraw:
        """Random numbers for the clips of a batch, each from its own key. All are always drawn, used or not."""
        a = self.arguments
        low, high = a.motion_amplitude or (1.0, 1.0)
        rows: dict[str, list[float]] = {name: [] for name in AugmentationDraw.__dataclass_fields__}
        erase = []
        for key in keys:
            rng, later = clip_rng(key, 1), clip_rng(key, 4)
            u, w = rng.random(13), later.random(4)
            rows["flip"].append(float(u[0] < a.flip_probability))
            rows["shift_x"].append(a.translate * (2 * u[1] - 1))
            rows["shift_y"].append(a.translate * (2 * u[2] - 1))
            rows["zoom"].append(1 + a.scale * (2 * u[3] - 1))
            rows["angle"].append(math.radians(a.rotate) * (2 * u[4] - 1))
            rows["amplitude"].append(math.exp(math.log(low) + u[5] * (math.log(high) - math.log(low))))
            rows["contrast"].append(1 + a.colour_jitter * (2 * u[6] - 1))
            rows["brightness"].append(1 + a.colour_jitter * (2 * u[7] - 1))
            rows["saturation"].append(1 + a.colour_jitter * (2 * w[0] - 1))
            smallest, largest = a.crop_area or (1.0, 1.0)
            side = math.sqrt(smallest + w[1] * (largest - smallest))
            rows["crop_side"].append(side)
            rows["crop_x"].append((1 - side) * (2 * w[2] - 1))
            rows["crop_y"].append((1 - side) * (2 * w[3] - 1))
            if u[8] < a.erase_probability:
                area, aspect = a.erase_area * (0.1 + 0.9 * u[9]), math.exp((2 * u[10] - 1) * math.log(2))
                height, width = min(1.0, math.sqrt(area * aspect)), min(1.0, math.sqrt(area / aspect))
                top, left = u[11] * (1 - height), u[12] * (1 - width)
                erase.append([top, left, top + height, left + width])
            else:
                erase.append([0.0, 0.0, 0.0, 0.0])
            rows["mix"].append(float(rng.beta(a.mixup_alpha, a.mixup_alpha)) if a.mixup_alpha else 1.0)
        tensors = {
            name: torch.tensor(values, dtype=torch.float32)
            for name, values in rows.items()
            if name not in ("erase", "noise_seed")
        }
        noise_seed = int(clip_rng(keys[0], 2).integers(2**62))
        return AugmentationDraw(erase=torch.tensor(erase), noise_seed=noise_seed, **tensors)

    def __call__(self, batch: dict[str, torch.Tensor], keys: Sequence[Sequence[int]]) -> dict[str, torch.Tensor]:
        """Augment the streams in `batch`, (batch, frames, channels, height, width) each; other entries stay.

        With `mirror`, `labels`, (batch,) class ids or (batch, num_labels) targets, change sides where the clip does.
        With `mixup_alpha`, clips are mixed with their neighbour in the batch and `labels`, which must then be
        (batch, num_labels) targets, likewise.

        Args:
            batch: pictures on a scale of 0 to 255 if there is a `finish`; all on one device.
            keys: the keys of the clips.
        """
        names = [name for name in self.inputs if name in batch]
        draw = self.draw(keys).to(batch[names[0]].device)
        generator = torch.Generator().manual_seed(draw.noise_seed)
        result = dict(batch)
        result.update(self._coloured({name: batch[name] for name in names}, draw))
        for name in names:
            stream = result[name] if self.finish is None else self.finish(result[name], self.inputs[name])
            result[name] = self._augment(stream, self.inputs[name], draw, generator)
        if self.mirror is not None and "labels" in result:
            result["labels"] = mirrored_labels(result["labels"], draw.flip > 0, self.mirror.to(draw.flip.device))
        if self.arguments.mixup_alpha and len(keys) > 1:
            for name in (*self.inputs, "labels"):
                if name in result:
                    weight = draw.mix.view(-1, *[1] * (result[name].ndim - 1))
                    result[name] = weight * result[name] + (1 - weight) * result[name].roll(1, dims=0)
        return result

    def _augment(
        self, clips: torch.Tensor, kind: str, draw: AugmentationDraw, generator: torch.Generator
    ) -> torch.Tensor:
        a = self.arguments
        per_clip = (-1, 1, 1, 1, 1)
        if a.flip_probability:
            clips = _flip(clips, draw.flip.view(per_clip) > 0, kind)
        if a.translate or a.scale or a.rotate or a.crop_area:
            clips = _move(clips, draw, kind)
        if kind in MOTION_INPUTS and a.motion_amplitude:
            clips = clips * draw.amplitude.view(per_clip)
        if a.noise_std:
            clips = clips + a.noise_std * torch.randn(clips.shape, generator=generator).to(clips.device)
        if a.erase_probability:
            clips = _erase(clips, draw.erase)
        return clips

    def _coloured(self, streams: dict[str, torch.Tensor], draw: AugmentationDraw) -> dict[str, torch.Tensor]:
        """Brightness, contrast and saturation as torchvision's ColorJitter has them, of streams of pictures.

        Contrast goes by the mean of a whole clip, not of each frame, so that a frame looks alike wherever it occurs.
        """
        pictures = {name: x.float() for name, x in streams.items() if self.inputs[name] == "frames"}
        if not self.arguments.colour_jitter or not pictures:
            return {}
        brightness, contrast, saturation = (
            factor.clamp(min=0).view(-1, 1, 1, 1, 1) for factor in (draw.brightness, draw.contrast, draw.saturation)
        )
        bright = {name: (x * brightness).clamp(0, 255) for name, x in pictures.items()}
        mean = _grey(next(iter(bright.values()))).mean(dim=(1, 2, 3, 4), keepdim=True)
        result = {}
        for name, x in bright.items():
            x = (contrast * x + (1 - contrast) * mean).clamp(0, 255)
            result[name] = (saturation * x + (1 - saturation) * _grey(x)).clamp(0, 255)
        return result


def _grey(pictures: torch.Tensor) -> torch.Tensor:
    """(..., 3, H, W) to (..., 1, H, W)."""
    red, green, blue = pictures.unbind(dim=-3)
    return (GREY[0] * red + GREY[1] * green + GREY[2] * blue).unsqueeze(-3)


def mirrored_labels(labels: torch.Tensor, flip: torch.Tensor, mirror: torch.Tensor) -> torch.Tensor:
    """Class ids (batch,) or targets (batch, classes), of the mirrored picture where `flip` (batch,) is true."""
    if labels.ndim == 1:
        return torch.where(flip, mirror[labels], labels)
    swapped = torch.empty_like(labels)
    swapped[:, mirror] = labels
    return torch.where(flip[:, None], swapped, labels)


def _flip(clips: torch.Tensor, flip: torch.Tensor, kind: str) -> torch.Tensor:
    mirrored = clips.flip(-1)
    if kind == "optical_flow":
        mirrored[:, :, 0] *= -1  # u points to the other side
    return torch.where(flip, mirrored, clips)


def _move(clips: torch.Tensor, draw: AugmentationDraw, kind: str) -> torch.Tensor:
    """Crop, turn, zoom and shift the picture in one go.

    Content at p (from the middle of the crop's box, in units of the box) goes to zoom * R p + shift.
    """
    batch, frames, channels, height, width = clips.shape
    cosine, sine = torch.cos(draw.angle), torch.sin(draw.angle)
    aspect = height / width
    # grid_sample asks where each output pixel comes from: p = R^-1 (q - shift) / zoom, in units of half the image.
    theta = torch.stack(
        [
            torch.stack([cosine, sine * aspect, torch.zeros_like(cosine)], dim=-1),
            torch.stack([-sine / aspect, cosine, torch.zeros_like(cosine)], dim=-1),
        ],
        dim=1,
    ) / draw.zoom.view(-1, 1, 1)
    shift = torch.stack([2 * draw.shift_x, 2 * draw.shift_y], dim=-1)
    theta[:, :, 2] = -torch.einsum("bij,bj->bi", theta[:, :, :2], shift)
    theta = theta * draw.crop_side.view(-1, 1, 1)
    theta[:, :, 2] += torch.stack([draw.crop_x, draw.crop_y], dim=-1)
    grid = F.affine_grid(theta, [batch, 1, height, width], align_corners=False)
    padding = "border" if kind == "frames" else "zeros"
    moved = F.grid_sample(clips.flatten(1, 2), grid, mode="bilinear", padding_mode=padding, align_corners=False)
    moved = moved.view(batch, frames, channels, height, width)
    if kind == "optical_flow":
        u, v = moved[:, :, 0], moved[:, :, 1]
        c, s, zoom = (x.view(-1, 1, 1, 1) for x in (cosine, sine, draw.zoom / draw.crop_side))
        moved = torch.cat(
            [torch.stack([zoom * (c * u - s * v), zoom * (s * u + c * v)], dim=2), moved[:, :, 2:]], dim=2
        )
    return moved


def _erase(clips: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    height, width = clips.shape[-2:]
    top, left, bottom, right = (edge.view(-1, 1, 1) for edge in box.unbind(dim=1))
    y = ((torch.arange(height, device=box.device) + 0.5) / height).view(1, -1, 1)
    x = ((torch.arange(width, device=box.device) + 0.5) / width).view(1, 1, -1)
    inside = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return clips.masked_fill(inside[:, None, None], 0.0)
