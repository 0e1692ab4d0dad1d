"""Writes SMIC as its owner ships it: no table, labels in folder names, raw and cropped frames."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from owners.files import write_picture

LABELS = {"negative": "ne", "positive": "po", "surprise": "sur"}
# The owner numbers the subjects with gaps: 16 of 20 people showed a micro-expression.
SUBJECTS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 18, 19, 20)
PUBLISHED = {"HS": {"negative": 70, "positive": 51, "surprise": 43}}


class SmicTree:
    """One camera's folder in one version of the frames.

    Args:
        root: The folder that is given as ROOT.
        variant: "raw" (`s01`, `image000123.bmp`) or "cropped" (`s1`, `reg_image000123.bmp`).
        camera: "HS", "VIS" or "NIR".
        below: Folders between `root` and the camera's; None: `SMIC_all_raw` or `SMIC_all_cropped`.
    """

    def __init__(self, root: Path, variant: str = "raw", camera: str = "HS", below: str | None = None) -> None:
        self.root, self.variant = root, variant
        self.folder = root / (f"SMIC_all_{variant}" if below is None else below) / camera
        self.folder.mkdir(parents=True, exist_ok=True)

    def subject(self, number: int) -> Path:
        return self.folder / (f"s{number:02d}" if self.variant == "raw" else f"s{number}")

    def clip(
        self,
        subject: int,
        label: str,
        number: int,
        frames: Iterable[int] = range(123, 127),
        *,
        folder: str | None = None,
        name: str | None = None,
        kind: str = "micro",
    ) -> Path:
        """Write a clip: `folder` is its label folder if not `label`, `name` its name if not the owner's."""
        clip = name or f"s{subject}_{LABELS[label]}_{number:02d}"
        path = self.subject(subject) / kind / (folder or label) / clip
        path.mkdir(parents=True, exist_ok=True)
        for frame in frames:
            self._write(path, frame)
        return path

    def non_micro(self, subject: int, number: int) -> Path:
        """Write a clip without a micro-expression."""
        path = self.subject(subject) / "non_micro" / f"s{subject}_n_{number:02d}"
        for frame in (5, 6, 7):
            self._write(path, frame)
        return path

    def _write(self, clip: Path, number: int) -> None:
        identity = zlib.crc32(f"{self.folder.name} {self.variant} {clip.name}".encode())
        write_picture(self.frame(clip, number), identity, number)

    def frame(self, clip: Path, number: int) -> Path:
        return clip / f"{'reg_' if self.variant == 'cropped' else ''}image{number:06d}.bmp"


def write_published(
    root: Path,
    variant: str = "raw",
    *,
    below: str | None = None,
    num_frames: int = 3,
    subjects: Sequence[int] = SUBJECTS,
) -> SmicTree:
    """Write SMIC-HS with the published 164 clips of 16 subjects: 70 negative, 51 positive, 43 surprise."""
    tree = SmicTree(root, variant, below=below)
    for label, count in PUBLISHED["HS"].items():
        for place in range(count):
            subject = subjects[place % len(subjects)]
            tree.clip(subject, label, place // len(subjects) + 1, range(123, 123 + num_frames))
    for subject in subjects:
        tree.non_micro(subject, 1)
    return tree


def lose(tree: SmicTree, clip: Path, *numbers: int) -> None:
    """Take frames out of a clip; without numbers the whole clip."""
    if not numbers:
        shutil.rmtree(clip)
    for number in numbers:
        tree.frame(clip, number).unlink()
