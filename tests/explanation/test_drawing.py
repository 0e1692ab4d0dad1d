"""Colours lie where the map says, and frames show the tubelet that speaks for them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from explanation.planted import planted_model

from hsta_hf import HSTAVideoProcessor
from hsta_hf.explanation.clip import prepare_clip
from hsta_hf.explanation.maps import PatchGrid
from hsta_hf.explanation.overlay import draw_over, grey_face, tubelet_at


def clip_of(special_input: str, video_input: str = "difference") -> object:
    frames = np.random.default_rng(0).integers(0, 255, (9, 16, 16, 3), dtype=np.uint8)
    processor = HSTAVideoProcessor(
        size={"height": 16, "width": 16}, num_frames=4, special_input=special_input, video_input=video_input
    )
    return prepare_clip(planted_model(0, True).config, processor, frames, 1, 4, 8)


def test_a_still_clip_shows_no_motion_and_the_onset_frame() -> None:
    clip = clip_of("optical_flow", "frames")
    assert not clip.still["special"].any() and clip.streams["special"].any()
    video = clip.still["video"][0]
    assert (video == video[:1]).all()
    torch.testing.assert_close(video[0], clip.streams["video"][0, 0])  # the onset is the stream's first frame
    assert {name: x.shape for name, x in clip.still.items()} == {name: x.shape for name, x in clip.streams.items()}
    assert not clip_of("difference").still["special"].any()


def test_tubelets_are_named_by_their_frames() -> None:
    clip = clip_of("optical_flow")
    assert clip.video_frames == (1, 3, 6, 8) and clip.special_frames == (1, 4)
    assert clip.tubelet_names("video") == ["video, frames 1, 3", "video, frames 6, 8"]
    assert clip.tubelet_names("special") == ["special, onset to apex and apex to offset"]
    assert clip_of("frames").tubelet_names("special") == ["special, onset and apex"]
    assert [tubelet_at(clip, "video", frame) for frame in range(1, 9)] == [0, 0, 0, 0, 1, 1, 1, 1]
    assert {tubelet_at(clip, "special", frame) for frame in range(1, 9)} == {0}


def test_pixels_and_patches_agree() -> None:
    grid = PatchGrid(2, 2, 3, 2, 4, 5)
    values = torch.arange(12.0).reshape(1, 2, 2, 3)
    pixels = grid.on_pixels(values)
    assert pixels.shape == (1, 4, 1, 8, 15)
    assert pixels[0, 3, 0, 7, 14] == 11 and pixels[0, 1, 0, 3, 5] == 1
    torch.testing.assert_close(grid.of_pixels(pixels.expand(-1, -1, 3, -1, -1)), values * 2 * 4 * 5 * 3)


@pytest.mark.parametrize("sign", [1, -1])
def test_only_the_patch_that_counts_is_coloured(sign: int) -> None:
    face = grey_face(np.full((40, 40, 3), 100, np.uint8), 60)
    relevance = np.zeros((3, 3))
    relevance[0, 2] = sign
    drawn = draw_over(face, relevance, 1.0)
    changed = (drawn != face).any(axis=-1)
    assert changed[:20, 40:].all() and changed.sum() == 400
    red, _, blue = drawn[5, 50].astype(int)
    assert (red > blue) == (sign > 0)
