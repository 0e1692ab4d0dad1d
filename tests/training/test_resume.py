"""A run that is killed with SIGKILL ends, when started again, exactly as one that was not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file

from hsta_hf.reporting import read_predictions
from hsta_hf.training.recipe import merge

# Everything that holds state: moving average, dropout, stochastic depth, augmentation, drawn versions of clips.
STATEFUL: dict[str, Any] = {
    "num_train_epochs": 12,
    "ema_decay": 0.9,
    "flip_probability": 0.5,
    "translate": 0.1,
    "noise_std": 0.05,
    "mixup_alpha": 0.2,
    "temporal_variants": 3,
    "random_frames": True,
    "eval_every_epochs": 3,
    "save_every_epochs": 2,
    "layer_decay": 0.8,
    "model": {"drop_path_rate": 0.2, "classifier_dropout": 0.3, "stream": {"hidden_dropout_prob": 0.2}},
}


def start(recipe: Path, output: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hsta_hf.cli.main", "train", str(recipe), "--output_dir", str(output)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


def finish(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def kill_once_there_is(process: subprocess.Popen[str], folder: Path, pattern: str) -> None:
    """SIGKILL as soon as a file of that pattern exists."""
    deadline = time.monotonic() + 240
    while not list(folder.glob(pattern)):
        assert process.poll() is None, f"ended before it was killed:\n{process.communicate()[0]}"
        assert time.monotonic() < deadline, f"{pattern} did not appear in time"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


# Frames that are drawn anew every epoch, read by worker processes, and augmented on the device.
PICTURES: dict[str, Any] = {
    "processor": {"video_input": "frames", "special_input": "frames"},
    "apex_jitter": 1,
    "crop_area": [0.6, 1.0],
    "colour_jitter": 0.2,
    "dataloader_num_workers": 2,
}

# The epoch is chosen on one of the three training subjects; the batches are as many as without.
VALIDATED: dict[str, Any] = {"validation_share": 0.34, "validate_every_epochs": 1, "per_device_train_batch_size": 5}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL, which this system does not have")
@pytest.mark.parametrize("inputs", [{}, PICTURES, VALIDATED], ids=["motion", "pictures", "validation"])
def test_a_killed_run_ends_like_an_uninterrupted_one(
    tiny_recipe: dict[str, Any], inputs: dict[str, Any], tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(merge(merge(tiny_recipe, STATEFUL), inputs)))
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start(recipe, whole)

    # Killed in the middle of the first fold, right after its second checkpoint was vouched for.
    kill_once_there_is(start(recipe, killed), killed, "folds/fold-00-seed-42/checkpoints/checkpoint-12/complete.json")
    first = killed / "folds" / "fold-00-seed-42"
    assert not (first / "metrics.json").exists() and not (killed / "predictions.parquet").exists()
    # Killed while it writes a later checkpoint: the files are there, the marker is not.
    kill_once_there_is(start(recipe, killed), killed, "folds/fold-01-seed-42/checkpoints/checkpoint-18/optimizer.pt")
    assert (first / "metrics.json").exists()
    broken = killed / "folds" / "fold-01-seed-42" / "checkpoints" / "checkpoint-18"
    (broken / "complete.json").unlink(missing_ok=True)  # should the kill have come after it was written
    (broken / "optimizer.pt").write_bytes(b"half")
    finished = (first / "metrics.json").stat().st_mtime_ns
    text = finish(start(recipe, killed))
    assert "fold 0 (1 of 2), seed 42: finished before" in text
    assert "fold 1 (2 of 2), seed 42: resuming from checkpoint-12" in text
    assert (first / "metrics.json").stat().st_mtime_ns == finished

    finish(undisturbed)
    pd.testing.assert_frame_equal(read_predictions(killed), read_predictions(whole), check_exact=True)
    for fold in ("fold-00-seed-42", "fold-01-seed-42"):
        one, two = (load_file(run / "folds" / fold / "model" / "model.safetensors") for run in (whole, killed))
        assert all(one[name].equal(two[name]) for name in one)
