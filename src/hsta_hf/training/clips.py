"""Clips with labels: where training gets frames, key frames and class ids from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import datasets
import numpy as np

from hsta_hf.data.labels import LABEL_SCHEMES, Label, LabelAssignment, LabelScheme, get_label_scheme
from hsta_hf.data.prepared import frames_at, load_prepared, prepared_info
from hsta_hf.data.publish import prepared_folder
from hsta_hf.training.mapped_files import MappedFrames, locate_frames

# A scheme that leaves out a larger share of the clips is probably not the one that was meant.
MOST_LEFT_OUT = 1 / 3


@dataclass(frozen=True)
class KeyFrames:
    """Positions of a clip's named frames in its frames; `apex` is None where it has to be spotted."""

    onset: int
    apex: int | None
    offset: int


@dataclass(frozen=True)
class LabelledClips:
    """The clips of a prepared dataset, or of several joined ones, that a label scheme has a label for.

    Attributes:
        rows: the rows of the prepared dataset, unlabelled ones left out.
        labels: the label of each row.
        scheme: the label scheme.
        description: one sentence on which clips were kept and which left out.
        synthetic: whether the database calls itself synthetic.
        fingerprint: digest of the clips, their key frames and their labels.
        flow: settings of the optical flow that is stored with the clips; None where none is.
        places: where the frames of `rows` lie in files; None to find out when they are needed.
        warning: half a sentence, where the scheme leaves out more than a third of the clips; None elsewhere.
        preparation: how the frames were made: "size" and "faces" as in `PreparedInfo`.
        training_only: positions of clips that are never tested, such as macro-expressions, in increasing order.
    """

    rows: datasets.Dataset
    labels: tuple[Label, ...]
    scheme: LabelScheme
    description: str
    synthetic: bool
    fingerprint: str
    flow: Mapping[str, Any] | None = None
    places: MappedFrames | None = None
    warning: str | None = None
    preparation: Mapping[str, Any] = field(default_factory=dict)
    training_only: tuple[int, ...] = ()

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


def load_labelled_clips(path: str | Path, label_scheme: str, alone: bool = True) -> LabelledClips:
    """Open a prepared dataset, a folder or `hf://datasets/ORG/NAME`, and label its clips.

    Args:
        path: the dataset.
        label_scheme: name of the label scheme.
        alone: whether it has to have clips of different labels by itself, since no other is joined to it.

    Raises:
        NotPreparedError: the folder is no prepared dataset.
        PublishError: the Hub's dataset cannot be pulled.
        ValueError: there is no such label scheme, it labels none of the clips, or it gives all that it labels the
            same class (multi-label: the same classes), which leaves nothing to learn; the message names the schemes
            that fit.
    """
    scheme = get_label_scheme(label_scheme)
    path = prepared_folder(path)
    dataset = load_prepared(path)
    info = prepared_info(path)
    assignment = _assign(dataset, scheme)
    if alone or not assignment.labels:
        _refuse_one_class(dataset, scheme, assignment, path)
    # Of the whole dataset, since neighbouring clips are selected as a slice, which does not say where it starts.
    places = locate_frames(dataset).select(assignment.indices)
    # As an array, of which `datasets` makes a fingerprint much faster than of a list.
    rows = dataset.select(np.asarray(assignment.indices, dtype=np.int64))
    digest = hashlib.sha256(
        json.dumps([info.fingerprint, scheme.name, assignment.indices, assignment.labels]).encode()
    )
    return LabelledClips(
        rows,
        assignment.labels,
        scheme,
        assignment.description,
        info.synthetic,
        digest.hexdigest(),
        info.flow,
        places,
        _left_out_warning(dataset, scheme, assignment),
        {"size": info.size, "faces": info.faces},
    )


def _assign(dataset: datasets.Dataset, scheme: LabelScheme) -> LabelAssignment:
    # The column at once: reading row by row takes longer the more clips there are.
    return scheme.assign({scheme.field: value} for value in dataset.data.column(scheme.field).to_pylist())


def _fits(dataset: datasets.Dataset, asked: LabelScheme) -> list[tuple[LabelScheme, int, int]]:
    """Other schemes that tell clips of the dataset apart, those that label most first: scheme, clips, classes."""

    def content(scheme: LabelScheme) -> tuple:
        return scheme.labels, scheme.field, tuple(sorted(scheme.mapping.items()))

    found = {}
    for scheme in LABEL_SCHEMES.values():
        labels = _assign(dataset, scheme).labels
        if len(set(labels)) > 1 and content(scheme) != content(asked):
            classes = sum(count > 0 for count in class_counts(labels, scheme).values())
            found[content(scheme)] = (scheme, len(labels), classes)  # of two names for one scheme, the newer
    return sorted(found.values(), key=lambda fit: -fit[1])


def _listed(fits: Sequence[tuple[LabelScheme, int, int]]) -> str:
    return ", ".join(f"{scheme.name} ({clips} clips in {classes} classes)" for scheme, clips, classes in fits)


def _refuse_one_class(
    dataset: datasets.Dataset, scheme: LabelScheme, assignment: LabelAssignment, path: str | Path
) -> None:
    """Raise ValueError where nothing can be learnt: no clip has a label, or all have the same one."""
    labels = assignment.labels
    if len(set(labels)) > 1:
        return
    if not labels:
        said = f"{path}: label scheme {scheme.name!r} labels none of the {len(dataset)} clips"
    else:
        names = [repr(name) for name, count in class_counts(labels, scheme).items() if count]
        classes = f"one class, {names[0]}" if len(names) == 1 else f"the same classes, {', '.join(names) or 'none'}"
        which = f"all {len(labels)} labelled clips" if len(labels) > 1 else "the only labelled clip"
        said = f"label scheme {scheme.name} gives {which} of {path} {classes}, which leaves nothing to learn"
    if assignment.dropped:
        most = sorted(assignment.dropped.items(), key=lambda entry: (-entry[1], entry[0]))
        values = ", ".join(f"{count} {value}" for value, count in most[:8]) + (", …" if len(most) > 8 else "")
        said += f"; left out by their field {scheme.field!r}: {values}"
    fits = _fits(dataset, scheme)
    alike = [fit for fit in fits if fit[0].multi_label == scheme.multi_label]
    if alike:
        raise ValueError(f"{said}. Label schemes that fit its clips: {_listed(alike)}.")
    if fits:
        kind = "only one class a clip" if scheme.multi_label else "several classes a clip"
        raise ValueError(f"{said}. Label schemes that fit its clips, but with {kind}: {_listed(fits)}.")
    raise ValueError(
        f"{said}. No label scheme gives its clips 2 classes: correct the annotation, and prepare the dataset again."
    )


def _left_out_warning(dataset: datasets.Dataset, scheme: LabelScheme, assignment: LabelAssignment) -> str | None:
    """Half a sentence where the scheme leaves out more than `MOST_LEFT_OUT` of the clips."""
    total, kept = len(dataset), len(assignment.labels)
    if total - kept <= MOST_LEFT_OUT * total:
        return None
    why = "which have none of its classes" if scheme.multi_label else f"whose {scheme.field!r} it does not know"
    # Only schemes of its kind: who asks for action units wants no emotions instead.
    more = [fit for fit in _fits(dataset, scheme) if fit[1] > kept and fit[0].multi_label == scheme.multi_label]
    hint = f"label schemes that label more: {_listed(more)}" if more else "no other label scheme labels more"
    share = f"{100 * (total - kept) / total:.0f}%"
    return f"label scheme {scheme.name} leaves out {total - kept} of {total} clips ({share}), {why}; {hint}"


def tell_labels(clips: LabelledClips) -> None:
    """Print which clips have a label, and a warning where many have none."""
    print(clips.description, flush=True)
    if clips.warning:
        print(f"WARNING: {clips.warning}.", flush=True)


def class_counts(labels: Sequence[Label], scheme: LabelScheme) -> dict[str, int]:
    """How many clips have each label, by name; a multi-label clip counts once for each of its labels."""
    if scheme.multi_label:
        totals = np.asarray(labels, dtype=np.int64).sum(axis=0)
    else:
        totals = np.bincount(np.asarray(labels, dtype=np.int64), minlength=scheme.num_labels)
    return dict(zip(scheme.labels, totals.tolist(), strict=True))
