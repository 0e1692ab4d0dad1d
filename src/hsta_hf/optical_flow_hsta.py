"""Dense optical flow between two frames, its strain, and the part of it that a moving head explains.

`special_flows` makes what the special stream sees of a clip: onset to apex, and apex to offset.

The file is copied into saved model folders, so it imports nothing of this package; OpenCV is imported only
when a flow is computed, so that models without optical flow load without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np

FLOW_METHODS = ("farneback", "dis", "tvl1")


def special_flows(
    frames: Sequence[np.ndarray] | np.ndarray,
    method: str = "farneback",
    size: int | Mapping[str, int] | None = None,
    remove_head_motion: bool = False,
) -> np.ndarray:
    """What the special stream of `HSTAVideoProcessor` sees of a clip with `special_input: optical_flow`.

    With the processor's `flow_settings()` it computes what the processor computes, bit for bit, before the
    processor resizes it to the stream and divides it by its scales.

    Args:
        frames: the onset, apex and offset pictures, (H, W, 3) uint8 RGB of one shape.
        method: as in `optical_flow`.
        size: {"height", "width"} in pixels, or one number for both, to which the pictures are resized first
            (bilinear, antialiased); None leaves them as they are.
        remove_head_motion: subtract the affine motion that the whole picture shares.

    Returns:
        (2, height, width, 3) float32: onset to apex, then apex to offset; each (u, v, strain), u to the right
        and v downwards in pixels of `size`, strain in pixels of displacement per pixel.

    Raises:
        ValueError: if there are not three pictures of one shape and type, or method or size are unknown.
        ImportError: if OpenCV, or for "tvl1" its contrib part, is not installed.
    """
    shapes = [(picture.dtype.name, picture.shape) for picture in frames]
    if len(frames) != 3 or len(set(shapes)) > 1 or shapes[0][0] != "uint8" or shapes[0][1][2:] != (3,):
        raise ValueError(
            "flow is computed from the onset, apex and offset pictures, three of (H, W, 3) uint8 and one shape, "
            f"not {shapes}"
        )
    onset, apex, offset = frames if size is None else _resized(frames, size)
    pairs = ((onset, apex), (apex, offset))
    return np.stack([flow_channels(first, second, method, remove_head_motion) for first, second in pairs])


def flow_channels(
    first: np.ndarray, second: np.ndarray, method: str = "farneback", remove_head_motion: bool = False
) -> np.ndarray:
    """Flow from `first` to `second`, head motion taken out if asked, and its strain: (H, W, 3) float32.

    Arguments and errors are those of `optical_flow`, the channels those of `flow_with_strain`.
    """
    flow = optical_flow(first, second, method)
    if remove_head_motion:
        flow = flow - head_motion(flow)
    return flow_with_strain(flow)


def optical_flow(first: np.ndarray, second: np.ndarray, method: str = "farneback") -> np.ndarray:
    """Dense optical flow from `first` to `second`.

    Args:
        first, second: (H, W) greyscale or (H, W, 3) RGB, uint8, of one shape.
        method: "farneback" (Farnebäck 2003: quick and smooth), "dis" (dense inverse search, Kroeger et al. 2016, as
            STSTNet's successors use it: OpenCV's medium preset down to full resolution; finer, but with wild vectors
            where there is little texture, so standardise it for a linear model) or "tvl1" (TV-L1, Zach et al. 2007,
            as STSTNet itself uses it: OpenCV's defaults; smooth with sharp borders, and some 70 times as slow as
            Farnebäck; needs OpenCV's contrib modules). docs/method.md has what each scored.

    Returns:
        (H, W, 2) float32: the movement to the right and downwards, in pixels, of what stands at each pixel of
        `first`. Of two equal pictures it is zero, as nothing moved: Farnebäck's own answer there is up to some
        hundredths of a pixel.

    Raises:
        ValueError: if the method is unknown, or the frames are not uint8 pictures of one shape.
        ImportError: if OpenCV, or for "tvl1" its contrib part, is not installed.
    """
    solve = _solver(method)
    before, after = _grey(first), _grey(second)
    if before.shape != after.shape:
        raise ValueError(f"optical flow needs two frames of one size, not {before.shape} and {after.shape}")
    height, width = before.shape
    if np.array_equal(before, after):
        return np.zeros((height, width, 2), dtype=np.float32)
    # All methods build pyramids and fail or fall silent on pictures of a few pixels: repeat their edges.
    pad = ((0, max(0, _SMALLEST - height)), (0, max(0, _SMALLEST - width)))
    before, after = (np.ascontiguousarray(np.pad(picture, pad, mode="edge")) for picture in (before, after))
    return np.ascontiguousarray(solve(before, after)[:height, :width], dtype=np.float32)


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
    affine = _fit_affine(flow, iterations)
    x, y = np.linspace(-1, 1, width), np.linspace(-1, 1, height)[:, None]
    motion = [affine[0, axis] + affine[1, axis] * x + affine[2, axis] * y for axis in range(2)]
    return np.stack(motion, axis=-1).astype(flow.dtype)


def _fit_affine(flow: np.ndarray, iterations: int) -> np.ndarray:
    """(3, 2) float64: `head_motion` as constant, slope to the right and slope downwards, over -1 to 1 in both."""
    height, width = flow.shape[:2]
    step_y, step_x = -(-height // _FIT_GRID), -(-width // _FIT_GRID)  # an affine motion needs few points
    rows, columns = slice(step_y // 2, None, step_y), slice(step_x // 2, None, step_x)
    y, x = np.meshgrid(np.linspace(-1, 1, height)[rows], np.linspace(-1, 1, width)[columns], indexing="ij")
    design = np.stack([np.ones(x.size), x.ravel(), y.ravel()], axis=1)
    target = flow[rows, columns].reshape(-1, 2).astype(np.float64)
    weights = np.ones(len(target))
    for _ in range(iterations):
        weighted = design * weights[:, None]
        affine = np.linalg.lstsq(weighted.T @ design, weighted.T @ target, rcond=None)[0]
        distance = ((target - design @ affine) ** 2).sum(axis=1)
        scale = max(float(np.median(distance)), 1e-8)
        weights = (scale / (scale + distance)) ** 2
    return np.asarray(affine)


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


def _resized(pictures: Sequence[np.ndarray] | np.ndarray, size: int | Mapping[str, int]) -> list[np.ndarray]:
    """(H, W, 3) uint8 pictures at `size`, resized as the processor resizes them."""
    import torch
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    given = dict(size) if isinstance(size, Mapping) else {"height": size, "width": size}
    if set(given) != {"height", "width"} or not all(isinstance(n, int) and n > 1 for n in given.values()):
        raise ValueError(f'flow size is {size}; it must be {{"height": …, "width": …}} in pixels, 2 or more each')
    stacked = torch.from_numpy(np.stack(list(pictures))).permute(0, 3, 1, 2).contiguous()
    target = [given["height"], given["width"]]
    resized = transforms.resize(stacked, target, interpolation=InterpolationMode.BILINEAR, antialias=True)
    return list(resized.permute(0, 2, 3, 1).numpy())


def _solver(method: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What computes the flow between two greyscale pictures; an error if this OpenCV has no such method."""
    if method not in FLOW_METHODS:
        raise ValueError(f"flow method {method!r} is unknown; there are {FLOW_METHODS}")
    cv2 = _import_cv2()
    if method == "farneback":
        return lambda before, after: cv2.calcOpticalFlowFarneback(before, after, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    if method == "dis":
        search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        search.setFinestScale(0)  # micro-expressions move by about a pixel: half resolution is too coarse
    else:
        search = _tvl1(cv2)
    return lambda before, after: search.calc(before, after, None)


def _tvl1(cv2: ModuleType) -> Any:
    """OpenCV's TV-L1, under either of the names that it has had."""
    contrib = getattr(cv2, "optflow", None)
    for name in ("DualTVL1OpticalFlow_create", "createOptFlow_DualTVL1"):
        if hasattr(contrib, name):
            return getattr(contrib, name)()
    raise ImportError(
        'flow method "tvl1" needs OpenCV\'s contrib modules, which the installed OpenCV '
        f"{getattr(cv2, '__version__', '')} lacks. They come in place of it, as both fill the same folder: "
        "pip uninstall opencv-python-headless opencv-python, then pip install opencv-contrib-python-headless; "
        'or choose "farneback" or "dis"'
    )


def _import_cv2() -> ModuleType:
    try:
        import cv2
    except ImportError as error:
        raise ImportError("optical flow needs OpenCV: pip install opencv-python-headless") from error
    return cv2
