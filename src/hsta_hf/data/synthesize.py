"""Write a database of synthetic, drawn faces in CAS(ME)^3's layout.

    hsta synthesize data/drawn --subjects 16 --clips-per-subject 14

It exists to try the whole path from files to report without anybody's face, and to pre-train on. The persons do
not exist and no number measured on them is a result on people. `drawn_face` draws the persons, `drawn_motion`
moves them by FACS action units, `drawn_clip` makes clips; this module chooses what happens and writes it down.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from hsta_hf.data.drawn_clip import DrawnClip, draw_clip
from hsta_hf.data.drawn_face import DrawnSubject, draw_subject
from hsta_hf.data.drawn_motion import parse_action_units

ANNOTATION_FILE = "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx"
ANNOTATION_COLUMNS = ("Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion")
FRAMES_PER_SECOND = 30
LETTERS = "abcdefghijklm"
JPEG_QUALITY = 95

# Emotion -> the combinations of action units that stand for it, each with its objective class
# (Davison et al. 2018, by the set of action units).
EXPRESSIONS: dict[str, dict[str, str]] = {
    "happy": {"6+12": "I", "12": "I", "6+12+25": "VII", "R12": "I", "L12": "I"},
    "anger": {"4": "III", "4+7": "III", "4+5": "III", "4+5+7": "III"},
    "disgust": {"9": "IV", "10": "IV", "4+9": "IV", "4+10": "VII", "L10": "IV", "R10": "IV"},
    "fear": {"20": "VI", "1+2+4": "VI", "1+2+4+20": "VII"},
    "sad": {"15": "V", "1+4": "V", "1+15": "VII", "15+17": "V"},
    "surprise": {"1+2": "II", "5": "II", "1+2+5": "VII", "R1+R2": "II"},
    "others": {"14": "VII", "L14": "VII", "R14": "VII", "17": "VII", "18": "VII", "24": "VII", "14+24": "VII"},
}
EMOTIONS: tuple[str, ...] = tuple(EXPRESSIONS)

_SYNTHETIC = "SYNTHETIC DATABASE: drawn faces of persons who do not exist."
_README = """{first}

Made by `hsta synthesize` of hsta-hf {version}: {subjects} drawn subjects, {clips} clips, {size}x{size} pixels,
{fps} frames per second, seed {seed}, movements of {low} to {high} pixels at a frame of 224 pixels.

The layout is that of CAS(ME)^3, part A, so that the same loader reads both; nothing in here comes from
CAS(ME)^3 or from any recording of a person. Emotions follow from the drawn action units by a table, not from
anything felt. No number measured on this database is a result on people.
"""


def random_action_units(emotion: str, rng: np.random.Generator) -> str:
    """One of the combinations of action units that stand for `emotion`, all as likely.

    Raises:
        ValueError: an emotion that is not in `EMOTIONS`.
    """
    if emotion not in EXPRESSIONS:
        raise ValueError(f"unknown emotion {emotion!r}; known: {', '.join(EMOTIONS)}")
    return str(rng.choice(list(EXPRESSIONS[emotion])))


def emotion_of(action_units: str) -> str:
    """The emotion that a combination of `EXPRESSIONS` stands for.

    Raises:
        KeyError: the combination stands for none.
    """
    wanted = set(parse_action_units(action_units))
    for emotion, combinations in EXPRESSIONS.items():
        if any(set(parse_action_units(combination)) == wanted for combination in combinations):
            return emotion
    raise KeyError(f"no emotion is given by action units {action_units!r}")


@dataclass(frozen=True)
class PlannedClip:
    """What is to be drawn: the clip's number within its subject, its emotion and action units."""

    subject: int
    clip: int
    emotion: str
    action_units: str
    objective_class: str


def plan(
    num_subjects: int, clips_per_subject: int, seed: int, balance: Mapping[str, float] | None = None
) -> list[PlannedClip]:
    """Decide every clip's expression, so that each subject and the whole come as near to `balance` as can be.

    `balance` gives emotions weights, equal ones if None; emotions it leaves out do not appear.

    Raises:
        ValueError: no subjects or clips, unknown emotions, or weights that do not add up to something.
    """
    if num_subjects < 1 or clips_per_subject < 1:
        raise ValueError(
            f"asked for {num_subjects} subjects with {clips_per_subject} clips each; need at least 1 and 1"
        )
    weights = dict.fromkeys(EMOTIONS, 1.0) if balance is None else dict(balance)
    unknown = sorted(set(weights) - set(EMOTIONS))
    if unknown:
        raise ValueError(f"unknown emotions in balance: {', '.join(unknown)}; known: {', '.join(EMOTIONS)}")
    if min(weights.values(), default=0) < 0 or sum(weights.values()) <= 0:
        raise ValueError(f"the weights in balance must not be negative and not all be 0: {weights}")
    rng = np.random.default_rng([seed, 1])
    share = np.array([weights.get(emotion, 0.0) for emotion in EMOTIONS]) / sum(weights.values())
    decks = {emotion: _endless_deck(list(EXPRESSIONS[emotion]), rng) for emotion in EMOTIONS}
    owed = np.zeros(len(EMOTIONS))
    planned = []
    for subject in range(num_subjects):
        owed += clips_per_subject * share
        chosen = []
        for _ in range(clips_per_subject):
            best = int(np.argmax(owed + 1e-3 * rng.random(len(owed)) - 1e9 * (share == 0)))
            owed[best] -= 1
            chosen.append(EMOTIONS[best])
        for clip, emotion in enumerate(rng.permutation(chosen)):
            units = next(decks[emotion])
            planned.append(PlannedClip(subject, clip, str(emotion), units, EXPRESSIONS[emotion][units]))
    return planned


def _endless_deck(cards: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """Deal the cards in random order, shuffle, deal again."""
    while True:
        for i in rng.permutation(len(cards)):
            yield cards[i]


def subject_name(index: int) -> str:
    """The name of the subject of that index (from 0), in CAS(ME)^3's manner."""
    return f"spNO.{index + 1}"


def database_subject(index: int, *, size: int = 192, seed: int = 0) -> DrawnSubject:
    """Subject number `index` (from 0) of the database of that seed."""
    return draw_subject([seed, 2, index], size=size, name=subject_name(index))


def synthesize(
    out: Path,
    *,
    num_subjects: int = 16,
    clips_per_subject: int = 14,
    size: int = 192,
    seed: int = 0,
    amplitude: tuple[float, float] = (0.5, 4.0),
    num_frames: tuple[int, int] = (8, 20),
    distractors: float = 0.6,
    head_motion: float = 1.0,
    balance: Mapping[str, float] | None = None,
    videos: bool = False,
    progress: bool = False,
) -> Path:
    """Write a synthetic database to the folder `out` and return `out`.

    The folder holds `<subject>/<letter>/color/<n>.jpg`, the annotation file under its CAS(ME)^3 name and a
    README.txt that says what this is. It appears whole or not at all: until it is done, it is `<out>.partial`.

    Args:
        out: a folder that does not exist or is empty.
        num_subjects: how many persons to draw.
        clips_per_subject: clips of each; from the 14th on, letters hold several clips, as in CAS(ME)^3.
        size: side of the square frames in pixels.
        seed: the same seed and arguments draw the same frames, to the byte.
        amplitude, num_frames, distractors, head_motion: see `drawn_clip.draw_clip`.
        balance: weight of each emotion, equal if None.
        videos: also write each clip, onset to offset, as `videos/<subject>_<letter>_<onset>_<emotion>.mp4`.
        progress: show a progress bar.

    Raises:
        FileExistsError: `out` holds something already.
        ValueError: arguments that cannot be met.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(
            f"{out} exists and is not an empty folder; choose another place for the synthetic database or remove it"
        )
    planned = plan(num_subjects, clips_per_subject, seed, balance)
    partial = _fresh_partial(out)
    text = _README.format(
        first=_SYNTHETIC,
        version=_version(),
        subjects=num_subjects,
        clips=len(planned),
        size=size,
        fps=FRAMES_PER_SECOND,
        seed=seed,
        low=amplitude[0],
        high=amplitude[1],
    )
    (partial / "README.txt").write_text(text, encoding="utf-8")

    rows = []
    subject: DrawnSubject | None = None
    next_free: dict[str, int] = {}
    for item in tqdm(planned, desc="drawing synthetic clips", unit="clip", disable=not progress):
        if subject is None or subject.name != subject_name(item.subject):
            subject = database_subject(item.subject, size=size, seed=seed)
            next_free = {}
        rng = np.random.default_rng([seed, 3, item.subject, item.clip])
        clip = draw_clip(
            subject,
            item.action_units,
            rng,
            amplitude=amplitude,
            num_frames=num_frames,
            distractors=distractors,
            head_motion=head_motion,
        )
        letter = LETTERS[item.clip % len(LETTERS)]
        first = next_free.get(letter, 1) + int(rng.integers(30, 2500))
        next_free[letter] = first + len(clip.frames)
        _write_frames(partial / subject.name / letter / "color", clip, first)
        if videos:
            name = f"{subject.name}_{letter}_{first + clip.onset}_{item.emotion}.mp4"
            _write_video(partial / "videos" / name, clip)
        rows.append(
            (
                subject.name,
                letter,
                first + clip.onset,
                first + clip.apex,
                first + clip.offset,
                item.action_units,
                item.objective_class,
                item.emotion,
            )
        )
    table = pd.DataFrame(rows, columns=list(ANNOTATION_COLUMNS))
    table.to_excel(partial / ANNOTATION_FILE, index=False)
    if out.exists():
        out.rmdir()
    partial.rename(out)
    return out


def _version() -> str:
    from hsta_hf import __version__

    return __version__


def _fresh_partial(out: Path) -> Path:
    """An empty folder beside `out` to write into; removes what an interrupted run of ours left there."""
    partial = out.with_name(out.name + ".partial")
    if partial.exists():
        readme = partial / "README.txt"
        if not readme.is_file() or not readme.read_text(encoding="utf-8").startswith(_SYNTHETIC):
            raise FileExistsError(f"{partial} is in the way and was not made by hsta synthesize; remove or rename it")
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    return partial


def _write_frames(folder: Path, clip: DrawnClip, first: int) -> None:
    """Write all frames of a clip as JPEG files numbered from `first`."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(clip.frames, start=first):
        path = folder / f"{number}.jpg"
        if path.exists():
            raise FileExistsError(f"{path} exists already; two clips of one recording overlap")
        if not cv2.imwrite(str(path), frame[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]):
            raise OSError(f"could not write {path}; is the disk full?")


def _write_video(path: Path, clip: DrawnClip) -> None:
    """Write the frames from onset to offset as an H.264 video without visible loss."""
    path.parent.mkdir(exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"crf": "8"})
        stream.height, stream.width = clip.frames.shape[1:3]
        stream.pix_fmt = "yuv444p"
        for frame in clip.frames[clip.onset : clip.offset + 1]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
