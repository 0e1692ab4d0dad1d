"""Bookkeeping of folds that are spread: order, retries, folds that others train."""

from __future__ import annotations

import pytest

from hsta_hf.training.runners_queue import LOCKED_SECONDS, FoldQueue, last_line


def queue(retries: int = 1, names: str = "abc") -> FoldQueue:
    made = FoldQueue(retries)
    made.add({name: f"fold {name}" for name in names})
    return made


def test_folds_are_handed_out_once_and_in_order() -> None:
    folds = queue()
    assert [folds.take("w", 0.0) for _ in range(4)] == ["a", "b", "c", None]
    assert folds.unfinished == 3
    for name in "bac":
        folds.finish(name, 12.0)
    assert folds.unfinished == 0
    assert [news.title for news in folds.news if news.kind == "finished"] == ["fold b", "fold a", "fold c"]
    assert folds.news[-1].text == "fold c: finished in 12 s (3 of 3)"


def test_a_failed_fold_is_tried_again_behind_the_others_and_then_given_up() -> None:
    folds = queue(retries=1, names="ab")
    assert folds.take("w", 0.0) == "a"
    folds.fail("a", "Traceback …\nOSError: no room", 1.0)
    assert [folds.take("w", 1.0), folds.take("w", 1.0)] == ["b", "a"]
    folds.fail("a", "Traceback …\nOSError: still no room", 2.0)
    assert folds.take("w", 3.0) is None
    assert folds.folds["a"].state == "failed" and "still no room" in folds.folds["a"].error
    assert folds.unfinished == 1  # b goes on
    texts = [news.text for news in folds.news]
    assert "fold a: is tried again, 1 tries left: OSError: no room" in texts
    assert "fold a: given up: OSError: still no room" in texts


def test_without_retries_the_first_failure_is_the_last() -> None:
    folds = queue(retries=0, names="a")
    folds.take("w", 0.0)
    folds.fail("a", "OSError", 1.0)
    assert folds.folds["a"].state == "failed" and folds.unfinished == 0


def test_a_fold_that_another_command_trains_is_offered_again_later_and_is_no_failure() -> None:
    folds = queue(retries=0, names="ab")
    assert folds.take("w", 0.0) == "a"
    folds.put_back("a", 10.0)
    assert [folds.take("w", 10.0), folds.take("w", 10.1)] == ["b", None]
    assert folds.take("w", 10.0 + LOCKED_SECONDS) == "a"
    assert folds.folds["a"].failures == 0


def test_folds_that_are_known_stay_as_they_are_when_a_second_command_brings_them() -> None:
    folds = queue(names="ab")
    folds.take("w", 0.0)
    assert folds.add({"a": "again", "c": "fold c"}) == 1
    assert folds.folds["a"].state == "training" and folds.folds["a"].title == "fold a"
    assert [folds.take("w", 0.0), folds.take("w", 0.0)] == ["b", "c"]


def test_what_waits_fails_when_nobody_is_left_to_train_it() -> None:
    folds = queue(names="ab")
    folds.take("w", 0.0)
    folds.give_up("A worker could not start:\nhost9 does not see the run folder")
    assert [fold.state for fold in folds.folds.values()] == ["training", "failed"]
    assert "host9" in folds.folds["b"].error and "host9" in folds.news[-1].text


@pytest.mark.parametrize(("error", "line"), [("one\n two\n", "two"), ("one", "one"), ("", "no reason given")])
def test_the_last_line_says_what_went_wrong(error: str, line: str) -> None:
    assert last_line(error).strip() == line
