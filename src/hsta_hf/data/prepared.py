"""The prepared dataset: what its rows hold, and how to read it without copying the frames."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np

FORMAT_VERSION = 2
MANIFEST = "hsta_prepared.json"

# One row is one clip. `frames` are the raw bytes of a uint8 RGB array (num_frames, height, width, 3), onset to offset;
# `flow` those of a float32 array (2, flow_height, flow_width, 3).
FEATURES = datasets.Features(
    {
        "clip_id": datasets.Value("string"),
        "database": datasets.Value("string"),
        "variant": datasets.Value("string"),  # which of the owner's versions of the frames; "" where there is one
        "subject": datasets.Value("string"),
        "filename": datasets.Value("string"),
        "onset": datasets.Value("int64"),
        "apex": datasets.Value("int64"),  # null where unknown and not spotted
        "offset": datasets.Value("int64"),
        "onset_index": datasets.Value("int64"),
        "apex_index": datasets.Value("int64"),
        "offset_index": datasets.Value("int64"),
        "apex_source": datasets.Value("string"),
        "emotion": datasets.Value("string"),
        "objective_class": datasets.Value("string"),
        "action_units": datasets.List(datasets.Value("string")),
        "action_units_raw": datasets.Value("string"),
        "corrections": datasets.List(datasets.Value("string")),  # what was corrected in the clip's annotation
        "fps": datasets.Value("float64"),
        "frames": datasets.Value("large_binary"),
        "frame_numbers": datasets.List(datasets.Value("int64")),
        "num_frames": datasets.Value("int64"),
        "height": datasets.Value("int64"),
        "width": datasets.Value("int64"),
        # 64 bits a frame, of the picture as it was decoded: equal ones are the same footage, in whatever database.
        "frame_hashes": datasets.List(datasets.Value("uint64")),
        "source_height": datasets.Value("int64"),  # of the owner's frames
        "source_width": datasets.Value("int64"),
        # Null where faces were kept as they are:
        "face_matrix": datasets.List(datasets.Value("float64")),  # (2, 3) row by row, source to aligned pixels
        "face_landmarks": datasets.List(datasets.Value("float64")),  # (5, 2) row by row, in aligned pixels
        "num_faces": datasets.Value("int64"),  # in the onset frame; the largest is the one that was aligned
        # Null where no flow is stored: (u, v, strain) from onset to apex, and from apex to offset.
        "flow": datasets.Value("large_binary"),
        "flow_height": datasets.Value("int64"),
        "flow_width": datasets.Value("int64"),
    }
)


class NotPreparedError(ValueError):
    """A folder is not a dataset that `hsta prepare` wrote, or not one that this version reads."""


@dataclass(frozen=True)
class PreparedInfo:
    """What `hsta_prepared.json` says about a prepared dataset.

    Attributes:
        format_version: Version of the layout of the rows.
        fingerprint: Hexadecimal digest of all rows, frames included; equal datasets have equal ones.
        database: Name of the database module that was asked for; a composite's (`megc2019`) covers several.
        databases: The `database` fields of the rows, sorted.
        variant: Which of the owner's versions of the frames was read; "" where there is one.
        synthetic: True where the database's own README calls itself synthetic.
        size: Side in pixels that frames were aligned or resized to; None for the native size.
        faces: How faces were aligned: "mode" ("align"), "size" (pixels), "stabilise" (bool), "detector" (the
            weights' file name and SHA-256); None where frames were kept as they are.
        flow: How the stored flow was computed: "method", "size" ({"height", "width"} in pixels, as the processor's
            `flow_size`) and "remove_head_motion" (bool); None where no flow is stored.
        num_clips: Number of rows.
    """

    format_version: int
    fingerprint: str
    database: str
    databases: tuple[str, ...]
    variant: str
    synthetic: bool
    size: int | None
    faces: Mapping[str, Any] | None
    flow: Mapping[str, Any] | None
    num_clips: int


def prepared_info(path: str | Path) -> PreparedInfo:
    """Read what `hsta prepare` noted about the dataset in the folder `path`.

    Raises:
        NotPreparedError: if the folder does not exist, was not written by `hsta prepare`, or has another
            format version.
    """
    path = Path(path)
    manifest = path / MANIFEST
    if not path.is_dir():
        raise NotPreparedError(f"{path} is not a folder; make it with: hsta prepare DATABASE ROOT {path}")
    if not manifest.is_file():
        raise NotPreparedError(
            f"{path} has no {MANIFEST}: hsta prepare did not write it, or did not finish. "
            f"Make it with: hsta prepare DATABASE ROOT OUT"
        )
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        version = int(content["format_version"])
        if version != FORMAT_VERSION:
            raise NotPreparedError(
                f"{manifest}: format version {version}, this version of hsta-hf reads {FORMAT_VERSION}; "
                f"run hsta prepare again"
            )
        size = content["size"]
        return PreparedInfo(
            format_version=version,
            fingerprint=str(content["fingerprint"]),
            database=str(content["database"]),
            databases=tuple(str(name) for name in content["databases"]),
            variant=str(content["variant"]),
            synthetic=bool(content["synthetic"]),
            size=None if size is None else int(size),
            faces=None if content["faces"] is None else dict(content["faces"]),
            flow=None if content["flow"] is None else dict(content["flow"]),
            num_clips=int(content["num_clips"]),
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise NotPreparedError(f"{manifest} is damaged ({error!r}); run hsta prepare again") from error


def face_alignment(faces: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The processor's field `face_alignment` for models that train on clips with these `PreparedInfo.faces`."""
    if faces is None:
        return None
    return {"size": int(faces["size"]), "stabilise": bool(faces["stabilise"])}


def load_prepared(path: str | Path) -> datasets.Dataset:
    """Open a dataset that `hsta prepare` wrote. Frames stay on disk, mapped into memory as they are read.

    Args:
        path: The folder that was `hsta prepare`'s OUT.

    Returns:
        A `datasets.Dataset` with the columns of `FEATURES`, one row per clip. Read frames with
        `clip_frames(row)`, or with `frames_at(dataset, index)`, which copies nothing.

    Raises:
        NotPreparedError: if the folder is no finished prepared dataset, or has another format version.
    """
    info = prepared_info(path)
    try:
        dataset = datasets.load_from_disk(str(path), keep_in_memory=False)
    except Exception as error:  # whatever pyarrow or datasets stumble over, the user needs the folder's name
        raise NotPreparedError(f"{path} cannot be read ({error}); run hsta prepare again") from error
    if not isinstance(dataset, datasets.Dataset):
        raise NotPreparedError(f"{path} holds several datasets, hsta prepare writes one; give its folder")
    missing = [column for column in FEATURES if column not in dataset.column_names]
    if missing:
        raise NotPreparedError(f"{path} has no column {', '.join(missing)}; run hsta prepare again")
    if len(dataset) != info.num_clips:
        raise NotPreparedError(
            f"{path} holds {len(dataset)} clips, {MANIFEST} says {info.num_clips}; run hsta prepare again"
        )
    return dataset


def _as_frames(data: Any, row: Mapping[str, Any]) -> np.ndarray:
    shape = (int(row["num_frames"]), int(row["height"]), int(row["width"]), 3)
    flat = np.frombuffer(data, dtype=np.uint8)
    if flat.size != int(np.prod(shape)):
        raise NotPreparedError(
            f"clip {row.get('clip_id', '?')}: {flat.size} bytes of frames, shape {shape} needs "
            f"{int(np.prod(shape))}; run hsta prepare again"
        )
    return flat.reshape(shape)


def clip_frames(row: Mapping[str, Any]) -> np.ndarray:
    """The frames of one row, onset to offset.

    Args:
        row: A row of the prepared dataset.

    Returns:
        uint8 RGB array of shape (num_frames, height, width, 3): a read-only view of the row's bytes.

    Raises:
        NotPreparedError: if the bytes do not fit the row's shape.
    """
    return _as_frames(row["frames"], row)


def frames_at(dataset: datasets.Dataset, index: int) -> np.ndarray:
    """The frames of clip `index`, as a view of the file on disk: nothing is copied until it is used.

    Args:
        dataset: What `load_prepared` returned, or a selection of it.
        index: Position of the clip in `dataset`.

    Returns:
        Read-only uint8 RGB array of shape (num_frames, height, width, 3).

    Raises:
        IndexError: if there is no such clip.
        NotPreparedError: if the bytes do not fit the row's shape.
    """
    table, position = _position(dataset, index)
    row = {name: table.column(name)[position].as_py() for name in ("clip_id", "num_frames", "height", "width")}
    return _as_frames(table.column("frames")[position].as_buffer(), row)


def flow_at(dataset: datasets.Dataset, index: int) -> np.ndarray | None:
    """The optical flow that `hsta prepare --flow` stored for clip `index`, as a view of the file on disk.

    Args:
        dataset: What `load_prepared` returned, or a selection of it.
        index: Position of the clip in `dataset`.

    Returns:
        Read-only float32 array (2, height, width, 3): from onset to apex and from apex to offset; u and v in pixels
        of the flow's own size, and the strain. `prepared_info(...).flow` says how it was computed. None if none is
        stored.

    Raises:
        IndexError: if there is no such clip.
        NotPreparedError: if the bytes do not fit the row's shape.
    """
    table, position = _position(dataset, index)
    stored = table.column("flow")[position]
    if not stored.is_valid:
        return None
    clip, height, width = (table.column(n)[position].as_py() for n in ("clip_id", "flow_height", "flow_width"))
    flat = np.frombuffer(stored.as_buffer(), dtype=np.float32)
    if flat.size != 2 * height * width * 3:
        raise NotPreparedError(
            f"clip {clip}: {flat.size} numbers of flow, shape (2, {height}, {width}, 3) needs "
            f"{2 * height * width * 3}; run hsta prepare again"
        )
    return flat.reshape(2, height, width, 3)


def _position(dataset: datasets.Dataset, index: int) -> tuple[Any, int]:
    """The table below `dataset`, and the row in it that is the dataset's row `index`."""
    if not -len(dataset) <= index < len(dataset):
        raise IndexError(f"clip {index} of a dataset of {len(dataset)} clips")
    index %= len(dataset)
    # A selection keeps its positions in an index table of one column beside the untouched data.
    indices = dataset._indices
    return dataset.data, index if indices is None else int(indices.column(0)[index].as_py())
