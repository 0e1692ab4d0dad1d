"""Pre-training on another dataset, or on synthetic drawn faces, once for all folds of a run.

It is a training like any other: same trainer, same checkpoints, resumed in the same way. Its data must not hold
the run's own subjects, or every fold would have seen those that it tests.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from accelerate import PartialState

from hsta_hf.data.people import cast_of
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.prepared import NotPreparedError, prepared_info
from hsta_hf.data.protocol_names import BY_DATABASE, SHARING_SUBJECTS
from hsta_hf.data.synthesize import synthesize
from hsta_hf.training.clips import LabelledClips, load_labelled_clips, tell_labels
from hsta_hf.training.fold import FoldTask, is_finished
from hsta_hf.training.leak_checks import footage_of_others
from hsta_hf.training.locks import decided_by_main, held
from hsta_hf.training.recipe import Recipe, RecipeError, pretraining_recipe
from hsta_hf.training.run_folder import LOCK_FOLDER, RunFolder


def synthetic_dataset(recipe: Recipe, folder: Path) -> Path:
    """Draw faces as `pretrain_synthetic` says and prepare them in `folder`; what is there already is kept.

    A second process that wants the same faces waits for the first.

    Raises:
        RecipeError: a field that `synthesize` does not know, or a value that it refuses.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = folder.parent / LOCK_FOLDER / f"{folder.name}-drawing.lock"  # beside, so that the folder holds data alone
    with held(lock, f"Waiting for the other command that draws faces in {folder}.", together=False):
        return _draw(recipe, folder)


def _draw(recipe: Recipe, folder: Path) -> Path:
    database, prepared = folder / "synthetic_database", folder / "synthetic_prepared"
    fields = dict(recipe.model.pretrain_synthetic or {})
    for name in ("amplitude", "num_frames"):
        if name in fields:
            fields[name] = tuple(fields[name])
    if not _is_prepared(prepared):
        if not database.is_dir():
            print("Pre-training: drawing synthetic faces", flush=True)
            try:
                synthesize(database, progress=True, **fields)
            except (TypeError, ValueError) as error:
                raise RecipeError(f"pretrain_synthetic: {error}") from error
        prepare("casme3", database, prepared, PrepareOptions(faces="keep"))
    shutil.rmtree(database, ignore_errors=True)  # its frames are in the prepared dataset
    return prepared


def _is_prepared(folder: Path) -> bool:
    try:
        prepared_info(folder)
    except NotPreparedError:
        return False
    return True


class Trains(Protocol):
    """What trains a task; see `training.methods.FoldTrainer`."""

    def train(self, task: FoldTask) -> None:
        """Train, and write the results into the task's folder."""


def pretrain(
    run: RunFolder, recipe: Recipe, clips: LabelledClips, trainer: Callable[[Recipe, LabelledClips, Path], Trains]
) -> Path:
    """Run the pre-training that the recipe asks for, unless it is done; returns the folder of its model.

    Drawn and processed clips are deleted afterwards, since the recipe's seed draws them again; where `drawn_dir` and
    `cache_dir` name folders that runs share, they stay for the next run.

    Args:
        run: its `pretraining` folder is filled.
        recipe: the whole run's.
        clips: the run's own clips, which must not be among those to pre-train on.
        trainer: makes of the pre-training's recipe, its clips and a folder for what is computed of them what trains.

    Raises:
        RecipeError: the data to pre-train on hold subjects of the run's own dataset.
    """
    model = run.pretraining / "model"
    if decided_by_main(is_finished(run.pretraining)):
        return model
    state = PartialState()
    with state.main_process_first():  # the others find it drawn
        source = recipe.model.pretrain_dataset or synthetic_dataset(recipe, _drawn_folder(run, recipe))
    others = load_labelled_clips(source, recipe.data.label_scheme)
    if state.is_main_process:
        print(f"Pre-training on {len(others)} {'synthetic ' if others.synthetic else ''}clips.", end=" ")
        tell_labels(others)
    refuse_shared_subjects(others, clips, recipe)
    own = pretraining_recipe(recipe)
    own.data.shuffle_train_labels = False  # a control shuffles the labels of the folds, not these
    cache_dir = Path(recipe.data.cache_dir) if recipe.data.cache_dir else run.pretraining / "cache"
    task = FoldTask(run.pretraining, "pre-training", recipe.data.seeds[0], 0, range(len(others)))
    trainer(own, others, cache_dir).train(task)
    if state.is_main_process:
        if not recipe.data.cache_dir:
            shutil.rmtree(cache_dir, ignore_errors=True)
        shutil.rmtree(run.pretraining / "synthetic_prepared", ignore_errors=True)
    return model


def refuse_pretraining_data(recipe: Recipe, clips: LabelledClips) -> None:
    """Raise if the dataset named in `pretrain_dataset` must not be pre-trained on, before anything is written.

    Raises:
        RecipeError: as `refuse_shared_subjects`.
        NotPreparedError: it is no prepared dataset.
    """
    if recipe.model.pretrain_dataset:
        refuse_shared_subjects(
            load_labelled_clips(recipe.model.pretrain_dataset, recipe.data.label_scheme), clips, recipe
        )


def _drawn_folder(run: RunFolder, recipe: Recipe) -> Path:
    """Where faces are drawn: in the run, or in the `drawn_dir` that runs share, named after what is drawn."""
    if recipe.data.drawn_dir is None:
        return run.pretraining
    what = json.dumps(recipe.model.pretrain_synthetic, sort_keys=True)
    return Path(recipe.data.drawn_dir) / hashlib.sha256(what.encode()).hexdigest()[:16]


def refuse_shared_subjects(others: LabelledClips, clips: LabelledClips, recipe: Recipe) -> None:
    """Raise if somebody whom the run may test is also among those to pre-train on, or some of its footage is.

    Recorded people are the same where subject and database are, or databases with one cast. Every synthetic database
    calls its first subject spNO.1, so of those the faces are compared, which finds databases drawn from one seed at
    one size. Footage is compared whatever its subjects are called. With a protocol that shares subjects anyway, only
    the clips must differ; where whole databases are left out, so must the databases.

    Args:
        others: clips to pre-train on.
        clips: the run's clips; those that only train do not count.
        recipe: says where the others come from, and the protocol.

    Raises:
        RecipeError: there are such subjects, clips or databases; the message names some.
    """
    if others.synthetic != clips.synthetic:
        return  # drawn faces are nobody's
    field = "pretrain_dataset" if recipe.model.pretrain_dataset else "pretrain_synthetic"
    otherwise = "Draw others, with another seed." if clips.synthetic else "Use a dataset without these {}."
    mine, theirs = _first_clips(clips), _first_clips(others)
    shared = [who for who in mine if who in theirs]
    if clips.synthetic:
        shared = [who for who in shared if _same_face(clips.frames(mine[who])[0], others.frames(theirs[who])[0])]
    names, what = [subject for _, subject in shared], "subjects"
    if recipe.data.protocol in SHARING_SUBJECTS:
        known = set(others.column("clip_id"))
        aside = set(clips.training_only)
        rows = zip(
            clips.column("clip_id"), map(cast_of, clips.column("database")), clips.column("subject"), strict=True
        )
        names = [
            name
            for index, (name, *who) in enumerate(rows)
            if index not in aside and name in known and tuple(who) in shared
        ]
        what = "clips"
    elif not names and recipe.data.protocol == BY_DATABASE and not clips.synthetic:
        names, what = sorted({cast for cast, _ in mine} & {cast for cast, _ in theirs}), "databases"
    if names:
        raise RecipeError(
            f"{field}: {len(names)} {what} of this run's own dataset are in it ({', '.join(names[:5])}"
            f"{', …' if len(names) > 5 else ''}); pre-training on them would show every fold its test {what}. "
            + otherwise.format(f"{what}")
        )
    copies = footage_of_others(clips, others)
    if copies:
        more = f" {len(copies) - 1} more pairs of clips do so." if len(copies) > 1 else ""
        raise RecipeError(
            f"{field}: its clip {copies[0][1]} shares footage with this run's {copies[0][0]}, whatever their "
            f"subjects are called: pre-training would show a fold its test clip.{more} " + otherwise.format("clips")
        )


def _first_clips(clips: LabelledClips) -> dict[tuple[str, str], int]:
    """Position of the first clip of everybody who may be tested, by cast and subject."""
    first: dict[tuple[str, str], int] = {}
    aside = set(clips.training_only)
    for index, (database, subject) in enumerate(zip(clips.column("database"), clips.column("subject"), strict=True)):
        if index not in aside:
            first.setdefault((cast_of(database), subject), index)
    return first


def _same_face(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two drawn frames (height, width, 3) show one face: clips of one differ by 1 grey level or so, at a
    size where camera noise is gone, and those of two by 20 or more."""
    if one.shape != two.shape:
        return False
    small = [cv2.resize(x, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32) for x in (one, two)]
    return float(np.abs(small[0] - small[1]).mean()) < 8
