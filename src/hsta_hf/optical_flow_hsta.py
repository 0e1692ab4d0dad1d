"""Dense optical flow between two frames, its strain, and the part of it that a moving head explains.

The file is copied into saved model folders, so it imports nothing of this package; OpenCV is imported only
when a flow is computed, so that models without optical flow load without it.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

FLOW_METHODS = ("farneback", "dis")


def optical_flow(first: np.ndarray, second: np.ndarray, method: str = "farneback") -> np.ndarray:
    """Dense optical flow from `first` to `second`.

    Args:
        first, second: (H, W) greyscale or (H, W, 3) RGB, uint8, of one shape.
        method: "farneback" (Farnebäck 2003; smooth, and the better one where movements are below a pixel and
            frames are noisy) or "dis" (dense inverse search, Kroeger et al. 2016, as STSTNet's successors use
            it: OpenCV's medium preset down to full resolution).

    Returns:
        (H, W, 2) float32: the movement to the right and downwards, in pixels, of what stands at each pixel of
        `first`.

    Raises:
        ValueError: if the method is unknown, or the frames are not uint8 pictures of one shape.
        ImportError: if OpenCV is not installed.
    """
    if method not in FLOW_METHODS:
        raise ValueError(f"flow method {method!r} is unknown; there are {FLOW_METHODS}")
    cv2 = _import_cv2()
    before, after = _grey(first), _grey(second)
    if before.shape != after.shape:
        raise ValueError(f"optical flow needs two frames of one size, not {before.shape} and {after.shape}")
    height, width = before.shape
    # Both methods build pyramids and fail or fall silent on pictures of a few pixels: repeat their edges.
    pad = ((0, max(0, _SMALLEST - height)), (0, max(0, _SMALLEST - width)))
    before, after = (np.ascontiguousarray(np.pad(picture, pad, mode="edge")) for picture in (before, after))
    if method == "dis":
        search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(0)  # micro-expressions move by about a pixel: half resolution is too coarse
        flow = search.calc(before, after, None)
    else:
        flow = cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return np.ascontiguousarray(flow[:height, :width], dtype=np.float32)


def flow_with_strain(flow: np.ndarray) -> np.ndarray:
    """Flow and its optical strain, the three input channels of STSTNet (Liong et al. 2019).

    Args:
        flow: (..., H, W, 2), in pixels.

    Returns:
        (..., H, W, 3) of the same dtype: u, v and the strain magnitude sqrt(exx² + eyy² + 2 exy²), in pixels
        of displacement per pixel, with e the symmetric part of the flow's gradient.

    Raises:
        ValueError: if the last axis is not 2, or H or W is below 2.
    """
    if flow.ndim < 3 or flow.shape[-1] != 2 or min(flow.shape[-3:-1]) < 2:
        raise ValueError(f"a flow has shape (..., H, W, 2) with H and W of 2 or more, not {flow.shape}")
    u_y, u_x = np.gradient(flow[..., 0], axis=(-2, -1))
    v_y, v_x = np.gradient(flow[..., 1], axis=(-2, -1))
    strain = np.sqrt(u_x**2 + v_y**2 + 0.5 * (u_y + v_x) ** 2)
    return np.concatenate([flow, strain[..., None]], axis=-1).astype(flow.dtype)


def head_motion(flow: np.ndarray, iterations: int = 8) -> np.ndarray:
    """The affine motion that most of the picture shares, fitted robustly (Geman-McClure weights).

    An expression moves a small part of the face, the head moves all of it: pixels that disagree with the
    common motion by much more than the median lose their say.

    Args:
        flow: (H, W, 2), in pixels.
        iterations: rounds of reweighting.

    Returns:
        (H, W, 2) of the same dtype: the fitted motion. Subtract it to get what the head's motion leaves.
    """
    height, width = flow.shape[:2]
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    step_y, step_x = -(-height // _FIT_GRID), -(-width // _FIT_GRID)  # an affine motion needs few points
    points = (slice(step_y // 2, None, step_y), slice(step_x // 2, None, step_x))
    design = np.stack([np.ones(x[points].size), x[points].ravel(), y[points].ravel()], axis=1)
    target = flow[points].reshape(-1, 2).astype(np.float64)
    weights = np.ones(len(target))
    for _ in range(iterations):
        weighted = design * weights[:, None]
        affine = np.linalg.lstsq(weighted.T @ design, weighted.T @ target, rcond=None)[0]
        distance = ((target - design @ affine) ** 2).sum(axis=1)
        scale = max(float(np.median(distance)), 1e-8)
        weights = (scale / (scale + distance)) ** 2
    everywhere = np.stack([np.ones(x.size), x.ravel(), y.ravel()], axis=1)
    return (everywhere @ affine).reshape(height, width, 2).astype(flow.dtype)


def warp(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """`picture` (H, W[, C]) seen where `flow` (H, W, 2) points to, bilinear, edges repeated; undoes that flow."""
    height, width = flow.shape[:2]
    y, x = np.meshgrid(np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32), indexing="ij")
    cv2 = _import_cv2()
    return cv2.remap(picture, x + flow[..., 0], y + flow[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


_SMALLEST = 32
_FIT_GRID = 64


def _grey(picture: np.ndarray) -> np.ndarray:
    if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or (picture.ndim == 3 and picture.shape[-1] != 3):
        raise ValueError(
            f"optical flow takes (H, W) or (H, W, 3) uint8 frames, not {picture.dtype} of shape {picture.shape}"
        )
    if picture.ndim == 2:
        return picture
    return np.rint(picture @ np.array([0.299, 0.587, 0.114], dtype=np.float32)).astype(np.uint8)


def _import_cv2() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise ImportError("optical flow needs OpenCV: pip install opencv-python-headless") from error
    return cv2
