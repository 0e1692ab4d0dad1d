"""Pre-training on another dataset, or on synthetic drawn faces, once for all folds of a run.

It is a training like any other: same trainer, same checkpoints, resumed in the same way. Its data must not hold
the run's own subjects, or every fold would have seen those that it tests.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from accelerate import PartialState

from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.prepared import NotPreparedError, prepared_info
from hsta_hf.data.splits import CLIP_LEVEL
from hsta_hf.data.synthesize import synthesize
from hsta_hf.training.clips import LabelledClips, load_labelled_clips, tell_labels
from hsta_hf.training.fold import TrainingData, is_finished, train_fold
from hsta_hf.training.recipe import Recipe, RecipeError, pretraining_recipe
from hsta_hf.training.run_folder import RunFolder
from hsta_hf.training.tensor_cache import build_cache
from hsta_hf.video_processing_hsta import HSTAVideoProcessor


def synthetic_dataset(recipe: Recipe, folder: Path) -> Path:
    """Draw faces as `pretrain_synthetic` says and prepare them in `folder`; what is there already is kept.

    Raises:
        RecipeError: a field that `synthesize` does not know, or a value that it refuses.
    """
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


def pretrain(
    run: RunFolder, recipe: Recipe, processor: HSTAVideoProcessor, clips: LabelledClips, streams: Sequence[str]
) -> Path:
    """Run the pre-training that the recipe asks for, unless it is done; returns the folder of its model.

    Drawn and processed clips are deleted afterwards, since the recipe's seed draws them again.

    Args:
        run: its `pretraining` folder is filled.
        recipe: the whole run's.
        processor: makes the streams.
        clips: the run's own clips, which must not be among those to pre-train on.
        streams: which streams the model reads.

    Raises:
        RecipeError: the data to pre-train on hold subjects of the run's own dataset.
    """
    model = run.pretraining / "model"
    if is_finished(run.pretraining):
        return model
    state = PartialState()
    with state.main_process_first():  # the others find it drawn
        source = recipe.model.pretrain_dataset or synthetic_dataset(recipe, run.pretraining)
    others = load_labelled_clips(source, recipe.data.label_scheme)
    if state.is_main_process:
        print(f"Pre-training on {len(others)} {'synthetic ' if others.synthetic else ''}clips.", end=" ")
        tell_labels(others)
    refuse_shared_subjects(others, clips, recipe)
    own = pretraining_recipe(recipe)
    own.data.shuffle_train_labels = False  # a control shuffles the labels of the folds, not these
    cache_dir = Path(recipe.data.cache_dir) if recipe.data.cache_dir else run.pretraining / "cache"
    data = TrainingData(own, others, build_cache(others, processor, own.data, cache_dir, streams), processor)
    train_fold(data, run.pretraining, "pre-training", recipe.data.seeds[0], range(len(others)))
    if state.is_main_process:
        if not recipe.data.cache_dir:
            shutil.rmtree(cache_dir, ignore_errors=True)
        shutil.rmtree(run.pretraining / "synthetic_prepared", ignore_errors=True)
    return model


def refuse_shared_subjects(others: LabelledClips, clips: LabelledClips, recipe: Recipe) -> None:
    """Raise if a subject of the run's clips is also among those to pre-train on.

    Recorded people are the same where database and subject are. Every synthetic database calls its first subject
    spNO.1, so of those the faces are compared, which finds databases drawn from one seed at one size. With the
    protocol "kfold-clips", which shares subjects anyway, only the clips must differ.

    Args:
        others: clips to pre-train on.
        clips: the run's clips.
        recipe: says where the others come from, and the protocol.

    Raises:
        RecipeError: there are such subjects or clips; the message names some.
    """
    if others.synthetic != clips.synthetic:
        return  # drawn faces are nobody's
    mine, theirs = _first_clips(clips), _first_clips(others)
    shared = [who for who in mine if who in theirs]
    if clips.synthetic:
        shared = [who for who in shared if _same_face(clips.frames(mine[who])[0], others.frames(theirs[who])[0])]
    names, what = [subject for _, subject in shared], "subjects"
    if recipe.data.protocol == CLIP_LEVEL:
        known = set(others.column("clip_id"))
        rows = zip(clips.column("clip_id"), clips.column("database"), clips.column("subject"), strict=True)
        names, what = [name for name, *who in rows if name in known and tuple(who) in shared], "clips"
    if names:
        field = "pretrain_dataset" if recipe.model.pretrain_dataset else "pretrain_synthetic"
        raise RecipeError(
            f"{field}: {len(names)} {what} of this run's own dataset are in it ({', '.join(names[:5])}"
            f"{', …' if len(names) > 5 else ''}); pre-training on them would show every fold its test {what}. "
            + ("Draw others, with another seed." if clips.synthetic else f"Use a dataset without these {what}.")
        )


def _first_clips(clips: LabelledClips) -> dict[tuple[str, str], int]:
    """Position of the first clip of every subject, by database and subject."""
    first: dict[tuple[str, str], int] = {}
    for index, who in enumerate(zip(clips.column("database"), clips.column("subject"), strict=True)):
        first.setdefault(who, index)
    return first


def _same_face(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether two drawn frames (height, width, 3) show one face: clips of one differ by 1 grey level or so, at a
    size where camera noise is gone, and those of two by 20 or more."""
    if one.shape != two.shape:
        return False
    small = [cv2.resize(x, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32) for x in (one, two)]
    return float(np.abs(small[0] - small[1]).mean()) < 8
