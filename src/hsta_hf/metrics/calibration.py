"""Whether a score of 0.8 means right in 8 of 10: calibration error, its bins, and the Brier score."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

NUM_BINS = 15
# With fewer predictions than ten a bin, equal-width bins are mostly noise: bins of about ten predictions are taken.
_PER_BIN = 10


def calibration(scores: npt.ArrayLike, references: npt.ArrayLike, predictions: npt.ArrayLike) -> dict[str, Any] | None:
    """Expected calibration error (Guo et al., 2017), the bins that it comes from, and the Brier score (1950).

    The confidence of a prediction is the score of the predicted class. Of several labels a clip each is a prediction
    of its own: its confidence is the score where it was predicted, and 1 minus the score where it was not.

    Args:
        scores: probabilities, (clips, classes).
        references: class ids, (clips,), or 0 and 1, (clips, classes).
        predictions: like references.

    Returns:
        `ece` in 0..1; `bins`, each with `low`, `high`, `clips` (predictions, of all seeds), mean `confidence` and
        `accuracy`, empty ones left out; `binning`: "equal-width", 15 bins, or "equal-count", bins of about ten
        predictions (more where scores are equal) where there are fewer than 150; `brier`: mean over predictions of
        the squared distance of the scores from the truth, summed over classes, or per label where there are several.
        None where scores are not all between 0 and 1, which are no probabilities.

    Raises:
        ValueError: the shapes do not fit.
    """
    p, true, predicted = (np.asarray(x) for x in (scores, references, predictions))
    if p.ndim != 2 or true.shape not in ((len(p),), p.shape) or predicted.shape != true.shape:
        raise ValueError(
            f"scores must be (clips, classes), references and predictions (clips,) or like scores; got {p.shape}, "
            f"{true.shape} and {predicted.shape}."
        )
    p = p.astype(np.float64)
    if not p.size or not np.isfinite(p).all() or p.min() < -1e-6 or p.max() > 1 + 1e-6:
        return None
    p = p.clip(0, 1)
    if true.ndim == 2:
        confidence = np.where(predicted.astype(bool), p, 1 - p).ravel()
        right = (true == predicted).ravel().astype(np.float64)
        brier = float(((p - true) ** 2).mean())
    else:
        confidence = p[np.arange(len(p)), predicted.astype(np.int64)]
        right = (true == predicted).astype(np.float64)
        brier = float(((p - np.eye(p.shape[1])[true.astype(np.int64)]) ** 2).sum(axis=1).mean())
    few = len(confidence) < NUM_BINS * _PER_BIN
    bins = _equal_count(confidence, right) if few else _equal_width(confidence, right)
    error = sum(entry["clips"] * abs(entry["confidence"] - entry["accuracy"]) for entry in bins) / len(confidence)
    return {"ece": float(error), "bins": bins, "binning": "equal-count" if few else "equal-width", "brier": brier}


def _equal_width(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    """Bins (low, high], the first one with its lower end."""
    number = np.clip(np.ceil(confidence * NUM_BINS).astype(int) - 1, 0, NUM_BINS - 1)
    return [
        _bin(i / NUM_BINS, (i + 1) / NUM_BINS, confidence[number == i], right[number == i])
        for i in range(NUM_BINS)
        if (number == i).any()
    ]


def _equal_count(confidence: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    order = np.argsort(confidence, kind="stable")
    ordered = confidence[order]
    cuts = np.cumsum([len(part) for part in np.array_split(order, max(1, len(order) // _PER_BIN))])[:-1]
    # Equal scores share a bin: a cut among them moves to where they end.
    cuts = np.unique(np.searchsorted(ordered, ordered[cuts - 1], side="right"))
    parts = [part for part in np.split(order, cuts) if len(part)]
    return [_bin(confidence[part[0]], confidence[part[-1]], confidence[part], right[part]) for part in parts]


def _bin(
    low: float, high: float, confidence: npt.NDArray[np.float64], right: npt.NDArray[np.float64]
) -> dict[str, Any]:
    return {
        "low": float(low),
        "high": float(high),
        "clips": len(confidence),
        "confidence": float(confidence.mean()),
        "accuracy": float(right.mean()),
    }
