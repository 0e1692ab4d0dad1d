"""HSTATrainer for a model with adapters."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import nn

from hsta_hf.training.lora import count_trained, freeze_embeddings, merge_adapters, save_adapter
from hsta_hf.training.trainer import HSTATrainer

if TYPE_CHECKING:
    from peft import PeftModel


class LoRATrainer(HSTATrainer):
    """Trains a model from `lora.add_adapters`; in the end merges its adapters, and keeps them in `adapter/`."""

    can_shard = False  # adapters are merged into whole weights

    def finish(self, folder: Path) -> None:
        """See `HSTATrainer.finish`."""
        super().finish(folder)
        model = cast("PeftModel", self.accelerator.unwrap_model(self.model))
        if self.is_world_process_zero():
            save_adapter(model, folder / "adapter")
        self.model = self.model_wrapped = merge_adapters(model)

    def parameter_counts(self) -> dict[str, int]:
        """See `HSTATrainer.parameter_counts`; `all` is the plain model's, without adapters and spare copies."""
        return count_trained(self._trained)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        freeze_embeddings(self._trained)  # loading makes all of an adapter trainable
