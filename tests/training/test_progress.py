"""The display of a run: plain lines without a terminal, bars with one, and estimates of the time that is left."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from hsta_hf.training import progress as progress_module
from hsta_hf.training.cross_validation import run_recipe
from hsta_hf.training.progress import RunProgress, current_progress, duration, own_progress, run_progress, shown
from hsta_hf.training.recipe import resolve


class Clock:
    """Stands in for the module `time`: the time is what the test says."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


def lines_of(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_plain_lines_come_now_and_then_and_know_the_time_left(clock: Clock) -> None:
    console = Console(file=io.StringIO(), width=40)  # narrower than the lines: logs are not wrapped
    with RunProgress(folds=4, finished=1, console=console) as progress:
        progress.fold_started("fold 2")
        progress.epoch("fold 2", 0, 10)
        for epoch in range(1, 11):
            clock.now += 10
            progress.epoch("fold 2", epoch, 10, 1 / epoch)
        progress.fold_finished("fold 2")
        progress.epoch("fold 3", 4, 10)  # goes on where a kill cut it short
        clock.now += 30
        progress.epoch("fold 3", 7, 10)
    assert lines_of(console) == [
        "fold 2: epoch 3 of 10, loss 0.3333, 1:10 min left; 1 of 4 folds done, 4:30 min left",
        "fold 2: epoch 6 of 10, loss 0.1667, 40 s left; 1 of 4 folds done, 4:00 min left",
        "fold 2: epoch 9 of 10, loss 0.1111, 10 s left; 1 of 4 folds done, 3:30 min left",
        "fold 2: done, loss 0.1000; 2 of 4 folds done, 3:20 min left",
        "fold 3: epoch 7 of 10, 30 s left; 2 of 4 folds done, 2:10 min left",
    ]


def test_several_folds_at_once_share_the_estimate(clock: Clock) -> None:
    progress = RunProgress(folds=4, console=Console(file=io.StringIO()))
    assert progress.left() is None
    for title in ("fold 1", "fold 2"):
        progress.epoch(title, 0, 2)
    clock.now += 10
    progress.epoch("fold 1", 1, 2)
    progress.epoch("fold 2", 1, 2)
    assert progress.left() == pytest.approx(30)  # one fold in 10 s, three are left
    for title in ("fold 1", "fold 2", "fold 3", "fold 4"):
        progress.fold_finished(title)  # the last two without a word before, as from another command
    assert progress.left() is None and progress.finished == 4


def test_a_terminal_has_bars_and_what_is_printed_stays_above(clock: Clock) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    with RunProgress(folds=2, console=console) as progress:
        progress.epoch("fold 1", 0, 4)
        clock.now += 2
        progress.epoch("fold 1", 1, 4, 0.5)
        console.print(progress._table())
        progress.fold_finished("fold 1")
        console.print(progress._table())
    text = console.file.getvalue()  # type: ignore[attr-defined]
    rows = [" ".join(row.split()) for row in text.splitlines()]
    assert any("fold 1" in row and "epoch 1/4 6 s left loss 0.5000" in row for row in rows), text
    assert any("all folds" in row and "0/2 done 14 s left" in row for row in rows), text
    assert any("all folds" in row and "1/2 done 2 s left" in row for row in rows), text
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1  # the cursor is shown again


def test_trainings_report_to_what_is_shown_and_show_themselves_otherwise() -> None:
    assert current_progress() is None
    with run_progress(3, enabled=False) as silence:
        assert current_progress() is silence
        with own_progress("pre-training"):
            assert current_progress() is silence
    with own_progress("pre-training", enabled=False):
        assert current_progress() is None
    with own_progress("pre-training"):
        assert isinstance(current_progress(), RunProgress)
    with pytest.raises(RuntimeError), shown(RunProgress()):
        raise RuntimeError
    assert current_progress() is None


def test_a_run_says_when_its_folds_are_done_unless_it_is_told_not_to(
    tiny_recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fields = {**tiny_recipe, "num_train_epochs": 1, "folds": [0], "cache_dir": str(tmp_path / "cache")}
    run_recipe(resolve({**fields, "disable_tqdm": False}))
    told = [line for line in capsys.readouterr().err.splitlines() if "done" in line]
    assert len(told) == 1 and told[0].startswith("fold 0 (1 of 2), seed 42: done, loss ")
    assert told[0].endswith("1 of 1 folds done")
    run_recipe(resolve({**fields, "output_dir": str(tmp_path / "other")}))
    assert "done" not in capsys.readouterr().err


def test_durations() -> None:
    assert [duration(s) for s in (0.4, 59.4, 59.6, 185, 3599.7, 3720)] == [
        "0 s", "59 s", "1:00 min", "3:05 min", "1:00 h", "1:02 h",
    ]  # fmt: skip
