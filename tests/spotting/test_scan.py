"""The score of a step, on drawn movements whose times are known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from moving_face import BROWS, FACE, MOUTH, film, tent

from hsta_hf.data.face_geometry import warp_similarity
from hsta_hf.spotting.regions import REGION_NAMES
from hsta_hf.spotting.scan import BLINK, Lengths, Scan
from hsta_hf.spotting.tracking import CROP

STEPS = 40
LENGTHS = Lengths()


def judged(frames: np.ndarray) -> np.ndarray:
    """The rows of a film of STEPS frames of a face that is where it was drawn."""
    scale = CROP / FACE[0, 0]
    matrix = np.array(
        [[scale, 0, 0.5 * scale - 0.5 - FACE[0, 2] * scale], [0, scale, 0.5 * scale - 0.5 - FACE[1, 2] * scale]]
    )
    crops = np.stack([cv2.cvtColor(warp_similarity(f, matrix, CROP), cv2.COLOR_RGB2GRAY) for f in frames])
    return Scan(STEPS, 30.0, LENGTHS)(crops.astype(np.float32), 0, STEPS)


@pytest.mark.parametrize(("onset", "apex", "offset"), [(12, 17, 24), (10, 14, 19), (14, 20, 25)])
@pytest.mark.parametrize("place", [BROWS, MOUTH])
def test_a_rise_and_fall_is_found_where_and_when_it_is(
    place: tuple[float, float], onset: int, apex: int, offset: int
) -> None:
    rows = judged(film(STEPS, [(place, tent(STEPS, onset, apex, offset, 1.5))]))
    best = int(rows["score"].argmax())
    assert abs(best - apex) <= 1
    rise, fall = int(rows["rise"][best]), int(rows["fall"][best])
    assert abs(best - rise - onset) <= 2 and abs(best + fall - offset) <= 2
    assert REGION_NAMES[rows["region"][best]] == ("brows" if place is BROWS else "mouth")


def test_it_stands_out_of_a_still_face() -> None:
    still, moving = judged(film(STEPS)), judged(film(STEPS, [(BROWS, tent(STEPS, 12, 17, 24, 1.0))]))
    assert moving["score"].max() > 3 * still["score"].max()


@pytest.mark.parametrize("kind", ["turns to a smile", "drifts on"])
def test_what_does_not_come_back_gains_little(kind: str) -> None:
    time = np.arange(STEPS)
    moved = np.clip((time - 12) / 12, 0, 1) if kind == "turns to a smile" else time / STEPS
    brief = judged(film(STEPS, [(MOUTH, tent(STEPS, 12, 18, 24, 1.5))]))["score"].max()
    assert judged(film(STEPS, [(MOUTH, 1.5 * moved)]))["score"].max() < 0.5 * brief


def test_what_comes_back_too_slowly_gains_little() -> None:
    brief = judged(film(STEPS, [(MOUTH, tent(STEPS, 12, 18, 24, 1.5))]))["score"].max()
    slow = judged(film(STEPS, [(MOUTH, tent(STEPS, 7, 19, 32, 1.5))]))["score"]
    assert slow[8:32].max() < 0.3 * brief  # beyond, only a part of it is in the window


def test_a_head_that_nods_gains_little() -> None:
    nod = tent(STEPS, 12, 18, 24, 0.6)
    head = judged(film(STEPS, head=np.stack([0 * nod, nod], axis=1)))["score"].max()
    assert head < 0.4 * judged(film(STEPS, [(BROWS, 2.5 * nod)]))["score"].max()


def test_eyelids_that_close_have_no_say() -> None:
    rows = judged(film(STEPS, closing=tent(STEPS, 14, 18, 24, 1.0)))
    assert rows["blink"][18] > BLINK
    brief = judged(film(STEPS, [(BROWS, tent(STEPS, 14, 18, 24, 1.5))]))
    assert brief["blink"].max() < BLINK and judged(film(STEPS))["blink"].max() < 0.3 * BLINK
    assert rows["score"].max() < 0.5 * brief["score"].max()


def test_eyelids_that_twitch_have() -> None:
    twitch = judged(film(STEPS, closing=tent(STEPS, 14, 18, 24, 0.3)))
    assert twitch["blink"].max() < BLINK
    assert REGION_NAMES[twitch["region"][18]] == "eyelids"
    assert twitch["score"].max() > 3 * judged(film(STEPS))["score"].max()


def test_lengths_are_in_order() -> None:
    for shortest, longest in ((0, 0.5), (0.5, 0.5), (0.6, 0.5), (0.2, 9)):
        with pytest.raises(ValueError, match="shortest must be above 0"):
            Lengths(shortest, longest)
