"""The page as a Gradio app: what lies where, and what happens when something is clicked.

Gradio must not be imported before `serving.private_environment` has said where it puts uploads; see `serving`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from hsta_hf.app import views
from hsta_hf.app.analysis import Analyst
from hsta_hf.app.clips import ClipStore
from hsta_hf.app.example import drawn_footage
from hsta_hf.app.intake import Footage, IntakeError, delete_upload, film_facts, take_in
from hsta_hf.app.limits import Limits
from hsta_hf.data.decode import FaceNotFoundError

STATIC = Path(__file__).resolve().parent / "static"
TITLE = "Micro-expressions with HSTA"
_NO_FACE = (
    "No face was found in the first frame. The clip should show one face from the front, well lit and not small, and "
    "show it from its first frame on."
)
# Short movements want many pictures a second more than many pixels.
_CAMERA = {"video": {"width": {"ideal": 1280}, "height": {"ideal": 720}, "frameRate": {"ideal": 60}}}
_GONE = "The clip is not in memory any more. Please upload it again."
_NOTHING = "Please choose or record a clip first."


class Page:
    """The page's parts and what they do.

    Args:
        analyst: the model.
        model_name: what to call it on the page.
        uploads: folder that Gradio puts uploads in.
        limits: what is accepted.
        trained_on: the databases that the model was trained on, in words; None if it does not say.
    """

    def __init__(
        self, analyst: Analyst, model_name: str, uploads: Path, limits: Limits, trained_on: str | None = None
    ) -> None:
        self.analyst, self.uploads, self.limits = analyst, uploads, limits
        self.clips = ClipStore(limits)
        self._waiting: dict[str, Path] = {}  # uploads that are not analysed yet, by visitor
        self.blocks = self._lay_out(model_name, trained_on)

    def _lay_out(self, model_name: str, trained_on: str | None) -> gr.Blocks:
        limits = self.limits
        cleaning = (min(60, limits.upload_seconds), limits.upload_seconds)
        with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=cleaning) as blocks:
            gr.HTML(views.heading(model_name, self.analyst.predictor.labels), padding=False)
            with gr.Row():
                with gr.Column(scale=2, min_width=280):
                    film = gr.Video(
                        label="A clip", sources=["upload", "webcam"], include_audio=False, height=300, elem_id="film",
                        webcam_options=gr.WebcamOptions(mirror=False, constraints=_CAMERA),
                    )  # fmt: skip
                    notice = gr.HTML("", elem_id="notice", padding=False)
                    gr.HTML(f'<p class="hsta-quiet">{views.accepted(limits)}</p>', padding=False)
                    start = gr.Slider(
                        0, limits.seconds, 0, step=0.1, visible=False, elem_id="start",
                        label=f"Which {limits.window_seconds:g} s of the film? It begins at second …",
                    )  # fmt: skip
                    analyse = gr.Button("Analyse", variant="primary", elem_id="analyse")
                    drawn = gr.Button("Try it with a drawn face", elem_id="drawn")
                with gr.Column(scale=3, min_width=280):
                    clip = gr.HTML(
                        None,
                        elem_id="clip",
                        padding=False,
                        apply_default_css=False,
                        html_template=_static("clip.html"),
                        js_on_load=_static("clip.js"),
                    )
                    result = gr.HTML("", elem_id="result", padding=False)
            gr.HTML(views.limits_statement(limits, trained_on), padding=False)

            shown = [notice, clip, result]
            listen = partial(_listen, concurrency_id="model")
            # Unprocessed: without sound, Gradio would have ffmpeg write a second, mute copy of the upload.
            as_sent = partial(listen, preprocess=False)
            for event in (film.upload, film.stop_recording):
                as_sent(event, self.look, [film], [film, notice, start], show_progress="hidden")
            listen(film.clear, self.forget, [], [*shown, start])
            as_sent(analyse.click, self.analyse, [film, start], [film, start, *shown], show_progress_on=[film])
            listen(drawn.click, self.draw, [], shown, show_progress_on=[film])
            listen(clip.input, self.correct, [], shown, trigger_mode="always_last", show_progress="hidden")
            blocks.unload(self.leave)
        return blocks

    def look(self, film: dict[str, Any] | None, request: gr.Request) -> tuple[Any, str, Any]:
        """Say at once if an upload is not taken, and ask where to begin if it is long."""
        self._drop_upload(request)
        hidden = gr.update(visible=False, value=0)
        path = self._uploaded(film)
        if path is None:
            return None, "", hidden
        self._waiting[_visitor(request)] = path
        try:
            facts = film_facts(path, self.limits)
        except IntakeError as error:
            self._drop_upload(request)
            return None, views.notice([str(error)], error=True), hidden
        if facts.seconds <= self.limits.window_seconds + 1e-6:
            return gr.skip(), "", hidden
        latest = max(0.1, facts.seconds - self.limits.window_seconds)
        asked = (
            f"The film lasts {facts.seconds:.1f} s, a micro-expression under half a second: "
            f"{self.limits.window_seconds:g} s of it will be analysed. Say at which second it should begin."
        )
        return gr.skip(), views.notice([asked]), gr.update(visible=True, maximum=round(latest, 1), value=0)

    def analyse(self, film: dict[str, Any] | None, start: float | None, request: gr.Request) -> tuple[Any, ...]:
        """Take an upload in, delete it, and answer for it."""
        path = self._uploaded(film)
        if path is None:
            return None, gr.skip(), views.notice([_NOTHING], error=True), gr.skip(), gr.skip()
        self._waiting.pop(_visitor(request), None)
        taken = partial(take_in, path, float(start or 0), self.uploads, self.limits)
        return None, gr.update(visible=False, value=0), *self._first_answer(taken, request)

    def draw(self, request: gr.Request) -> tuple[Any, ...]:
        """Answer for a drawn face, another one each time."""
        return self._first_answer(lambda: drawn_footage(secrets.randbelow(10_000)), request)

    def correct(self, event: gr.EventData, request: gr.Request) -> tuple[Any, ...]:
        """Answer for the onset, apex and offset that the visitor set."""
        clip, question = self.clips.get(_visitor(request)), event._data
        if clip is None:
            return views.notice([_GONE], error=True), None, ""
        if question["id"] != clip.id:  # asked before the visitor took another clip
            return gr.skip(), gr.skip(), gr.skip()
        asked = int(question["asked"])
        apex = None if question.get("spot") else int(question["apex"])
        try:
            answer = self.analyst.answer(clip, int(question["onset"]), apex, int(question["offset"]))
        except FaceNotFoundError:
            failed = "There is no face in that onset frame; the marks are where they were."
            return gr.skip(), views.failed_payload(clip, asked, failed), gr.skip()
        return gr.skip(), views.clip_payload(clip, answer, asked), views.result(answer)

    def forget(self, request: gr.Request) -> tuple[Any, ...]:
        """The visitor took the upload back: keep nothing of it."""
        self.leave(request)
        return "", None, "", gr.update(visible=False, value=0)

    def leave(self, request: gr.Request) -> None:
        """The visitor is gone: keep nothing of theirs."""
        self._drop_upload(request)
        self.clips.drop(_visitor(request))

    def _first_answer(self, take: Callable[[], Footage], request: gr.Request) -> tuple[Any, ...]:
        """(notice, clip, result) of a clip that is new; an earlier one is forgotten."""
        self.clips.drop(_visitor(request))
        try:
            clip = self.analyst.open(take())
            answer = self.analyst.answer(clip)
        except FaceNotFoundError:
            return views.notice([_NO_FACE], error=True), None, ""
        except IntakeError as error:
            return views.notice([str(error)], error=True), None, ""
        self.clips.put(_visitor(request), clip)
        notes = views.clip_notes(clip, self.analyst.aligns)
        return views.notice(notes), views.clip_payload(clip, answer), views.result(answer)

    def _uploaded(self, film: dict[str, Any] | None) -> Path | None:
        """The file that the browser names; None if it names none, or one that is no upload."""
        path = Path(str(film["path"])).resolve() if film and film.get("path") else None
        return path if path is not None and path.is_relative_to(self.uploads.resolve()) else None

    def _drop_upload(self, request: gr.Request) -> None:
        """Delete what the visitor uploaded and did not have analysed."""
        path = self._waiting.pop(_visitor(request), None)
        if path is not None:
            delete_upload(path, self.uploads)


def _visitor(request: gr.Request) -> str:
    """Which open page asks: a random name that Gradio gives it."""
    return str(request.session_hash)


def _listen(event: Any, handle: Callable, inputs: list, outputs: list, **how: Any) -> None:
    event(handle, inputs, outputs, api_visibility="private", **how)


def _static(name: str) -> str:
    return (STATIC / name).read_text(encoding="utf-8")
