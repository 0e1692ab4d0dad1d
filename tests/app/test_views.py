"""What the page is given to show: escaped, complete, and fit for JSON."""

from __future__ import annotations

import base64
import json

import cv2
import numpy as np
from prediction_helpers import moving_clip

from hsta_hf.app import views
from hsta_hf.app.analysis import Analyst, Answer, Clip, Marks
from hsta_hf.app.explaining import Overlay
from hsta_hf.app.intake import Footage
from hsta_hf.app.limits import Limits

_EVIL = "<img src=x onerror=alert(1)>"


def answer(label: str = "sad", multi_label: bool = False) -> Answer:
    overlay = Overlay(label, (0, 1), {"Video stream": np.zeros((2, 224, 224, 3), np.uint8)}, {"Video stream": 1.0}, ())
    return Answer(Marks(1, 2, 3), False, np.zeros(5), {"happy": 0.25, label: 0.75}, multi_label, overlay)


def test_everything_from_outside_is_escaped() -> None:
    shown = [
        views.heading(_EVIL, [_EVIL]),
        views.limits_statement(Limits(), _EVIL),
        views.notice([_EVIL], error=True),
        views.result(answer(_EVIL)),
    ]
    assert all("<img" not in text and "&lt;img" in text for text in shown)


def test_the_limits_are_stated() -> None:
    text = views.limits_statement(Limits(), "casme3")
    for words in ("No lie detector", "consent", "Article 5(1)(f)", "deleted", "15 minutes", "trained on casme3"):
        assert words in text


def test_a_result_lists_all_classes_the_likeliest_first() -> None:
    text = views.result(answer())
    assert text.index("sad") < text.index("happy") and "0.750" in text and "width: 75.0%" in text
    assert "apex frame 2 (as you set it)" in text and "sum to 1" in text
    assert "sum to 1" not in views.result(answer(multi_label=True))


def test_notices_are_boxes_only_where_there_is_something_to_say() -> None:
    assert views.notice([]) == ""
    assert 'role="alert"' in views.notice(["No."], error=True) and 'role="status"' in views.notice(["Yes."])


def test_pictures_come_with_a_new_clip_only(plain_analyst: Analyst) -> None:
    frames = moving_clip(1, 9)
    clip: Clip = plain_analyst.open(Footage("clip.mp4", frames, np.arange(9) / 30))
    found = plain_analyst.answer(clip, 1, 4, 7)
    first = json.loads(json.dumps(views.clip_payload(clip, found)))
    assert (first["onset"], first["apex"], first["offset"], first["asked"]) == (1, 4, 7, 0)
    assert len(first["faces"]) == len(first["times"]) == len(first["curve"]) == 9
    assert first["overlay"]["frames"] == list(range(1, 8))
    assert all(len(stream["pictures"]) == 7 for stream in first["overlay"]["streams"])
    later = views.clip_payload(clip, found, asked=3)
    assert "faces" not in later and (later["id"], later["asked"]) == (first["id"], 3)
    data = base64.b64decode(first["faces"][0].split(",")[1])
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    wanted = cv2.resize(frames[0], (224, 224), interpolation=cv2.INTER_CUBIC)
    assert np.abs(shown.astype(int) - wanted).mean() < 4


def test_several_faces_and_frames_as_they_come_are_said() -> None:
    footage = Footage("a.mp4", moving_clip(1, 3), np.arange(3) / 30, ("Shrunk.",))
    clip = Clip(footage, footage.frames, 2, (0, footage.frames))
    notes = views.clip_notes(clip, aligns=True)
    assert notes[0] == "Shrunk." and notes[1].startswith("2 faces were found") and len(notes) == 2
    assert "as they come" in views.clip_notes(clip, aligns=False)[-1]
