"""What the page shows, as HTML and as the data of `static/clip.js`. Everything that comes from outside is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from typing import Any

import cv2
import numpy as np

from hsta_hf.app.analysis import Answer, Clip
from hsta_hf.app.explaining import SIDE
from hsta_hf.app.limits import MEGABYTE, Limits

_JPEG_QUALITY = 85
AI_ACT = "Regulation (EU) 2024/1689"


def heading(model: str, classes: Iterable[str]) -> str:
    """The top of the page."""
    return (
        '<div class="hsta-head"><h1>What moved in this face?</h1>'
        "<p>A micro-expression is a facial movement of 1/25 to 1/3 of a second. Give a short clip of one: the page "
        "finds the face, spots the frame at which the movement peaks (the apex), and shows what the model "
        f"<code>{escape(model)}</code> makes of it. Its classes: {escape(', '.join(classes))}.</p></div>"
    )


def limits_statement(limits: Limits, trained_on: str | None) -> str:
    """What the page is not for, and what becomes of a clip."""
    known = f"The model was trained on {escape(trained_on)}. " if trained_on else ""
    points = [
        "<strong>No lie detector.</strong> A micro-expression is a movement, not a proof of anything. The scores say "
        "which class of its training data a clip looks like, not what a person feels.",
        "<strong>Only with consent.</strong> Do not analyse people who have not agreed to it and been told what for.",
        "<strong>Not at work, not at school.</strong> In the European Union, inferring emotions of people there is "
        f"prohibited except for medical or safety reasons ({AI_ACT}, Article 5(1)(f)); other emotion recognition "
        "falls under its duties for high-risk systems and for transparency. Other places have limits of their own.",
        f"<strong>Often wrong.</strong> {known}Accuracy on one database says little about other people, cameras, "
        "light and cultures, and a clip without any expression gets a class, too.",
        "<strong>Your clip.</strong> The upload is deleted as soon as its frames are read. They stay in the server's "
        f"memory until you take another clip or close the page, at most for {limits.kept_seconds / 60:.0f} minutes "
        "after your last question. Nothing is stored or sent on.",
    ]
    items = "".join(f"<li>{point}</li>" for point in points)
    return f'<div class="hsta-limits"><h2>What this is not for</h2><ul>{items}</ul></div>'


def accepted(limits: Limits) -> str:
    """What may be uploaded, in a sentence."""
    return (
        f"A video of up to {limits.file_bytes / MEGABYTE:.0f} MB and {limits.seconds:.0f} s; best is a cut of half a "
        "second, from the onset of one movement to its offset, with one face."
    )


def notice(sentences: Iterable[str], error: bool = False) -> str:
    """Sentences in a box that is read out; nothing where there are none."""
    lines = "".join(f"<p>{escape(sentence)}</p>" for sentence in sentences)
    if not lines:
        return ""
    kind, role = (" is-error", "alert") if error else ("", "status")
    return f'<div class="hsta-notice{kind}" role="{role}">{lines}</div>'


def clip_notes(clip: Clip, aligns: bool) -> list[str]:
    """What the visitor should know of a clip; `aligns` says whether faces are found and aligned."""
    notes = list(clip.footage.notes)
    if clip.num_faces is not None and clip.num_faces > 1:
        notes.append(f"{clip.num_faces} faces were found; the largest one is analysed.")
    if not aligns:
        notes.append(
            "This model takes frames as they come: no face was looked for, and none was aligned. The clip should be "
            "framed as its training clips were."
        )
    return notes


def result(answer: Answer) -> str:
    """Scores of all classes, and what the likeliest one rests on."""
    ranked = sorted(answer.scores.items(), key=lambda entry: -entry[1])
    rows = "".join(
        f'<li{" class=is-first" if number == 0 else ""}><span class="hsta-label">{escape(label)}</span>'
        f'<span class="hsta-bar"><i style="width: {100 * score:.1f}%"></i></span>'
        f'<span class="hsta-value">{score:.3f}</span></li>'
        for number, (label, score) in enumerate(ranked)
    )
    meaning = (
        "Each class has a score of its own, between 0 and 1."
        if answer.multi_label
        else "Scores sum to 1 whatever the clip shows; they are no probabilities that somebody feels something."
    )
    marks = answer.marks
    found = "spotted" if answer.apex_spotted else "as you set it"
    return (
        '<div class="hsta-result"><h2>What the model says</h2>'
        f'<p class="hsta-frames">Onset frame {marks.onset}, apex frame {marks.apex} ({found}), offset frame '
        f'{marks.offset}.</p><ul class="hsta-scores">{rows}</ul><p class="hsta-quiet">{meaning}</p>'
        f"{_basis(answer)}</div>"
    )


def _basis(answer: Answer) -> str:
    overlay = answer.overlay
    streams = ", ".join(f"{escape(name.lower())} {share:.0%}" for name, share in overlay.stream_shares.items())
    regions = "; ".join(f"{escape(name)} {share:.0%}" for name, share in overlay.regions)
    where = f" Most of it lies in: {regions}." if regions else ""
    return (
        f"<h2>What “{escape(overlay.label)}” rests on</h2><p>The coloured squares over the face: yellow counted "
        f"little, red much. Relevance by stream: {streams}.{where}</p>"
        '<p class="hsta-quiet">Gradient times attention. A map shows where the model looked, not that it is right; '
        "<code>hsta explain</code> draws others and tests them.</p>"
    )


def clip_payload(clip: Clip, answer: Answer, asked: int | None = None) -> dict[str, Any]:
    """An answer as `static/clip.js` takes it.

    Args:
        clip: the clip.
        answer: what is said of it.
        asked: number of the question that this answers; None for a new clip, whose pictures are then sent along.
    """
    marks, overlay = answer.marks, answer.overlay
    payload: dict[str, Any] = {
        "id": clip.id,
        "asked": asked or 0,
        "onset": marks.onset,
        "apex": marks.apex,
        "offset": marks.offset,
        "spotted": answer.apex_spotted,
        "said": f"Apex spotted at frame {marks.apex}." if answer.apex_spotted else f"Apex set to frame {marks.apex}.",
        "curve": [round(float(value), 3) for value in answer.curve],
        "overlay": {
            "label": overlay.label,
            "frames": [marks.onset + frame for frame in overlay.frames],
            "streams": [
                {"name": name, "pictures": [picture_uri(picture) for picture in pictures]}
                for name, pictures in overlay.pictures.items()
            ],
        },
    }
    if asked is None:
        payload["aligned"] = clip.num_faces is not None
        payload["times"] = [round(float(time), 4) for time in clip.footage.times]
        payload["faces"] = [picture_uri(frame) for frame in clip.shown]
    return payload


def failed_payload(clip: Clip, asked: int, message: str) -> dict[str, Any]:
    """Instead of an answer: why there is none."""
    return {"id": clip.id, "asked": asked, "failed": message}


def picture_uri(picture: np.ndarray) -> str:
    """(H, W, 3) uint8 RGB as a JPEG of SIDE x SIDE pixels in a data URI, stretched as for the model."""
    how = cv2.INTER_AREA if min(picture.shape[:2]) > SIDE else cv2.INTER_CUBIC
    square = picture if picture.shape[:2] == (SIDE, SIDE) else cv2.resize(picture, (SIDE, SIDE), interpolation=how)
    bgr = cv2.cvtColor(np.ascontiguousarray(square), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    assert done
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
