"""HSTATrainer: parameter groups, schedule, moving average, losses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hsta_hf.data.labels import get_label_scheme
from hsta_hf.training.callbacks import MovingAverage
from hsta_hf.training.clips import load_labelled_clips
from hsta_hf.training.fold import FoldTask, HSTAFolds, build_trainer
from hsta_hf.training.model_factory import build_model, build_processor, streams_in_use
from hsta_hf.training.recipe import RecipeError, merge, resolve
from hsta_hf.training.samplers import ShuffledSampler
from hsta_hf.training.tensor_cache import build_cache
from hsta_hf.training.trainer import HSTATrainer, layer_of_parameter


def make(fields: dict[str, Any], folder: Path) -> HSTATrainer:
    recipe = resolve(fields)
    clips = load_labelled_clips(recipe.data.dataset, recipe.data.label_scheme)  # type: ignore[arg-type]
    processor = build_processor(recipe.model)
    cache = build_cache(clips, processor, recipe.data, folder / "cache")
    data = HSTAFolds(recipe, clips, cache, processor)
    return build_trainer(data, FoldTask(folder / "fold", "test", 42, 0, range(24), range(24, len(clips))))


def test_parameter_groups(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    fields = merge(tiny_recipe, {"layer_decay": 0.5, "model": {"num_hsta_layers": 3}})
    trainer = make(fields, tmp_path)
    groups = trainer.create_optimizer().param_groups
    where = {id(p): group for group in groups for p in group["params"]}
    named = dict(trainer.model.named_parameters())
    assert sum(len(group["params"]) for group in groups) == len(where) == len(named)
    for name, parameter in named.items():
        group = where[id(parameter)]
        spared = name.endswith("bias") or "norm" in name or "cls_token" in name or ".0.weight" in name
        assert group["weight_decay"] == (0.0 if spared and parameter.ndim != 2 else 0.05), name
        steps = 4 - layer_of_parameter(name, 3)
        assert group["lr"] == pytest.approx(1e-3 * 0.5**steps), name
    assert where[id(named["classifier.weight"])]["lr"] == 1e-3
    assert where[id(named["hsta.video_embeddings.cls_token"])]["weight_decay"] == 0.0
    assert layer_of_parameter("hsta.video_embeddings.patch_embeddings.projection.weight", 3) == 0
    assert layer_of_parameter("hsta.layers.1.video.0.attention.query.weight", 3) == 2
    assert layer_of_parameter("hsta.special_layernorm.weight", 3) == 4


def test_the_schedule_warms_up_from_1e_6_and_ends_there(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    trainer = make({**tiny_recipe, "learning_rate": 5e-5, "num_train_epochs": 20, "warmup_epochs": 5}, tmp_path)
    trainer.create_optimizer()
    scheduler = trainer.create_scheduler(200)
    rates = []
    for _ in range(200):
        rates.append(scheduler.get_last_lr()[-1])
        trainer.optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(1e-6)
    assert max(rates) == pytest.approx(5e-5, rel=1e-3)
    assert int(np.argmax(rates)) == 49  # 5 of 20 epochs
    assert np.diff(rates[:50]) == pytest.approx([(5e-5 - 1e-6) / 49] * 49)
    assert all(np.diff(rates[50:]) < 0) and rates[-1] == pytest.approx(1e-6, abs=1e-8)


def test_label_smoothing_and_mixup_train_with_both_losses(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    for loss in ("mse", "cross_entropy"):
        fields = merge(tiny_recipe, {"model": {"classification_loss": loss}, "num_train_epochs": 1})
        trainer = make({**fields, "label_smoothing_factor": 0.1, "mixup_alpha": 0.4}, tmp_path / loss)
        before = trainer.model.classifier.weight.detach().clone()
        assert np.isfinite(trainer.train().training_loss)
        assert not torch.equal(before, trainer.model.classifier.weight)


def test_gradient_accumulation_takes_the_mean(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    whole = make({**tiny_recipe, "num_train_epochs": 1, "optim": "sgd", "max_grad_norm": 0}, tmp_path / "a")
    parts = make(
        {
            **tiny_recipe,
            "num_train_epochs": 1,
            "optim": "sgd",
            "max_grad_norm": 0,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 2,
        },
        tmp_path / "b",
    )
    for trainer in (whole, parts):
        trainer.train()
    for (name, one), two in zip(whole.model.named_parameters(), parts.model.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-6), name


def test_the_moving_average_is_the_slow_formula_and_swaps_back_exactly(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    trainer = make(tiny_recipe, tmp_path)
    model = trainer.model
    average = MovingAverage(model, 0.9)
    slow = {name: p.detach().clone().double() for name, p in model.named_parameters()}
    for step in range(1, 30):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.01 * torch.randn_like(parameter)
        trainer.state.global_step = step
        average.on_step_end(trainer.args, trainer.state, trainer.control, model=model)
        decay = min(0.9, (1 + step) / (10 + step))
        slow = {name: decay * slow[name] + (1 - decay) * p.double() for name, p in model.named_parameters()}
    assert all(torch.allclose(average.weights[name].double(), slow[name], atol=1e-5) for name in slow)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    average.save(tmp_path)
    average.swap(model)
    assert not torch.equal(model.classifier.weight, before["classifier.weight"])
    average.swap(model)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    other = MovingAverage(model, 0.9)
    other.load(tmp_path)
    assert all(torch.equal(other.weights[name], average.weights[name]) for name in slow)


def test_evaluation_with_a_moving_average_leaves_training_as_it_was(
    tiny_recipe: dict[str, Any], tmp_path: Path
) -> None:
    fields = {**tiny_recipe, "ema_decay": 0.8, "num_train_epochs": 3}
    looked = make({**fields, "eval_every_epochs": 1}, tmp_path / "a")
    blind = make(fields, tmp_path / "b")
    for trainer in (looked, blind):
        trainer.train(ignore_keys_for_eval=["video_cls", "special_cls"])
        trainer.use_average()
    assert [e["epoch"] for e in looked.state.log_history if "eval_uf1" in e] == [1, 2, 3]
    assert not [e for e in blind.state.log_history if "eval_uf1" in e]
    for (name, one), two in zip(looked.model.named_parameters(), blind.model.parameters(), strict=True):
        assert torch.equal(one, two), name


def test_without_balancing_every_clip_comes_once(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    sampler = make({**tiny_recipe, "class_balanced": False}, tmp_path)._get_train_sampler()
    assert type(sampler) is ShuffledSampler and len(sampler) == 24


@pytest.mark.parametrize("stream", ["use_video_stream", "use_special_stream"])
def test_a_stream_that_is_off_is_not_even_loaded(tiny_recipe: dict[str, Any], tmp_path: Path, stream: str) -> None:
    trainer = make(merge(tiny_recipe, {"model": {stream: False}, "num_train_epochs": 1}), tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    (name,) = streams_in_use(trainer.model.config)
    assert set(batch) == {name, "labels", "keys"}
    assert set(trainer._prepare_inputs(batch)) == {name, "labels"}
    trainer.train()


def test_processor_and_model_must_agree() -> None:
    fields = {
        "preset": "tiny",
        "model": {"stream": {"image_size": 32}},
        "processor": {"size": {"height": 48, "width": 48}},
    }
    recipe = resolve(fields)
    processor = build_processor(recipe.model)
    scheme = get_label_scheme("casme3_7")
    with pytest.raises(RecipeError, match=r"model.video_config.image_size is 32, but the processor makes 48"):
        build_model(recipe.model, processor, scheme)
    plain = resolve({"preset": "tiny", "processor": {"num_frames": 8, "special_size": 64}}).model
    model = build_model(plain, build_processor(plain), scheme)
    assert (model.config.video_config.num_frames, model.config.video_config.image_size) == (8, 112)
    assert (model.config.special_config.num_frames, model.config.special_config.image_size) == (2, 64)
    assert model.config.id2label[3] == "happy" and model.config.num_labels == 7
    with pytest.raises(RecipeError, match="preset is 'huge'"):
        build_processor(resolve({"preset": "huge"}).model)


def test_workers_change_nothing_and_waiting_is_logged(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    fields = merge(
        tiny_recipe, {"processor": {"video_input": "frames"}, "flip_probability": 0.5, "crop_area": [0.5, 1]}
    )
    weights = []
    for workers in (None, 2):
        trainer = make({**fields, "dataloader_num_workers": workers}, tmp_path / str(workers))
        assert trainer.args.dataloader_num_workers == (workers or 0)  # none by default where a CPU trains
        trainer.train()
        shares = [entry["waited_for_clips"] for entry in trainer.state.log_history if "loss" in entry]
        assert len(shares) == 2 and all(0 < share < 1 for share in shares)
        weights.append(trainer.model.state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_clips_stay_uint8_until_they_are_on_the_device(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    trainer = make(merge(tiny_recipe, {"processor": {"video_input": "frames"}}), tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    assert batch["pixel_values"].dtype == torch.uint8 and batch["special_pixel_values"].dtype == torch.float16
    ready = trainer._prepare_inputs(batch)
    assert ready["pixel_values"].dtype == ready["special_pixel_values"].dtype == torch.float32
    assert ready["pixel_values"].shape == (8, 6, 3, 32, 32)
