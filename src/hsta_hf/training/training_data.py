"""What a model was trained on, as its configuration carries it: so that nobody tests it on people it has seen.

The configuration's field `training_data` travels with the weights wherever they are saved, pushed, pulled or trained
on from. It holds digests of people in place of their names, which may be real names in a folder of one's own, and
which nobody needs: whoever has a database can tell whether a digest is of one of its people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hsta_hf.data.people import cast_of
from hsta_hf.training.clips import LabelledClips

FIELD = "training_data"
_DIGITS = 16  # of a digest: 64 bits


@dataclass(frozen=True)
class TrainingData:
    """What a model, and every model that it started from, was trained on.

    Attributes:
        people: digests of the people, by database; databases with one cast count as one.
        protocols: the protocols of the runs that trained it.
        databases: names of the databases.
        unknown: models that it started from, which do not say what they were trained on.
    """

    people: Mapping[str, frozenset[str]] = field(default_factory=dict)
    protocols: frozenset[str] = frozenset()
    databases: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()

    def __or__(self, other: TrainingData) -> TrainingData:
        casts = {*self.people, *other.people}
        return TrainingData(
            {cast: self.people.get(cast, frozenset()) | other.people.get(cast, frozenset()) for cast in casts},
            self.protocols | other.protocols,
            self.databases | other.databases,
            self.unknown | other.unknown,
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain lists, for the configuration."""
        return {
            "databases": sorted(self.databases),
            "protocols": sorted(self.protocols),
            "people": {cast: sorted(self.people[cast]) for cast in sorted(self.people)},
            "unknown": sorted(self.unknown),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TrainingData:
        """What `to_dict` made.

        Raises:
            ValueError: the content is something else.
        """
        try:
            people = {str(cast): frozenset(map(str, digests)) for cast, digests in content["people"].items()}
            rest = [frozenset(map(str, content[name])) for name in ("protocols", "databases", "unknown")]
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the field {FIELD} of the model's configuration is damaged ({error!r})") from error
        return cls(people, *rest)


def training_data_of(config: Any, name: str) -> TrainingData:
    """What a model was trained on, by its configuration; `unknown` names it where that does not say.

    Args:
        config: a configuration.
        name: what to call the model.

    Raises:
        ValueError: what it says is damaged.
    """
    content = getattr(config, FIELD, None)
    if content is None:
        return TrainingData(unknown=frozenset({name}))
    return TrainingData.from_dict(content)


def trained_on(clips: LabelledClips, indices: Iterable[int], protocol: str) -> TrainingData:
    """What a training on some clips adds.

    Args:
        clips: the clips of the run.
        indices: those that trained or chose the epoch.
        protocol: of the run.
    """
    chosen = list(indices)
    databases, digests = clips.column("database"), person_digests(clips)
    people: dict[str, dict[str, str]] = {}
    for index in chosen:
        # Of a drawn person, whose clips have different digests, the smallest stands for all.
        subject, digest = digests[index]
        noted = people.setdefault(_source(clips, databases[index]), {})
        noted[subject] = min(noted.get(subject, digest), digest)
    return TrainingData(
        {cast: frozenset(noted.values()) for cast, noted in people.items()},
        frozenset({protocol}),
        frozenset(f"{'drawn ' * clips.synthetic}{databases[index]}" for index in chosen),
    )


def person_digests(clips: LabelledClips) -> list[tuple[str, str]]:
    """Subject and digest of the person in every clip.

    A recorded person is a database, or the databases with the same cast, and a subject. Every synthetic database calls
    its first subject spNO.1, so that a drawn one is recognised by the first frame of a clip; digests then differ from
    clip to clip.
    """
    rows = zip(clips.column("database"), clips.column("subject"), _first_hashes(clips), strict=True)
    return [(subject, _digest(cast_of(database), subject, *frame)) for database, subject, frame in rows]


def seen_people(data: TrainingData, clips: LabelledClips, people: Sequence[str]) -> list[str]:
    """Of `people`, those whom a model was trained on, each once, in the order of the clips.

    Args:
        data: what the model was trained on.
        clips: the clips of a run.
        people: name of the person in every clip (`Split.people`).
    """
    found: dict[str, None] = {}
    rows = zip(clips.column("database"), person_digests(clips), people, strict=True)
    for database, (_, digest), person in rows:
        if digest in data.people.get(_source(clips, database), ()):
            found[person] = None
    return list(found)


def _source(clips: LabelledClips, database: str) -> str:
    """What a database's people are listed by; drawn ones apart, who are not those of the database they imitate."""
    return f"{'drawn ' * clips.synthetic}{cast_of(database)}"


def _first_hashes(clips: LabelledClips) -> list[tuple[str, ...]]:
    if not clips.synthetic:
        return [()] * len(clips)
    return [("drawn", str(hashes[0])) for hashes in clips.column("frame_hashes")]


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]
