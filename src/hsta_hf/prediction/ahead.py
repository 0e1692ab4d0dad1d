"""Clips read and aligned ahead of the model, in processes of their own.

Processes, and not threads: a decoder that crashes on a damaged file takes one of them along and not the whole run, and
each computes with one thread, so that the model has the others.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from hsta_hf.prediction.clips import ClipRequest, Prediction, Prepare, PreparedClip, failed

_PREPARE: Prepare | None = None  # in a worker process, what it does
_Waiting = deque[tuple[ClipRequest, "Future[PreparedClip | Prediction]"]]


def usual_workers(num_clips: int) -> int:
    """Processes that read clips, where nobody says how many: none for few clips, which take less than starting one."""
    if num_clips < 64:
        return 0
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def prepared_ahead(
    prepare: Prepare, requests: Iterable[ClipRequest], workers: int, ahead: int, in_turns: bool = False
) -> Iterator[PreparedClip | Prediction]:
    """Prepare clips in order, some of them ahead of whoever takes them.

    Args:
        prepare: makes model inputs of a clip; travels to the processes.
        requests: the clips.
        workers: how many processes; 0 prepares each clip here when it is asked for.
        ahead: how many clips may be prepared and not yet taken.
        in_turns: prepare that many, then none until all of them are taken: for a taker that computes on the same
            processors, whose threads wait for each other where one of them has to share its processor.

    Yields:
        For each request what `prepare` returns; where that ended its process, a `Prediction` with an error.
    """
    if workers == 0:
        yield from map(prepare, requests)
        return
    source = iter(requests)
    waiting: _Waiting = deque()
    pool = _pool(prepare, workers)
    try:
        while True:
            if not (in_turns and waiting):
                for request in islice(source, ahead + workers - len(waiting)):
                    waiting.append((request, _submit(pool, request)))
            if in_turns:
                wait([future for _, future in waiting])
            if not waiting:
                return
            request, future = waiting.popleft()
            try:
                yield future.result()
            except BrokenProcessPool:
                pool.shutdown(cancel_futures=True)
                # One of those that were begun did it; which one shows when each has a process for itself.
                rest = [request, *(other for other, _ in waiting)]
                waiting.clear()
                yield from one_by_one(prepare, rest)
                pool = _pool(prepare, workers)
    finally:
        pool.shutdown(cancel_futures=True)


def one_by_one(prepare: Prepare, requests: Iterable[ClipRequest]) -> Iterator[PreparedClip | Prediction]:
    """As `prepared_ahead` with one process, which has one clip at a time."""
    pool = _pool(prepare, 1)
    try:
        for request in requests:
            try:
                yield pool.submit(_work, request).result()
            except BrokenProcessPool:
                pool.shutdown(cancel_futures=True)
                yield failed(
                    request,
                    f"{request.name} ended the process that read it: the file makes a decoder crash, or takes more "
                    "memory than there is",
                )
                pool = _pool(prepare, 1)
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(prepare: Prepare, workers: int) -> ProcessPoolExecutor:
    # A forked process would inherit the model's threads, and locks that they hold.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (prepare,))


def _start(prepare: Prepare) -> None:
    import signal

    import cv2
    import torch

    global _PREPARE
    _PREPARE = prepare
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent sees to these
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent ends nothing by itself: its workers would wait for clips for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _submit(pool: ProcessPoolExecutor, request: ClipRequest) -> Future[PreparedClip | Prediction]:
    try:
        return pool.submit(_work, request)
    except BrokenProcessPool as error:  # it broke since the last answer: said in its turn
        future: Future[PreparedClip | Prediction] = Future()
        future.set_exception(error)
        return future


def _work(request: ClipRequest) -> PreparedClip | Prediction:
    assert _PREPARE is not None
    return _PREPARE(request)
