"""What comes before the folds of a run: clips, split, model and run folder, pre-training and processed clips.

`open_run` starts a run folder or continues the one that is there. Every process that trains folds of a run, on this
machine or another, opens it with the same recipe and finds the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import PartialState

from hsta_hf.data.splits import Split, make_split
from hsta_hf.reporting.files import write_json
from hsta_hf.training.clips import LabelledClips, class_counts, tell_labels
from hsta_hf.training.fold import FoldTask, is_finished
from hsta_hf.training.joined_clips import load_run_clips
from hsta_hf.training.leak_checks import refuse_pretraining, refuse_start
from hsta_hf.training.methods import FoldTrainer, Method, method_of
from hsta_hf.training.pretraining import refuse_pretraining_data
from hsta_hf.training.recipe import Recipe, RecipeError
from hsta_hf.training.run_folder import RunFolder, RunFolderError
from hsta_hf.training.threads import set_threads
from hsta_hf.training.tracking import check_trackers

BATCH = "clips in a batch of all processes"  # in run.json
_PARTS = ("train_indices", "validation_indices", "test_indices")  # of a fold, in split.json


@dataclass(frozen=True)
class OpenRun:
    """A run that is ready for its folds.

    Attributes:
        recipe: what is run.
        folder: its run folder.
        clips: all clips.
        split: all folds of the protocol.
        tasks: the folds to train, those that are finished among them, in the order of seeds and folds.
        trainer: what trains them.
        method: what they train: the HSTA model, or a baseline.
    """

    recipe: Recipe
    folder: RunFolder
    clips: LabelledClips
    split: Split
    tasks: tuple[FoldTask, ...]
    trainer: FoldTrainer
    method: Method

    @property
    def all_tasks(self) -> tuple[FoldTask, ...]:
        """All that is to be trained: the folds, and after them the model on all clips where the recipe wants one."""
        if not self.recipe.training.final_model:
            return self.tasks
        final = FoldTask(self.folder.final, "all clips", self.recipe.data.seeds[0], 0, range(len(self.clips)))
        return (*self.tasks, final)

    @property
    def unfinished(self) -> list[FoldTask]:
        """What of `all_tasks` has no results yet."""
        return [task for task in self.all_tasks if not is_finished(task.folder)]


def open_run(recipe: Recipe, quiet: bool = False) -> OpenRun:
    """Make everything ready that the folds of a run share; what was made before is kept.

    Args:
        recipe: what to run.
        quiet: say nothing of what is about to happen, as befits a second process on the same run.

    Raises:
        RecipeError: the recipe names no dataset, folds that do not exist, or impossible values.
        RunFolderError: the run folder belongs to another recipe.
        NotPreparedError, SplitError: the dataset cannot be read or split as asked.
        JoinError: its datasets do not go together.
        StartLeakError: the model to start from has seen whom the folds test.
    """
    if not recipe.data.dataset:
        raise RecipeError("The recipe names no dataset; set `dataset:` or add --dataset FOLDER.")
    check_trackers(recipe.training.report_to or [])
    set_threads(recipe)
    state = PartialState()
    clips = load_run_clips(recipe.data)
    tells = state.is_main_process and not quiet
    if tells:
        # Before the split, which may be impossible just because the scheme does not know a label.
        tell_labels(clips)
    # An impossible model is an error before anything is written.
    method = method_of(recipe, clips)
    split = split_of(recipe, clips, method.uses_trainer)
    chosen = _chosen_folds(recipe, split)
    refuse_start(recipe, split, clips)
    folder = RunFolder(Path(recipe.training.output_dir or "runs/hsta"))
    if method.pretrains and not is_finished(folder.pretraining):
        refuse_pretraining_data(recipe, clips)
    if state.is_main_process:
        facts: dict[str, Any] = {"clips": clips.fingerprint}
        if method.uses_trainer:
            facts[BATCH] = _batch(recipe)
        continued = folder.open(recipe, facts, recipe.training.overwrite_run)
        if tells:
            _tell(recipe, clips, split, folder, continued)
            method.tell()
        _write_split(folder, split)
    state.wait_for_everyone()

    tasks = _tasks(recipe, folder, split, chosen)
    trainer = method.open(folder)
    refuse_pretraining(folder.pretraining / "model", split, clips)
    return OpenRun(recipe, folder, clips, split, tasks, trainer, method)


def split_of(recipe: Recipe, clips: LabelledClips, chooses_epoch: bool = True) -> Split:
    """The split that a recipe asks for.

    Args:
        recipe: says how to split.
        clips: the clips of the run.
        chooses_epoch: whether what is trained can choose one. What cannot (most baselines) has no validation clips:
            those that `validation_share` would set aside train along, and neither split.json nor a report says else.

    Raises:
        SplitError: the clips cannot be split so, or a fold would test what it trains on.
    """
    return make_split(
        recipe.data.protocol,
        clips.column("subject"),
        clips.labels,
        num_folds=recipe.data.num_folds,
        seed=recipe.data.split_seed,
        databases=clips.column("database"),
        footage=clips.column("frame_hashes"),
        clip_ids=clips.column("clip_id"),
        training_only=clips.training_only,
        validation_share=recipe.data.validation_share if chooses_epoch else 0.0,
    )


def _batch(recipe: Recipe) -> int:
    """Clips in a step over all processes: folds of other batches are of another training, though of one recipe."""
    training = recipe.training
    shares = training.world_size * training.gradient_accumulation_steps
    return training.total_batch_size or training.per_device_train_batch_size * shares


def _write_split(folder: RunFolder, split: Split) -> None:
    """Write the split beside the results, unless another is there already.

    Raises:
        RunFolderError: the run folder's split has other folds: it was edited, or another version dealt them.
    """
    path = folder.path / "split.json"
    now = split.to_dict()
    if path.is_file():
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            different = saved["protocol"] != now["protocol"] or [
                [fold.get(part, []) for part in _PARTS] for fold in saved["folds"]
            ] != [[fold[part] for part in _PARTS] for fold in now["folds"]]
        except (ValueError, KeyError, TypeError, AttributeError):
            different = True
        if different:
            raise RunFolderError(
                f"{path} is not the split that this recipe makes: it was edited, or another version of hsta-hf made "
                "it. Folds of two splits cannot be reported together: give another --output_dir, or delete the run "
                "with --overwrite_run and split.json with it."
            )
    write_json(path, now)


def _tasks(recipe: Recipe, folder: RunFolder, split: Split, chosen: list[int]) -> tuple[FoldTask, ...]:
    return tuple(
        FoldTask(
            folder=folder.fold(fold.index, seed),
            title=f"fold {fold.index} ({fold.index + 1} of {split.num_folds}), seed {seed}",
            seed=seed,
            fold=fold.index,
            train_indices=fold.train_indices,
            test_indices=fold.test_indices,
            validation_indices=fold.validation_indices,
        )
        for seed in recipe.data.seeds
        for fold in (split.folds[number] for number in chosen)
    )


def _chosen_folds(recipe: Recipe, split: Split) -> list[int]:
    if recipe.data.folds is None:
        return list(range(split.num_folds))
    wrong = [number for number in recipe.data.folds if not 0 <= number < split.num_folds]
    if wrong or not recipe.data.folds:
        raise RecipeError(f"folds names {wrong}; the split has folds 0 to {split.num_folds - 1}.")
    return sorted(set(recipe.data.folds))


def _tell(recipe: Recipe, clips: LabelledClips, split: Split, run: RunFolder, continued: bool) -> None:
    """The first lines that a user sees: what is about to happen."""
    print(f"{'Continuing' if continued else 'Starting'} the run in {run.path}")
    print(split.description)
    for warning in missing_classes(split, clips):
        print(f"Note: {warning}.")
    if clips.synthetic:
        print("The clips are synthetic: no number on them is a result on people.")
    if recipe.data.shuffle_train_labels:
        print("Control: training labels are shuffled, scores should stay at chance.")
    print(end="", flush=True)


def missing_classes(split: Split, clips: LabelledClips) -> list[str]:
    """Classes, by name, that a fold tests without having a training clip of them: it cannot get those right."""
    messages = []
    for fold in split.folds:
        trained, tested = (
            class_counts([clips.labels[i] for i in part], clips.scheme)
            for part in (fold.train_indices, fold.test_indices)
        )
        unseen = [name for name, count in tested.items() if count and not trained[name]]
        if unseen:
            messages.append(f"fold {fold.index} tests {', '.join(unseen)} and has no training clip of it")
    return messages
