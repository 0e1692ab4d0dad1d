"""Folds that train the head alone, on features that the frozen backbone computed once for all of them.

The training is the one of `fold.py` otherwise: same trainer, sampling, loss, schedule and seeds. A linear head makes
the affine part of the final LayerNorms before it superfluous, so these stay as they are, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import set_seed

from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification
from hsta_hf.training.fold import FoldTask, HSTAFolds, fold_arguments, train_labels
from hsta_hf.training.frozen_dataset import ClipFeatures, FeatureDataset, FeatureFinisher, as_it_is
from hsta_hf.training.frozen_features import augments, compute_features, versions_of
from hsta_hf.training.frozen_head import HSTAHead
from hsta_hf.training.model_factory import build_model
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.trainer import HSTATrainer, count_parameters


class FrozenTrainer(HSTATrainer):
    """Trains an `HSTAHead`; in the end puts it on the whole model.

    Args:
        whole: the model whose backbone computed the features; its head is overwritten in the end.
        kwargs: see `HSTATrainer`.
    """

    can_shard = False  # a head is too small for that

    def __init__(self, *args: Any, whole: HSTAForMicroExpressionClassification, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.whole = whole

    def finished_model(self) -> HSTAForMicroExpressionClassification:
        """See `HSTATrainer.finished_model`."""
        self.whole.classifier.load_state_dict(super().finished_model().classifier.state_dict())
        return self.whole

    def parameter_counts(self) -> dict[str, int]:
        """See `HSTATrainer.parameter_counts`."""
        return {**count_parameters(self._trained), "all": count_parameters(self.whole)["all"]}


@dataclass(frozen=True)
class _Shared:
    """What the folds of a run share: the whole model, and what its backbone makes of all clips."""

    whole: HSTAForMicroExpressionClassification
    features: ClipFeatures


@dataclass(frozen=True)
class FrozenFolds(HSTAFolds):
    """Trains heads on a frozen backbone; where parts of it are random, all seeds share those of the first.

    Attributes:
        directory: where features are kept.
    """

    directory: Path = Path("features")
    _made: list[_Shared] = field(default_factory=list, repr=False, compare=False)
    _heads: dict[int, dict[str, torch.Tensor]] = field(default_factory=dict, repr=False, compare=False)

    def make_trainer(self, task: FoldTask) -> HSTATrainer:
        """The trainer of one fold's head, which starts as the task's seed starts it."""
        recipe, clips = self.recipe, self.clips
        shared, start = self._shared(), self._head(task.seed)
        arguments = fold_arguments(recipe, task)
        arguments.dataloader_num_workers = 0  # features are in memory
        arguments.gradient_checkpointing = False
        if not recipe.training.keep_checkpoints:
            arguments.save_strategy = type(arguments.save_strategy)("no")  # a fold takes less than its checkpoints
        head = HSTAHead(shared.whole.config)
        head.classifier.load_state_dict(start)

        def untouched(indices: Sequence[int]) -> FeatureDataset | None:
            labels = [clips.labels[i] for i in indices]
            return FeatureDataset(shared.features, indices, labels) if labels else None

        return FrozenTrainer(
            model=head,
            args=arguments,
            title=task.title,
            train_dataset=FeatureDataset(
                shared.features, task.train_indices, train_labels(self, task), clips.scheme.mirror
            ),
            eval_dataset=untouched(task.test_indices),
            validation_dataset=untouched(task.validation_indices),
            validate_every=recipe.data.validate_every_epochs,
            data_collator=as_it_is,
            finisher=FeatureFinisher(recipe.augmentation, clips.scheme.num_labels),
            whole=shared.whole,
        )

    def _shared(self) -> _Shared:
        if not self._made:
            whole = self._built(self.recipe.data.seeds[0])
            if PartialState().is_main_process:
                for line in frozen_lines(self.recipe, whole, len(self.clips)):
                    print(line, flush=True)
            features = compute_features(whole, self.clips, self.cache, self.processor, self.recipe, self.directory)
            self._made.append(_Shared(whole, features))
        return self._made[0]

    def _head(self, seed: int) -> dict[str, torch.Tensor]:
        if seed not in self._heads:
            self._built(seed)
        return self._heads[seed]

    def _built(self, seed: int) -> HSTAForMicroExpressionClassification:
        """The model as it is where everything trains with this seed; its head is kept as that seed's start."""
        set_seed(seed)
        built = build_model(self.recipe.model, self.processor, self.clips.scheme, self.start)
        self._heads[seed] = {name: x.detach().clone() for name, x in built.classifier.state_dict().items()}
        return built.eval()


def frozen_lines(recipe: Recipe, whole: HSTAForMicroExpressionClassification, clips: int) -> list[str]:
    """What a run with a frozen backbone says before it starts: what is computed, and what has no effect."""
    versions = versions_of(recipe)
    lines = [f"Frozen backbone: features of {clips} clips{f' in {versions} versions each' if versions > 1 else ''}."]
    if versions == 1 and (recipe.data.temporal_variants > 1 or augments(recipe.augmentation)):
        lines.append("Note: feature_versions is 1, so drawn versions of clips and augmentation have no effect.")
    config, arguments = whole.config, recipe.training
    streams = (config.stream("video"), config.stream("special"))
    without_effect = {
        "drop_path_rate": config.drop_path_rate > 0,
        "hidden_dropout_prob": any(stream.hidden_dropout_prob > 0 for stream in streams),
        "attention_probs_dropout_prob": any(stream.attention_probs_dropout_prob > 0 for stream in streams),
        "layer_decay": arguments.layer_decay < 1,
        "gradient_checkpointing": arguments.gradient_checkpointing,
    }
    if names := [name for name, asked in without_effect.items() if asked]:
        have = "has" if len(names) == 1 else "have"
        lines.append(f"Note: the backbone runs as in evaluation, so {', '.join(names)} {have} no effect.")
    if whole.videomae_report is not None and not recipe.model.pretrains:
        lines.append(
            "Warning: VideoMAE has no CSTA and no [CLS], so these parts of the frozen backbone are random. Pre-train "
            "(pretrain_dataset, pretrain_synthetic), start from an HSTA model (pretrained), or set tuning to lora, "
            "which trains them."
        )
    return lines
