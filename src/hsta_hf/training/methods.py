"""What a run trains on its folds: the HSTA model, or a baseline of `hsta_hf.baselines`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from hsta_hf.training.clips import LabelledClips
from hsta_hf.training.fold import FoldTask, HSTAFolds
from hsta_hf.training.frozen_folds import FrozenFolds
from hsta_hf.training.locks import held
from hsta_hf.training.model_factory import build_model, build_processor, streams_in_use
from hsta_hf.training.pretraining import pretrain
from hsta_hf.training.recipe import Recipe
from hsta_hf.training.run_folder import RunFolder
from hsta_hf.training.tensor_cache import build_cache
from hsta_hf.training.tuning import tuning_sentence
from hsta_hf.videomae_start_hsta import VideoMAEReport

HSTA = "HSTA"


class FoldTrainer(Protocol):
    """What trains the folds of a run: the HSTA model, or a baseline."""

    def train(self, task: FoldTask) -> None:
        """Train and test one fold, and write its results into the task's folder; nothing if that is done already."""


class Method(Protocol):
    """A recipe's method. Making one refuses impossible settings before anything is written.

    Attributes:
        title: as reports name it.
        start: sentence on the weights that training starts from; None where nothing starts from weights.
        pretrains: whether it does the recipe's pre-training.
        uses_trainer: whether the recipe's training fields hold for it, such as the moving average.
        has_card: whether its models have a model card.
    """

    title: str
    start: str | None
    pretrains: bool
    uses_trainer: bool
    has_card: bool

    def tell(self) -> None:
        """Print what a user should know before the training."""

    def open(self, folder: RunFolder) -> FoldTrainer:
        """Compute or train what all folds share, and return what trains them."""


class HSTAMethod:
    """The HSTA model.

    Args:
        recipe: of the run.
        clips: of the run.

    Raises:
        RecipeError: the recipe asks for an impossible model or processor.
    """

    title, uses_trainer, has_card = HSTA, True, True

    def __init__(self, recipe: Recipe, clips: LabelledClips) -> None:
        self.recipe, self.clips = recipe, clips
        self.processor = build_processor(recipe.model)
        first = build_model(recipe.model, self.processor, clips.scheme)
        self.streams = streams_in_use(first.config)
        self.start: str | None = started_from(recipe, first.videomae_report)
        self.pretrains = recipe.model.pretrains
        # As text, since the report itself holds the model's weights.
        self._note = None if first.videomae_report is None else str(first.videomae_report)
        if trained := tuning_sentence(recipe, first):
            self.start = f"{self.start} {trained}"

    def tell(self) -> None:
        """What was taken from a VideoMAE checkpoint."""
        if self._note is not None:
            print(self._note, flush=True)

    def open(self, folder: RunFolder) -> FoldTrainer:
        """Pre-train where the recipe says so, and process all clips."""
        pretrained = None
        if self.pretrains:
            with held(folder.lock("pretraining"), "Waiting for the other command that pre-trains."):
                pretrained = pretrain(folder, self.recipe, self.clips, self._folds)
        folds = self._folds(self.recipe, self.clips, cache_folder(self.recipe, folder), pretrained)
        if self.recipe.model.tuning == "frozen":
            return FrozenFolds(
                self.recipe, self.clips, folds.cache, self.processor, pretrained, directory=folder.features
            )
        return folds

    def _folds(self, recipe: Recipe, clips: LabelledClips, cache: Path, start: Path | None = None) -> HSTAFolds:
        streams = build_cache(clips, self.processor, recipe.data, cache, self.streams)
        return HSTAFolds(recipe, clips, streams, self.processor, start)


def cache_folder(recipe: Recipe, folder: RunFolder) -> Path:
    """Where what is computed once of all clips is kept."""
    return Path(recipe.data.cache_dir) if recipe.data.cache_dir else folder.cache


def started_from(recipe: Recipe, videomae: VideoMAEReport | None) -> str:
    """Which weights the run started from; `videomae` is what a model took from the recipe's VideoMAE."""
    what = "Pre-training" if recipe.model.pretrains else "Training"
    if recipe.model.pretrained:
        return f"{what} started from the model {recipe.model.pretrained}."
    if videomae is not None:
        started = [stream.name for stream in videomae.streams if stream.started]
        if not started:
            return f"{what} started from random weights: nothing of the VideoMAE checkpoint {videomae.origin} fits."
        who = "Both streams" if len(started) == 2 else f"The {started[0]} stream"
        sentence = (
            f"{who} started from the VideoMAE checkpoint {videomae.origin} ({'; '.join(map(str, videomae.streams))})."
        )
        if videomae.fresh_layers:
            sentence += f" Layers that started from random weights: {', '.join(videomae.fresh_layers)}."
        return sentence
    return f"{what} started from random weights."


def method_of(recipe: Recipe, clips: LabelledClips) -> Method:
    """The method that a recipe asks for.

    Raises:
        RecipeError: it cannot be as the recipe asks.
    """
    if recipe.model.baseline is None:
        return HSTAMethod(recipe, clips)
    from hsta_hf.baselines import baseline_method  # which needs this module's neighbours, not all of them every run

    return baseline_method(recipe, clips)
