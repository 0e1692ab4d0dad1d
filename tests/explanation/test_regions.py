"""Regions of the aligned face: a partition, in the right places, and what they take of a map."""

from __future__ import annotations

import numpy as np
import pytest

from hsta_hf.data.drawn_geometry import FaceGeometry
from hsta_hf.data.face_geometry import TEMPLATE
from hsta_hf.explanation.regions import REGIONS, region_areas, region_masks, region_shares

NAMES = [region.name for region in REGIONS]


def region_at(x: float, y: float, size: int = 1000) -> str:
    return NAMES[int(region_masks(size)[:, int(y * size), int(x * size)].argmax())]


@pytest.mark.parametrize("size", [48, 223, 224])
def test_every_pixel_is_in_one_region(size: int) -> None:
    masks = region_masks(size)
    assert (masks.sum(axis=0) == 1).all() and masks.any(axis=(1, 2)).all()
    assert sum(region_areas().values()) == pytest.approx(1)


def test_both_sides_mirror_each_other() -> None:
    masks = region_masks(240)
    for number, name in enumerate(NAMES):
        other = name.replace("right", "left") if "right" in name else name.replace("left", "right")
        np.testing.assert_array_equal(masks[number][:, ::-1], masks[NAMES.index(other)])


def test_the_templates_landmarks_lie_in_their_regions() -> None:
    found = [region_at(x, y) for x, y in TEMPLATE]
    assert found == ["right eye", "left eye", "nose", "right mouth corner", "left mouth corner"]


def test_a_drawn_faces_parts_lie_in_their_regions() -> None:
    eyes = TEMPLATE[:2]
    pupils = eyes[1, 0] - eyes[0, 0]
    points = FaceGeometry().landmarks()
    expected = {
        "brow_middle": "left brow",
        "glabella": "between the brows",
        "upper_lid": "left eye",
        "lower_lid": "left eye",
        "cheek": "left cheek",
        "upper_lip_centre": "lips",
        "ala": "nose",
    }
    for name, region in expected.items():
        x, y = points[name]
        assert region_at(0.5 + pupils * x, eyes[0, 1] + pupils * y) == region, name


def test_shares_keep_the_sum_and_go_where_the_patch_lies() -> None:
    rng = np.random.default_rng(0)
    for rows, columns in ((6, 6), (14, 14), (7, 5)):
        relevance = rng.random((3, rows, columns))
        np.testing.assert_allclose(region_shares(relevance).sum(axis=-1), relevance.sum(axis=(1, 2)))
    size = 60
    one_pixel = np.zeros((size, size))
    one_pixel[int(0.45 * size), int(0.5 * size)] = 2.0
    assert region_shares(one_pixel)[NAMES.index("nose")] == pytest.approx(2.0)
    even = region_shares(np.full((6, 6), 1 / 36))
    np.testing.assert_allclose(even, list(region_areas().values()), atol=1e-12)
