"""Several commands on one run folder: nothing is trained twice, and nobody waits for the dead."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from hsta_hf.reporting import read_predictions
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.locks import CommandLock, held, is_held
from hsta_hf.training.recipe import resolve
from hsta_hf.training.run_folder import RunFolder, RunFolderError

needs_sigkill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


def in_another_process(code: str, *words: object) -> subprocess.Popen[str]:
    """A Python process; it has said "held" when this returns."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, words)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


HOLD = """
    import sys, time
    from filelock import FileLock
    with FileLock(sys.argv[1]):
        print("held", flush=True)
        time.sleep(float(sys.argv[2]))
"""


def test_a_lock_of_another_process_is_seen_and_waited_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "locks" / "a.lock"
    with held(file, "nobody has it"):
        pass
    assert not is_held(file)
    other = in_another_process(HOLD, file, 1.0)
    assert is_held(file) and not CommandLock(file).acquire()
    started = time.monotonic()
    with held(file, "waiting for the other"):
        assert time.monotonic() - started > 0.1
    assert capsys.readouterr().out == "waiting for the other\n"
    assert other.wait(10) == 0


@needs_sigkill
def test_a_lock_is_free_once_its_holder_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "a.lock"
    other = in_another_process(HOLD, file, 60)
    assert is_held(file)
    other.kill()
    other.wait(10)
    assert CommandLock(file).acquire()


def test_a_run_that_others_work_in_is_not_deleted(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.open(resolve({"num_folds": 3}), {})
    (run.path / "report.md").write_text("old")
    other = in_another_process(HOLD, run.lock("fold-00-seed-42"), 60)
    try:
        with pytest.raises(RunFolderError, match=r"at work in it \(fold-00-seed-42\)"):
            run.open(resolve({"num_folds": 4}), {}, overwrite=True)
        assert (run.path / "report.md").read_text() == "old"
    finally:
        other.kill()
        other.wait(10)
    assert run.open(resolve({"num_folds": 4}), {}, overwrite=True) is False


def test_a_part_of_the_folds_is_reported_and_the_missing_are_named(
    tiny_recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {**tiny_recipe, "num_folds": 4, "num_train_epochs": 1}
    part = run_recipe(resolve({**fields, "folds": "1-2"}))
    assert (
        "2 of 4 trainings (4 folds, 1 seed) are finished; missing: folds 0, 3 of seed 42." in capsys.readouterr().out
    )
    assert not part.metrics["all_folds"]
    assert set(read_predictions(part.path)["fold"]) == {1, 2}
    whole = run_recipe(resolve({**fields, "folds": ["0", 3]}))
    assert "missing:" not in capsys.readouterr().out
    assert set(read_predictions(part.path)["fold"]) == {0, 1, 2, 3}
    assert whole.metrics["all_folds"]


def test_a_fold_that_another_command_trains_is_left_to_it_until_the_others_are_done(
    tiny_recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {**tiny_recipe, "num_train_epochs": 1}
    run = RunFolder(Path(tiny_recipe["output_dir"]))
    run_recipe(resolve({**fields, "folds": [1]}))
    other = in_another_process(HOLD, run.lock("fold-00-seed-42"), 3.0)  # trains nothing, as one that is killed
    result = run_recipe(resolve(fields))
    text = capsys.readouterr().out
    assert "fold 0 (1 of 2), seed 42: another command trains it" in text
    assert "fold 0 (1 of 2), seed 42: waiting for the other command that trains it" in text
    assert set(read_predictions(result.path)["fold"]) == {0, 1}
    other.wait(10)


def train(recipe: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hsta_hf.cli.main", "train", str(recipe), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


@pytest.mark.slow
def test_commands_at_once_fill_one_folder_and_train_no_fold_twice(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    pretraining = {"num_subjects": 2, "clips_per_subject": 7, "size": 64, "seed": 9, "num_frames": [6, 7]}
    fields = {**tiny_recipe, "num_folds": 4, "pretrain_synthetic": pretraining, "disable_tqdm": False}
    alone = run_recipe(resolve({**fields, "output_dir": str(tmp_path / "alone")}))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(fields))
    commands = [train(recipe, "--folds", *words) for words in (["0-1"], ["2-3"], ["1-2"])]
    texts = [command.communicate(timeout=300)[0] for command in commands]
    assert [command.returncode for command in commands] == [0, 0, 0], "\n".join(texts)
    everything = "\n".join(texts)
    for fold in range(4):
        # Who only waited for it says "done" too, and knows of no loss.
        assert len(re.findall(rf"fold {fold} \({fold + 1} of 4\), seed 42: done, loss", everything)) == 1, everything
    assert len(re.findall("Pre-training: drawing", everything)) == 1
    assert len(re.findall("Starting the run", everything)) == 1
    run = Path(tiny_recipe["output_dir"])
    assert len(list((run / "cache").iterdir())) == 1  # whether a command pre-trained or found that done
    pd.testing.assert_frame_equal(read_predictions(run), read_predictions(alone.path), check_exact=True)


@pytest.mark.slow
@needs_sigkill
def test_a_command_goes_on_with_the_fold_of_one_that_was_killed(tiny_recipe: dict[str, Any], tmp_path: Path) -> None:
    fields = {**tiny_recipe, "num_folds": 2, "num_train_epochs": 20, "folds": [0]}
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(fields))
    run = Path(tiny_recipe["output_dir"])
    first = train(recipe)
    deadline = time.monotonic() + 240
    while not list(run.glob("folds/fold-00-seed-42/checkpoints/checkpoint-*/complete.json")):
        assert first.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # it holds its fold however long the second one takes to start
    second = train(recipe)
    assert second.stdout is not None
    said = ""
    while "waiting for the other command" not in said:
        line = second.stdout.readline()
        assert line, said
        said += line
    first.kill()
    first.communicate()
    rest = second.communicate(timeout=300)[0]
    assert second.returncode == 0, said + rest
    assert "resuming from checkpoint-" in rest
    undisturbed = run_recipe(resolve({**fields, "output_dir": str(tmp_path / "undisturbed")}))
    pd.testing.assert_frame_equal(read_predictions(run), read_predictions(undisturbed.path), check_exact=True)
