"""Which frames of a clip the model sees: uniform and random sampling, special frames, apex spotting.

Pure functions on indices and NumPy arrays. Training, the pipeline and the command line all choose frames
here and nowhere else. The file is copied into saved model folders, so it imports nothing of this package.

Frames are counted from 0 inside the array that is passed; `onset` and `offset` are inclusive.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SPECIAL_FRAME_NAMES = ("onset", "apex", "offset")

SPOTTING_SIDE = 96
"""Frames are shrunk until the shorter side is at least this many pixels, but less than twice as many."""
MAX_SPOTTING_FRAMES = 256
"""Longer clips are thinned by a power of two before the apex is spotted, so that memory stays bounded."""
_GRID = 12  # the picture is judged in 12 x 12 cells
_TRUST = 4  # power of a cell's gain: how much clearly moving cells outvote the others
_GREY_NOISE = 1.0 / 12.0  # variance of rounding to whole grey levels: no cell is quieter than this


def sample_uniform(onset: int, offset: int, num_frames: int) -> np.ndarray:
    """Frames spread evenly over the clip, both ends included; the paper's choice.

    Args:
        onset: index of the first frame.
        offset: index of the last frame, at least `onset`.
        num_frames: how many frames to return.

    Returns:
        (num_frames,) int64, not decreasing. Frames repeat where the clip has fewer than `num_frames`.
        A single frame is the middle one.

    Raises:
        ValueError: if `offset` lies before `onset`, or `num_frames` is below 1.
    """
    _check_range(onset, offset, num_frames)
    if num_frames == 1:
        return np.array([(onset + offset) // 2], dtype=np.int64)
    return np.floor(np.linspace(onset, offset, num_frames) + 0.5).astype(np.int64)


def sample_random(onset: int, offset: int, num_frames: int, rng: np.random.Generator) -> np.ndarray:
    """A sorted random draw of frames, as the released implementation's; here a train-time augmentation only.

    Args:
        onset: index of the first frame.
        offset: index of the last frame, at least `onset`.
        num_frames: how many frames to draw.
        rng: source of randomness.

    Returns:
        (num_frames,) int64, sorted. Drawn without replacement; in a clip of fewer than `num_frames` frames
        every frame occurs at least once and the rest are repeats drawn at random.

    Raises:
        ValueError: if `offset` lies before `onset`, or `num_frames` is below 1.
    """
    _check_range(onset, offset, num_frames)
    frames = np.arange(onset, offset + 1, dtype=np.int64)
    if len(frames) >= num_frames:
        return np.sort(rng.choice(frames, size=num_frames, replace=False))
    repeats = rng.choice(frames, size=num_frames - len(frames), replace=True)
    return np.sort(np.concatenate([frames, repeats]))


def special_frame_indices(onset: int, apex: int, offset: int, special_frames: Sequence[str]) -> np.ndarray:
    """Indices of the special stream's frames.

    Args:
        onset, apex, offset: indices of the clip's named frames.
        special_frames: names out of "onset", "apex", "offset", in the order in which the stream shows them.

    Returns:
        (len(special_frames),) int64.

    Raises:
        ValueError: if a name is unknown or none is given.
    """
    if isinstance(special_frames, str) or len(special_frames) == 0:
        raise ValueError(
            f"special_frames must be a list of names out of {SPECIAL_FRAME_NAMES}, not {special_frames!r}"
        )
    positions = {"onset": onset, "apex": apex, "offset": offset}
    unknown = [name for name in special_frames if name not in positions]
    if unknown:
        raise ValueError(f"special_frames holds {unknown}; only {SPECIAL_FRAME_NAMES} exist")
    return np.array([positions[name] for name in special_frames], dtype=np.int64)


def spot_apex(frames: np.ndarray, onset: int = 0, offset: int | None = None) -> int:
    """Spot the apex: the frame where the movement that rises from the onset and falls to the offset turns.

    Picking the frame that differs most from the onset fails, since the head drifts on and the eyes blink.
    So every candidate apex is judged by how well "rise until here, fall from here" explains the whole clip:

    1. Frames become small grey images, smoothed by a 3x3 binomial.
    2. What a moving head and changing light do to a picture is removed from each frame by least squares:
       the mean frame's gradients times polynomials of second order in x and y (translation, rotation, scale,
       shear and their bending), the mean frame itself (contrast), and a plane (illumination).
    3. In each cell of a 12x12 grid, what is left becomes one small displacement per frame (Lucas and Kanade
       1981: least squares on the cell's gradients), which keeps movement and drops most sensor noise.
    4. What changes linearly from onset to offset (left-over drift) is removed from each displacement in time.
    5. For each candidate a tent (0 at onset and offset, 1 at the candidate) is fitted to every cell's
       displacements, and the gain in Gaussian log-likelihood over "no movement" is taken with that cell's own
       noise, so that a cell which moves at other times (a blink, a shift of gaze) has little to say. Gains
       to the fourth are summed: cells that clearly follow the tent count for more than many that hardly do.
       The candidate with the largest sum is the apex.

    On a database of rendered faces (318 clips of 7 to 17 frames at 30 fps whose annotation is in order) the mean
    distance to the annotated apex is 0.43 frames, 0.44 and 0.42 over either half of the subjects; grid and power
    were chosen there, and their neighbours stay below 0.5. The middle of the clip is 1.0 off, the frame that
    differs most from the onset 4.1. `benchmarks/apex_spotting.py` measures it on any prepared dataset.

    Args:
        frames: (T, H, W) greyscale or (T, H, W, C) colour; uint8, or float in 0..1 or 0..255.
        onset: index of the clip's first frame.
        offset: index of its last frame; None is the last frame of `frames`.

    Returns:
        Index into `frames`, between onset and offset: strictly inside where the clip has three frames or
        more, the middle where nothing moves. Clips above 256 frames are judged at every 2nd, 4th, … frame.

    Raises:
        ValueError: if the shape is none of the above, or onset and offset do not lie in the clip in order.
    """
    frames = np.asarray(frames)
    if frames.ndim not in (3, 4) or 0 in frames.shape:
        raise ValueError(f"spot_apex takes (T, H, W) or (T, H, W, C) frames, not an array of shape {frames.shape}")
    offset = len(frames) - 1 if offset is None else offset
    if not 0 <= onset <= offset < len(frames):
        raise ValueError(f"onset {onset} and offset {offset} do not lie in order in a clip of {len(frames)} frames")
    stride = spotting_stride(offset - onset + 1)
    chosen = frames[onset : offset + 1 : stride]
    return onset + min(stride * spot_apex_in_small(np.stack([shrink_for_spotting(f) for f in chosen])), offset - onset)


def spotting_stride(num_frames: int) -> int:
    """Step, a power of two, at which a clip is looked at when its apex is spotted; 1 up to 256 frames."""
    stride = 1
    while -(-num_frames // stride) > MAX_SPOTTING_FRAMES:
        stride *= 2
    return stride


def shrink_for_spotting(frame: np.ndarray) -> np.ndarray:
    """One frame (H, W) or (H, W, C) as the small grey picture that spotting looks at; (h, w) float32, 0..255."""
    frame = np.asarray(frame)
    scale = 255.0 if np.issubdtype(frame.dtype, np.floating) and frame.max(initial=0) <= 1.0 else 1.0
    factor = max(1, min(frame.shape[:2]) // SPOTTING_SIDE)
    height, width = frame.shape[0] // factor, frame.shape[1] // factor
    cropped = frame[: height * factor, : width * factor]
    if frame.ndim == 3:  # channel by channel: a mean over an axis of three takes several times as long
        channels = [cropped[..., channel].astype(np.float32) for channel in range(min(3, frame.shape[-1]))]
        grey = sum(channels[1:], channels[0]) / np.float32(len(channels))
    else:
        grey = cropped.astype(np.float32)
    small = grey.reshape(height, factor, width, factor).mean(axis=(1, 3)) * np.float32(scale)
    return small.astype(np.float32)


def spot_apex_in_small(frames: np.ndarray) -> int:
    """`spot_apex` on pictures (T, h, w) that came out of `shrink_for_spotting`; the apex's index in 0..T-1."""
    num_frames = len(frames)
    if num_frames < 3:
        return num_frames - 1
    displacements = _cell_displacements(frames)  # (T, cells, 2), in units of the pixel noise
    drift, _ = np.linalg.qr(np.stack([np.ones(num_frames), np.arange(num_frames)], axis=1))
    displacements -= np.tensordot(drift @ drift.T, displacements, axes=1)

    tents = _tents(num_frames)
    tents -= (tents @ drift) @ drift.T
    tents /= np.linalg.norm(tents, axis=1, keepdims=True)
    explained = (np.tensordot(tents, displacements, axes=1) ** 2).sum(axis=-1)  # (candidates, cells)
    freedom = 2 * max(num_frames - 3, 1)
    total = (displacements**2).sum(axis=(0, 2)) + freedom * _GREY_NOISE
    gain = -0.5 * freedom * np.log1p(-np.minimum(explained / total, 1 - 1e-9))
    score = (gain**_TRUST).sum(axis=1)
    if np.ptp(score) <= 1e-9 * max(1.0, float(score.max())):
        return num_frames // 2
    return 1 + int(np.argmax(score))


def _tents(num_frames: int) -> np.ndarray:
    """(T-2, T): for each inner frame, a line from 0 at the onset up to 1 there and down to 0 at the offset."""
    time, last = np.arange(num_frames), num_frames - 1
    apex = np.arange(1, last)[:, None]
    return np.where(time <= apex, time / apex, (last - time) / (last - apex))


def _cell_displacements(frames: np.ndarray) -> np.ndarray:
    """How each cell moves about its mean place beyond what head and light explain; (T, cells, 2) float64.

    Displacements are whitened: white noise of variance 1 on the pixels gives them variance 1.
    """
    smooth = _smooth(frames)
    mean = smooth.mean(axis=0)
    residual = (smooth - mean).reshape(len(frames), -1)
    basis = _head_and_light_basis(mean)
    residual -= (residual @ basis) @ basis.T
    residual = residual.reshape(smooth.shape)
    gradient_x, gradient_y = _gradients(mean)
    xx, xy, yy = _sum_cells(np.stack([gradient_x**2, gradient_x * gradient_y, gradient_y**2]))
    along_x, along_y = _sum_cells(residual * gradient_x), _sum_cells(residual * gradient_y)
    # Cholesky of each cell's 2x2 structure tensor, written out; a flat cell has no gradients and gets zeros.
    tiny = 1e-6 * float(xx.mean() + yy.mean()) + 1e-12
    root_xx = np.sqrt(xx + tiny)
    lower = xy / root_xx
    first = along_x / root_xx
    second = (along_y - lower * first) / np.sqrt(np.maximum(yy + tiny - lower**2, tiny))
    return np.stack([first, second], axis=-1).astype(np.float64)


def _check_range(onset: int, offset: int, num_frames: int) -> None:
    if num_frames < 1:
        raise ValueError(f"num_frames must be at least 1, not {num_frames}")
    if offset < onset:
        raise ValueError(f"the offset (frame {offset}) lies before the onset (frame {onset})")


def _smooth(frames: np.ndarray) -> np.ndarray:
    """3x3 binomial of each frame, edges repeated; (T, h, w) float32."""
    padded = np.pad(frames.astype(np.float32), ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    return (rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / np.float32(16)


def _gradients(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives of (h, w) along x and y; zero along an axis of a single pixel."""
    height, width = picture.shape
    along_x = np.gradient(picture, axis=1) if width > 1 else np.zeros_like(picture)
    along_y = np.gradient(picture, axis=0) if height > 1 else np.zeros_like(picture)
    return along_x, along_y


def _head_and_light_basis(mean_frame: np.ndarray) -> np.ndarray:
    """Orthonormal pictures (h*w, k) of what, to first order, head motion and light do to `mean_frame` (h, w)."""
    height, width = mean_frame.shape
    gradient_x, gradient_y = _gradients(mean_frame)
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    one = np.ones_like(mean_frame)
    pictures = [mean_frame, one, x, y]
    for polynomial in (one, x, y, x * x, x * y, y * y):
        pictures += [gradient_x * polynomial, gradient_y * polynomial]
    columns = np.stack([picture.ravel() for picture in pictures], axis=1).astype(np.float64)
    columns /= np.maximum(np.linalg.norm(columns, axis=0), 1e-12)
    values, vectors = np.linalg.eigh(columns.T @ columns)
    kept = values > 1e-9 * values[-1]
    return (columns @ (vectors[:, kept] / np.sqrt(values[kept]))).astype(np.float32)


def _sum_cells(pictures: np.ndarray) -> np.ndarray:
    """Sums over the cells of the grid; (n, h, w) -> (n, cells)."""
    for axis in (1, 2):
        size = pictures.shape[axis]
        cells = min(_GRID, size)
        pictures = np.add.reduceat(pictures, np.arange(cells) * size // cells, axis=axis)
    return pictures.reshape(len(pictures), -1)
