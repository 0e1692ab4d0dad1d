"""Several prepared datasets as one: databases side by side, and clips that are there for training only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np

from hsta_hf.training.arguments import DataArguments
from hsta_hf.training.clips import LabelledClips, load_labelled_clips
from hsta_hf.training.mapped_files import MappedFrames, locate_frames


class JoinError(ValueError):
    """Prepared datasets that cannot be used together; the message says which, and what to do."""


def load_run_clips(arguments: DataArguments) -> LabelledClips:
    """The clips of a run: those of `dataset`, of `more_datasets` beside it, and of `macro_dataset` for training only.

    Raises:
        JoinError: the datasets were prepared in different ways, or none of them has clips of different labels.
        NotPreparedError, PublishError, ValueError: see `load_labelled_clips`.
    """
    if not arguments.dataset:
        raise ValueError("no dataset is named")
    more, macro = arguments.more_datasets or [], arguments.macro_dataset
    names = [arguments.dataset, *more, *([macro] if macro else [])]
    parts = [load_labelled_clips(name, arguments.label_scheme, alone=len(names) == 1) for name in names]
    if len(parts) == 1:
        return parts[0]
    return join_clips(parts, names, [False] * (1 + len(more)) + [True] * bool(macro))


def join_clips(parts: Sequence[LabelledClips], names: Sequence[str], training_only: Sequence[bool]) -> LabelledClips:
    """Put clips of several prepared datasets in a row.

    Args:
        parts: the clips of each, labelled by one scheme.
        names: what to call each in messages.
        training_only: for each whether its clips only train.

    Raises:
        JoinError: faces, sizes or stored flow of two datasets differ, drawn faces are joined to recorded ones, or the
            clips that are tested have one label.
    """
    first = parts[0]
    for part, name in zip(parts[1:], names[1:], strict=True):
        _refuse_differences(first, part, names[0], name)
    starts = np.cumsum([0, *(len(part) for part in parts)]).tolist()
    aside = tuple(
        place for index, only in enumerate(training_only) if only for place in range(starts[index], starts[index + 1])
    )
    labels = tuple(label for part in parts for label in part.labels)
    if len({label for place, label in enumerate(labels) if place not in set(aside)}) < 2:
        raise JoinError(
            f"label scheme {first.scheme.name} gives all clips of {', '.join(names)} that are tested one label, which "
            "leaves nothing to learn; choose another label_scheme."
        )
    digest = hashlib.sha256(json.dumps([[part.fingerprint for part in parts], list(aside)]).encode())
    warnings = [f"{name}: {part.warning}" for part, name in zip(parts, names, strict=True) if part.warning]
    told = [
        f"{'Added to training, ' if only else ''}{', '.join(part.databases)}: {part.description}"
        for part, only in zip(parts, training_only, strict=True)
    ]
    return LabelledClips(
        rows=datasets.concatenate_datasets([part.rows for part in parts]),
        labels=labels,
        scheme=first.scheme,
        description=" ".join(told),
        synthetic=first.synthetic,
        fingerprint=digest.hexdigest(),
        flow=first.flow,
        places=_joined_places([part.places or locate_frames(part.rows) for part in parts]),
        warning="; ".join(warnings) or None,
        preparation=first.preparation,
        training_only=aside,
    )


def _joined_places(places: Sequence[MappedFrames]) -> MappedFrames:
    offsets = np.cumsum([0, *(len(place.files) for place in places[:-1])])
    return MappedFrames(
        tuple(file for place in places for file in place.files),
        np.concatenate([place.file + offset for place, offset in zip(places, offsets, strict=True)]),
        np.concatenate([place.start for place in places]),
        np.concatenate([place.shape for place in places]),
    )


def _refuse_differences(first: LabelledClips, second: LabelledClips, name: str, other: str) -> None:
    """A model would tell databases apart by the way they were prepared, or see one of them at another scale."""
    if first.synthetic != second.synthetic:
        drawn, recorded = (name, other) if first.synthetic else (other, name)
        raise JoinError(
            f"{drawn} is of drawn faces and {recorded} of recorded ones; drawn faces are for pre-training "
            "(pretrain_synthetic, or pretrain_dataset)."
        )
    one = {**first.preparation, "stored flow": first.flow}
    two = {**second.preparation, "stored flow": second.flow}
    different = [
        f"{field}: {_text(one.get(field))} → {_text(two.get(field))}"
        for field in sorted({*one, *two})
        if one.get(field) != two.get(field)
    ]
    if different:
        raise JoinError(
            f"{name} and {other} were prepared in different ways ({'; '.join(different)}). Prepare both with the same "
            "options, or with the same recipe's section `prepare`."
        )


def _text(value: Mapping[str, Any] | Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} {_text(entry)}" for key, entry in value.items()) + "}"
    return str(value)
