"""Optical flow, strain and head motion against movements that are known."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from hsta_hf.optical_flow_hsta import (
    FLOW_METHODS,
    flow_channels,
    flow_with_strain,
    head_motion,
    optical_flow,
    special_flows,
    warp,
)

HAS_CONTRIB = hasattr(cv2, "optflow")
EVERY_METHOD = [
    "farneback",
    "dis",
    pytest.param("tvl1", marks=pytest.mark.skipif(not HAS_CONTRIB, reason="needs opencv-contrib-python-headless")),
]


def test_every_method_is_tested() -> None:
    assert FLOW_METHODS == ("farneback", "dis", "tvl1")


def texture(shift: tuple[float, float] = (0.0, 0.0), bulge: float = 0.0, size: int = 128) -> np.ndarray:
    """(size, size, 3) uint8 whose pattern is moved by `shift` (right, down) pixels, plus a bump moved down."""
    rng = np.random.default_rng(3)
    y, x = np.meshgrid(np.arange(float(size)), np.arange(float(size)), indexing="ij")
    bump = np.exp(-((x - 64) ** 2 + (y - 64) ** 2) / (2 * 10**2))
    x, y = x - shift[0], y - shift[1] - bulge * bump
    waves = zip(rng.uniform(-0.5, 0.5, (30, 2)), rng.uniform(0, 6.3, 30), strict=True)
    picture = 128 + 9 * sum(np.cos(wx * x + wy * y + phase) for (wx, wy), phase in waves)
    return np.repeat(np.clip(np.rint(picture), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


@pytest.mark.parametrize("method", EVERY_METHOD)
@pytest.mark.parametrize("shift", [(0.7, 0.0), (-1.3, 0.5), (2.5, -2.0)])
def test_flow_finds_a_known_shift(method: str, shift: tuple[float, float]) -> None:
    flow = optical_flow(texture(), texture(shift), method)
    assert flow.shape == (128, 128, 2) and flow.dtype == np.float32
    inner = flow[16:-16, 16:-16]
    assert np.abs(np.median(inner, axis=(0, 1)) - shift).max() < 0.1


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_flow_takes_grey_and_tiny_pictures(method: str) -> None:
    colour = optical_flow(texture(), texture((1.0, 0.0)), method)
    grey = optical_flow(texture()[..., 0], texture((1.0, 0.0))[..., 0], method)
    assert np.array_equal(colour, grey)
    assert optical_flow(texture()[:5, :7], texture((1.0, 0.0))[:5, :7], method).shape == (5, 7, 2)


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


class FakeSolver:
    """Stands in for OpenCV's TV-L1: says that everything moved by (2, -1) pixels."""

    def calc(self, before: np.ndarray, after: np.ndarray, flow: None) -> np.ndarray:
        assert before.dtype == after.dtype == np.uint8 and before.shape == after.shape and before.ndim == 2
        assert flow is None
        return np.broadcast_to(np.float32([2.0, -1.0]), (*before.shape, 2))


@pytest.mark.parametrize("name", ["DualTVL1OpticalFlow_create", "createOptFlow_DualTVL1"])
def test_tvl1_asks_opencvs_contrib_modules(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "optflow", SimpleNamespace(**{name: FakeSolver}), raising=False)
    flow = optical_flow(texture()[:20, :50], texture((2.0, -1.0))[:20, :50], "tvl1")
    assert flow.shape == (20, 50, 2) and flow.dtype == np.float32 and flow.flags.c_contiguous
    assert np.all(flow == (2.0, -1.0))


@pytest.mark.parametrize("contrib", [None, SimpleNamespace()])
def test_missing_contrib_modules_are_named(contrib: object, monkeypatch: pytest.MonkeyPatch) -> None:
    if contrib is None:
        monkeypatch.delattr(cv2, "optflow", raising=False)
    else:
        monkeypatch.setattr(cv2, "optflow", contrib, raising=False)
    with pytest.raises(ImportError, match=r"uninstall .*pip install opencv-contrib-python-headless") as caught:
        optical_flow(texture(), texture((1.0, 0.0)), "tvl1")
    assert cv2.__version__ in str(caught.value) and '"farneback" or "dis"' in str(caught.value)


def test_opencv_is_imported_only_when_flow_is_computed() -> None:
    # The file by itself, as saved model folders have it: the package imports OpenCV for other purposes.
    command = "import sys, optical_flow_hsta; sys.exit('cv2' in sys.modules)"
    folder = Path(sys.modules["hsta_hf.optical_flow_hsta"].__file__ or "").parent
    assert subprocess.run([sys.executable, "-c", command], cwd=folder).returncode == 0


# --- what the special stream sees -----------------------------------------------------------------------------------


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_special_flows_lead_to_the_apex_and_on_to_the_offset(method: str) -> None:
    onset, apex, offset = texture(), texture((1.5, -0.5)), texture((0.5, 0.5))
    flows = special_flows([onset, apex, offset], method)
    assert flows.shape == (2, 128, 128, 3) and flows.dtype == np.float32
    middle = np.median(flows[:, 16:-16, 16:-16], axis=(1, 2))
    # Right and down count as positive; on the way back from the apex, the same pattern moves by (-1, 1).
    assert np.abs(middle[:, :2] - [(1.5, -0.5), (-1.0, 1.0)]).max() < 0.1
    assert middle[:, 2].max() < 0.05  # what only shifts is not strained


def test_special_flows_count_in_pixels_of_their_size() -> None:
    frames = [texture(), texture((4.0, -2.0)), texture()]
    for size in (64, {"height": 64, "width": 64}):
        flows = special_flows(frames, size=size)
        assert flows.shape == (2, 64, 64, 3)
        middle = np.median(flows[:, 8:-8, 8:-8, :2], axis=(1, 2))
        assert np.abs(middle - [(2.0, -1.0), (-2.0, 1.0)]).max() < 0.1
    flat = special_flows(frames, size={"height": 128, "width": 64})
    assert flat.shape == (2, 128, 64, 3)
    assert np.abs(np.median(flat[0, 16:-16, 8:-8, :2], axis=(0, 1)) - (2.0, -2.0)).max() < 0.15


@pytest.mark.parametrize("remove_head_motion", [False, True])
def test_special_flows_are_flow_head_motion_and_strain_in_turn(remove_head_motion: bool) -> None:
    onset, apex, offset = texture(), texture((1.5, -1.0), bulge=1.2), texture((2.0, 0.0))
    flows = special_flows([onset, apex, offset], "dis", remove_head_motion=remove_head_motion)
    for got, pair in zip(flows, [(onset, apex), (apex, offset)], strict=True):
        flow = optical_flow(*pair, "dis")
        flow = flow - head_motion(flow) if remove_head_motion else flow
        assert np.array_equal(got, flow_with_strain(flow))


@pytest.mark.parametrize("method", ["farneback", "dis"])
def test_equal_pictures_have_no_flow(method: str) -> None:
    picture = texture()
    assert not flow_channels(picture, picture.copy(), method, remove_head_motion=True).any()
    flows = special_flows([picture, texture((1.0, 0.0)), texture((1.0, 0.0))], method)
    assert flows[0].any() and not flows[1].any()
    assert not optical_flow(picture[:5, :7], picture[:5, :7], method).any()
    with pytest.raises(ValueError, match="lucas"):
        flow_channels(picture, picture, "lucas")


def test_a_missing_method_is_named_even_where_nothing_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(cv2, "optflow", raising=False)
    with pytest.raises(ImportError, match="opencv-contrib-python-headless"):
        special_flows([texture()] * 3, "tvl1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frames: frames[:2], "onset, apex and offset"),
        (lambda frames: [*frames, frames[0]], "onset, apex and offset"),
        (lambda frames: [], "onset, apex and offset"),
        (lambda frames: [frames[0], frames[1], frames[2][:64]], r"\(64, 128, 3\)"),
        (lambda frames: [frame[..., 0] for frame in frames], r"\(128, 128\)"),
        (lambda frames: [frame / 255 for frame in frames], "float64"),
    ],
)
def test_special_flows_refuse_wrong_pictures(change: Callable[[list[np.ndarray]], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        special_flows(change([texture(), texture((1.0, 0.0)), texture()]))  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 2.5, {"height": 64}, {"height": 64, "width": 0}, {"shortest_edge": 64}, True])
def test_special_flows_refuse_wrong_sizes(size: object) -> None:
    with pytest.raises(ValueError, match="flow size is"):
        special_flows([texture()] * 3, size=size)  # type: ignore[arg-type]


# --- strain, head motion, warping -----------------------------------------------------------------------------------


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
