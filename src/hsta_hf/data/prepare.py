"""`hsta prepare`: from a database on disk to one memory-mapped dataset, resumable clip by clip.

While it works, OUT.partial holds one small file per finished clip. A second run takes those whose clip,
frame files and options are unchanged and does the rest. The finished dataset appears as OUT in one rename.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
from huggingface_hub.utils import WeakFileLock
from tqdm.auto import tqdm

from hsta_hf.data.clip import APEX_SPOTTED, MicroExpressionClip
from hsta_hf.data.databases import get_database
from hsta_hf.data.databases.base import ERROR, Correction, LoadReport, Problem
from hsta_hf.data.decode import cut_clip, decode_clip
from hsta_hf.data.prepare_report import SHOWN_PROBLEMS, frames_hint, write_report
from hsta_hf.data.prepared import FEATURES, FORMAT_VERSION, MANIFEST, prepared_info

_PROBLEMS_KEY = b"hsta_problems"
_DIGEST_KEY = b"hsta_digest"
_LOCK = "lock"
# What a run may leave in OUT.partial.
_PARTIAL_ENTRIES = frozenset({"clips", "dataset", "replaced", _LOCK})


class PrepareError(ValueError):
    """A dataset cannot be prepared; the message says why and what to do."""


class StrictError(PrepareError):
    """`strict` was asked for and something is wrong; the message lists it."""


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did.

    Attributes:
        out: The prepared dataset's folder.
        load: What the database's loader reported.
        clips: The clips of the dataset, in order; `apex_source` says where an apex was spotted.
        problems: All problems, the loader's and those of the frame files.
        corrections: Known annotation mistakes that were corrected.
        resumed: Number of clips that an earlier run had finished.
        fingerprint: Hexadecimal digest of all rows, frames included.
    """

    out: Path
    load: LoadReport
    clips: tuple[MicroExpressionClip, ...]
    problems: tuple[Problem, ...]
    corrections: tuple[Correction, ...]
    resumed: int
    fingerprint: str

    @property
    def num_clips(self) -> int:
        """Number of clips in the dataset."""
        return len(self.clips)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems by which a clip, frames or a label are lost."""
        return tuple(problem for problem in self.problems if problem.severity == ERROR)


def prepare(
    database: str,
    root: str | Path,
    out: str | Path,
    *,
    annotation: str | Path | None = None,
    size: int | None = None,
    max_frames: int | None = None,
    spot_missing_apex: bool = True,
    strict: bool = False,
    overwrite: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> PrepareReport:
    """Write the clips of a database as a prepared dataset (see `hsta_hf.data.prepared` for its columns).

    Args:
        database: Name of a module in `hsta_hf.data.databases`.
        root: The database's folder; only read.
        out: Folder of the dataset; made here. `report.md` in it lists counts, corrections and problems.
        annotation: The annotation file; None looks for it in `root`.
        size: Side in pixels of the square that frames are resized to; None keeps their size.
        max_frames: Cut clips to this many frames from the onset; None keeps all.
        spot_missing_apex: Spot the apex where it is unknown (`apex_source` is then "spotted"). If False it
            stays null.
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
        PrepareError: if no clip is usable, an option makes no sense, another run makes the same `out`, or
            (`StrictError`) `strict` is on and something is wrong.
    """
    root, out = Path(root), Path(out)
    if size is not None and size < 1:
        raise PrepareError(f"size must be a number of pixels of 1 or more, got {size}")
    if max_frames is not None and max_frames < 2:
        raise PrepareError(f"max_frames must be 2 or more, a clip needs two frames; got {max_frames}")
    if workers is not None and workers < 1:
        raise PrepareError(f"workers must be 1 or more, got {workers}")
    _check_out(out, overwrite)
    load = get_database(database).load(root, annotation)
    if strict and load.problems:
        raise _strict_error(load.problems)
    if not load.num_rows:
        raise PrepareError(f"{load.annotation}: the table has no rows; name the right one with --annotation")
    if not load.clips:
        hint = "".join(f"{line}\n" for line in frames_hint(load))
        raise PrepareError(
            f"{hint}{root}: none of the {load.num_rows} rows of {load.annotation_name} is a usable clip.\n"
            + _listing(load.problems)
        )

    partial = out.with_name(out.name + ".partial")
    _check_partial(partial)
    (partial / "clips").mkdir(parents=True, exist_ok=True)
    with _alone(partial):
        job = _Job(partial / "clips", size, max_frames, spot_missing_apex)
        keys = [job.key(clip) for clip in load.clips]
        done = {key for key in keys if job.is_done(key)}
        for _ in _progress(job.run_all(load.clips, keys, done, workers or os.cpu_count() or 1), len(keys), progress):
            pass

        clips, file_problems, kept_keys, digests = [], [], [], []
        for clip, key in zip(load.clips, keys, strict=True):
            row, problems, digest = job.read(key)
            file_problems.extend(problems)
            if row is not None:
                clips.append(_clip_as_written(clip, row))
                kept_keys.append(key)
                digests.append(digest)
        all_problems = (*load.problems, *file_problems)
        if strict and all_problems:
            raise _strict_error(all_problems)
        if not clips:
            raise PrepareError(f"{root}: no clip's frames can be read.\n{_listing(all_problems)}")

        fingerprint = hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16]
        report = PrepareReport(out, load, tuple(clips), all_problems, load.corrections, len(done), fingerprint)
        finished = partial / "dataset"
        shutil.rmtree(finished, ignore_errors=True)
        _save(finished, report, [job.file(key) for key in kept_keys], size, max_frames, progress)
        _move_into_place(finished, out, overwrite)
    shutil.rmtree(partial)
    return report


def _check_out(out: Path, overwrite: bool) -> None:
    if not out.exists():
        return
    if out.is_dir() and not any(out.iterdir()):
        return
    if not (out / MANIFEST).is_file():
        raise FileExistsError(
            f"{out} exists and is no prepared dataset; it is left alone. Give a folder that does not exist yet"
        )
    if not overwrite:
        raise FileExistsError(
            f"{out} is already a prepared dataset ({prepared_info(out).num_clips} clips). "
            f"Use it, give another folder, or replace it with --overwrite (overwrite=True)"
        )


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


def _move_into_place(finished: Path, out: Path, overwrite: bool) -> None:
    """Rename, so that OUT is never half written. An old OUT is moved aside first, and goes last."""
    _check_out(out, overwrite)
    old = finished.with_name("replaced")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        os.replace(out, old)
    os.replace(finished, out)


def _listing(problems: Sequence[Problem]) -> str:
    shown = [f"  {problem}" for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"  … and {len(problems) - SHOWN_PROBLEMS} more; hsta check --all lists the annotation's")
    return "\n".join(shown)


def _strict_error(problems: Sequence[Problem]) -> StrictError:
    return StrictError(
        f"--strict: {len(problems)} problems; nothing was written. Repair them, or leave --strict out to keep "
        f"what is usable:\n{_listing(problems)}"
    )


def _progress(steps: Iterator[None], total: int, show: bool) -> Iterator[None]:
    return iter(tqdm(steps, total=total, desc="Preparing clips", unit="clip", disable=not show))


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


@dataclass(frozen=True)
class _Job:
    """How one clip is done, and where its finished file is."""

    folder: Path
    size: int | None
    max_frames: int | None
    spot: bool

    def key(self, clip: MicroExpressionClip) -> str:
        """Digest of the clip, its frame files and the options: equal keys, equal results."""
        facts = {
            "version": [FORMAT_VERSION, self.size, self.max_frames, self.spot],
            "clip": {k: v for k, v in asdict(clip).items() if k not in ("frame_paths", "source")},
            "files": [_file_facts(path) for path in clip.frame_paths],
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def file(self, key: str) -> Path:
        return self.folder / f"{key}.arrow"

    def is_done(self, key: str) -> bool:
        """True if an earlier run left a whole file; one that a crash of the machine cut off is done again."""
        try:
            self.read(key)
        except (OSError, pa.ArrowInvalid, KeyError, ValueError):
            return False
        return True

    def run_all(
        self, clips: Sequence[MicroExpressionClip], keys: Sequence[str], done: Collection[str], workers: int
    ) -> Iterator[None]:
        """Do every clip that is not done yet; yields once per clip."""
        todo = iter(zip(clips, keys, strict=True))
        with ThreadPoolExecutor(workers) as pool:
            running: set[Future[None]] = set()
            try:
                for clip, key in todo:
                    if key in done:
                        yield
                        continue
                    running.add(pool.submit(self.run, clip, key))
                    if len(running) > workers:  # no more in flight: a clip's frames can be large
                        ready, running = wait(running, return_when=FIRST_COMPLETED)
                        for future in ready:
                            future.result()
                            yield
                for future in running:
                    future.result()
                    yield
            finally:
                pool.shutdown(cancel_futures=True)

    def run(self, clip: MicroExpressionClip, key: str) -> None:
        """Decode one clip and write its file: no row if it is unusable, its problems either way."""
        clip, problems = cut_clip(clip, self.max_frames)
        decoded = decode_clip(clip, self.size)
        if isinstance(decoded, tuple):
            self._write(key, None, (*problems, *decoded))
            return
        clip, frames = decoded.clip, decoded.frames
        if clip.apex is None and self.spot:
            from hsta_hf.frame_selection import spot_apex

            apex = clip.frame_numbers[int(spot_apex(frames))]
            clip = replace(clip, apex=apex, apex_source=APEX_SPOTTED)
        columns: dict[str, Any] = {name: getattr(clip, name, None) for name in FEATURES if name != "frames"}
        columns["height"], columns["width"] = frames.shape[1:3]
        columns["source_height"], columns["source_width"] = decoded.source_size
        columns["frame_hashes"] = list(decoded.frame_hashes)
        columns["corrections"] = list(clip.corrections)
        columns["action_units"] = list(clip.action_units)
        columns["frame_numbers"] = list(clip.frame_numbers)
        arrays = {name: pa.array([value], FEATURES.arrow_schema.field(name).type) for name, value in columns.items()}
        arrays["frames"] = _one_binary(frames.reshape(-1).data)
        table = pa.table({name: arrays[name] for name in FEATURES}, schema=FEATURES.arrow_schema)
        digest = hashlib.sha256(json.dumps(columns, sort_keys=True, default=int).encode())
        digest.update(frames.data)
        self._write(key, table, (*problems, *decoded.problems), digest.hexdigest())

    def _write(self, key: str, table: pa.Table | None, problems: Sequence[Problem], digest: str = "") -> None:
        table = FEATURES.arrow_schema.empty_table() if table is None else table
        metadata = {**(table.schema.metadata or {})}
        metadata[_PROBLEMS_KEY] = json.dumps([asdict(problem) for problem in problems]).encode()
        metadata[_DIGEST_KEY] = digest.encode()
        table = table.replace_schema_metadata(metadata)
        temporary = self.file(key).with_suffix(f".{os.getpid()}.tmp")
        with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        os.replace(temporary, self.file(key))

    def read(self, key: str) -> tuple[dict[str, Any] | None, list[Problem], str]:
        """The row (without frames), the problems and the content's digest of a finished clip."""
        with pa.memory_map(str(self.file(key))) as source:
            table = pa.ipc.open_stream(source).read_all()
            problems = [Problem(**p) for p in json.loads(table.schema.metadata[_PROBLEMS_KEY])]
            digest = table.schema.metadata[_DIGEST_KEY].decode()
            rows = table.drop_columns(["frames"]).to_pylist()
        return (rows[0] if rows else None), problems, digest


def _file_facts(path: Path) -> tuple[str, int, int]:
    """Name, size and time of change: equal facts are taken for the same picture. A broken link has none."""
    try:
        facts = path.stat()
    except OSError:
        return (path.name, -1, -1)
    return (path.name, facts.st_size, facts.st_mtime_ns)


def _one_binary(data: memoryview) -> pa.Array:
    """A large_binary array of one value around `data`, without copying it."""
    offsets = pa.array([0, data.nbytes], pa.int64()).buffers()[1]
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, pa.py_buffer(data)])


def _save(
    folder: Path,
    report: PrepareReport,
    files: Sequence[Path],
    size: int | None,
    max_frames: int | None,
    progress: bool,
) -> None:
    load = report.load
    described = "synthetic, not people; " if load.synthetic else ""
    info = datasets.DatasetInfo(
        description=f"{load.database} ({described}prepared by hsta-hf, format {FORMAT_VERSION}, "
        f"fingerprint {report.fingerprint})",
        features=FEATURES,
    )
    bars_were_on = datasets.is_progress_bar_enabled()
    if not progress:
        datasets.disable_progress_bars()
    try:
        parts = [datasets.Dataset.from_file(str(path)) for path in files]
        joined = datasets.concatenate_datasets(parts)
        datasets.Dataset(joined.data, info=info, fingerprint=report.fingerprint).save_to_disk(str(folder))
    finally:
        if bars_were_on:
            datasets.enable_progress_bars()
    manifest = {
        "format_version": FORMAT_VERSION,
        "fingerprint": report.fingerprint,
        "database": load.database,
        "databases": sorted({clip.database for clip in report.clips}),
        "variant": load.variant,
        "synthetic": load.synthetic,
        "faces": None,
        "flow": None,
        "annotation": load.annotation_name,
        "size": size,
        "max_frames": max_frames,
        "num_rows": load.num_rows,
        "num_clips": report.num_clips,
        "num_subjects": len({clip.subject for clip in report.clips}),
        "apex_sources": dict(Counter(clip.apex_source for clip in report.clips)),
        "problems": [asdict(problem) for problem in report.problems],
        "corrections": [asdict(correction) for correction in report.corrections],
    }
    write_report(folder / "report.md", report)
    # Last, since its presence is what says that the dataset is whole.
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
