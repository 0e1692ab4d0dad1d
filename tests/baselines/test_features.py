"""Features against slow and obvious ways to compute them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hsta_hf.baselines.flow_networks import flow_picture
from hsta_hf.baselines.hoof import hoof
from hsta_hf.baselines.lbp_top import LBPTOPOptions, interpolated, lbp_top, plane_codes, uniform_codes


def bilinear(volume: np.ndarray, place: list[float]) -> float:
    """Value of a volume between its voxels, corner by corner."""
    total = 0.0
    for corner in np.ndindex(*(2,) * volume.ndim):
        weight, index = 1.0, []
        for x, side in zip(place, corner, strict=True):
            low = math.floor(round(x, 9))
            share = round(x, 9) - low
            weight *= share if side else 1 - share
            index.append(low + side)
        if weight > 0:
            total += weight * float(volume[tuple(index)])
    return total


@pytest.mark.parametrize(("axes", "radii"), [((2, 1), (1, 2)), ((2, 0), (1, 2)), ((1, 0), (2, 2))])
def test_codes_are_those_of_a_loop_over_voxels_and_neighbours(axes: tuple[int, int], radii: tuple[int, int]) -> None:
    volume = np.random.default_rng(0).integers(0, 256, (7, 8, 9)).astype(np.float32)
    margin = (2, 2, 1)
    found = plane_codes(volume, axes, radii, margin, 8)
    assert found.shape == (3, 4, 7)
    for place in np.ndindex(*found.shape):
        centre = [x + m for x, m in zip(place, margin, strict=True)]
        code = 0
        for p in range(8):
            at = [float(x) for x in centre]
            at[axes[0]] += radii[0] * math.cos(2 * math.pi * p / 8)
            at[axes[1]] += radii[1] * math.sin(2 * math.pi * p / 8)
            if bilinear(volume, at) >= volume[tuple(centre)] - 1e-3:
                code += 2**p
        assert found[place] == code, place


def test_uniform_codes_are_those_with_at_most_two_changes_around() -> None:
    bins, number = uniform_codes(8)
    assert number == 59
    for code in range(256):
        bits = [(code >> p) & 1 for p in range(8)]
        changes = sum(bits[p] != bits[p - 1] for p in range(8))
        assert (bins[code] < 58) == (changes <= 2)
    assert len(set(bins[bins < 58])) == 58


def test_an_even_volume_has_one_code_only() -> None:
    found = lbp_top(np.full((9, 12, 12), 100.3, dtype=np.float32), LBPTOPOptions(grid=[2, 2]))
    assert found.shape == (4, 3, 59)
    assert (found.max(axis=2) == 1).all()


def test_histograms_count_the_codes_of_their_block() -> None:
    volume = np.random.default_rng(1).integers(0, 256, (9, 14, 12)).astype(np.float32)
    options = LBPTOPOptions(grid=[3, 2], radius=[1, 1, 4])
    found = lbp_top(volume, options)
    codes = uniform_codes(8)[0][plane_codes(volume, (2, 1), (1, 1), (4, 1, 1), 8)]
    assert codes.shape == (1, 12, 10)
    block = np.bincount(codes[:, 4:8, 5:10].ravel(), minlength=59)
    np.testing.assert_allclose(found[1 * 2 + 1, 0], block / block.sum(), atol=1e-7)
    np.testing.assert_allclose(found.sum(axis=2), 1, atol=1e-6)


def test_short_clips_are_interpolated_in_time() -> None:
    volume = np.arange(3, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2), dtype=np.float32) * 10
    np.testing.assert_allclose(interpolated(volume, 5)[:, 0, 0], [0, 5, 10, 15, 20])
    np.testing.assert_allclose(interpolated(volume[:1], 4)[:, 0, 0], 0)


def test_a_volume_too_small_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match=r"4 frames of 12x12 pixels are too few"):
        lbp_top(np.zeros((4, 12, 12), dtype=np.float32), LBPTOPOptions())


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("weighting", ["sum", "bi-woof"])
def test_flow_histograms_are_those_of_a_loop_over_pixels(folded: bool, weighting: str) -> None:
    flow = np.random.default_rng(2).normal(size=(10, 9, 3)).astype(np.float32)
    expected = np.zeros((4, 6))
    strain: dict[int, list[float]] = {}
    for y in range(10):
        for x in range(9):
            u, v, e = map(float, flow[y, x])
            block = (0 if y < 5 else 1) * 2 + (0 if x * 2 // 9 == 0 else 1)
            angle = math.atan2(v, abs(u)) + math.pi / 2 if folded else math.atan2(v, u) % (2 * math.pi)
            width = (math.pi if folded else 2 * math.pi) / 6
            expected[block, min(int(angle / width), 5)] += math.hypot(u, v)
            strain.setdefault(block, []).append(e)
    expected /= expected.sum(axis=1, keepdims=True)
    if weighting == "bi-woof":
        expected *= np.array([[np.mean(strain[block])] for block in range(4)])
    np.testing.assert_allclose(hoof(flow, 6, [2, 2], folded, weighting), expected, rtol=1e-4, atol=1e-6)


def test_mirrored_directions_count_as_one_where_they_are_folded() -> None:
    flow = np.zeros((4, 4, 3), dtype=np.float32)
    flow[..., 0], flow[..., 1] = 1, 0.5
    mirrored = flow * np.array([-1, 1, 1], dtype=np.float32)
    np.testing.assert_array_equal(hoof(flow, 8, [1, 1], True), hoof(mirrored, 8, [1, 1], True))
    assert (hoof(flow, 8, [1, 1]) != hoof(mirrored, 8, [1, 1])).any()


def test_a_still_block_has_an_empty_histogram() -> None:
    assert not hoof(np.zeros((8, 8, 3), dtype=np.float32), 8, [2, 2]).any()


def test_pictures_are_stretched_channel_by_channel_to_bytes() -> None:
    flow = np.random.default_rng(3).normal(size=(56, 56, 3)).astype(np.float32)
    flow[..., 2] = 0.25
    picture = flow_picture(flow, "minmax")
    assert picture.shape == (3, 28, 28)
    assert picture[:2].min() == 0 and picture[:2].max() == 255
    assert not picture[2].any() and (picture == np.rint(picture)).all()
    small = flow.reshape(28, 2, 28, 2, 3).mean(axis=(1, 3))
    expected = (small[..., 0] - small[..., 0].min()) / np.ptp(small[..., 0]) * 255
    np.testing.assert_allclose(picture[0], np.rint(expected), atol=1)
    np.testing.assert_allclose(flow_picture(flow, "pixels"), (small * [1, 1, 10]).transpose(2, 0, 1), atol=1e-5)
