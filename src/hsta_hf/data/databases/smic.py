"""SMIC (Li et al. 2013), recorded by three cameras (HS, VIS, NIR): the owner's files as they come.

Frames are `SMIC_all_raw/HS/s01/micro/negative/s1_ne_01/image000123.bmp` (raw) and
`SMIC_all_cropped/HS/s1/micro/negative/s1_ne_01/reg_image000123.bmp` (cropped and registered); ROOT may be the folder
that holds both, one of the two, or the camera's own. There is no annotation: the label is the folder's name, onset and
offset are the first and the last frame, the apex is unknown and has to be spotted. Clips without a micro-expression
(`non_micro`) are counted and left alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hsta_hf.data.clip import APEX_UNKNOWN, MicroExpressionClip
from hsta_hf.data.databases.base import ERROR, NON_MICRO, WARNING, Database, DatabaseError, LoadReport, Problem
from hsta_hf.data.databases.synthetic import calls_itself_synthetic
from hsta_hf.data.databases.timing import resolve_timing
from hsta_hf.data.frame_folders import FrameFolders, UnsafePathError, plain_letters
from hsta_hf.data.wording import listing

RAW, CROPPED = "raw", "cropped"
VARIANTS: tuple[str, ...] = (RAW, CROPPED)
EMOTIONS: tuple[str, ...] = ("negative", "positive", "surprise")

# A frame's name without suffix, by variant. The owner's are lower case; unpacking may change that.
_FRAME_NAMES: Mapping[str, re.Pattern[str]] = {
    RAW: re.compile(r"image([0-9]+)", re.IGNORECASE),
    CROPPED: re.compile(r"reg_image([0-9]+)", re.IGNORECASE),
}
_SUBJECT = re.compile(r"s0*([0-9]+)", re.IGNORECASE)
# `s1_ne_01`, `s20_sur_03`: subject, the label's first letters, a number.
_CLIP = re.compile(r"s0*([0-9]+)_([a-z]{2,})_?[0-9]+", re.IGNORECASE)


@dataclass(frozen=True)
class _Camera:
    """One of the three recordings.

    Attributes:
        folder: Name of its folder.
        name: Name of the database.
        title: What reports call it.
        fps: Frames per second.
        published: The owner's counts.
    """

    folder: str
    name: str
    title: str
    fps: float
    published: Mapping[str, Mapping[str, int]]


# Clips, subjects and frame rates after Li et al. 2013 and the owner's page (oulu.fi/cmvs/node/41319). How the clips of
# VIS and NIR fall into the three classes could not be had from the owner: their totals are compared, nothing else.
_HS = _Camera(
    "HS",
    "smic_hs",
    "SMIC-HS",
    100.0,
    {
        "rows": {"all": 164},
        "subjects": {"all": 16},
        "emotion": {"negative": 70, "positive": 51, "surprise": 43},
    },
)
_VIS = _Camera("VIS", "smic_vis", "SMIC-VIS", 25.0, {"rows": {"all": 71}, "subjects": {"all": 8}})
_NIR = _Camera("NIR", "smic_nir", "SMIC-NIR", 25.0, {"rows": {"all": 71}, "subjects": {"all": 8}})
_CAMERAS = (_HS, _VIS, _NIR)


def _load(
    camera: _Camera, root: str | Path, annotation: str | Path | None = None, variant: str | None = None
) -> LoadReport:
    """Read one camera's recordings of SMIC.

    Args:
        camera: Which.
        root: The folder of SMIC, of one version of its frames (`SMIC_all_cropped`), or of the camera (`HS`).
        annotation: None: SMIC has no annotation table.
        variant: "raw" or "cropped"; None takes the raw frames where they are there.

    Returns:
        The usable clips and everything that was found wrong, by clip.

    Raises:
        DatabaseError: if there is no such folder, no frame of the camera in it, or an annotation is given.
    """
    root = Path(root)
    if not root.is_dir():
        raise DatabaseError(f"{root} is not a folder; give the folder of SMIC that holds {camera.folder}")
    if annotation is not None:
        raise DatabaseError(f"{camera.title} has no annotation table, labels are folder names; leave --annotation out")
    if variant is not None and variant not in VARIANTS:
        raise DatabaseError(f"{camera.title} has no variant {variant!r}; there are {', '.join(VARIANTS)}")
    folder, variant = _choose(camera, root, variant)
    reader = _Reader(camera, root, folder, variant)
    reader.read()
    synthetic = calls_itself_synthetic(root)
    return LoadReport(
        database=camera.name,
        root=root,
        annotation=None,
        num_rows=len(reader.labels),
        clips=tuple(reader.clips),
        problems=tuple(reader.problems),
        corrections=(),
        synthetic=synthetic,
        row_counts={
            "rows": {"all": len(reader.labels)},
            "subjects": {"all": len(reader.subjects)},
            "emotion": dict(sorted(Counter(reader.labels).items())),
        },
        published_counts={} if synthetic else camera.published,
        variant=variant,
        left_out={NON_MICRO: reader.non_micro} if reader.non_micro else {},
    )


def _choose(camera: _Camera, root: Path, variant: str | None) -> tuple[Path, str]:
    """The camera's folder below `root` and the variant that is read in it."""
    found: dict[str, list[Path]] = {name: [] for name in VARIANTS}
    for folder in _camera_folders(camera, root):
        for name in _variants_in(folder):
            found[name].append(folder)
    present = [name for name in VARIANTS if found[name]]
    if not present:
        raise DatabaseError(
            f"{root}: no frames of {camera.title} found. Expected {_layout(camera)}; ROOT holds: {listing(root)}"
        )
    chosen = variant or present[0]
    if chosen not in present:
        raise DatabaseError(f"{root} holds no {chosen} frames of {camera.title}, only {', '.join(present)} ones")
    if len(found[chosen]) > 1:
        names = ", ".join(str(folder) for folder in found[chosen])
        raise DatabaseError(f"{root} holds {chosen} frames of {camera.title} in several folders ({names}); give one")
    return found[chosen][0], chosen


def _camera_folders(camera: _Camera, root: Path) -> Iterator[Path]:
    """`root` itself, if it is the camera's folder; else the camera's folders in it and in its folders.

    A zip unpacks into a folder of its own name, which may lie in another of that name.
    """
    others = {other.folder.casefold() for other in _CAMERAS} - {camera.folder.casefold()}
    name = root.resolve().name.casefold()
    if name not in others and any(_child(subject, "micro") for subject in _folders(root) if _is_subject(subject)):
        yield root
        return
    below = _folders(root)
    nested = [child for folder in below if (child := _child(folder, folder.name)) is not None]
    for container in (root, *below, *nested):
        folder = _child(container, camera.folder)
        if folder is not None:
            yield folder


def _variants_in(folder: Path) -> set[str]:
    """Which variants' frames lie in a camera's folder."""
    found: set[str] = set()
    for subject in filter(_is_subject, _folders(folder)):
        micro = _child(subject, "micro")
        for label in _folders(micro) if micro is not None else ():
            for path in label.glob("*/*"):
                found.update(name for name, pattern in _FRAME_NAMES.items() if pattern.fullmatch(path.stem))
                if len(found) == len(VARIANTS):
                    return found
    return found


class _Reader:
    """Turns the clip folders of one camera into clips, collecting problems on the way."""

    def __init__(self, camera: _Camera, root: Path, folder: Path, variant: str) -> None:
        self.camera, self.root, self.folder, self.variant = camera, root, folder, variant
        self.frames = FrameFolders(root)
        self.clips: list[MicroExpressionClip] = []
        self.problems: list[Problem] = []
        self.labels: list[str] = []
        self.subjects: set[str] = set()
        self.non_micro = 0

    def read(self) -> None:
        """Read every clip of every subject."""
        found: dict[tuple[str, str], list[tuple[str, Path]]] = {}
        for folder in _folders(self.folder):
            match = _SUBJECT.fullmatch(folder.name)
            if match is None:
                self._left_alone(folder, "a subject's folder (s01, s1)")
                continue
            subject = f"s{match.group(1)}"
            for part in _folders(folder):
                kind = plain_letters(part.name)
                if kind == "nonmicro":
                    self.non_micro += len(_folders(part))
                elif kind != "micro":
                    self._left_alone(part, "micro or non_micro")
                else:
                    for label, clip in self._clip_folders(part):
                        found.setdefault((subject, clip.name), []).append((label, clip))
        for (subject, name), places in sorted(found.items(), key=lambda item: tuple(map(_natural, item[0]))):
            self.subjects.add(subject)
            self.labels.extend(label for label, _ in places)
            # Of two folders of one name the one whose label goes with the name is the clip.
            places.sort(key=lambda place: place[0] != _label_in(name))
            self._read_clip(subject, *places[0])
            for _, again in places[1:]:
                what = "repeats" if again.parent.name.casefold() == places[0][0] else "contradicts"
                message = f"{what} {self._source(places[0][1])}, which has the same name; this folder is left out"
                self._problem(f"{subject}/{name}", "row", message, ERROR, again)

    def _clip_folders(self, micro: Path) -> Iterator[tuple[str, Path]]:
        """(label, clip folder) of everything in a subject's `micro` folder."""
        for folder in _folders(micro):
            label = folder.name.casefold()
            for clip in _folders(folder):
                yield label, clip

    def _read_clip(self, subject: str, label: str, folder: Path) -> None:
        clip = f"{subject}/{folder.name}"
        if label not in EMOTIONS:
            message = f"the folder {folder.parent.name!r} is none of {', '.join(EMOTIONS)}; the clip is left out"
            self._problem(clip, "emotion", message, ERROR, folder)
            return
        self._check_name(clip, subject, label, folder)
        pattern = _FRAME_NAMES[self.variant]
        try:
            parts = folder.relative_to(self.root).parts
            on_disk, repeated = self.frames.frames(*parts, name=pattern), self.frames.repeated(*parts, name=pattern)
        except (OSError, UnsafePathError) as error:
            self._problem(clip, "frames", f"{error}; the clip is left out", ERROR, folder)
            return
        if len(on_disk) < 2:
            called = "reg_image<n>.bmp" if self.variant == CROPPED else "image<n>.bmp"
            message = f"fewer than 2 frames called {called} ({len(on_disk)}); the clip is left out"
            self._problem(clip, "frames", message, ERROR, folder)
            return
        timing = resolve_timing(min(on_disk), None, max(on_disk), on_disk, self.camera.fps, repeated=repeated)
        clip = f"{clip}/{timing.onset}/?/{timing.offset}"
        for field, message, severity in timing.findings:
            if field != "Apex":  # no clip of SMIC has one: that is no finding about this clip
                self._problem(clip, field, message, severity, folder)
        self.clips.append(
            MicroExpressionClip(
                clip_id=f"{self.camera.name}/{subject}/{folder.name}/{timing.onset}",
                database=self.camera.name,
                subject=subject,
                filename=folder.name,
                onset=timing.onset,
                apex=None,
                offset=timing.offset,
                frame_paths=tuple(on_disk[number] for number in timing.frame_numbers),
                frame_numbers=timing.frame_numbers,
                fps=self.camera.fps,
                emotion=label,
                apex_source=APEX_UNKNOWN,
                source=self._source(folder),
                variant=self.variant,
            )
        )

    def _check_name(self, clip: str, subject: str, label: str, folder: Path) -> None:
        """Report a clip whose name says another subject or label than its folders."""
        match = _CLIP.fullmatch(folder.name)
        if match is None:
            message = "the name is not of the form s1_ne_01: it cannot be checked against the folders"
            self._problem(clip, "folder", message, WARNING, folder)
            return
        named = _label_in(folder.name)
        if named != label:
            message = f"the name says {named or match.group(2)!r}, the folder {label!r}: one of them is wrong; "
            self._problem(clip, "emotion", f"{message}the folder's label is used", ERROR, folder)
        if f"s{match.group(1)}" != subject:
            message = f"the name says s{match.group(1)}, the folder {subject}: one of them is wrong; "
            self._problem(clip, "subject", f"{message}the folder's subject is used", ERROR, folder)

    def _left_alone(self, folder: Path, expected: str) -> None:
        message = f"the folder is not {expected}; it is left alone"
        self._problem(self._source(folder), "folder", message, WARNING, folder)

    def _problem(self, clip: str, field: str, message: str, severity: str, folder: Path) -> None:
        self.problems.append(Problem(clip, field, message, severity, self._source(folder)))

    def _source(self, folder: Path) -> str:
        return folder.relative_to(self.root).as_posix()


def _label_in(clip_name: str) -> str | None:
    """The label that a clip's name says: `s1_ne_01` is negative."""
    match = _CLIP.fullmatch(clip_name)
    letters = match.group(2).casefold() if match is not None else ""
    return next((label for label in EMOTIONS if letters and label.startswith(letters)), None)


def _folders(folder: Path) -> list[Path]:
    """The folders in a folder in natural order, without what unpacking and file managers leave behind."""
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX"))]
    return sorted(found, key=lambda path: _natural(path.name))


def _child(folder: Path, name: str) -> Path | None:
    """The folder called `name` in `folder`, case aside."""
    return next((path for path in _folders(folder) if path.name.casefold() == name.casefold()), None)


def _is_subject(folder: Path) -> bool:
    return _SUBJECT.fullmatch(folder.name) is not None


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts s2 before s10."""
    parts = re.split(r"([0-9]+)", text.casefold())
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part)


def _layout(camera: _Camera) -> str:
    return (
        f"ROOT/SMIC_all_raw/{camera.folder}/s01/micro/negative/s1_ne_01/image000123.bmp, "
        f"or SMIC_all_cropped with reg_image000123.bmp, or ROOT further down"
    )


DATABASES: tuple[Database, ...] = tuple(
    Database(
        name=camera.name,
        title=camera.title,
        layout=_layout(camera),
        load=partial(_load, camera),
        variants=VARIANTS,
        aligned_variants=(CROPPED,),
    )
    for camera in _CAMERAS
)
