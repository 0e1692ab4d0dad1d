"""Training heads on a frozen backbone's features: equal to the slow way, computed once, kept safely."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from hsta_hf.modeling_hsta import HSTAForMicroExpressionClassification, HSTAModel
from hsta_hf.reporting import read_predictions
from hsta_hf.training import frozen_features
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.fold import FoldTask, HSTAFolds, build_trainer, read_metrics
from hsta_hf.training.frozen_dataset import ClipFeatures, FeatureDataset, FeatureFinisher
from hsta_hf.training.frozen_features import compute_features, feature_settings, versions_of
from hsta_hf.training.frozen_folds import FrozenFolds, frozen_lines
from hsta_hf.training.model_factory import build_model, build_processor
from hsta_hf.training.recipe import RecipeError, merge, pretraining_recipe, resolve
from hsta_hf.training.samplers import Draw
from hsta_hf.training.tensor_cache import build_cache

SIDED = "action_units_sided"
AUGMENTED = {"temporal_variants": 2, "random_frames": True, "flip_probability": 0.5, "noise_std": 0.1}


@pytest.fixture(scope="module")
def start(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with random weights, saved: for what is tested here, as good as a pre-trained one."""
    folder = tmp_path_factory.mktemp("start") / "model"
    recipe = resolve(tiny_fields(prepared, folder.parent))
    clips = load_labelled_clips(prepared, "casme3_7")
    processor = build_processor(recipe.model)
    torch.manual_seed(0)
    build_model(recipe.model, processor, clips.scheme).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def tiny_fields(prepared: Path, folder: Path) -> dict[str, Any]:
    stream = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32, "patch_size": 16}
    return {
        "dataset": str(prepared),
        "output_dir": str(folder / "run"),
        "num_folds": 2,
        "preset": "tiny",
        "model": {"num_hsta_layers": 2, "classifier_dropout": 0.3, "stream": {**stream, "hidden_dropout_prob": 0.2}},
        "processor": {"video_input": "difference", "special_input": "optical_flow"},
        "num_train_epochs": 3,
        "warmup_epochs": 1,
        "learning_rate": 1e-2,
        "per_device_train_batch_size": 8,
        "disable_tqdm": True,
        "use_cpu": True,
    }


@pytest.fixture
def fields(prepared: Path, start: Path, tmp_path: Path) -> dict[str, Any]:
    """A recipe for a frozen backbone."""
    return {**tiny_fields(prepared, tmp_path), "pretrained": str(start), "tuning": "frozen"}


def folds(fields: dict[str, Any], folder: Path) -> FrozenFolds:
    recipe = resolve(fields)
    clips = load_labelled_clips(recipe.data.dataset, recipe.data.label_scheme)  # type: ignore[arg-type]
    processor = build_processor(recipe.model)
    cache = build_cache(clips, processor, recipe.data, folder / "cache")
    return FrozenFolds(recipe, clips, cache, processor, directory=folder / "features")


def task(folder: Path, seed: int = 42) -> FoldTask:
    return FoldTask(folder, "test", seed, 0, range(28), range(28, 42))


@pytest.mark.parametrize("loss", ["mse", "cross_entropy"])
def test_a_head_on_features_trains_like_a_model_that_is_frozen(
    fields: dict[str, Any], tmp_path: Path, loss: str
) -> None:
    more = {"model": {"classification_loss": loss}, "ema_decay": 0.8, "label_smoothing_factor": 0.1}
    fast = folds(merge(fields, more), tmp_path)
    quick = fast.make_trainer(task(tmp_path / "fast"))
    quick.train()
    quick.finish(tmp_path)

    slow = build_trainer(HSTAFolds(fast.recipe, fast.clips, fast.cache, fast.processor), task(tmp_path / "slow"))
    network = slow._network
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    network.hsta.requires_grad_(False)
    network.hsta.train = lambda mode=True: network.hsta  # type: ignore[method-assign, assignment]
    network.hsta.apply(lambda module: setattr(module, "training", False))
    slow.average = type(slow.average)(network, 0.8)  # type: ignore[misc]  # of what trains now
    slow.callback_handler.callbacks = [c for c in slow.callback_handler.callbacks if type(c) is not type(slow.average)]
    slow.add_callback(slow.average)
    slow.train()
    slow.finish(tmp_path)

    whole = quick.finished_model()
    for name, value in whole.named_parameters():
        trained = dict(network.named_parameters())[name]
        assert torch.allclose(value, trained, atol=1e-5), name
        assert torch.equal(value, before[name]) == name.startswith("hsta."), name
    slowly, quickly = (trainer.predict_logits(trainer.eval_dataset) for trainer in (slow, quick))  # type: ignore[arg-type]
    assert np.abs(slowly - quickly).max() < 1e-5
    losses = [[e["loss"] for e in t.state.log_history if "loss" in e] for t in (slow, quick)]
    assert len(losses[0]) == 3 and losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert quick.parameter_counts() == {"trainable": 64 * 7 + 7, "all": sum(p.numel() for p in before.values())}


def test_features_are_what_the_head_of_the_whole_model_sees(fields: dict[str, Any], tmp_path: Path) -> None:
    data = folds({**fields, **AUGMENTED, "feature_versions": 3, "per_device_eval_batch_size": 16}, tmp_path)
    model = build_model(data.recipe.model, data.processor, data.clips.scheme).eval()
    features = compute_features(model, data.clips, data.cache, data.processor, data.recipe, tmp_path / "f")
    assert features.values.shape == (42, 3, 64) and features.values.dtype == torch.float32
    seen: list[torch.Tensor] = []
    model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    clip = {name: torch.from_numpy(x).float()[None] for name, x in data.cache.read(40).items()}
    with torch.no_grad():
        model(**clip)
    assert torch.allclose(seen[0], features.values[40, :1], atol=1e-5)
    assert not features.mirrored[:, 0].any() and 0 < features.mirrored[:, 1:].sum() < 84
    different = (features.values[:, 1:] - features.values[:, :1]).abs().amax(dim=-1)
    assert different.min() > 1e-4


@pytest.mark.slow
def test_features_are_computed_once_for_all_folds_seeds_and_starts(
    fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = 0
    forward = HSTAModel.forward

    def counted(self: HSTAModel, pixel_values: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        nonlocal clips
        clips += len(pixel_values)
        return forward(self, pixel_values, *args, **kwargs)

    monkeypatch.setattr(HSTAModel, "forward", counted)
    fields = {**fields, **AUGMENTED, "feature_versions": 4, "seeds": [1, 2], "folds": [0]}
    run_recipe(resolve(fields))
    assert clips == 4 * 42
    result = run_recipe(resolve({**fields, "folds": [0, 1]}))
    assert clips == 4 * 42
    assert len(read_predictions(result.path)) == 2 * 42
    out = capsys.readouterr().out
    assert "Frozen backbone: features of 42 clips in 4 versions each." in out
    assert "hidden_dropout_prob has no effect" in out
    run_recipe(resolve({**fields, "flip_probability": 0.4, "output_dir": fields["output_dir"] + "2"}))
    assert clips == 8 * 42
    report = (result.path / "report.md").read_text(encoding="utf-8")
    assert "only the head was trained, on features of 4 versions of each clip: 455 of " in report


@pytest.mark.slow
def test_a_folds_folder_holds_the_whole_model_which_predicts_what_the_table_says(
    fields: dict[str, Any], start: Path, tmp_path: Path
) -> None:
    result = run_recipe(resolve({**fields, "final_model": True}))
    table = read_predictions(result.path)
    data = folds(fields, tmp_path)
    initial = load_file(start / "model.safetensors")
    for fold in (0, 1):
        folder = result.path / "folds" / f"fold-{fold:02d}-seed-42"
        files = {entry.name for entry in folder.iterdir()}
        assert {"model", "log_history.json", "metrics.json", "predictions.parquet"} <= files
        assert "checkpoints" not in files
        weights = load_file(folder / "model" / "model.safetensors")
        assert {n for n in weights if not weights[n].equal(initial[n])} == {"classifier.weight", "classifier.bias"}
        assert read_metrics(folder)["parameters"]["trainable"] == 455
        model = HSTAForMicroExpressionClassification.from_pretrained(folder / "model").eval()
        rows = table[table["fold"] == fold].set_index("clip")
        for index, name in enumerate(data.clips.column("clip_id")):
            if name in rows.index:
                clip = {n: torch.from_numpy(x).float()[None] for n, x in data.cache.read(index).items()}
                with torch.no_grad():
                    scores = model(**clip).logits.softmax(-1)[0].numpy()
                said = [rows.loc[name, f"score_{label}"] for label in data.clips.scheme.labels]
                assert np.abs(scores - np.asarray(said)).max() < 1e-5
    final = load_file(result.path / "final" / "model" / "model.safetensors")
    assert final["hsta.layers.0.video.0.attention.attention.key.weight"].equal(
        initial["hsta.layers.0.video.0.attention.attention.key.weight"]
    )


def test_same_seed_same_numbers_and_other_seeds_others(fields: dict[str, Any], tmp_path: Path) -> None:
    def head(seed: int, folder: str) -> torch.Tensor:
        trainer = folds({**fields, **AUGMENTED, "mixup_alpha": 0.3, "feature_versions": 2}, tmp_path).make_trainer(
            task(tmp_path / folder, seed)
        )
        trainer.train()
        return trainer.finished_model().classifier.weight.detach().clone()

    first = head(42, "a")
    shutil.rmtree(tmp_path / "features")  # computed anew
    assert torch.equal(first, head(42, "b"))
    assert not torch.equal(first, head(43, "c"))


def test_a_computation_that_was_cut_short_goes_on(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = folds({**fields, **AUGMENTED, "feature_versions": 2, "per_device_eval_batch_size": 8}, tmp_path)
    model = build_model(data.recipe.model, data.processor, data.clips.scheme)
    arguments = (model, data.clips, data.cache, data.processor, data.recipe)
    whole = compute_features(*arguments, tmp_path / "whole")
    call, calls = frozen_features._Extractor.__call__, []

    def failing(self: Any, batch: dict[str, torch.Tensor]) -> Any:
        calls.append(len(batch["labels"]))
        if len(calls) == 5:
            raise KeyboardInterrupt
        return call(self, batch)

    monkeypatch.setattr(frozen_features._Extractor, "__call__", failing)
    with pytest.raises(KeyboardInterrupt):
        compute_features(*arguments, tmp_path / "parts")
    assert isinstance(model.classifier, torch.nn.Linear)  # the head is back
    parts = compute_features(*arguments, tmp_path / "parts")
    assert len(calls) == 5 + (12 - 4)  # 6 batches of 2 versions, of which 4 were done
    assert torch.equal(parts.values, whole.values) and torch.equal(parts.mirrored, whole.mirrored)


def test_what_decides_features_is_in_their_key(fields: dict[str, Any], tmp_path: Path) -> None:
    data = folds(fields, tmp_path)
    model = build_model(data.recipe.model, data.processor, data.clips.scheme)

    def settings(changes: dict[str, Any]) -> dict[str, Any]:
        return feature_settings(model, data.clips, data.processor, resolve({**fields, **changes}))

    same = settings({})
    for harmless in ({"learning_rate": 1e-3}, {"mixup_alpha": 0.2}, {"seeds": [1]}, {"feature_versions": 3}):
        assert settings(harmless) == same, harmless
    flipped = {"flip_probability": 0.5}
    for decisive in (flipped, {"temporal_variants": 2}, {"per_device_eval_batch_size": 8}, {"bf16": True}):
        assert settings(decisive) != same, decisive
    assert settings(flipped) != settings({**flipped, "feature_versions": 3})
    with torch.no_grad():
        model.classifier.weight += 1
    assert settings({}) == same
    with torch.no_grad():
        model.hsta.layers[0].video[0].attention.attention.key.weight[0, 0] += 1e-3
    assert settings({})["weights"] != same["weights"]


def test_versions_and_labels_of_mirrored_clips_are_drawn_from_keys() -> None:
    values = torch.arange(2 * 3, dtype=torch.float32).reshape(2, 3, 1)  # clip 0: 0 1 2, clip 1: 3 4 5
    mirrored = torch.tensor([[False, True, False], [False, False, True]])
    dataset = FeatureDataset(ClipFeatures(values, mirrored), [1, 0], [(1.0, 0.0, 1.0), (0.0, 1.0, 0.0)], (1, 0, 2))
    assert dataset.__getitems__([0, 1])["features"].tolist() == [[3.0], [0.0]]
    assert "keys" not in dataset.__getitems__([0])
    seen = set()
    for place in range(40):
        batch = dataset.__getitems__([Draw(1, (42, 0, place))])
        value = int(batch["features"])
        assert batch["labels"].tolist() == [[1.0, 0.0, 0.0] if value == 1 else [0.0, 1.0, 0.0]]
        seen.add(value)
    assert seen == {0, 1, 2}
    draws = [Draw(1, (42, 0, place)) for place in range(1000, 1050)]
    alone = [float(dataset.__getitems__([draw])["features"]) for draw in draws]
    assert dataset.__getitems__(draws)["features"][:, 0].tolist() == alone  # whatever else is in the batch
    for key in ((43, 0), (42, 1)):
        others = dataset.__getitems__([Draw(1, (*key, draw.key[2])) for draw in draws])
        assert others["features"][:, 0].tolist() != alone
    with pytest.raises(ValueError, match="1 clips but 2 labels"):
        FeatureDataset(ClipFeatures(values, mirrored), [1], [0, 1])


def test_mixup_of_features_mixes_labels_alike() -> None:
    recipe = resolve({"mixup_alpha": 0.4})
    finisher = FeatureFinisher(recipe.augmentation, 3)
    keys = torch.tensor([[42, 0, place] for place in range(4)])
    one_hot = torch.eye(3)[[0, 1, 2, 1]]
    mixed = finisher({"features": one_hot.clone(), "labels": torch.tensor([0, 1, 2, 1]), "keys": keys})
    assert set(mixed) == {"features", "labels"}
    assert torch.equal(mixed["features"], mixed["labels"]) and not torch.equal(mixed["labels"], one_hot)
    assert mixed["labels"].sum(dim=-1).tolist() == pytest.approx([1] * 4)
    plain = {"features": one_hot, "labels": torch.tensor([0, 1, 2, 1])}
    assert finisher(plain)["features"] is one_hot  # evaluation has no keys


def test_a_random_backbone_is_not_frozen(tiny_recipe: dict[str, Any]) -> None:
    for tuning in ("frozen", "lora"):
        with pytest.raises(RecipeError, match=f"tuning is '{tuning}', but nothing is pre-trained"):
            resolve({**tiny_recipe, "tuning": tuning})
        resolve({**tiny_recipe, "tuning": tuning, "pretrain_synthetic": {"num_subjects": 2}})
    with pytest.raises(RecipeError, match="feature_versions is 0"):
        resolve({**tiny_recipe, "feature_versions": 0})


def test_a_pre_training_trains_all_there_is(tiny_recipe: dict[str, Any]) -> None:
    for tuning in ({"tuning": "frozen"}, {"tuning": "lora", "lora": {"r": 4}}):
        recipe = resolve({**tiny_recipe, **tuning, "pretrain_synthetic": {"num_subjects": 2}})
        assert pretraining_recipe(recipe).model.tuning == "full"


def test_one_version_where_nothing_is_drawn(fields: dict[str, Any], tmp_path: Path) -> None:
    assert versions_of(resolve({**fields, "mixup_alpha": 0.3})) == 1
    assert versions_of(resolve({**fields, "temporal_variants": 2})) == 8
    assert versions_of(resolve({**fields, "rotate": 3, "feature_versions": 5})) == 5
    data = folds({**fields, "rotate": 3, "feature_versions": 1, "layer_decay": 0.9}, tmp_path)
    model = build_model(data.recipe.model, data.processor, data.clips.scheme)
    lines = frozen_lines(data.recipe, model, 42)
    assert any("feature_versions is 1, so drawn versions of clips and augmentation have no effect" in x for x in lines)
    assert any("hidden_dropout_prob, layer_decay have no effect" in x for x in lines)


def test_mirrored_units_swap_sides(fields: dict[str, Any], tmp_path: Path) -> None:
    data = folds({**fields, "label_scheme": SIDED, "flip_probability": 1.0, "feature_versions": 2}, tmp_path)
    trainer = data.make_trainer(task(tmp_path / "units"))
    assert data._made[0].features.mirrored[:, 1].all()
    assert trainer.train_dataset.mirror is not None  # type: ignore[union-attr]
    assert np.isfinite(trainer.train().training_loss)


def test_the_epoch_may_be_chosen_on_validation_clips(fields: dict[str, Any], tmp_path: Path) -> None:
    data = folds(fields, tmp_path)
    chosen = FoldTask(tmp_path / "fold", "test", 42, 0, range(20), range(28, 42), validation_indices=range(20, 28))
    data.train(chosen)
    facts = read_metrics(tmp_path / "fold")["validation"]
    assert facts["clips"] == [data.clips.column("clip_id")[i] for i in range(20, 28)] and 1 <= facts["epoch"] <= 3
