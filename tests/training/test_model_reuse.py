"""One model object for all folds: the results are those of models built anew, and compiling is paid once."""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from hsta_hf.reporting import read_predictions
from hsta_hf.training import fold as fold_module
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.fold import FoldTask, HSTAFolds, read_log_history, read_metrics
from hsta_hf.training.model_factory import build_processor
from hsta_hf.training.model_reuse import ReusedModel, short_collections
from hsta_hf.training.recipe import merge, resolve
from hsta_hf.training.tensor_cache import build_cache

# Whatever draws random numbers while it trains, or keeps something beside the weights.
STATEFUL: dict[str, Any] = {
    "num_train_epochs": 1,
    "ema_decay": 0.9,
    "noise_std": 0.05,
    "mixup_alpha": 0.2,
    "model": {"drop_path_rate": 0.2, "classifier_dropout": 0.3, "stream": {"hidden_dropout_prob": 0.2}},
}


def folds_of(fields: dict[str, Any], folder: Path) -> HSTAFolds:
    recipe = resolve(fields)
    clips = load_labelled_clips(recipe.data.dataset, recipe.data.label_scheme)  # type: ignore[arg-type]
    processor = build_processor(recipe.model)
    return HSTAFolds(recipe, clips, build_cache(clips, processor, recipe.data, folder / "cache"), processor)


def task_of(folder: Path, fold: int, seed: int) -> FoldTask:
    """24 training clips and 4 test clips, other ones in every fold."""
    clips = list(range(10 * fold, 10 * fold + 28))
    return FoldTask(folder / f"fold-{fold}-seed-{seed}", "test", seed, fold, clips[4:], clips[:4])


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("changes", [{}, {"bf16": True, "gradient_checkpointing": True}], ids=["float32", "bf16"])
def test_a_fold_after_others_ends_as_one_in_a_process_of_its_own(
    changes: dict[str, Any], tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    shared = folds_of(merge(merge(tiny_recipe, STATEFUL), changes), tmp_path)
    names = ((0, 1), (1, 1), (0, 2))
    objects = []
    for fold, seed in names:
        shared.train(task_of(tmp_path / "shared", fold, seed))
        objects.append(shared.model._model)
    assert objects[0] is objects[1] is objects[2] is not None
    for fold, seed in names:
        alone = HSTAFolds(shared.recipe, shared.clips, shared.cache, shared.processor)
        task = task_of(tmp_path / "alone", fold, seed)
        alone.train(task)
        other = tmp_path / "shared" / task.folder.name
        assert files_of(task.folder / "model") == files_of(other / "model")
        pd.testing.assert_frame_equal(read_predictions(task.folder), read_predictions(other), check_exact=True)
        losses = [[log.get("loss") for log in read_log_history(folder)] for folder in (task.folder, other)]
        assert losses[0] == losses[1] and losses[0][0] is not None
    first, second, third = (files_of(tmp_path / "shared" / f"fold-{f}-seed-{s}" / "model") for f, s in names)
    assert len({files["model.safetensors"] for files in (first, second, third)}) == 3  # the comparison says something


def test_checkpoints_say_whom_their_own_fold_trains_on(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    """The model object, and its configuration, are those of the fold before."""
    shared = folds_of(tiny_recipe | {"num_train_epochs": 1, "keep_checkpoints": True}, tmp_path)
    for fold in (0, 1):
        task = task_of(tmp_path, fold, 1)
        task = dataclasses.replace(task, train_indices=task.train_indices[: 7 + 7 * fold])
        shared.train(task)
        files = [task.folder / "model" / "config.json", *task.folder.glob("checkpoints/*/config.json")]
        assert len(files) == 2
        for file in files:
            assert json.loads(file.read_text())["training_data"] == shared.training_data(task).to_dict()


def test_the_same_object_is_handed_out_as_long_as_its_form_is_the_same(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    data = folds_of(tiny_recipe, tmp_path)
    built: list[int] = []

    def trainer(seed: int) -> Any:
        return fold_module.build_trainer(data, task_of(tmp_path, 0, seed))

    build = fold_module.build_model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold_module, "build_model", lambda *args: built.append(1) or build(*args))
        first = trainer(1).model
        start = {name: p.detach().clone() for name, p in first.named_parameters()}
        with torch.no_grad():
            first.classifier.bias.add_(1)
            first.hsta.video_embeddings.position_embeddings.zero_()
        second = trainer(1).model
        assert second is first and len(built) == 1
        assert all(torch.equal(p, start[name]) for name, p in second.named_parameters())
        assert second.hsta.video_embeddings.position_embeddings.abs().sum() > 0
        third = trainer(2).model  # another seed: built for its weights alone
        assert third is first and len(built) == 2
        assert not torch.equal(third.classifier.weight, start["classifier.weight"])
        third.classifier = torch.nn.Sequential(third.classifier)  # as merging adapters does, say
        fourth = trainer(2).model
        assert fourth is not first and isinstance(fourth.classifier, torch.nn.Linear) and len(built) == 3
        fourth.classifier.weight.requires_grad_(False)
        assert trainer(2).model is not fourth


def test_random_states_are_those_that_building_leaves() -> None:
    drawn: list[torch.Tensor] = []
    model = ReusedModel[Any]()

    def build() -> Any:
        return torch.nn.Linear(3, 2)

    for seed in (1, 1, 2, 1):
        model.fresh(seed, build)
        drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[3])
    assert not torch.equal(drawn[0], drawn[2])


def test_collections_leave_out_what_is_loaded_and_end_so() -> None:
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    try:
        with short_collections():
            assert gc.get_freeze_count() > 10_000
            with short_collections():  # a run within a run ends nothing
                pass
            assert gc.get_freeze_count() > 10_000
        assert gc.get_freeze_count() == 0
    finally:
        if frozen:
            gc.freeze()


def test_a_second_fold_compiles_nothing(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    from torch._dynamo.utils import counters

    data = folds_of(
        {**tiny_recipe, "num_train_epochs": 1, "torch_compile": True, "torch_compile_backend": "eager"}, tmp_path
    )
    counters.clear()
    data.train(task_of(tmp_path, 0, 1))
    compiled = counters["stats"]["unique_graphs"]
    assert compiled > 0
    data.train(task_of(tmp_path, 1, 1))
    data.train(task_of(tmp_path, 1, 2))
    assert counters["stats"]["unique_graphs"] == compiled
    torch._dynamo.reset()  # the next test counts anew


def test_a_fold_says_how_long_it_took_and_how_long_its_steps(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    data = folds_of(tiny_recipe, tmp_path)
    data.train(task_of(tmp_path, 0, 1))
    seconds = read_metrics(tmp_path / "fold-0-seed-1")["seconds"]
    assert 0 < seconds["steps"] < seconds["total"] and 0 < seconds["waiting"] < seconds["total"] - seconds["steps"]
    assert seconds["resumed"] == 0
