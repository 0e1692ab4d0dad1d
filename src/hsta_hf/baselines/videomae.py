"""VideoMAE alone: transformers' classifier on the video stream, trained by HSTA's trainer, schedule and loss."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from hsta_hf.baselines.options import read_options
from hsta_hf.data.labels import LabelScheme
from hsta_hf.training.batch_finishing import BatchFinisher
from hsta_hf.training.clips import LabelledClips
from hsta_hf.training.dataset import ClipCollator, ClipDataset
from hsta_hf.training.fold import FoldTask, HSTAFolds, fold_arguments, train_labels
from hsta_hf.training.locks import held
from hsta_hf.training.losses import smooth_targets, soft_target_loss
from hsta_hf.training.methods import FoldTrainer, cache_folder
from hsta_hf.training.model_factory import build_model, build_processor
from hsta_hf.training.model_reuse import ReusedModel
from hsta_hf.training.pretraining import pretrain
from hsta_hf.training.recipe import Recipe, RecipeError
from hsta_hf.training.run_folder import RunFolder
from hsta_hf.training.tensor_cache import build_cache
from hsta_hf.training.trainer import HSTATrainer
from hsta_hf.training.training_data import TrainingData, trained_on, training_data_of

STREAM = ("pixel_values",)


@dataclass(frozen=True)
class VideoMAEOptions:
    """VideoMAE has no settings of its own: geometry, schedule and augmentation are those of the recipe."""


def build_config(recipe: Recipe, scheme: LabelScheme) -> VideoMAEConfig:
    """The geometry of the recipe's video stream, as a VideoMAE: as wide, on the same pictures and patches.

    It is as deep as the checkpoint in `videomae`, or without one as the video stream, M times L_v layers.

    Raises:
        RecipeError: the recipe asks for an impossible model, or the checkpoint is not in transformers' layout.
    """
    hsta = build_model(recipe.model, build_processor(recipe.model), scheme).config
    depth = hsta.num_hsta_layers * hsta.num_video_layers
    if recipe.model.videomae:
        try:
            depth = VideoMAEConfig.from_pretrained(recipe.model.videomae).num_hidden_layers
        except (OSError, ValueError) as error:
            raise RecipeError(
                f"videomae: {recipe.model.videomae} has no configuration of transformers, which the VideoMAE baseline "
                f"needs; give a folder or Hub name of a VideoMAE in transformers' layout. {error}"
            ) from error
    if depth < 1:
        raise RecipeError("model: the video stream has no layers; set num_video_layers to 1 or more.")
    fields = hsta.stream("video").to_dict()
    fields |= {"num_hidden_layers": depth, "id2label": scheme.id2label, "label2id": scheme.label2id}
    config = VideoMAEConfig(**{name: value for name, value in fields.items() if name != "model_type"})
    config.problem_type = hsta.problem_type
    # What HSTA's trainer asks the configuration for: one step of the learning rate a layer, and the loss.
    config.num_hsta_layers, config.classification_loss = depth, hsta.classification_loss
    return config


def build_network(recipe: Recipe, config: VideoMAEConfig, start: Path | None) -> VideoMAEForVideoClassification:
    """The classifier; what is not loaded is drawn from torch's random state.

    Raises:
        RecipeError: the checkpoint in `videomae` cannot be loaded.
    """
    source = start or recipe.model.videomae
    if source is None:
        return VideoMAEForVideoClassification(config)
    try:
        return VideoMAEForVideoClassification.from_pretrained(
            source, config=config, ignore_mismatched_sizes=True, dtype=torch.float32
        )
    except OSError as error:
        raise RecipeError(f"videomae: {source} cannot be loaded; give a folder or the Hub name. {error}") from error


class VideoMAETrainer(HSTATrainer):
    """HSTA's trainer for a network that knows nothing of HSTA's losses."""

    can_shard = False  # transformers' VideoMAE was not tried with it

    @property
    def _network(self) -> Any:
        assert isinstance(self.model, VideoMAEForVideoClassification)
        return self.model

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        """The loss that HSTA would have, mixup and label smoothing included."""
        config = self._network.config
        multi_label = config.problem_type == "multi_label_classification"
        outputs = model(pixel_values=inputs["pixel_values"])
        smoothing = self.args.label_smoothing_factor if model.training else 0.0
        targets = smooth_targets(inputs["labels"], outputs.logits.shape[-1], smoothing, multi_label)
        loss = soft_target_loss(outputs.logits, targets, config.classification_loss, multi_label)
        # The loss goes first, where evaluation expects it.
        return (loss, {"loss": loss, "logits": outputs.logits}) if return_outputs else loss


@dataclass(frozen=True)
class VideoMAEFolds(HSTAFolds):
    """Trains VideoMAE classifiers on the folds of a run.

    Attributes:
        config: of the network.
        network: the one object that all folds train, one after the other.
    """

    config: VideoMAEConfig = field(default_factory=VideoMAEConfig)
    network: ReusedModel[VideoMAEForVideoClassification] = field(
        default_factory=ReusedModel, repr=False, compare=False
    )

    def make_trainer(self, task: FoldTask) -> HSTATrainer:
        """The trainer of one fold, its network as the task's seed starts it."""
        clips = self.clips

        def part(indices: Any, labels: Any = None) -> ClipDataset | None:
            labels = [clips.labels[i] for i in indices] if labels is None else labels
            return ClipDataset(self.cache, indices, labels, STREAM) if indices else None

        return VideoMAETrainer(
            model=self.network.fresh(task.seed, lambda: build_network(self.recipe, self.config, self.start)),
            args=fold_arguments(self.recipe, task),
            title=task.title,
            train_dataset=part(task.train_indices, train_labels(self, task)),
            eval_dataset=part(task.test_indices),
            validation_dataset=part(task.validation_indices),
            validate_every=self.recipe.data.validate_every_epochs,
            data_collator=ClipCollator(),
            finisher=BatchFinisher(
                self.processor, self.recipe.augmentation, clips.scheme.num_labels, clips.scheme.mirror
            ),
        )

    def training_data(self, task: FoldTask) -> TrainingData:
        """See `HSTAFolds.training_data`."""
        indices = [*task.train_indices, *task.validation_indices]
        seen = trained_on(self.clips, indices, self.recipe.data.protocol if task.test_indices else "all clips")
        if self.start is None:
            return seen
        return seen | training_data_of(VideoMAEConfig.from_pretrained(self.start), str(self.start))


class VideoMAEMethod:
    """VideoMAE in a run; see `training.methods.Method`."""

    name, title, uses_trainer, has_card = "videomae", "VideoMAE", True, False

    def __init__(self, recipe: Recipe, clips: LabelledClips) -> None:
        read_options(VideoMAEOptions, recipe.model.baseline_options, self.name)
        if recipe.model.pretrained:
            raise RecipeError("pretrained names an HSTA model, which no VideoMAE can start from; set `videomae`.")
        self.recipe, self.clips = recipe, clips
        self.processor, self.config = build_processor(recipe.model), build_config(recipe, clips.scheme)
        self.pretrains = recipe.model.pretrains
        what = "Pre-training" if self.pretrains else "Training"
        source = f"the VideoMAE checkpoint {recipe.model.videomae}" if recipe.model.videomae else "random weights"
        self.start: str | None = f"{what} started from {source}."

    def tell(self) -> None:
        """Which baseline it is."""
        print(f"Baseline: {self.title}, {self.config.num_hidden_layers} layers on the video stream.", flush=True)

    def open(self, folder: RunFolder) -> FoldTrainer:
        """Pre-train where the recipe says so, and process all clips."""
        start = None
        if self.pretrains:
            with held(folder.lock("pretraining"), "Waiting for the other command that pre-trains."):
                start = pretrain(folder, self.recipe, self.clips, self._folds)
        return self._folds(self.recipe, self.clips, cache_folder(self.recipe, folder), start)

    def _folds(self, recipe: Recipe, clips: LabelledClips, cache: Path, start: Path | None = None) -> VideoMAEFolds:
        streams = build_cache(clips, self.processor, recipe.data, cache, STREAM)
        return VideoMAEFolds(recipe, clips, streams, self.processor, start, config=self.config)
