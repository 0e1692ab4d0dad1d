"""Optical flow, strain and head motion against movements that are known."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hsta_hf.optical_flow_hsta import FLOW_METHODS, flow_with_strain, head_motion, optical_flow, warp


def texture(shift: tuple[float, float] = (0.0, 0.0), bulge: float = 0.0, size: int = 128) -> np.ndarray:
    """(size, size, 3) uint8 whose pattern is moved by `shift` (right, down) pixels, plus a bump moved down."""
    rng = np.random.default_rng(3)
    y, x = np.meshgrid(np.arange(float(size)), np.arange(float(size)), indexing="ij")
    bump = np.exp(-((x - 64) ** 2 + (y - 64) ** 2) / (2 * 10**2))
    x, y = x - shift[0], y - shift[1] - bulge * bump
    waves = zip(rng.uniform(-0.5, 0.5, (30, 2)), rng.uniform(0, 6.3, 30), strict=True)
    picture = 128 + 9 * sum(np.cos(wx * x + wy * y + phase) for (wx, wy), phase in waves)
    return np.repeat(np.clip(np.rint(picture), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize("method", FLOW_METHODS)
@pytest.mark.parametrize("shift", [(0.7, 0.0), (-1.3, 0.5), (2.5, -2.0)])
def test_flow_finds_a_known_shift(method: str, shift: tuple[float, float]) -> None:
    flow = optical_flow(texture(), texture(shift), method)
    assert flow.shape == (128, 128, 2) and flow.dtype == np.float32
    inner = flow[16:-16, 16:-16]
    assert np.abs(np.median(inner, axis=(0, 1)) - shift).max() < 0.1


def test_flow_takes_grey_and_tiny_pictures() -> None:
    colour = optical_flow(texture(), texture((1.0, 0.0)))
    grey = optical_flow(texture()[..., 0], texture((1.0, 0.0))[..., 0])
    assert np.array_equal(colour, grey)
    for method in FLOW_METHODS:
        assert optical_flow(texture()[:5, :7], texture()[:5, :7], method).shape == (5, 7, 2)


def test_flow_refuses_wrong_input() -> None:
    with pytest.raises(ValueError, match="lucas"):
        optical_flow(texture(), texture(), "lucas")
    with pytest.raises(ValueError, match="one size"):
        optical_flow(texture(), texture()[:64])
    with pytest.raises(ValueError, match="float64"):
        optical_flow(texture() / 255.0, texture() / 255.0)


def test_missing_opencv_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ImportError, match="pip install opencv-python-headless"):
        optical_flow(texture(), texture())


def test_strain_of_linear_flows() -> None:
    y, x = np.meshgrid(np.arange(9.0), np.arange(7.0), indexing="ij")
    stretch = np.stack([0.3 * x, -0.1 * y], axis=-1)  # exx = 0.3, eyy = -0.1
    assert np.allclose(flow_with_strain(stretch)[..., 2], np.hypot(0.3, 0.1))
    shear = np.stack([0.2 * y, np.zeros_like(x)], axis=-1)  # exy = 0.1, twice
    assert np.allclose(flow_with_strain(shear)[..., 2], np.sqrt(2 * 0.1**2))
    rotation = np.stack([-0.1 * y, 0.1 * x], axis=-1)  # nothing is strained
    assert np.allclose(flow_with_strain(rotation)[..., 2], 0)
    batch = flow_with_strain(np.stack([stretch, shear]).astype(np.float32))
    assert batch.shape == (2, 9, 7, 3) and batch.dtype == np.float32
    assert np.allclose(batch[1], flow_with_strain(shear))
    with pytest.raises(ValueError, match=r"\(9, 7, 3\)"):
        flow_with_strain(np.zeros((9, 7, 3)))


def test_head_motion_ignores_the_part_that_moves_by_itself() -> None:
    y, x = np.meshgrid(np.linspace(-1, 1, 90), np.linspace(-1, 1, 110), indexing="ij")
    head = np.stack([0.8 + 0.3 * x - 0.2 * y, -0.4 + 0.2 * x + 0.3 * y], axis=-1)
    flow = head.copy()
    flow[50:80, 30:80] += (0.0, -3.0)  # 15 % of the picture
    assert np.abs(head_motion(flow) - head).max() < 0.05
    least_squares_would_say = flow.mean(axis=(0, 1))[1]
    assert abs(least_squares_would_say - head.mean(axis=(0, 1))[1]) > 0.3


def test_subtracting_head_motion_leaves_the_expression() -> None:
    flow = optical_flow(texture(), texture((1.5, -1.0), bulge=1.2))
    left = flow - head_motion(flow)
    assert abs(left[64, 64, 1] - 1.2) < 0.5
    assert np.abs(np.median(left, axis=(0, 1))).max() < 0.1


def test_warp_undoes_a_flow() -> None:
    first, second = texture(), texture((2.0, 1.0))
    back = warp(second, np.broadcast_to(np.float32([2.0, 1.0]), (128, 128, 2)))
    inner = (slice(8, -8), slice(8, -8))
    assert np.abs(back[inner].astype(int) - first[inner]).max() <= 2
    assert np.abs(second[inner].astype(int) - first[inner]).max() > 40
