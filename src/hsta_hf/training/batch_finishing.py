"""The last steps of a batch, on the device: numbers to float32, colours, normalising, augmentation."""

from __future__ import annotations

import torch

from hsta_hf.training.arguments import AugmentationArguments
from hsta_hf.training.augmentation import BatchAugmentation
from hsta_hf.training.clip_streams import STREAMS, stream_kinds
from hsta_hf.video_processing_hsta import HSTAVideoProcessor


class BatchFinisher:
    """Make of what `ClipCollator` stacked what the model reads.

    Args:
        processor: rescales and normalises.
        arguments: augmentation of batches that carry keys; None leaves all as they are.
        num_labels: number of classes. With mixup, labels become (batch, num_labels) targets.
        mirror: which class each class is in a mirrored picture; see `BatchAugmentation`.
    """

    def __init__(
        self,
        processor: HSTAVideoProcessor,
        arguments: AugmentationArguments | None,
        num_labels: int,
        mirror: tuple[int, ...] | None = None,
    ) -> None:
        self.finish = processor.finish
        self.kinds = stream_kinds(processor)
        self.num_labels = num_labels
        self.augmentation = None
        if arguments is not None:
            self.augmentation = BatchAugmentation(
                arguments, processor.video_input, processor.special_input, processor.finish, mirror
            )

    def __call__(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The batch with float32 streams (batch, frames, 3, height, width), augmented if it has `keys`."""
        result = {name: x for name, x in batch.items() if name != "keys"}
        for name in STREAMS:
            if name in result and self.kinds[name] == "frames":
                # Frames lie as pictures do in files, with the channels last.
                result[name] = result[name].permute(0, 1, 4, 2, 3).contiguous()
            elif name in result:
                result[name] = result[name].float()
        if self.augmentation is None or "keys" not in batch:
            return {name: self.finish(x, self.kinds[name]) if name in STREAMS else x for name, x in result.items()}
        if self.augmentation.arguments.mixup_alpha and result["labels"].ndim == 1:
            result["labels"] = torch.nn.functional.one_hot(result["labels"], self.num_labels).float()
        return self.augmentation(result, batch["keys"].tolist())
