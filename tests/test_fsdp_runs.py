"""Runs whose weights are sharded by FSDP, on two processes of this machine's CPU (gloo)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch.distributed as dist
from accelerate import FullyShardedDataParallelPlugin
from accelerate.utils import TorchDynamoPlugin
from safetensors.torch import load_file

from hsta_hf import HSTAConfig, HSTAForMicroExpressionClassification
from hsta_hf.baselines.videomae import VideoMAETrainer
from hsta_hf.data.labels import get_label_scheme
from hsta_hf.data.prepare import PrepareOptions, prepare
from hsta_hf.data.synthesize import synthesize
from hsta_hf.training.arguments import HSTATrainingArguments, ModelArguments
from hsta_hf.training.frozen_folds import FrozenTrainer
from hsta_hf.training.lora_trainer import LoRATrainer
from hsta_hf.training.model_factory import build_model, build_processor
from hsta_hf.training.sharding import read_weights_everywhere, settle_sharding
from hsta_hf.training.trainer import HSTATrainer

pytestmark = pytest.mark.skipif(not dist.is_gloo_available(), reason="this PyTorch was built without gloo")

STREAM = {"hidden_size": 24, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32, "patch_size": 16}
TESTS = Path(__file__).resolve().parent


def small_model(**fields: Any) -> HSTAForMicroExpressionClassification:
    config = HSTAConfig(
        video_config=dict(STREAM), special_config=dict(STREAM), num_hsta_layers=1, num_labels=7, **fields
    )
    return HSTAForMicroExpressionClassification(config)


def settled(**fields: Any) -> FullyShardedDataParallelPlugin:
    fields = {"fsdp_version": 2, "state_dict_type": "FULL_STATE_DICT", **fields}
    plugin = FullyShardedDataParallelPlugin(**fields)
    accelerator: Any = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin), device="cpu")
    settle_sharding(accelerator, small_model())
    return plugin


@pytest.mark.parametrize("policy", [None, "NO_WRAP", "TRANSFORMER_BASED_WRAP"])
def test_blocks_are_sharded_whatever_the_launcher_says(policy: str | None) -> None:
    plugin = settled(auto_wrap_policy=policy)
    assert plugin.transformer_cls_names_to_wrap == [
        "HSTACrossAttention",
        "HSTAReleasedUSTA",
        "VideoMAEPatchEmbeddings",
    ]
    plugin.set_auto_wrap_policy(small_model())  # knows all of these classes
    accelerator: Any = SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin), device="cpu")
    settle_sharding(accelerator, small_model())  # the next fold, which gets the same plugin
    assert len(plugin.transformer_cls_names_to_wrap) == 3


def test_classes_that_the_launcher_names_are_the_ones_that_are_sharded() -> None:
    named = settled(auto_wrap_policy="TRANSFORMER_BASED_WRAP", transformer_cls_names_to_wrap=["HSTALayer"])
    assert named.transformer_cls_names_to_wrap == ["HSTALayer"]


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"fsdp_version": 1}, "--fsdp_version 2"),
        ({"state_dict_type": "SHARDED_STATE_DICT"}, "--fsdp_state_dict_type FULL_STATE_DICT"),
        ({"activation_checkpointing": True}, "gradient_checkpointing in the recipe"),
        ({"auto_wrap_policy": "SIZE_BASED_WRAP", "min_num_params": 100}, "TRANSFORMER_BASED_WRAP"),
    ],
)
def test_forms_of_fsdp_that_do_not_work_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        settled(**fields)


def test_fsdp_that_accelerate_would_ignore_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator: Any = SimpleNamespace(state=SimpleNamespace(), device="cpu", num_processes=2)
    settle_sharding(accelerator, small_model())  # DDP, as was asked for
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ValueError, match="accelerate does not offer it on cpu"):
        settle_sharding(accelerator, small_model())


@pytest.mark.parametrize("trainer", [LoRATrainer, FrozenTrainer, VideoMAETrainer])
def test_trainers_that_need_whole_weights_refuse_fsdp(
    trainer: type[HSTATrainer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    arguments = HSTATrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    more = {"whole": small_model()} if trainer is FrozenTrainer else {}
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setattr(HSTATrainingArguments, "world_size", 2)
    with pytest.raises(ValueError, match=f"{trainer.__name__} works with whole weights only"):
        trainer(model=small_model(), args=arguments, **more)


def test_a_checkpoint_without_shards_is_not_continued_with_them(tmp_path: Path) -> None:
    trainer = HSTATrainer(model=small_model(), args=HSTATrainingArguments(output_dir=str(tmp_path), use_cpu=True))
    trainer.is_fsdp_enabled = True
    with pytest.raises(ValueError, match="was written without FSDP"):
        trainer._load_from_checkpoint(str(tmp_path))


def test_first_processes_alone_reading_weights_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSDP_CPU_RAM_EFFICIENT_LOADING", "true")  # what accelerate launch sets
    monkeypatch.delenv("ACCELERATE_USE_FSDP", raising=False)
    read_weights_everywhere()
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "true"
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    read_weights_everywhere()
    assert os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "False"


def test_compiled_models_are_not_sharded() -> None:
    plugin = FullyShardedDataParallelPlugin(fsdp_version=2, state_dict_type="FULL_STATE_DICT")
    state = SimpleNamespace(fsdp_plugin=plugin, dynamo_plugin=TorchDynamoPlugin(backend="inductor"))
    accelerator: Any = SimpleNamespace(state=state, device="cpu", num_processes=2)
    with pytest.raises(ValueError, match="torch_compile"):
        settle_sharding(accelerator, small_model())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A recipe with all that has to do with weights: a start, a moving average, a choice of the epoch."""
    folder = tmp_path_factory.mktemp("synthetic")
    synthesize(folder / "database", num_subjects=4, clips_per_subject=7, size=64, num_frames=(8, 10))
    prepare("casme3", folder / "database", folder / "prepared", PrepareOptions(faces="keep"), progress=False)
    return {
        "dataset": str(folder / "prepared"),
        "num_folds": 2,
        "preset": "tiny",
        "model": {"num_hsta_layers": 1, "stream": STREAM},
        "processor": {"video_input": "difference", "special_input": "optical_flow"},
        "num_train_epochs": 4,
        "warmup_epochs": 1,
        "learning_rate": 5e-3,
        "total_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "layer_decay": 0.8,
        "ema_decay": 0.9,
        "validation_share": 0.5,
        "keep_checkpoints": True,
        "disable_tqdm": True,
        "use_cpu": True,
    }


def start(
    recipe: dict[str, Any], run: Path, *launch: str, script: Path = TESTS / "fsdp_on_cpus.py"
) -> subprocess.Popen[str]:
    """Start the training script, by itself or through `accelerate launch` with these arguments."""
    file = run.with_suffix(".yaml")
    file.write_text(json.dumps({**recipe, "output_dir": str(run)}))
    command = [sys.executable]
    if launch:
        command += ["-m", "accelerate.commands.launch", "--num_machines", "1", "--num_processes", "2", *launch]
        command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"]
        command += ["--main_process_port", "0"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, str(script), str(file)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    )


FSDP = ("--use_fsdp", "--fsdp_version", "2", "--fsdp_state_dict_type", "FULL_STATE_DICT")


def finish(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=500)
    assert process.returncode == 0, text[-5000:]
    return text


def same_runs(one: Path, other: Path, scores: float) -> None:
    """Metrics, scores of all clips and saved weights agree."""
    pooled = [json.loads((run / "metrics.json").read_text())["pooled"] for run in (one, other)]
    assert pooled[1] == pytest.approx(pooled[0], abs=1e-3)
    tables = [pd.read_parquet(run / "predictions.parquet") for run in (one, other)]
    columns = [name for name in tables[0] if name.startswith("score_")]
    assert columns and tables[0]["clip"].tolist() == tables[1]["clip"].tolist()
    np.testing.assert_allclose(tables[1][columns], tables[0][columns], atol=scores)
    assert tables[0][columns].std().max() > 20 * scores  # clips are told apart
    for file in one.glob("folds/*/model/model.safetensors"):
        mine, theirs = load_file(file), load_file(other / file.relative_to(one))
        assert mine.keys() == theirs.keys()
        assert all(np.allclose(theirs[name], weight, atol=1e-5, rtol=1e-3) for name, weight in mine.items())


def last_checkpoint(fold: Path) -> Path:
    return max((fold / "checkpoints").iterdir(), key=lambda folder: int(folder.name.split("-")[1]))


@pytest.mark.slow
def test_a_run_with_sharded_weights_computes_what_one_process_does(recipe: dict[str, Any], tmp_path: Path) -> None:
    fields = ModelArguments(**{name: recipe[name] for name in ("preset", "model", "processor")})
    processor = build_processor(fields)
    processor.save_pretrained(tmp_path / "start")
    build_model(fields, processor, get_label_scheme("casme3_7")).save_pretrained(tmp_path / "start")
    started = {name: value for name, value in recipe.items() if name not in ("preset", "model", "processor")}
    started["pretrained"] = str(tmp_path / "start")
    finish(start(started, tmp_path / "one", script=TESTS.parent / "scripts" / "train.py"))
    text = finish(start(started, tmp_path / "two", *FSDP))
    assert text.count("Took ") == 1  # one process speaks for all
    # Sharded, and not by each process for itself: what accelerate writes for FSDP alone, and whole.
    one, two = (last_checkpoint(tmp_path / run / "folds" / "fold-00-seed-42") for run in ("one", "two"))
    assert (two / "pytorch_model_fsdp.bin").is_file() and (two / "optimizer.bin").is_file()
    assert one.name == two.name
    averages = [load_file(checkpoint / "ema.safetensors") for checkpoint in (one, two)]
    assert averages[0].keys() == averages[1].keys()
    assert all(np.allclose(averages[1][name], weight, atol=1e-5) for name, weight in averages[0].items())
    same_runs(tmp_path / "one", tmp_path / "two", 1e-5)


@pytest.mark.slow
def test_a_killed_run_with_sharded_weights_goes_on(recipe: dict[str, Any], tmp_path: Path) -> None:
    # Dropout and stochastic depth: the random states of both processes are restored, too.
    recipe = {
        **recipe,
        "total_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "model": {**recipe["model"], "drop_path_rate": 0.2, "classifier_dropout": 0.3},
    }
    finish(start(recipe, tmp_path / "whole", *FSDP))
    process = start(recipe, tmp_path / "killed", *FSDP)
    deadline = time.monotonic() + 240
    while not list(tmp_path.glob("killed/folds/fold-00-seed-42/checkpoints/checkpoint-*/complete.json")):
        assert process.poll() is None and time.monotonic() < deadline, "no checkpoint appeared"
        time.sleep(0.002)
    for one in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        one.kill()
    process.communicate()
    assert not (tmp_path / "killed" / "folds" / "fold-00-seed-42" / "metrics.json").exists()

    text = finish(start(recipe, tmp_path / "killed", *FSDP))
    assert "fold 0 (1 of 2), seed 42: resuming from checkpoint-" in text
    same_runs(tmp_path / "whole", tmp_path / "killed", 1e-6)
