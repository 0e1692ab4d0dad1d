"""How well a rise and fall of a fraction of a second explains what a face does at a time: the score of the curve.

The method that spots apexes in clips (`frame_selection.spot_apex`), turned into a detector, in windows of about 1.3
seconds of small aligned pictures:

1. What a moving head and changing light do to the window's mean picture is fitted to the face without its lids, by
   least squares, and taken out everywhere: gradients times polynomials of second order, contrast, a plane of light.
2. In each cell of a 12 x 12 grid over the face, what is left becomes one displacement a step: Lucas and Kanade's
   optical flow (1981), which averages sensor noise out as no dense flow of two frames can.
3. Slow drift, a cubic in time, is taken out of each displacement.
4. A candidate is a tent: 0 until the onset, 1 at the apex, 0 from the offset on. Its gain in a cell is the
   log-likelihood ratio of "this tent" over "no movement", with all else that the cell does in the window as noise. So
   movements that do not come back, such as a turning head, a smile or speech, gain little.
5. The score is the fourth root of the sum of the cells' gains to the fourth: cells that clearly follow the tent
   outvote many that hardly do. At each step the best of the tents whose apex is there counts. Where a tent that is
   too long for a micro-expression explains more, the score is lessened by what it explains more (`_SLOW`).

Eyelids are treated apart, since a blink is a tent, too: it hides the eye's white and iris behind skin, and so changes
the picture of the eye by about as much as the picture has in it. Where it does (`BLINK`), between onset and offset or
right beside, eyelids and the cells next to them have no say; smaller changes, as of action units 5 and 7, count.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from hsta_hf.spotting.regions import EYELIDS, GRID, REGION_NAMES, eye_pixels, head_pixels, lid_pixels, region_cells
from hsta_hf.spotting.rows import empty_rows
from hsta_hf.spotting.tracking import CROP

BLINK = 0.42
"""Change of the eyes' picture, as a share of its own contrast, from which on it is a blink."""

# These three were chosen on stitched recordings of the first half of the subjects (docs/spotting.md).
_BESIDE_BLINK = 0.1  # seconds before and after a blink in which lids have no say, either
_LONGER = (1.2, 1.5)  # of the longest: tents that compete, and are no micro-expressions
_SLOW = 6.0  # how much the score is lessened by what a longer tent explains more
_APEX_PLACES = (0.35, 0.5, 0.65)  # of the way from onset to offset
_NUM_LENGTHS = 6
_TRUST = 4
_COMMON = 1.0
_DRIFT = 3  # order in time
_GREY_NOISE = 1 / 12  # variance of rounding to whole grey levels: no cell is quieter than this
_WINDOW = 2.4  # longest micro-expressions
_HOP = 0.2  # of the window
# The part of the picture that cells are in, by whole cells.
_ROWS, _COLUMNS = (1, 11), (2, 10)


@dataclass(frozen=True)
class Lengths:
    """How long micro-expressions are, from onset to offset, in seconds.

    Raises:
        ValueError: if they are not in order.
    """

    shortest: float = 0.2
    longest: float = 0.55

    def __post_init__(self) -> None:
        if not 0 < self.shortest < self.longest <= 5:
            raise ValueError(
                f"micro-expressions last from {self.shortest:g} to {self.longest:g} s: the shortest must be above 0 "
                "and below the longest, and that 5 at most"
            )

    def window(self, rate: float) -> int:
        """Steps that are judged together, at `rate` steps a second."""
        return max(12, round(_WINDOW * self.longest * rate))

    def hop(self, rate: float) -> int:
        """Steps from one window to the next."""
        return max(1, round(_HOP * self.window(rate)))


class Scan:
    """All tents of a window.

    Args:
        steps: length of the window.
        rate: steps a second.
        lengths: of micro-expressions.
    """

    def __init__(self, steps: int, rate: float, lengths: Lengths) -> None:
        self.steps = steps
        time = np.arange(steps)
        tents, places = [], []
        brief = np.geomspace(lengths.shortest, lengths.longest, _NUM_LENGTHS)
        for number, length in enumerate([*brief, *(factor * lengths.longest for factor in _LONGER)]):
            for place in _APEX_PLACES:
                rise, fall = max(1.0, place * length * rate), max(1.0, (1 - place) * length * rate)
                for apex in range(steps):
                    tents.append(
                        np.clip(np.minimum((time - apex + rise) / rise, (apex + fall - time) / fall), 0, None)
                    )
                    places.append((apex, max(1, round(rise)), max(1, round(fall)), number < _NUM_LENGTHS))
        drift, _ = np.linalg.qr(np.stack([np.linspace(-1, 1, steps) ** k for k in range(_DRIFT + 1)], axis=1))
        self._without_drift = (np.eye(steps) - drift @ drift.T).astype(np.float32)
        kept = np.array(tents) @ self._without_drift
        self._tents = (kept / np.linalg.norm(kept, axis=1, keepdims=True)).astype(np.float32)
        self._places = np.array(places)
        self._beside = max(1, round(_BESIDE_BLINK * rate))
        self._freedom = 2 * max(1, steps - _DRIFT - 2)

    def __call__(self, pictures: np.ndarray, first: int, last: int) -> np.ndarray:
        """Judge the steps `first` to `last`, the latter not included, of a window.

        Args:
            pictures: (steps, CROP, CROP) float32 grey, 0 to 255, of one face that does not move but for what is to be
                found here.

        Returns:
            (last - first,) of `rows.ROW`, all but `face` and `motion` filled.
        """
        displacements, eyes_change = cell_displacements(pictures)
        displacements = np.tensordot(self._without_drift, displacements, axes=1)
        chosen = (self._places[:, 0] >= first) & (self._places[:, 0] < last)
        tents, places = self._tents[chosen], self._places[chosen]
        explained = (np.tensordot(tents, displacements, axes=1) ** 2).sum(axis=-1)  # (tents, cells)
        total = (displacements**2).sum(axis=(0, 2)) + self._freedom * _GREY_NOISE
        gains = -0.5 * self._freedom * np.log1p(-np.minimum(explained / total, 1 - 1e-6))
        # What all the face does is the head's doing, as far as it is not of first order.
        common = np.median(gains, axis=1, keepdims=True)
        trusted = np.maximum(gains - _COMMON * common, 0) ** _TRUST
        beside = self._beside
        blinks = np.array([eyes_change[max(0, a - r - beside) : a + f + 1 + beside].max() for a, r, f, _ in places])
        trusted[np.ix_(blinks >= BLINK, _MOVED_BY_BLINKS)] = 0
        score = trusted.sum(axis=1)

        rows = empty_rows(last - first)
        for apex in range(first, last):
            here = np.flatnonzero(places[:, 0] == apex)
            brief = here[places[here, 3] == 1]
            best = brief[score[brief].argmax()]
            by_region = [trusted[best, number == CELLS_IN_USE].sum() for number in range(len(REGION_NAMES))]
            row = rows[apex - first]
            value, any_length = score[best] ** (1 / _TRUST), score[here].max() ** (1 / _TRUST)
            row["score"], row["blink"] = value - _SLOW * (any_length - value), blinks[best]
            row["rise"], row["fall"] = places[best, 1:3]
            row["region"] = int(np.argmax(by_region))
        return rows


def cell_displacements(pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How each cell of the face moves about its mean place beyond what head and light explain.

    Args:
        pictures: (T, CROP, CROP) float32 grey.

    Returns:
        (T, len(CELLS_IN_USE), 2) float32 displacements, whitened: noise of variance 1 on pixels gives them variance 1;
        and (T,) how much the picture of the eyes differs from its median, as a share of its contrast.
    """
    smooth = np.stack([cv2.GaussianBlur(picture[_PART], (3, 3), 0.85) for picture in pictures])
    mean = smooth.mean(axis=0)
    residual = (smooth - mean).reshape(len(smooth), -1)
    gradient_y, gradient_x = np.gradient(mean)
    effects = _head_and_light(mean, gradient_x, gradient_y)
    masked = effects[_HEAD]
    normal = (masked.T @ masked).astype(np.float64)
    coefficients = np.linalg.lstsq(normal, (masked.T @ residual[:, _HEAD].T).astype(np.float64), rcond=1e-9)[0]
    residual -= (effects @ coefficients.astype(np.float32)).T
    eyes = (residual + mean.ravel())[:, _EYES]
    contrast = max(float(np.median(eyes, axis=0).std()), 2.0)
    change = np.sqrt(np.square(eyes - np.median(eyes, axis=0)).mean(axis=1)) / contrast

    residual = residual.reshape(smooth.shape)
    along_x, along_y = _cell_sums(residual * gradient_x), _cell_sums(residual * gradient_y)
    xx, xy, yy = _cell_sums(np.stack([gradient_x**2, gradient_x * gradient_y, gradient_y**2]))
    # Cholesky of each cell's 2x2 structure tensor, written out; a flat cell has no gradients and gets zeros.
    tiny = 1e-6 * float(xx.mean() + yy.mean()) + 1e-12
    root_xx = np.sqrt(xx + tiny)
    lower = xy / root_xx
    first = along_x / root_xx
    second = (along_y - lower * first) / np.sqrt(np.maximum(yy + tiny - lower**2, tiny))
    return np.stack([first, second], axis=-1).astype(np.float32), change


def _head_and_light(mean: np.ndarray, gradient_x: np.ndarray, gradient_y: np.ndarray) -> np.ndarray:
    """(pixels, 16) what, to first order, head motion and light do to a picture."""
    y, x = np.meshgrid(*(np.linspace(-1, 1, size) for size in mean.shape), indexing="ij")
    one = np.ones_like(mean)
    columns = [mean, one, x, y]
    for polynomial in (one, x, y, x * x, x * y, y * y):
        columns += [gradient_x * polynomial, gradient_y * polynomial]
    effects = np.stack([column.ravel() for column in columns], axis=1).astype(np.float32)
    return effects / np.maximum(np.linalg.norm(effects, axis=0), 1e-6)


def _cell_sums(pictures: np.ndarray) -> np.ndarray:
    """Sums over the cells in use: of what lids do not move over, and of what they do; (n, h, w) -> (n, cells)."""
    sums = []
    for pixels, chosen in ((_NOT_LIDS, _IN_USE), (_LIDS, _WITH_LIDS)):
        whole = pictures * pixels
        for axis, edges in ((1, _EDGES_Y), (2, _EDGES_X)):
            whole = np.add.reduceat(whole, edges, axis=axis)
        sums.append(whole.reshape(len(pictures), -1)[:, chosen])
    return np.concatenate(sums, axis=1)


def _edges(first: int, last: int) -> np.ndarray:
    edges = np.arange(first, last) * CROP // GRID
    return edges - edges[0]


_PART = (
    slice(_ROWS[0] * CROP // GRID, _ROWS[1] * CROP // GRID),
    slice(_COLUMNS[0] * CROP // GRID, _COLUMNS[1] * CROP // GRID),
)
_EDGES_Y, _EDGES_X = _edges(*_ROWS), _edges(*_COLUMNS)
_HEAD = np.flatnonzero(head_pixels()[_PART].ravel())
_EYES = np.flatnonzero(eye_pixels()[_PART].ravel())
_LIDS = lid_pixels()[_PART].astype(np.float32)
_NOT_LIDS = 1 - _LIDS
_PART_CELLS = region_cells()[_ROWS[0] : _ROWS[1], _COLUMNS[0] : _COLUMNS[1]].ravel()
_LEAST_PIXELS = 20  # of a cell, a quarter of it: fewer tell nothing


def _large_enough(pixels: np.ndarray) -> np.ndarray:
    """(cells of the part,) whether a cell has enough of these pixels."""
    counts = np.add.reduceat(np.add.reduceat(pixels, _EDGES_Y, axis=0), _EDGES_X, axis=1)
    return counts.ravel() >= _LEAST_PIXELS


_IN_USE = np.flatnonzero((_PART_CELLS >= 0) & _large_enough(_NOT_LIDS))
_WITH_LIDS = np.flatnonzero(_large_enough(_LIDS))
CELLS_IN_USE = np.concatenate([_PART_CELLS[_IN_USE], np.full(len(_WITH_LIDS), EYELIDS)])
"""(cells,) the region of each cell whose displacement is measured."""
# Lids drag what is next to them: the lower edge of the brows, and the bridge of the nose.
_NEXT_TO_LIDS = np.isin(_IN_USE // (_COLUMNS[1] - _COLUMNS[0]) + _ROWS[0], (3, 4))
_MOVED_BY_BLINKS = np.concatenate([_NEXT_TO_LIDS, np.full(len(_WITH_LIDS), True)])
