"""`hsta prepare`: from a database on disk to one memory-mapped dataset, resumable clip by clip.

While it works, OUT.partial holds the finished clips. A second run takes those whose clip, frame files and options are
unchanged and does the rest. The finished dataset appears as OUT in one rename.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial as bind
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub.utils import WeakFileLock
from tqdm.auto import tqdm

from hsta_hf.data.check_footage import ClipPictures, all_shared, footage_problems
from hsta_hf.data.clip import APEX_UNKNOWN, MicroExpressionClip
from hsta_hf.data.databases import get_database
from hsta_hf.data.databases.base import ERROR, Correction, LoadReport, Problem
from hsta_hf.data.disk_space import DiskFullError, describe_bytes, explain_full_disk, free_bytes
from hsta_hf.data.prepare_job import ClipJob
from hsta_hf.data.prepare_options import FlowOptions, PrepareError, PrepareOptions
from hsta_hf.data.prepare_out import check_place, compare_settings
from hsta_hf.data.prepare_parts import CLIPS, DATASET, FILE_BYTES, JOINED, FinishedClip, PartStore
from hsta_hf.data.prepare_report import SHOWN_PROBLEMS, frames_hint
from hsta_hf.data.prepare_save import fingerprint, save
from hsta_hf.data.prepared import MANIFEST, NotPreparedError, prepared_info

_LOCK, _REPLACED = "lock", "replaced"
# What a run may leave in OUT.partial.
_PARTIAL_ENTRIES = frozenset({CLIPS, DATASET, JOINED, _REPLACED, _LOCK})


class StrictError(PrepareError):
    """`strict` was asked for and something is wrong; the message lists it."""


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did.

    Attributes:
        out: The prepared dataset's folder.
        load: What the database's loader reported.
        options: The options, "auto" decided.
        clips: The clips of the dataset, in order; `apex_source` says where an apex was spotted.
        problems: All problems: the loader's, those of the frame files, and footage that clips share.
        corrections: Known annotation mistakes that were corrected.
        resumed: Number of clips that an earlier run had finished.
        fingerprint: Hexadecimal digest of all rows, frames and flow included.
        detector: "file" (its name) and "sha256" of the face detector; None where faces were kept as they are.
        kept_since_aligned: Faces were kept because the owner has already aligned them.
    """

    out: Path
    load: LoadReport
    options: PrepareOptions
    clips: tuple[MicroExpressionClip, ...]
    problems: tuple[Problem, ...]
    corrections: tuple[Correction, ...]
    resumed: int
    fingerprint: str
    detector: Mapping[str, str] | None = None
    kept_since_aligned: bool = False

    @property
    def num_clips(self) -> int:
        """Number of clips in the dataset."""
        return len(self.clips)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems by which something is lost, or a subject is in training and test at once."""
        return tuple(problem for problem in self.problems if problem.severity == ERROR)


def prepare(
    database: str,
    root: str | Path,
    out: str | Path,
    options: PrepareOptions | None = None,
    *,
    annotation: str | Path | None = None,
    strict: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Write the clips of a database as a prepared dataset (see `hsta_hf.data.prepared` for its columns).

    Args:
        database: Name of a database in `hsta_hf.data.databases`.
        root: The database's folder; only read.
        out: Folder of the dataset; made here. `report.md` in it lists counts, corrections and problems, `clips.csv`
            each clip's way, `contact_sheets` has pictures of every class.
        options: What the dataset holds: faces, sizes, flow. None: faces aligned, 224 pixels, no flow.
        annotation: The annotation file; None looks for it in `root`.
        strict: Raise if anything at all is wrong, before OUT is written.
        overwrite: Replace an `out` that an earlier run finished.
        workers: Number of threads that decode; None takes one per core.
        progress: Show a progress bar.

    Returns:
        What was done.

    Raises:
        DatabaseError: if there is no such database, or its annotation cannot be read.
        FileExistsError: if `out` exists and `overwrite` is off, `out` is no prepared dataset, or OUT.partial holds
            what no run of this put there.
        PrepareError: if no clip is usable, an option makes no sense, the face detector cannot be had, `out` and `root`
            lie one in the other, `out` is the current folder or one above it, another run makes the same `out`, the
            disk is or would be full (`DiskFullError`), or (`StrictError`) `strict` is on and something is wrong.
    """
    root, out = Path(root), Path(out)
    options = PrepareOptions() if options is None else options
    if workers is not None and workers < 1:
        raise PrepareError(f"workers must be 1 or more, got {workers}")
    workers = workers or os.cpu_count() or 1
    found = get_database(database)
    out = check_place(root, out)
    partial = out.with_name(out.name + ".partial")
    _check_partial(partial)
    how_made = bind(compare_settings, out, found, options, annotation)
    _check_out(out, partial, overwrite, how_made)
    load = found.load(root, annotation, options.variant)
    if strict and load.problems:
        raise _strict_error(load.problems)
    if not load.num_rows:
        raise PrepareError(f"{load.annotation or root}: the table has no rows; name the right one with --annotation")
    if not load.clips:
        hint = "".join(f"{line}\n" for line in frames_hint(load))
        raise PrepareError(
            f"{hint}{root}: none of the {load.num_rows} rows of {load.annotation_name} is a usable clip.\n"
            + _listing(load.problems)
        )
    already_aligned = load.variant in found.aligned_variants
    kept_since_aligned = already_aligned and options.faces == "auto"
    options = options.settled(already_aligned)
    job = ClipJob(options)

    keys = [job.key(clip) for clip in load.clips]
    store: PartStore | None = None

    def todo() -> list[MicroExpressionClip]:
        return [c for c, key in zip(load.clips, keys, strict=True) if store is None or store.get(key) is None]

    with ExitStack() as stack:
        stack.enter_context(explain_full_disk(partial, lambda: _missing(job, load.clips, todo())))
        partial.mkdir(parents=True, exist_ok=True)
        stack.enter_context(_alone(partial))
        store = PartStore(partial)
        resumed = len(keys) - len(todo())
        _check_room(job, load.clips, todo(), partial)
        with tqdm(total=len(keys), desc="Preparing clips", unit="clip", disable=not progress) as bar:
            for _ in job.run_all(store, load.clips, keys, workers):
                bar.update()

        everything = [_get(store, key) for key in keys]
        written = [
            (clip, _clip_as_written(clip, done.row), done)
            for clip, done in zip(load.clips, everything, strict=True)
            if done.row is not None
        ]
        all_problems = (
            *load.problems,
            *(problem for clip in everything for problem in clip.problems),
            *footage_problems(all_shared([_pictures(store, *clip) for clip in written])),
        )
        if strict and all_problems:
            raise _strict_error(all_problems)
        kept = [clip for clip in everything if clip.row is not None]
        if not kept:
            raise PrepareError(f"{root}: no clip's frames can be used.\n{_listing(all_problems)}")
        store.forget_others(keys)
        report = PrepareReport(
            out=out,
            load=load,
            options=options,
            clips=tuple(clip for _, clip, _ in written),
            problems=all_problems,
            corrections=load.corrections,
            resumed=resumed,
            fingerprint=fingerprint(kept),
            detector=job.detector,
            kept_since_aligned=kept_since_aligned,
        )
        files = []
        with tqdm(total=len(kept), desc="Joining", unit="clip", disable=not progress) as bar:
            for path, count in store.join(kept):
                files.append(path)
                bar.update(count)
        save(partial / DATASET, files, kept, report)
        _move_into_place(partial, out, overwrite, how_made)
    shutil.rmtree(partial)
    return report


def _get(store: PartStore, key: str) -> FinishedClip:
    found = store.get(key)
    assert found is not None, "run_all leaves no clip out"
    return found


def _pictures(
    store: PartStore, loaded: MicroExpressionClip, written: MicroExpressionClip, done: FinishedClip
) -> ClipPictures:
    """What the rows know of a clip's pictures; no frame is read unless another clip shows one of them, too."""
    assert done.row is not None
    if loaded.apex is None:  # problems name a clip as the annotation does
        written = replace(written, apex=None, apex_source=APEX_UNKNOWN)
    hashes = np.asarray(done.row["frame_hashes"], np.uint64)
    size = (done.row["source_height"], done.row["source_width"])
    return ClipPictures(written, hashes, bind(store.middle_colours, done.key), size)


def _bytes_needed(
    job: ClipJob, clips: Sequence[MicroExpressionClip], todo: Sequence[MicroExpressionClip]
) -> int | None:
    """Bytes still to be written, one joined file beside its clips included; None if frames have no fixed size."""
    frame_bytes = job.frame_bytes()
    if frame_bytes is None:
        return None
    whole = sum(job.num_bytes(clip, frame_bytes) for clip in clips)
    return sum(job.num_bytes(clip, frame_bytes) for clip in todo) + min(whole, FILE_BYTES)


def _missing(job: ClipJob, clips: Sequence[MicroExpressionClip], todo: Sequence[MicroExpressionClip]) -> str:
    """What is still to be written, in words."""
    needed = _bytes_needed(job, clips, todo)
    size = "" if needed is None else f" (up to {describe_bytes(needed)})"
    return f"{len(todo)} of {len(clips)} clips are still to be prepared{size}"


def _check_room(
    job: ClipJob, clips: Sequence[MicroExpressionClip], todo: Sequence[MicroExpressionClip], partial: Path
) -> None:
    """Refuse before hours of work what cannot fit, where frames have a fixed size."""
    needed, free = _bytes_needed(job, clips, todo), free_bytes(partial)
    if todo and needed is not None and needed > free:
        raise DiskFullError(
            f"{len(todo)} clips need {describe_bytes(needed)} in {partial.parent}, which has {describe_bytes(free)} "
            f"free. Make room, name an OUT on another disk, or ask for less (--size, --max-frames); clips that are "
            f"finished stay in {partial}"
        )


def _check_out(out: Path, partial: Path, overwrite: bool, how_made: Callable[[], str]) -> None:
    if not out.exists():
        return
    if out.is_dir() and not any(out.iterdir()):
        return
    if not (out / MANIFEST).is_file():
        raise FileExistsError(
            f"{out} exists and is no prepared dataset; it is left alone. Give a folder that does not exist yet"
        )
    if overwrite:
        return
    try:
        holds, made = f"{prepared_info(out).num_clips} clips", how_made()
    except NotPreparedError as error:
        holds, made = f"one that cannot be used: {error}", ""
    _tidy(partial)
    raise FileExistsError(
        f"{out} is already a prepared dataset ({holds}).{made} "
        f"Use it, give another folder, or replace it with --overwrite"
    )


def _tidy(partial: Path) -> None:
    """Remove what a run left that was killed after OUT was in place and before it had tidied up."""
    if not partial.exists() or (partial / DATASET).exists():
        return
    with _alone(partial):
        pass  # else somebody is at work there
    shutil.rmtree(partial)


def _check_partial(partial: Path) -> None:
    """Refuse a folder that earlier runs of `prepare` did not leave: it is removed when OUT is done."""
    strangers = {entry.name for entry in partial.iterdir()} - _PARTIAL_ENTRIES if partial.is_dir() else set()
    if strangers:
        raise FileExistsError(
            f"{partial} is in the way: hsta prepare works there, but did not put {', '.join(sorted(strangers))} "
            f"into it. Rename or remove that folder, or give another OUT"
        )


@contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Keeps a second run for the same OUT away; a killed run holds nothing."""
    with ExitStack() as stack:
        try:
            stack.enter_context(WeakFileLock(partial / _LOCK, timeout=0.1))
        except TimeoutError as error:
            raise PrepareError(
                f"another hsta prepare is at work in {partial}; wait until it is done, or give another OUT"
            ) from error
        yield


def _move_into_place(partial: Path, out: Path, overwrite: bool, how_made: Callable[[], str]) -> None:
    """Rename, so that OUT is never half written. An old OUT is moved aside first, and goes last."""
    _check_out(out, partial, overwrite, how_made)
    old = partial / _REPLACED
    if out.exists():
        shutil.rmtree(old, ignore_errors=True)
        os.replace(out, old)
    os.replace(partial / DATASET, out)


def _listing(problems: Sequence[Problem]) -> str:
    shown = [f"  {problem}" for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"  … and {len(problems) - SHOWN_PROBLEMS} more; hsta check --all lists the annotation's")
    return "\n".join(shown)


def _strict_error(problems: Sequence[Problem]) -> StrictError:
    count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
    return StrictError(
        f"--strict: {count}; nothing was written. Repair them, or leave --strict out to keep what is usable:\n"
        + _listing(problems)
    )


def _clip_as_written(clip: MicroExpressionClip, row: dict[str, Any]) -> MicroExpressionClip:
    """The loader's clip with the timing and frames that the dataset has for it."""
    paths = dict(zip(clip.frame_numbers, clip.frame_paths, strict=False))  # none of a video
    numbers = tuple(row["frame_numbers"])
    return replace(
        clip,
        apex=row["apex"],
        offset=row["offset"],
        apex_source=row["apex_source"],
        frame_numbers=numbers,
        frame_paths=tuple(paths[number] for number in numbers if paths),
    )


__all__ = ["DiskFullError", "FlowOptions", "PrepareError", "PrepareOptions", "PrepareReport", "StrictError", "prepare"]
