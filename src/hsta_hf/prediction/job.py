"""Predictions of many clips into one table, resumable: what `hsta predict … --output OUT` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from hsta_hf.prediction.clips import ClipRequest, Prediction
from hsta_hf.prediction.parts import PartStore, Share, make_shares, rows_of
from hsta_hf.prediction.predictor import Predictor

# Classifies shares, in any order.
Runner = Callable[[Sequence[Share]], Iterator[tuple[Share, list[Prediction]]]]


def local_runner(predictor: Predictor, workers: int) -> Runner:
    """Classifies shares in this process, one after the other.

    Args:
        predictor: the model.
        workers: processes that read clips.
    """

    def run(shares: Sequence[Share]) -> Iterator[tuple[Share, list[Prediction]]]:
        found = predictor.predict(chain.from_iterable(share.requests for share in shares), workers)
        for share in shares:
            yield share, list(islice(found, len(share.requests)))

    return run


def predict_to_file(
    predictor: Predictor,
    requests: Sequence[ClipRequest],
    output: Path,
    run: Runner,
    settings: Any = None,
    tell: Callable[[Prediction], None] = lambda found: None,
    progress: bool | None = None,
) -> tuple[int, int]:
    """Classify clips and write the tables; what an earlier, killed call has done is taken over.

    Args:
        predictor: the model.
        requests: the clips.
        output: the table; beside it `…_failures.csv`, if clips fail, and until the end the folder `….partial`.
        run: classifies the shares that are left.
        settings: what decides the results besides the clips; None: the predictor's `fingerprint`.
        tell: is given each new prediction, for messages.
        progress: whether to show a progress bar; None: where the error stream is a terminal.

    Returns:
        How many clips failed, and how many were taken over.

    Raises:
        OutputError: another command is writing the table.
    """
    store = PartStore(output)
    try:
        shares = make_shares(requests, predictor.fingerprint() if settings is None else settings, predictor.share)
        left = [share for share in shares if not store.done(share)]
        taken_over = len(requests) - sum(len(share.requests) for share in left)
        quiet = None if progress is None else not progress
        with tqdm(total=len(requests), initial=taken_over, unit="clip", desc="predicting", disable=quiet) as bar:
            for share, found in run(left) if left else ():
                store.write(share, rows_of(found))
                for one in found:
                    tell(one)
                bar.update(len(found))
        return store.join(shares, predictor.labels), taken_over
    finally:
        store.release()
