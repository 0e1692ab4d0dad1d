"""Writes a folder of one's own: videos, folders of pictures, and the table that cuts clips out of them."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np

from owners.files import write_picture, write_table

COLUMNS = (
    "path",
    "subject",
    "clip",
    "onset",
    "apex",
    "offset",
    "emotion",
    "objective_class",
    "action_units",
    "fps",
)
# Codec by ending: MP4 says how many frames it holds, Matroska does not.
_CODECS = {".mp4": "mpeg4", ".avi": "mpeg4", ".mkv": "ffv1"}


class FolderTree:
    """A folder of one's own: add recordings and rows, then `save`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.rows: list[dict[str, Any]] = []
        root.mkdir(parents=True, exist_ok=True)

    def video(self, name: str, num_frames: int = 12, fps: int = 25) -> Path:
        """Write a video of flat colours that differ by video and frame."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(_CODECS[path.suffix], rate=fps)
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
            for number in range(num_frames):
                colour = np.random.default_rng((zlib.crc32(name.encode()), number)).integers(0, 256, 3)
                picture = np.broadcast_to(colour.astype(np.uint8), (32, 32, 3))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
            container.mux(stream.encode())
        return path

    def pictures(self, folder: str, names: Iterable[str]) -> list[Path]:
        """Write pictures under the names given."""
        return [
            write_picture(self.root / folder / name, zlib.crc32(folder.encode()), zlib.crc32(name.encode()))
            for name in names
        ]

    def row(self, path: Any, subject: Any, **cells: Any) -> None:
        """Add a row of the table; cells that are not given are empty."""
        assert set(cells) < set(COLUMNS), f"no such column: {sorted(set(cells) - set(COLUMNS))}"
        self.rows.append({"path": path, "subject": subject, **cells})

    def save(
        self, name: str = "clips.csv", columns: Sequence[str] = COLUMNS, delimiter: str = ",", encoding: str = "utf-8"
    ) -> Path:
        """Write the table, as .xlsx or .csv by the name's ending."""
        rows = [tuple(columns), *(tuple(row.get(column) for column in columns) for row in self.rows)]
        if name.endswith(".csv") and (delimiter != "," or encoding != "utf-8"):
            with (self.root / name).open("w", newline="", encoding=encoding) as file:
                csv.writer(file, delimiter=delimiter).writerows(rows)
        else:
            write_table(self.root / name, rows)
        return self.root


def write_example(root: Path) -> Path:
    """Write three people, two videos and two folders of pictures, five clips, nothing wrong."""
    tree = FolderTree(root)
    tree.video("videos/anna.mp4", 20, fps=50)
    tree.video("videos/ben.mkv", 12)
    tree.pictures("ben/smile", [f"frame_{number}.png" for number in range(8, 13)])
    tree.pictures("carla/1", [f"{number:03d}.jpg" for number in range(1, 7)])
    tree.row("videos/anna.mp4", "anna", onset=2, apex=4, offset=8, emotion="surprise", action_units="1+2")
    tree.row("videos/anna.mp4", "anna", onset=10, apex=14, offset=19, emotion="disgust", action_units="L4+7")
    tree.row("videos/ben.mkv", "ben", clip="first", emotion="happiness", objective_class="I", fps=100)
    tree.row("ben/smile", "ben", apex=10, emotion="happiness", action_units="12", fps=200)
    tree.row("carla/1", "carla", onset=2, emotion="sadness", fps=29.97)
    return tree.save()
