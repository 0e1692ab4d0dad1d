"""What of a prepared dataset decides whether figures on it compare with the paper's."""

from __future__ import annotations

from dataclasses import dataclass

from hsta_hf.data.databases.casme3 import PUBLISHED_COUNTS
from hsta_hf.data.databases.megc2019 import MEMBERS
from hsta_hf.data.people import people_of
from hsta_hf.data.prepared import load_prepared
from hsta_hf.data.publish import prepared_folder
from hsta_hf.training.arguments import DataArguments
from hsta_hf.training.joined_clips import load_run_clips


@dataclass(frozen=True)
class DatasetFacts:
    """The clips of a run.

    Attributes:
        databases: names of the databases that are tested, sorted.
        clips, subjects: how many there are in the prepared datasets that are tested, labelled or not.
        classes: number of classes of the scheme.
        synthetic: whether the database calls itself synthetic.
        fingerprint: digest of the labelled clips.
    """

    databases: tuple[str, ...]
    clips: int
    subjects: int
    classes: int
    synthetic: bool
    fingerprint: str


def read_facts(arguments: DataArguments) -> DatasetFacts:
    """Facts of a recipe's clips.

    Raises:
        JoinError, NotPreparedError, PublishError, ValueError: see `load_run_clips`.
    """
    clips = load_run_clips(arguments)
    subjects, databases = [], []
    for name in (str(arguments.dataset), *(arguments.more_datasets or [])):
        rows = load_prepared(prepared_folder(name)).data
        subjects += rows.column("subject").to_pylist()
        databases += rows.column("database").to_pylist()
    return DatasetFacts(
        databases=tuple(sorted(set(databases))),
        clips=len(subjects),
        subjects=len(set(people_of(subjects, databases))),
        classes=clips.scheme.num_labels,
        synthetic=clips.synthetic,
        fingerprint=clips.fingerprint,
    )


class FactsReader:
    """Reads the facts of the same datasets under the same label scheme once."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], DatasetFacts] = {}

    def of(self, arguments: DataArguments) -> DatasetFacts:
        """See `read_facts`."""
        more = tuple(arguments.more_datasets or ())
        key = (arguments.dataset, more, arguments.macro_dataset, arguments.label_scheme)
        if key not in self._known:
            self._known[key] = read_facts(arguments)
        return self._known[key]


def published_size(databases: tuple[str, ...]) -> tuple[int, int] | None:
    """Clips and subjects that are published of the paper's databases together; None where one is not of them.

    CAS(ME)^3: the owner's annotation file. SMIC-HS, CASME II and SAMM: what the composite of MEGC 2019 takes of them.
    """
    known = {"casme3": (PUBLISHED_COUNTS["rows"]["all"], PUBLISHED_COUNTS["subjects"]["all"])}
    known |= {member.name: (sum(member.published.values()), member.subjects) for member in MEMBERS}
    if not set(databases) <= known.keys():
        return None
    return sum(known[name][0] for name in databases), sum(known[name][1] for name in databases)
