"""Pre-training on another dataset, or on synthetic drawn faces, once for all folds of a run.

It is a training like any other: same trainer, same checkpoints, resumed in the same way. Its data must not hold
the run's own clips, or every fold would have seen its test subjects.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from hsta_hf.data.prepare import prepare
from hsta_hf.data.prepared import NotPreparedError, prepared_info
from hsta_hf.data.synthesize import synthesize
from hsta_hf.training.clips import LabelledClips, load_labelled_clips
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
        prepare("casme3", database, prepared)
    shutil.rmtree(database, ignore_errors=True)  # its frames are in the prepared dataset
    return prepared


def _is_prepared(folder: Path) -> bool:
    try:
        prepared_info(folder)
    except NotPreparedError:
        return False
    return True


def pretrain(run: RunFolder, recipe: Recipe, processor: HSTAVideoProcessor, clips: LabelledClips) -> Path:
    """Run the pre-training that the recipe asks for, unless it is done; returns the folder of its model.

    Drawn and processed clips are deleted afterwards, since the recipe's seed draws them again.

    Raises:
        RecipeError: `pretrain_dataset` holds clips of the run's own dataset.
    """
    model = run.pretraining / "model"
    if is_finished(run.pretraining):
        return model
    source = recipe.model.pretrain_dataset or synthetic_dataset(recipe, run.pretraining)
    others = load_labelled_clips(source, recipe.data.label_scheme)
    if recipe.model.pretrain_dataset:
        refuse_shared_clips(others, clips, source)
    own = pretraining_recipe(recipe)
    own.data.shuffle_train_labels = False  # a control shuffles the labels of the folds, not these
    cache_dir = Path(recipe.data.cache_dir) if recipe.data.cache_dir else run.pretraining / "cache"
    data = TrainingData(own, others, build_cache(others, processor, own.data, cache_dir), processor)
    print(f"Pre-training on {len(others)} {'synthetic ' if others.synthetic else ''}clips", flush=True)
    train_fold(data, run.pretraining, "pre-training", recipe.data.seeds[0], range(len(others)))
    if not recipe.data.cache_dir:
        shutil.rmtree(cache_dir, ignore_errors=True)
    shutil.rmtree(run.pretraining / "synthetic_prepared", ignore_errors=True)
    return model


def refuse_shared_clips(others: LabelledClips, clips: LabelledClips, source: str | Path) -> None:
    """Raise if a clip is in both: same name and same first frame.

    Names alone do not decide, since every synthetic database calls its first subject spNO.1.

    Raises:
        RecipeError: they share a clip; the message names it.
    """
    place = {name: index for index, name in enumerate(clips.column("clip_id"))}
    for index, name in enumerate(others.column("clip_id")):
        if name in place:
            one, two = others.frames(index)[0], clips.frames(place[name])[0]
            if one.shape != two.shape or (one == two).all():
                raise RecipeError(
                    f"pretrain_dataset {source} holds {name}, a clip of this run's own dataset; pre-training on it "
                    "would show every fold its test subjects. Use another dataset."
                )
