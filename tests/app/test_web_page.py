"""The page in a browser: a clip goes in, the apex is dragged, the answer changes, and nothing of the clip stays."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from app_browser import ANSWER_MS, DESKTOP, PHONE, Server, Visit, need_browser, served, visiting
from prediction_helpers import save_model, write_video

from hsta_hf.app.example import drawn_footage
from hsta_hf.data.face_detector import DETECTOR_VARIABLE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page with a model that takes frames as they come."""
    need_browser()
    folder = tmp_path_factory.mktemp("page")
    with served(save_model(folder / "model"), folder / "temporary") as running:
        yield running


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn face that moves once, as a film."""
    return write_video(tmp_path_factory.mktemp("clip") / "drawn.mp4", drawn_footage(3).frames)


def outside(visit: Visit, server: Server) -> list[str]:
    """Addresses of other machines that the page asked for."""
    here = urlsplit(server.url).netloc
    return [one for one in visit.requests if urlsplit(one).netloc != here and not one.startswith(("data:", "blob:"))]


def drag(visit: Visit, name: str, to_frame: int) -> None:
    """Take a mark by its label and drag it to another frame."""
    onset, offset, mark = (visit.mark(one) for one in ("onset", "offset", name))
    lines = {one: visit.page.locator(f'[data-mark="{one}"] line').bounding_box()["x"] for one in ("onset", "offset")}
    last = int(visit.page.locator('[data-mark="offset"]').get_attribute("aria-valuenow"))
    target = lines["onset"] + (lines["offset"] - lines["onset"]) * to_frame / last
    assert onset["x"] < offset["x"]
    visit.page.mouse.move(mark["x"], mark["y"])
    visit.page.mouse.down()
    visit.page.mouse.move((mark["x"] + target) / 2, mark["y"] + 40)
    visit.page.mouse.move(target, mark["y"] + 60)
    visit.page.mouse.up()


def spotted(visit: Visit) -> int:
    found = re.search(r"apex frame (\d+) \(spotted\)", visit.frames())
    assert found, visit.frames()
    return int(found[1])


def test_a_clip_is_analysed_its_apex_corrected_and_its_upload_deleted(
    server: Server, clip: Path, tmp_path: Path
) -> None:
    with visiting(server.url, DESKTOP) as visit:
        visit.upload(clip)
        server.wait_for_files(["drawn.mp4"])
        visit.analyse()
        assert server.files() == []
        apex, scores, overlay = spotted(visit), visit.scores(), visit.overlay()
        assert len(scores) == 3 and overlay.count("data:image/png") == 2
        assert "as they come" in visit.notice()
        assert visit.page.locator(".hsta-face figcaption").inner_text() == "Frame as it came"
        visit.page.screenshot(path=str(tmp_path / "desktop.png"), full_page=True)

        other = apex + 4 if apex < 8 else apex - 4
        drag(visit, "apex", other)
        visit.wait_for_frames(f"apex frame {other} (as you set it)")
        assert visit.scores() != scores and visit.overlay() != overlay
        assert visit.page.locator(".hsta-apex output").inner_text() == str(other)

        visit.page.locator('[data-mark="apex"]').press("ArrowRight")  # the keyboard does it, too
        visit.wait_for_frames(f"apex frame {other + 1} (as you set it)")
        visit.page.get_by_role("button", name="Apex one frame earlier").click()
        visit.wait_for_frames(f"apex frame {other} (as you set it)")
        drag(visit, "onset", 2)
        visit.wait_for_frames("Onset frame 2,")
        visit.page.get_by_role("button", name="Spot the apex again").click()
        visit.wait_for_frames("(spotted)")
        assert outside(visit, server) == [] and visit.problems == []


def test_what_is_no_video_is_said_and_the_page_goes_on(server: Server, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.mp4").write_text("This is a letter, not a film.\n" * 40)
    with visiting(server.url, DESKTOP) as visit:
        visit.upload(tmp_path / "letter.mp4", refused=True)
        assert "letter.mp4 cannot be read as a video" in visit.notice() and server.files() == []
        visit.upload(clip)
        visit.analyse()
        assert len(visit.scores()) == 3


def test_a_huge_file_is_refused_while_it_arrives(server: Server, tmp_path: Path) -> None:
    with (tmp_path / "huge.mp4").open("wb") as file:
        file.truncate(51 << 20)
    with visiting(server.url, DESKTOP) as visit:
        visit.page.locator("#film input[type=file]").set_input_files(str(tmp_path / "huge.mp4"))
        visit.page.get_by_text(re.compile("maximum|too large|exceed", re.IGNORECASE)).first.wait_for(timeout=ANSWER_MS)
        visit.page.screenshot(path=str(tmp_path / "huge.png"))
        server.wait_for_files([])


def test_of_a_long_film_a_window_is_asked_for(server: Server, tmp_path: Path) -> None:
    frames = np.concatenate([drawn_footage(3).frames, drawn_footage(3).frames[::-1]] * 2)
    with visiting(server.url, DESKTOP) as visit:
        visit.upload(write_video(tmp_path / "film.mp4", frames))
        visit.page.locator("#start input[type=number]").wait_for(timeout=ANSWER_MS)
        assert f"The film lasts {len(frames) / 30:.1f} s" in visit.notice()
        visit.page.locator("#start input[type=number]").fill("0.5")
        visit.page.locator("#start input[type=number]").press("Tab")
        visit.analyse()
        assert "the 1.0 s from 0.5 s on" in visit.notice() and "offset frame 29" in visit.frames()
        assert not visit.page.locator("#start").is_visible() and server.files() == []


def test_a_recording_is_made_without_sound_and_analysed(server: Server) -> None:
    with visiting(server.url, DESKTOP) as visit:
        visit.page.evaluate(
            """() => {
                const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
                navigator.mediaDevices.getUserMedia = (what) => { window.asked = what; return ask(what); };
            }"""
        )
        visit.page.locator('#film [aria-label="Capture from camera"]').click()
        visit.page.locator('#film [title="grant webcam access"]').click()
        visit.page.locator('#film [title="start recording"]').click()
        visit.page.wait_for_timeout(2500)
        visit.page.locator('#film [title="stop recording"]').click()
        server.wait_for_files(["sample.webm"])
        assert visit.page.evaluate("() => window.asked.audio") is False
        visit.page.locator("#analyse").click()
        visit.page.locator(".hsta-scores").wait_for(timeout=ANSWER_MS)
        assert server.files() == [] and visit.problems == []


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_sticks_out_and_a_finger_can_drag(dark: bool, server: Server, tmp_path: Path) -> None:
    with visiting(server.url, PHONE, dark=dark, touch=True) as visit:
        assert visit.width_beyond_the_screen() <= 0
        visit.page.locator("#drawn").click()
        visit.page.locator(".hsta-scores").wait_for(timeout=ANSWER_MS)
        assert "no real person" in visit.notice()
        visit.page.locator(".hsta-plot").scroll_into_view_if_needed()
        assert visit.width_beyond_the_screen() <= 0
        start, last = visit.mark("offset"), int(visit.page.locator(".hsta-offset output").inner_text())
        fingers = visit.page.context.new_cdp_session(visit.page)
        for kind, x in [("touchStart", 0), ("touchMove", -20), ("touchMove", -60), ("touchEnd", None)]:
            points = [] if x is None else [{"x": start["x"] + x, "y": start["y"]}]
            fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        visit.page.wait_for_function(
            "(last) => !document.querySelector('.hsta-frames').innerText.includes('offset frame ' + last + '.')",
            arg=last,
            timeout=ANSWER_MS,
        )
        assert int(visit.page.locator(".hsta-offset output").inner_text()) < last - 1
        assert visit.width_beyond_the_screen() <= 0 and visit.problems == [] and outside(visit, server) == []
        visit.page.screenshot(path=str(tmp_path / "phone.png"), full_page=True)


def test_a_film_without_a_face_is_said(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    need_browser()
    if os.environ.get(DETECTOR_VARIABLE):
        detector = Path(os.environ[DETECTOR_VARIABLE])
    else:  # skips where that folder is absent, too
        detector = request.getfixturevalue("shared_dir") / "models" / "yunet_n_640_640.onnx"
    if not detector.is_file():
        pytest.skip(f"finding faces needs the detector's weights: {DETECTOR_VARIABLE} or {detector.name}")
    scenery = np.random.default_rng(0).uniform(80, 160, (12, 8, 12, 3)).repeat(30, axis=1).repeat(30, axis=2)
    films = [write_video(tmp_path / "scenery.mp4", scenery.astype(np.uint8))]
    shared = Path(__file__).resolve().parents[3] / "shared" / "media" / "no_face.mp4"
    films += [shared] if shared.is_file() else []
    model = save_model(tmp_path / "model", face_alignment={"size": 224, "stabilise": True})
    with (
        served(model, tmp_path / "temporary", "--face-detector", str(detector)) as running,
        visiting(running.url, DESKTOP) as visit,
    ):
        for film in films:
            visit.upload(film)
            visit.analyse()
            assert "No face was found in the first frame" in visit.notice() and running.files() == []
