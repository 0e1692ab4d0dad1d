"""The composite database of MEGC 2019 (See et al. 2019): SMIC-HS, CASME II and SAMM in three classes.

ROOT holds one folder per member, each as its own loader takes it: `SMIC`, `CASME2` (or `CASMEII`) and `SAMM`, case
aside. Where they lie elsewhere, ROOT is a YAML file that says where, relative to itself:

    smic_hs: /data/SMIC
    casme2: ../CASME2
    samm: {root: /data/SAMM, annotation: /data/SAMM_Micro_FACS_Codes_v2.xlsx}

A clip keeps its member's id, its `database` (scores per database need it) and its subject; its emotion becomes the
class. Who it shows is the pair of database and subject: no two members share a person. What the composite leaves out
is counted by reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from hsta_hf.data.clip import MicroExpressionClip
from hsta_hf.data.databases.base import WARNING, Correction, Database, DatabaseError, LoadReport, Problem
from hsta_hf.data.databases.synthetic import calls_itself_synthetic
from hsta_hf.data.frame_folders import plain_letters
from hsta_hf.data.wording import nearest

NAME = "megc2019"
TITLE = "MEGC 2019 composite"
CLASSES: tuple[str, ...] = ("negative", "positive", "surprise")
RAW, CROPPED = "raw", "cropped"
VARIANTS: tuple[str, ...] = (RAW, CROPPED)
RULE = "not among the 145 clips of CASME II in the list of MEGC 2019 (See et al. 2019)"

_YAML_SUFFIXES = (".yaml", ".yml")
_PLACE_KEYS = ("root", "annotation", "variant")


@dataclass(frozen=True, eq=False)
class Member:
    """One of the composite's databases and what is taken of it. Each is equal to itself only.

    Attributes:
        name: Name of the database.
        folders: Names of its folder in ROOT; case, spaces and punctuation do not matter.
        classes: Emotion to class; emotions that are not in it are left out.
        left_out: Clips that are left out by name: (subject, filename).
        published: Published number of clips of each class.
        subjects: Published number of subjects.
    """

    name: str
    folders: tuple[str, ...]
    classes: Mapping[str, str]
    left_out: frozenset[tuple[str, str]]
    published: Mapping[str, int]
    subjects: int


def _classes(negative: Sequence[str], positive: str) -> dict[str, str]:
    return {**dict.fromkeys(negative, "negative"), positive: "positive", "surprise": "surprise"}


# See et al., "MEGC 2019: the second facial micro-expressions grand challenge", FG 2019.
MEMBERS: tuple[Member, ...] = (
    Member(
        "smic_hs",
        ("smic", "smichs", "smicallraw", "smicallcropped"),
        _classes(("negative",), "positive"),
        frozenset(),
        {"negative": 70, "positive": 51, "surprise": 43},
        16,
    ),
    Member(
        "casme2",
        ("casme2", "casmeii"),
        _classes(("disgust", "repression"), "happiness"),
        # Not in the challenge's list of 145 clips, though their emotions are among its classes.
        frozenset({("sub04", "EP12_01f"), ("sub05", "EP12_03f"), ("sub24", "EP02_07")}),
        {"negative": 88, "positive": 32, "surprise": 25},
        24,
    ),
    Member(
        "samm",
        ("samm",),
        _classes(("anger", "contempt", "disgust", "fear", "sadness"), "happiness"),
        frozenset(),
        {"negative": 92, "positive": 26, "surprise": 15},
        28,
    ),
)


def _published() -> dict[str, dict[str, int]]:
    """The published counts: of the whole, and per database and class."""
    sizes = {member.name: sum(member.published.values()) for member in MEMBERS}
    counts: dict[str, dict[str, int]] = {
        "rows": {"all": sum(sizes.values())},
        "subjects": {"all": sum(member.subjects for member in MEMBERS)},
        "database": sizes,
        "emotion": {name: sum(member.published[name] for member in MEMBERS) for name in CLASSES},
    }
    for member in MEMBERS:
        counts[member.name] = {**member.published, "subjects": member.subjects}
    return counts


PUBLISHED_COUNTS: Mapping[str, Mapping[str, int]] = _published()


@dataclass(frozen=True)
class _Place:
    """Where a member lies, and what its loader is told."""

    root: Path
    annotation: Path | None = None
    variant: str | None = None


def load(root: str | Path, annotation: str | Path | None = None, variant: str | None = None) -> LoadReport:
    """Read the composite.

    Args:
        root: The folder that holds the members' folders, or a YAML file that says where they are.
        annotation: None: each member has its own, which the YAML file can name.
        variant: "raw" or "cropped", for the members that have both; None takes the first of the two that all of them
            have.

    Returns:
        The clips of the composite. Problems and corrections are those of the members, those about clips that the
        composite leaves out among them; their names and sources begin with the member's name.

    Raises:
        DatabaseError: if a member is not there, or cannot be read.
    """
    root = Path(root)
    if annotation is not None:
        raise DatabaseError(
            f"{TITLE} has no annotation of its own; leave --annotation out, and name the members' in a YAML file "
            f"given as ROOT (samm: {{root: ..., annotation: ...}})"
        )
    if variant is not None and variant not in VARIANTS:
        raise DatabaseError(f"{TITLE} has no variant {variant!r}; there are {', '.join(VARIANTS)}")
    folder, places = (root, _places_in(root)) if root.is_dir() else (root.parent, _places_from(root))
    reports = _load_members(places, variant)

    clips: list[MicroExpressionClip] = []
    problems: list[Problem] = []
    corrections: list[Correction] = []
    left_out: Counter[str] = Counter()
    for member, report in reports.items():
        name = member.name
        problems.extend(
            replace(p, clip=f"{name}/{p.clip}", source=f"{name}: {p.source}" if p.source else name)
            for p in report.problems
        )
        corrections.extend(
            replace(c, clip=f"{name}/{c.clip}", source=f"{name}: {c.source}" if c.source else name)
            for c in report.corrections
        )
        left_out.update({f"{name}: {reason}": count for reason, count in report.left_out.items()})
        by_name: list[str] = []
        for clip in report.clips:
            label = member.classes.get(clip.emotion or "")
            if label is None:
                left_out[f"{name}: {clip.emotion or 'no emotion'}"] += 1
            elif (clip.subject, clip.filename) in member.left_out:
                by_name.append(f"{clip.subject}/{clip.filename}")
            else:
                clips.append(replace(clip, emotion=label, source=f"{name}: {clip.source}"))
        if by_name:
            left_out[f"{name}: {', '.join(by_name)}, {RULE}"] = len(by_name)
    mixture = _mixture(reports)
    if mixture:
        problems.append(Problem(NAME, "variant", mixture, WARNING))
    synthetic = calls_itself_synthetic(folder) or any(report.synthetic for report in reports.values())
    versions = {report.variant for report in reports.values() if report.variant}
    return LoadReport(
        database=NAME,
        root=folder,
        annotation=None,
        num_rows=sum(report.num_rows for report in reports.values()),
        clips=tuple(clips),
        problems=tuple(problems),
        corrections=tuple(corrections),
        synthetic=synthetic,
        row_counts=_counts(clips),
        published_counts={} if synthetic else PUBLISHED_COUNTS,
        variant=versions.pop() if len(versions) == 1 and not mixture else "",
        left_out=dict(left_out),
    )


def _database(member: Member) -> Database:
    from hsta_hf.data.databases import get_database  # the registry imports this module by name, when asked

    return get_database(member.name)


def _places_in(root: Path) -> dict[Member, _Place]:
    """The members' folders in `root`."""
    entries = sorted(path for path in root.iterdir() if path.is_dir())
    places = {}
    for member in MEMBERS:
        found = [path for path in entries if plain_letters(path.name) in member.folders]
        if not found:
            holds = ", ".join(path.name for path in entries if not path.name.startswith(".")) or "no folders"
            raise DatabaseError(
                f"{root}: no folder of {member.name} ({', '.join(member.folders)}, case aside); ROOT holds: {holds}. "
                f"Put the members side by side, or give as ROOT a YAML file that names the three "
                f"({', '.join(m.name for m in MEMBERS)})"
            )
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise DatabaseError(
                f"{root}: {names} may all be {member.name}; give as ROOT a YAML file that names the right one"
            )
        places[member] = _Place(found[0])
    return places


def _places_from(file: Path) -> dict[Member, _Place]:
    """The members' places that a YAML file names."""
    if file.suffix.lower() not in _YAML_SUFFIXES or not file.is_file():
        raise DatabaseError(f"{file} is neither a folder nor a YAML file ({', '.join(_YAML_SUFFIXES)}) that exists")
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DatabaseError(f"{file} cannot be read as YAML: {error}") from error
    names = [member.name for member in MEMBERS]
    if not isinstance(content, dict) or set(content) != set(names):
        if isinstance(content, dict):
            missing = ", ".join(name for name in names if name not in content)
            unknown = ", ".join(_unknown(str(key), names) for key in content if key not in names)
            wrong = {"missing": missing, "unknown": unknown}
            has = "; ".join(f"{what}: {which}" for what, which in wrong.items() if which)
        else:
            has = f"it is a {type(content).__name__}"
        raise DatabaseError(f"{file} has to say where {', '.join(names)} are, these and no others; {has}")
    return {member: _place(file, member.name, content[member.name]) for member in MEMBERS}


def _unknown(key: str, names: Sequence[str]) -> str:
    near = nearest(key, names)
    return f"{key} (did you mean {near}?)" if near else key


def _place(file: Path, name: str, entry: Any) -> _Place:
    """One entry of the YAML file: a path, or root, annotation and variant."""
    fields = {"root": entry} if isinstance(entry, str) else entry
    sound = isinstance(fields, dict) and "root" in fields and set(fields) <= set(_PLACE_KEYS)
    if not sound or not all(isinstance(value, str) for value in fields.values()):
        raise DatabaseError(
            f"{file}: {name} has to be a path, or text for {', '.join(_PLACE_KEYS)} (root at least); it is {entry!r}"
        )
    annotation = fields.get("annotation")
    return _Place(
        root=file.parent / Path(fields["root"]).expanduser(),
        annotation=None if annotation is None else file.parent / Path(annotation).expanduser(),
        variant=fields.get("variant"),
    )


def _load_members(places: Mapping[Member, _Place], variant: str | None) -> dict[Member, LoadReport]:
    """Every member's report, in one version of the frames if all have it."""
    if variant is None:
        for choice in VARIANTS:
            try:
                return _load_members(places, choice)
            except DatabaseError:
                continue  # what is wrong besides the version is said below
    reports = {}
    for member, place in places.items():
        database = _database(member)
        wanted = place.variant or (variant if variant in database.variants else None)
        try:
            reports[member] = database.load(place.root, place.annotation, wanted)
        except DatabaseError as error:
            raise DatabaseError(f"{member.name}: {error}") from error
    return reports


def _mixture(reports: Mapping[Member, LoadReport]) -> str:
    """A sentence if some members' faces are cut out by their owner and some are not, else ""."""
    aligned = {m.name: report.variant in _database(m).aligned_variants for m, report in reports.items()}
    if len(set(aligned.values())) == 1:
        return ""
    cropped = ", ".join(name for name, is_aligned in aligned.items() if is_aligned)
    whole = ", ".join(name for name, is_aligned in aligned.items() if not is_aligned)
    return (
        f"frames of {cropped} are cropped by the owner, those of {whole} are not: align all of them, or the database "
        f"can be told by the size of the face"
    )


def _counts(clips: Sequence[MicroExpressionClip]) -> dict[str, dict[str, int]]:
    """Counts of the composite's clips in the form of `PUBLISHED_COUNTS`."""
    counts: dict[str, dict[str, int]] = {
        "rows": {"all": len(clips)},
        "subjects": {"all": len({(clip.database, clip.subject) for clip in clips})},
        "database": dict(Counter(clip.database for clip in clips)),
        "emotion": dict(Counter(clip.emotion or "" for clip in clips)),
    }
    for member in MEMBERS:
        own = [clip for clip in clips if clip.database == member.name]
        of_class = Counter(clip.emotion or "" for clip in own)
        counts[member.name] = {**of_class, "subjects": len({clip.subject for clip in own})}
    return counts


DATABASES: tuple[Database, ...] = (
    Database(
        name=NAME,
        title=TITLE,
        layout="ROOT/SMIC, ROOT/CASME2 and ROOT/SAMM, each as its own loader takes it, or a YAML file as ROOT",
        load=load,
        variants=VARIANTS,
        aligned_variants=(CROPPED,),
    ),
)
