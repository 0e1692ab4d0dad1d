"""How `hsta prepare` makes one clip's row: cut, decode, align, spot, flow."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa

from hsta_hf import frame_selection, optical_flow_hsta, video_reading_hsta
from hsta_hf.data import decode, face_alignment, face_detector, face_geometry
from hsta_hf.data.clip import APEX_SPOTTED, MicroExpressionClip
from hsta_hf.data.databases.base import WARNING, Problem
from hsta_hf.data.decode import cut_clip, decode_clip
from hsta_hf.data.face_alignment import FaceAligner
from hsta_hf.data.prepare_options import FlowOptions, PrepareError, PrepareOptions
from hsta_hf.data.prepare_parts import PartStore
from hsta_hf.data.prepared import FEATURES, FORMAT_VERSION
from hsta_hf.frame_selection import spot_apex
from hsta_hf.optical_flow_hsta import special_flows

# Frames of the clips that are being decoded together take up to about this much memory, or one clip does.
MEMORY_BYTES = 1 << 30
# Where the size of frames is not known before they are read, they are taken for as large as CAS(ME)^3's.
_LARGE_FRAME_BYTES = 1280 * 720 * 3
_NOT_IN_KEY = ("frame_paths", "video_path")  # machine paths; name, size and time of the files stand for them


class ClipJob:
    """Makes clips' rows with one set of options; its methods may run in several threads at once."""

    def __init__(self, options: PrepareOptions) -> None:
        """Get the detector, and see that flow can be computed.

        Args:
            options: Settled ones (`PrepareOptions.settled`).

        Raises:
            PrepareError: the detector or the flow method cannot be had; says how to do without.
        """
        self.options = options
        self.aligner = _aligner(options) if options.faces == "align" else None
        if options.flow is not None:
            _check_flow(options.flow)
        self.detector: dict[str, str] | None = None
        if self.aligner is not None:
            path = Path(self.aligner.detector.path)  # type: ignore[attr-defined]
            self.detector = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        flow = None if options.flow is None else options.flow.as_dict()
        self._settings = [
            FORMAT_VERSION,
            _code_digest(),
            cv2.__version__,  # decodes pictures, detects faces and computes flow
            {f.name: getattr(options, f.name) for f in fields(options) if f.name not in ("face_detector", "flow")},
            flow,
            None if self.detector is None else self.detector["sha256"],
        ]

    def key(self, clip: MicroExpressionClip) -> str:
        """Digest of the clip, its frame files and the options: equal keys, equal results."""
        paths = [clip.video_path] if clip.video_path is not None else clip.frame_paths
        facts = {
            "settings": self._settings,
            "clip": {f.name: getattr(clip, f.name) for f in fields(clip) if f.name not in _NOT_IN_KEY},
            "files": [_file_facts(path) for path in paths],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def frame_bytes(self) -> int | None:
        """Bytes of one prepared frame, if that is known before any is read."""
        return None if self.options.size is None else self.options.size**2 * 3

    def num_bytes(self, clip: MicroExpressionClip, frame_bytes: int) -> int:
        """Bytes of a clip's frames and flow, if none of its frames is bad."""
        count = clip.num_frames if self.options.max_frames is None else min(clip.num_frames, self.options.max_frames)
        flow = self.options.flow
        return count * frame_bytes + (0 if flow is None else 2 * flow.height * flow.width * 3 * 4)

    def run_all(
        self, store: PartStore, clips: Sequence[MicroExpressionClip], keys: Sequence[str], workers: int
    ) -> Iterator[None]:
        """Do every clip that the store does not have yet; yields once per clip of `clips`."""
        frame_bytes = self.frame_bytes() or _LARGE_FRAME_BYTES
        with _one_thread_each(workers), ThreadPoolExecutor(workers) as pool:
            running: dict[Future[None], int] = {}
            try:
                for clip, key in zip(clips, keys, strict=True):
                    if store.get(key) is not None:
                        yield
                        continue
                    cost = self.num_bytes(clip, frame_bytes)
                    # Few ahead of the workers, and not more than fits: a recording can be thousands of frames.
                    while running and (len(running) > workers or sum(running.values()) + cost > MEMORY_BYTES):
                        yield from _finish_some(running)
                    running[pool.submit(self.run, store, clip, key)] = cost
                while running:
                    yield from _finish_some(running)
            finally:
                pool.shutdown(cancel_futures=True)

    def run(self, store: PartStore, clip: MicroExpressionClip, key: str) -> None:
        """Make one clip's row and keep it: no row if it is unusable, its problems either way."""
        clip, problems = cut_clip(clip, self.options.max_frames)
        decoded = decode_clip(clip, self.options.size, None if self.aligner is None else self.aligner.fit)
        if isinstance(decoded, tuple):
            store.write(key, None, (*problems, *decoded))
            return
        problems = (*problems, *decoded.problems)
        clip, frames = decoded.clip, decoded.frames
        if clip.apex is None and self.options.spot_missing_apex:
            apex = clip.frame_numbers[int(spot_apex(frames))]
            clip = replace(clip, apex=apex, apex_source=APEX_SPOTTED)
        flow = None
        if self.options.flow is not None:
            if clip.apex is None:
                message = "no optical flow is stored, since it starts and ends at the apex, which is not known"
                problems = (*problems, _problem(clip, "Apex", message))
            else:
                flow = _flow(frames, clip, self.options.flow)
        columns: dict[str, Any] = {name: getattr(clip, name, None) for name in FEATURES if name not in _BINARY}
        columns["height"], columns["width"] = frames.shape[1:3]
        columns["source_height"], columns["source_width"] = decoded.source_size
        for name in ("action_units", "corrections", "frame_numbers"):
            columns[name] = list(columns[name])
        columns["frame_hashes"] = list(decoded.frame_hashes)
        if decoded.alignment is not None:
            alignment: Any = decoded.alignment
            columns["face_matrix"] = np.asarray(alignment.matrix, np.float64).ravel().tolist()
            columns["face_landmarks"] = np.asarray(alignment.landmarks, np.float64).ravel().tolist()
            columns["num_faces"] = int(alignment.num_faces)
        if flow is not None:
            columns["flow_height"], columns["flow_width"] = flow.shape[1:3]
        digest = hashlib.sha256(json.dumps(columns, sort_keys=True, default=int).encode())
        arrays = {name: pa.array([value], FEATURES.arrow_schema.field(name).type) for name, value in columns.items()}
        for name, array in (("frames", frames), ("flow", flow)):
            if array is None:
                arrays[name] = pa.nulls(1, pa.large_binary())
                continue
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
            digest.update(data)
            arrays[name] = _one_binary(data)
        table = pa.table({name: arrays[name] for name in FEATURES}, schema=FEATURES.arrow_schema)
        store.write(key, table, problems, digest.hexdigest())


_BINARY = ("frames", "flow")


def _code_digest() -> str:
    """Changes with the code that makes rows, so that a newer hsta-hf takes nothing over from a run of an older one."""
    faces = (face_alignment, face_detector, face_geometry)
    modules = (decode, *faces, frame_selection, optical_flow_hsta, video_reading_hsta)
    files = [Path(__file__), *(Path(str(module.__file__)) for module in modules)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _finish_some(running: dict[Future[None], int]) -> Iterator[None]:
    """Wait for one clip or more to be done, and raise what it raised."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        del running[future]
        future.result()
        yield


@contextmanager
def _one_thread_each(workers: int) -> Iterator[None]:
    """OpenCV's own threads would only get in the way of several workers'."""
    before = cv2.getNumThreads()
    if workers > 1:
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def _aligner(options: PrepareOptions) -> FaceAligner:
    assert options.size is not None
    try:
        return FaceAligner(options.face_detector, size=options.size, stabilise=bool(options.stabilise))
    except (OSError, ValueError) as error:
        raise PrepareError(
            f"{error}.\nFaces are to be aligned. Name the detector's file with --face-detector PATH, or leave frames "
            "as the owner has them with --faces keep"
        ) from error


def _check_flow(flow: FlowOptions) -> None:
    """See at once, and not after hours, that this OpenCV has the method."""
    small = np.zeros((3, 32, 32, 3), np.uint8)
    try:
        special_flows(small, flow.method, {"height": 32, "width": 32}, flow.remove_head_motion)
    except (ImportError, ValueError) as error:
        raise PrepareError(f"--flow {flow.method}: {error}") from error


def _flow(frames: np.ndarray, clip: MicroExpressionClip, flow: FlowOptions) -> np.ndarray:
    """(2, H, W, 3) float32 of the pictures as they are stored, as the processor would compute it from the row."""
    assert clip.apex_index is not None
    pictures = frames[[clip.onset_index, clip.apex_index, clip.offset_index]]
    size = {"height": flow.height, "width": flow.width}
    return np.asarray(special_flows(pictures, flow.method, size, flow.remove_head_motion), dtype=np.float32)


def _problem(clip: MicroExpressionClip, field: str, message: str) -> Problem:
    apex = "" if clip.apex is None else clip.apex
    name = f"{clip.subject}/{clip.filename}/{clip.onset}/{apex}/{clip.offset}"
    return Problem(name, field, message, WARNING, clip.source)


def _file_facts(path: Path) -> tuple[str, int, int]:
    """Name, size and time of change: equal facts are taken for the same file. A broken link has none."""
    try:
        facts = os.stat(path)
    except OSError:
        return (path.name, -1, -1)
    return (path.name, facts.st_size, facts.st_mtime_ns)


def _one_binary(data: memoryview) -> pa.Array:
    """A large_binary array of one value around `data`, without copying it."""
    offsets = pa.array([0, data.nbytes], pa.int64()).buffers()[1]
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])
