"""What the page does when something is clicked, without a browser: clips come in, and uploads go."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from prediction_helpers import moving_clip, write_video

pytest.importorskip("gradio", reason="the page needs Gradio (extra: app)")

import gradio as gr

from hsta_hf.app.analysis import Analyst
from hsta_hf.app.intake import Footage
from hsta_hf.app.limits import Limits
from hsta_hf.app.page import Page

ANN: Any = SimpleNamespace(session_hash="ann")
BOB: Any = SimpleNamespace(session_hash="bob")


@pytest.fixture
def page(aligned_analyst: Analyst, tmp_path: Path) -> Page:
    return Page(aligned_analyst, "model", tmp_path / "uploads", Limits(), "drawn faces")


def upload(page: Page, frames: np.ndarray | str, name: str = "clip.mp4") -> dict[str, Any]:
    """What the browser sends of a film that it has uploaded."""
    path = page.uploads / name.split(".")[0] / name
    if isinstance(frames, str):
        path.parent.mkdir(parents=True)
        path.write_text(frames)
    else:
        write_video(path, frames)
    return {"path": str(path), "orig_name": name, "meta": {"_type": "gradio.FileData"}}


def left(page: Page) -> list[Path]:
    return [path for path in page.uploads.rglob("*") if path.is_file()]


def question(clip_id: str, **what: Any) -> Any:
    return SimpleNamespace(_data={"id": clip_id, "asked": 4, **what})


def test_a_clip_is_answered_for_and_its_upload_deleted(page: Page) -> None:
    path = upload(page, moving_clip(1, 12))
    assert page.look(path, ANN)[1] == "" and left(page)
    film, _, notice, clip, result = page.analyse(path, 0, ANN)
    assert (
        film is None
        and not left(page)
        and notice == ""
        and len(clip["faces"]) == 12
        and "What the model says" in result
    )
    moved = (clip["apex"] + 2) % 10 + 1
    _, again, other = page.correct(question(clip["id"], onset=0, apex=moved, offset=11), ANN)
    assert (again["id"], again["asked"], again["apex"], again["spotted"]) == (clip["id"], 4, moved, False)
    assert other != result and f"apex frame {moved} (as you set it)" in other
    _, spotted, _ = page.correct(question(clip["id"], onset=0, offset=11, spot=True), ANN)
    assert spotted["apex"] == clip["apex"] and spotted["spotted"]


def test_a_question_about_an_earlier_clip_is_not_answered_with_this_one(page: Page) -> None:
    earlier = page.analyse(upload(page, moving_clip(1, 12)), 0, ANN)[3]
    page.analyse(upload(page, moving_clip(2, 12)), 0, ANN)
    answers = page.correct(question(earlier["id"], onset=0, apex=1, offset=11), ANN)
    assert all(answer == gr.skip() for answer in answers)


def test_one_visitor_does_not_see_anothers_clip(page: Page) -> None:
    clip = page.analyse(upload(page, moving_clip(1, 12)), 0, ANN)[3]
    notice, gone, _ = page.correct(question(clip["id"], onset=0, apex=1, offset=11), BOB)
    assert "not in memory any more" in notice and gone is None
    page.leave(ANN)
    assert len(page.clips) == 0


@pytest.mark.parametrize("frames", ["no video at all", np.zeros((6, 64, 64, 3), np.uint8)])
def test_what_cannot_be_analysed_is_said_and_deleted(frames: Any, page: Page) -> None:
    page.draw(ANN)
    _, _, notice, clip, result = page.analyse(upload(page, frames), 0, ANN)
    said = "cannot be read as a video" if isinstance(frames, str) else "No face was found in the first frame"
    assert said in notice and "is-error" in notice and clip is None and result == "" and not left(page)
    assert str(page.uploads) not in notice and page.clips.get("ann") is None


def test_a_bad_upload_is_said_at_once(page: Page) -> None:
    film, notice, start = page.look(upload(page, "no video"), ANN)
    assert "cannot be read as a video" in notice and start["visible"] is False
    assert film is None and not left(page)


def test_of_a_long_film_the_visitor_says_where_to_begin(page: Page) -> None:
    path = upload(page, moving_clip(2, 75))
    _, notice, start = page.look(path, ANN)
    assert "lasts 2.5 s" in notice and (start["visible"], start["maximum"]) == (True, 1.5)
    _, _, notice, clip, _ = page.analyse(path, 1.2, ANN)
    assert "from 1.2 s on" in notice and len(clip["faces"]) == 30


def test_uploads_that_nobody_analyses_go_too(page: Page) -> None:
    page.look(upload(page, moving_clip(1, 12), "one.mp4"), ANN)
    page.look(upload(page, moving_clip(1, 12), "two.mp4"), ANN)  # another one in its place
    assert [path.name for path in left(page)] == ["two.mp4"]
    page.forget(ANN)
    assert not left(page)
    page.look(upload(page, moving_clip(1, 12), "three.mp4"), ANN)
    page.leave(ANN)
    assert not left(page)


def test_without_an_upload_it_asks_for_one(page: Page) -> None:
    assert "choose or record a clip first" in page.analyse(None, 0, ANN)[2]


def test_a_browser_cannot_name_files_of_the_server(page: Page, tmp_path: Path) -> None:
    mine = write_video(tmp_path / "mine.mp4", moving_clip(1, 12))
    for path in (mine, page.uploads / ".." / "mine.mp4"):
        assert page.look({"path": str(path)}, ANN)[1] == ""
        assert "choose or record a clip first" in page.analyse({"path": str(path)}, 0, ANN)[2]
    assert mine.exists()


def test_an_onset_without_a_face_leaves_the_marks(page: Page) -> None:
    frames = moving_clip(4, 10)
    frames[6] = 0
    opened = page.analyst.open(Footage("flash.mp4", frames, np.arange(10) / 30))
    page.clips.put("ann", opened)
    _, clip, _ = page.correct(question(opened.id, onset=6, apex=7, offset=9), ANN)
    assert "no face in that onset frame" in clip["failed"]


def test_a_drawn_face_needs_no_film(plain_analyst: Analyst, tmp_path: Path) -> None:
    page = Page(plain_analyst, "model", tmp_path, Limits())
    notice, clip, result = page.draw(ANN)
    assert "drawn face, no real person" in notice and "frames as they come" in notice
    assert len(clip["faces"]) > 10 and result


def test_files_beyond_the_limits_are_refused(page: Page) -> None:
    page.limits = replace(page.limits, file_bytes=100)
    assert "this page takes up to" in page.look(upload(page, moving_clip(1, 12)), ANN)[1] and not left(page)
