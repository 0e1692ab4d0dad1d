"""Similarities (move, turn, scale) of faces: fitted to landmarks, joined, and applied to points and pictures."""

from __future__ import annotations

import cv2
import numpy as np

# Right eye, left eye (the person's own right and left), nose tip, right and left corner of the mouth, as fractions
# (x, y) of the crop's side. Size and proportions are those of the 112 x 112 template that face recognition uses
# (InsightFace: eyes at (38.3, 51.7) and (73.5, 51.5)), made symmetric and moved up, so that the chin is in the
# picture with a margin below it, and the forehead from about the hairline.
TEMPLATE = np.array([[0.34, 0.37], [0.66, 0.37], [0.50, 0.552], [0.3675, 0.74], [0.6325, 0.74]])


def fit_similarity(source: np.ndarray, target: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The similarity that brings points nearest to others, by weighted least squares (Umeyama 1991).

    Args:
        source, target: (n, 2), in pixels.
        weights: (n,), not negative.

    Returns:
        (2, 3) float64.

    Raises:
        ValueError: if all source points with weight are one point.
    """
    # In complex numbers a similarity is z -> a z + b; unlike the general solution it cannot mirror the face.
    z, w = source @ [1, 1j], target @ [1, 1j]
    share = weights / weights.sum()
    z_mean, w_mean = share @ z, share @ w
    spread = float(share @ np.abs(z - z_mean) ** 2)
    if spread <= 0:
        raise ValueError("the landmarks of a face cannot all be in one place")
    a = (share @ (np.conj(z - z_mean) * (w - w_mean))) / spread
    b = w_mean - a * z_mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def transform_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(n, 2) points through a (2, 3) matrix."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The (2, 3) matrix that does `first`, then `second`."""
    return np.asarray(np.hstack([second[:, :2] @ first[:, :2], (second[:, :2] @ first[:, 2] + second[:, 2])[:, None]]))


def warp_similarity(frame: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """The crop that a similarity cuts out of a frame, without aliasing.

    A crop coarser than the frame is taken at a whole multiple of its size and averaged down; a finer one is
    interpolated by cubics. What lies outside the frame repeats its edge.

    Args:
        frame: (H, W, 3), (H, W, 4) or (H, W) uint8.
        matrix: (2, 3), source to crop, in pixels; may mirror, too.
        size: Side of the crop in pixels.
    """
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    finer = max(1, int(np.ceil(1 / scale - 0.05)))
    # Pixel centres are at whole numbers: the middle of a coarse pixel is the middle of its `finer` fine ones.
    fine = matrix * finer
    fine[:, 2] += (finer - 1) / 2
    side = size * finer
    how = cv2.INTER_CUBIC if scale > 1 else cv2.INTER_LINEAR
    crop = cv2.warpAffine(frame, fine, (side, side), flags=how, borderMode=cv2.BORDER_REPLICATE)
    if finer > 1:
        crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(crop, dtype=np.uint8)
