"""LoRA: what trains, what is saved, and that merged, resumed and plain models agree."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import VideoMAEForPreTraining

from hsta_hf.modeling_hsta import HSTACrossAttention, HSTAForMicroExpressionClassification
from hsta_hf.reporting import read_predictions
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.fold import FoldTask, HSTAFolds, build_trainer, read_metrics
from hsta_hf.training.lora import add_adapters, count_trained, merge_adapters, target_modules, whole_modules
from hsta_hf.training.model_factory import build_model, build_processor
from hsta_hf.training.recipe import RecipeError, merge, resolve
from hsta_hf.training.tensor_cache import build_cache
from hsta_hf.training.trainer import HSTATrainer, layer_of_parameter

peft = pytest.importorskip("peft", reason="needs the extra hsta-hf[peft]")


@pytest.fixture
def fields(tiny_recipe: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    """A recipe with adapters, whose starting model has random weights."""
    more = {"num_hsta_layers": 2, "drop_path_rate": 0.1, "classifier_dropout": 0.2}
    recipe = resolve(merge(tiny_recipe, {"model": more}))
    processor = build_processor(recipe.model)
    torch.manual_seed(0)
    scheme = load_labelled_clips(tiny_recipe["dataset"], "casme3_7").scheme
    build_model(recipe.model, processor, scheme).save_pretrained(tmp_path / "start")
    processor.save_pretrained(tmp_path / "start")
    return merge(tiny_recipe, {"model": more, "pretrained": str(tmp_path / "start"), "tuning": "lora"})


def folds(fields: dict[str, Any], folder: Path) -> HSTAFolds:
    recipe = resolve(fields)
    clips = load_labelled_clips(recipe.data.dataset, recipe.data.label_scheme)  # type: ignore[arg-type]
    processor = build_processor(recipe.model)
    return HSTAFolds(recipe, clips, build_cache(clips, processor, recipe.data, folder / "cache"), processor)


def trainer_of(data: HSTAFolds, folder: Path, seed: int = 42) -> HSTATrainer:
    return build_trainer(data, FoldTask(folder, "test", seed, 0, range(28), range(28, 42)))


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def small(**fields: Any) -> HSTAForMicroExpressionClassification:
    from hsta_hf.configuration_hsta import HSTAConfig

    stream = {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32, "patch_size": 16}
    torch.manual_seed(1)
    config = HSTAConfig.from_preset(
        "tiny", num_labels=3, video_config=stream, special_config={**stream, "num_frames": 2}, **fields
    )
    return HSTAForMicroExpressionClassification(config)


def test_adapters_head_and_cls_train_and_nothing_else(fields: dict[str, Any], tmp_path: Path) -> None:
    trainer = trainer_of(folds({**fields, "ema_decay": 0.5, "layer_decay": 0.5}, tmp_path), tmp_path / "fold")
    before = weights_of(trainer.model)  # type: ignore[arg-type]
    trains = [name for name, p in trainer.model.named_parameters() if p.requires_grad]  # type: ignore[union-attr]
    assert all("lora_" in n or "classifier" in n or n.endswith("cls_token") for n in trains)
    assert sum("cls_token" in name for name in trains) == 2 and sum("classifier" in name for name in trains) == 2
    # q, k, v and output of 2 USTA and 2 CSTA in 2 layers, each with A and B.
    assert sum("lora_" in name for name in trains) == 2 * 4 * 4 * 2

    groups = trainer.create_optimizer().param_groups
    where = {id(p): group for group in groups for p in group["params"]}
    named = dict(trainer.model.named_parameters())  # type: ignore[union-attr]
    assert len(where) == len(trains)
    for name in trains:
        depth = 3 if "classifier" in name else 0 if "cls_token" in name else int(name.split("layers.")[1][0]) + 1
        assert layer_of_parameter(name, 2) == depth
        assert where[id(named[name])]["lr"] == pytest.approx(1e-3 * 0.5 ** (3 - depth)), name
        spared = name.endswith("bias") or "cls_token" in name
        assert where[id(named[name])]["weight_decay"] == (0.0 if spared else 0.05), name
    assert trainer.average is not None and set(trainer.average.weights) == set(trains)

    start = {name: weight.clone() for name, weight in trainer.average.weights.items()}
    trainer.train()
    after = weights_of(trainer.model)  # type: ignore[arg-type]
    for name, value in after.items():
        assert torch.equal(value, before[name]) == (name not in trains), name
    assert all(not torch.equal(start[name], trainer.average.weights[name]) for name in trains)
    assert any(not torch.equal(after[name], trainer.average.weights[name]) for name in trains)


def test_merged_model_and_adapter_agree(fields: dict[str, Any], tmp_path: Path) -> None:
    data = folds({**fields, "learning_rate": 1e-2}, tmp_path)
    trainer = trainer_of(data, tmp_path / "fold")
    counts = trainer.parameter_counts()
    trainer.train()
    adapted = trainer.predict_logits(trainer.eval_dataset)  # type: ignore[arg-type]
    trainer.finish(tmp_path / "fold")
    merged = trainer.predict_logits(trainer.eval_dataset)  # type: ignore[arg-type]
    assert np.abs(adapted - merged).max() < 1e-5
    plain = trainer.finished_model()
    assert type(plain) is HSTAForMicroExpressionClassification
    assert counts["all"] == sum(p.numel() for p in plain.parameters()) > 5 * counts["trainable"]
    assert all(p.requires_grad for p in plain.parameters()) and not hasattr(plain, "peft_config")

    base = build_model(data.recipe.model, data.processor, data.clips.scheme)
    assert set(plain.state_dict()) == set(base.state_dict())
    untouched = dict(base.named_parameters())["hsta.layers.0.video.0.intermediate.dense.weight"].detach().clone()
    assert torch.equal(plain.hsta.layers[0].video[0].intermediate.dense.weight, untouched)
    clip = {name: torch.from_numpy(x).float()[None] for name, x in data.cache.read(30).items()}
    loaded = peft.PeftModel.from_pretrained(base, tmp_path / "fold" / "adapter").eval()
    with torch.no_grad():
        assert np.abs(loaded(**clip).logits.numpy() - merged[2]).max() < 1e-5
    readme = (tmp_path / "fold" / "adapter" / "README.md").read_text(encoding="utf-8")
    assert str(tmp_path / "start") in readme and "num_labels=7" in readme


@pytest.mark.parametrize(
    ("fields", "targets", "number"),
    [
        ({}, None, 4 * 4),
        ({}, ["query"], 4),
        ({}, ["mlp", "projection"], 2 * 2 + 2 * 2),
        ({"block_style": "paper"}, None, 4 * 3),
        ({"use_special_stream": False}, None, 4),
    ],
)
def test_targets(fields: dict[str, Any], targets: list[str] | None, number: int) -> None:
    model = small(num_hsta_layers=1, num_video_layers=1, num_special_layers=1, **fields)
    assert len(target_modules(model, targets)) == number


def test_a_target_that_the_model_does_not_have() -> None:
    with pytest.raises(RecipeError, match=r"lora\.targets: this model has no linear layers of the kind 'mlp'"):
        target_modules(small(block_style="paper"), ["query", "mlp"])


def test_adapters_on_keys_and_values_of_csta_act() -> None:
    """With one query, CSTA needs no keys and values where these are plain layers; with adapters it does."""
    model = small().eval()
    pixels = {"pixel_values": torch.randn(2, 6, 3, 32, 32), "special_pixel_values": torch.randn(2, 2, 3, 32, 32)}
    with torch.no_grad():
        plain = model(**pixels).logits
        wrapped = add_adapters(model, {"targets": ["key", "value"]}, 0).eval()
        assert torch.allclose(wrapped(**pixels).logits, plain, atol=1e-5)  # B starts at zero
        for name, parameter in wrapped.named_parameters():
            if "lora_B" in name and "_cross.value" in name:
                parameter += 0.5
        moved = wrapped(**pixels).logits
        assert (moved - plain).abs().max() > 1e-3
        merged = merge_adapters(wrapped)
        assert all(type(m.key) is torch.nn.Linear for m in merged.modules() if isinstance(m, HSTACrossAttention))
        assert torch.allclose(merged(**pixels).logits, moved, atol=1e-5)


def test_what_a_start_from_videomae_left_random_trains_whole(
    random_videomae: Callable[..., VideoMAEForPreTraining], tmp_path: Path
) -> None:
    random_videomae().save_pretrained(tmp_path)
    config = {"num_frames": 4, "num_attention_heads": 4}
    model = HSTAForMicroExpressionClassification.from_videomae(
        str(tmp_path),
        num_hsta_layers=1,
        num_video_layers=1,
        num_special_layers=1,
        video_config=config,
        special_config={**config, "num_frames": 2},
        num_labels=3,
    )
    whole = whole_modules(model)
    assert {"classifier", "hsta.layers.0.video_cross", "hsta.layers.0.special_cross"} < set(whole)
    assert "hsta.layers.0.video.0" not in whole
    wrapped = add_adapters(model, {}, 0)
    trains = {name for name, p in wrapped.named_parameters() if p.requires_grad}
    assert any("video_cross" in name and "revert" in name for name in trains)
    assert not any("video_cross" in name and "lora_" in name for name in trains)
    assert not any("patch_embeddings" in name for name in trains)
    assert count_trained(wrapped)["all"] == sum(p.numel() for p in merge_adapters(wrapped).parameters())


@pytest.mark.slow
def test_a_run_with_adapters_can_be_read_without_peft(fields: dict[str, Any], tmp_path: Path) -> None:
    result = run_recipe(resolve({**fields, "lora": {"r": 2}}))
    table = read_predictions(result.path)
    assert len(table) == 42
    first, second = (result.path / "folds" / f"fold-{number:02d}-seed-42" for number in (0, 1))
    assert (first / "adapter" / "adapter_model.safetensors").is_file()
    assert not list(first.rglob("*.bin")) and not (first / "checkpoints").exists()
    parameters = read_metrics(first)["parameters"]
    report = (result.path / "report.md").read_text(encoding="utf-8")
    assert f"the head and [CLS]: {parameters['trainable']:,} of {parameters['all']:,} parameters" in report
    code = (
        "import sys; sys.modules['peft'] = None\n"
        "from hsta_hf import HSTAForMicroExpressionClassification as Model\n"
        f"model, report = Model.from_pretrained({str(first / 'model')!r}, output_loading_info=True)\n"
        "print(sorted(report['missing_keys']), sorted(report['unexpected_keys']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"
    # One model object serves all folds; the second fold does not start from where the first one ended.
    alone = folds({**fields, "lora": {"r": 2}}, tmp_path / "alone")
    split = [rows["clip"].tolist() for _, rows in table.groupby("fold")]
    names = alone.clips.column("clip_id")
    train, test = ([names.index(name) for name in part] for part in split)
    alone.train(FoldTask(tmp_path / "alone" / "fold", "alone", 42, 1, sorted(train), sorted(test)))
    one, two = (load_file(f / "model" / "model.safetensors") for f in (second, tmp_path / "alone" / "fold"))
    assert all(one[name].equal(two[name]) for name in one)


@pytest.mark.slow
def test_a_training_that_is_cut_short_ends_like_one_that_is_not(fields: dict[str, Any], tmp_path: Path) -> None:
    fields = {**fields, "num_train_epochs": 4, "ema_decay": 0.8, "flip_probability": 0.5}

    class Cut(Exception):
        pass

    def result(folder: Path, cut: int | None) -> dict[str, torch.Tensor]:
        data = folds(fields, tmp_path)
        task = FoldTask(folder, "test", 42, 0, range(28), range(28, 42))
        if cut is not None:
            step = HSTATrainer.training_step

            def failing(self: HSTATrainer, *args: Any, **kwargs: Any) -> torch.Tensor:
                if self.state.global_step >= cut:
                    raise Cut
                return step(self, *args, **kwargs)

            with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
                patch.setattr(HSTATrainer, "training_step", failing)
                data.train(task)
            assert (folder / "checkpoints" / "checkpoint-8" / "adapter_model.safetensors").is_file()
        data.train(task)
        return load_file(folder / "model" / "model.safetensors")

    whole, resumed = result(tmp_path / "whole", None), result(tmp_path / "resumed", 10)
    assert all(whole[name].equal(resumed[name]) for name in whole)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"gradient_checkpointing": True}, {"per_device_train_batch_size": 4}])
def test_gradient_checkpointing_changes_no_number(
    fields: dict[str, Any], tmp_path: Path, more: dict[str, Any]
) -> None:
    fields = {**fields, "num_train_epochs": 1, "lora": {"dropout": 0.1}}
    trained = []
    for changed in (fields, {**fields, **more}):
        trainer = trainer_of(folds(changed, tmp_path), tmp_path / "f")
        trainer.train()
        trained.append(weights_of(trainer.model).values())  # type: ignore[arg-type]
    pairs = zip(*trained, strict=True)
    same = all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
    assert same == ("gradient_checkpointing" in more)  # other batches are the control


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 4}, "lora has no field 'rank'; it has r, alpha, dropout, targets"),
        ({"r": 0}, r"lora\.r is 0; it must be a whole number, 1 or more"),
        ({"alpha": -1}, r"lora\.alpha is -1"),
        ({"dropout": 1.0}, r"lora\.dropout is 1\.0"),
        ({"targets": ["keys"]}, r"lora\.targets is \['keys'\]; list one or more of query, key"),
    ],
)
def test_impossible_settings(fields: dict[str, Any], lora: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        resolve({**fields, "lora": lora})
    with pytest.raises(RecipeError, match="lora is set, but tuning is 'full'; add --tuning lora"):
        resolve({**fields, "tuning": "full", "lora": {"r": 4}})


def test_without_peft_the_remedy_is_named(fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "peft" else find(name, *a))
    with pytest.raises(RecipeError, match=r"pip install 'hsta-hf\[peft\]'"):
        run_recipe(resolve(fields))
    assert not Path(fields["output_dir"]).exists()
