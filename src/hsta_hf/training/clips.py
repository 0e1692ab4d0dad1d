"""Clips with labels: where training gets frames, key frames and class ids from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from hsta_hf.data.labels import Label, LabelScheme, get_label_scheme
from hsta_hf.data.prepared import frames_at, load_prepared, prepared_info
from hsta_hf.data.publish import prepared_folder
from hsta_hf.training.mapped_files import MappedFrames, locate_frames


@dataclass(frozen=True)
class KeyFrames:
    """Positions of a clip's named frames in its frames; `apex` is None where it has to be spotted."""

    onset: int
    apex: int | None
    offset: int


@dataclass(frozen=True)
class LabelledClips:
    """The clips of a prepared dataset that a label scheme has a label for.

    Attributes:
        rows: the rows of the prepared dataset, unlabelled ones left out.
        labels: the label of each row.
        scheme: the label scheme.
        description: one sentence on which clips were kept and which left out.
        synthetic: whether the database calls itself synthetic.
        fingerprint: digest of the clips, their key frames and their labels.
        flow: settings of the optical flow that is stored with the clips; None where none is.
        places: where the frames of `rows` lie in files; None to find out when they are needed.
    """

    rows: datasets.Dataset
    labels: tuple[Label, ...]
    scheme: LabelScheme
    description: str
    synthetic: bool
    fingerprint: str
    flow: Mapping[str, Any] | None = None
    places: MappedFrames | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def column(self, name: str) -> list:
        """One column of the rows as a list; frames are not touched."""
        column, indices = self.rows.data.column(name), self.rows._indices
        return list((column if indices is None else column.take(indices.column(0))).to_pylist())

    @property
    def databases(self) -> list[str]:
        """Names of the databases that the clips come from, sorted."""
        return sorted(set(self.column("database")))

    def frames(self, index: int) -> np.ndarray:
        """Frames of clip `index`: (num_frames, height, width, 3) uint8 RGB, onset to offset."""
        return frames_at(self.rows, index)

    def key_frames(self, apex: str = "annotated") -> list[KeyFrames]:
        """Key frames of every clip; with `apex="spotted"` all apexes are left to the processor."""
        columns = [self.column(f"{name}_index") for name in ("onset", "apex", "offset")]
        return [
            KeyFrames(int(onset), int(mid) if mid is not None and apex == "annotated" else None, int(offset))
            for onset, mid, offset in zip(*columns, strict=True)
        ]


def load_labelled_clips(path: str | Path, label_scheme: str) -> LabelledClips:
    """Open a prepared dataset, a folder or `hf://datasets/ORG/NAME`, and label its clips.

    Raises:
        NotPreparedError: the folder is no prepared dataset.
        PublishError: the Hub's dataset cannot be pulled.
        ValueError: there is no such label scheme, or it labels none of the clips.
    """
    scheme = get_label_scheme(label_scheme)
    path = prepared_folder(path)
    dataset = load_prepared(path)
    info = prepared_info(path)
    # The column at once: reading row by row takes longer the more clips there are.
    assignment = scheme.assign({scheme.field: value} for value in dataset.data.column(scheme.field).to_pylist())
    if not assignment.indices:
        raise ValueError(
            f"{path}: label scheme {scheme.name!r} labels none of the {len(dataset)} clips; "
            f"their field {scheme.field!r} holds {sorted(assignment.dropped)[:8]}."
        )
    # Of the whole dataset, since neighbouring clips are selected as a slice, which does not say where it starts.
    places = locate_frames(dataset).select(assignment.indices)
    # As an array, of which `datasets` makes a fingerprint much faster than of a list.
    rows = dataset.select(np.asarray(assignment.indices, dtype=np.int64))
    digest = hashlib.sha256(
        json.dumps([info.fingerprint, scheme.name, assignment.indices, assignment.labels]).encode()
    )
    return LabelledClips(
        rows, assignment.labels, scheme, assignment.description, info.synthetic, digest.hexdigest(), info.flow, places
    )


def class_counts(labels: Sequence[Label], scheme: LabelScheme) -> dict[str, int]:
    """How many clips have each label, by name; a multi-label clip counts once for each of its labels."""
    if scheme.multi_label:
        totals = np.asarray(labels, dtype=np.int64).sum(axis=0)
    else:
        totals = np.bincount(np.asarray(labels, dtype=np.int64), minlength=scheme.num_labels)
    return dict(zip(scheme.labels, totals.tolist(), strict=True))
