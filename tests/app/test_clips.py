"""Clips in memory: one a visitor, few at a time, and not for long."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hsta_hf.app.clips import ClipStore
from hsta_hf.app.limits import Limits


def store(now: list[float], **limits: Any) -> ClipStore:
    return ClipStore(replace(Limits(), **limits), clock=lambda: now[0])


def test_a_visitor_has_one_clip_and_only_theirs() -> None:
    clips: Any = store([0.0])
    clips.put("ann", "first")
    clips.put("ann", "second")
    assert (clips.get("ann"), clips.get("bob"), len(clips)) == ("second", None, 1)
    clips.drop("ann")
    clips.drop("ann")
    assert clips.get("ann") is None


def test_the_clip_asked_for_longest_ago_makes_room() -> None:
    clips: Any = store([0.0], kept_clips=2)
    clips.put("ann", 1)
    clips.put("bob", 2)
    clips.get("ann")
    clips.put("cyd", 3)
    assert (clips.get("ann"), clips.get("bob"), clips.get("cyd")) == (1, None, 3)


def test_clips_are_forgotten_after_a_while_without_questions() -> None:
    now = [0.0]
    clips: Any = store(now, kept_seconds=10.0)
    clips.put("ann", 1)
    clips.put("bob", 2)
    now[0] = 8.0
    clips.get("ann")
    now[0] = 12.0
    clips.expire()
    assert len(clips) == 1 and clips.get("ann") == 1 and clips.get("bob") is None
