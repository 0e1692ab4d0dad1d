"""The video of an explanation: one map over every aligned frame, slowed down, and where in time it lies."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from hsta_hf.explanation.drawing import FACE, draw_regions
from hsta_hf.explanation.explain import METHODS, Explanation
from hsta_hf.explanation.overlay import draw_over, grey_face, tubelet_at
from hsta_hf.explanation.regions import REGIONS, region_shares
from hsta_hf.reporting.figures_style import LIGHT, figure_style, plain_axes
from hsta_hf.reporting.files import replacing

MOST_FRAMES = 300
"""A longer clip is drawn with every second, third, … frame."""
FRAMES_PER_SECOND = 8
_DOTS = 100
_NAMES = {"video": "Video stream", "special": "Special stream"}


class _Screen:
    """The picture of one frame; what does not change between frames is drawn once."""

    def __init__(self, explanation: Explanation, method: str, title: str) -> None:
        self.explanation, self.found = explanation, explanation.maps[method]
        self.shares = self.found.shares()
        self.strongest = max(float(values.max()) for values in self.found.streams.values())
        streams = list(self.found.streams)
        self.figure = Figure(figsize=(3.6 * len(streams) + 0.4, 6.2), layout="constrained", facecolor=LIGHT.surface)
        self.canvas = FigureCanvasAgg(self.figure)
        self.figure.suptitle(
            f"{title}: {explanation.label_name} {explanation.score:.2f}\n"
            f"{METHODS[method]}; yellow to red: for “{explanation.label_name}”, blue: against",
            fontsize=11,
        )
        parts: Any = self.figure.subfigures(2, 1, height_ratios=[3.4, 1.5])
        axes = parts[0].subplots(1, len(streams), squeeze=False)[0]
        self.pictures = {}
        self.axes: dict[str, Axes] = dict(zip(streams, axes, strict=True))
        for name, place in self.axes.items():
            self.pictures[name] = place.imshow(
                np.full((2 * FACE, 2 * FACE, 3), 255, np.uint8), extent=(0, FACE, FACE, 0), interpolation="nearest"
            )
            place.set_xticks([])
            place.set_yticks([])
            for side in place.spines.values():
                side.set_visible(False)
            draw_regions(place, numbers=False)
        self.cursor = self._timeline(parts[1].subplots())

    def _timeline(self, axes: Axes) -> object:
        """How much of the relevance lies in each tubelet, over the clip's time, and a line at the frame shown."""
        clip = self.explanation.clip
        frames = np.arange(clip.onset, clip.offset + 1)
        for (name, shares), colour in zip(self.shares.items(), (LIGHT.accent, LIGHT.second), strict=False):
            spoken = np.array([tubelet_at(clip, name, int(frame)) for frame in frames])
            heights = 100 * shares.sum(axis=(1, 2))[spoken]
            label = f"{_NAMES[name].lower()}, {100 * shares.sum():.0f} % in all"
            axes.step(np.append(frames, frames[-1] + 1) - 0.5, np.append(heights, heights[-1]), where="post",
                      color=colour, label=label)  # fmt: skip
        top = 1.3 * max(100 * float(shares.sum(axis=(1, 2)).max()) for shares in self.shares.values())
        axes.set_ylim(0, top)
        axes.set_xlim(clip.onset - 0.5, clip.offset + 0.5)
        named = {clip.onset: "onset", clip.offset: "offset"}
        named[clip.apex] = "apex" if clip.apex not in named else f"{named[clip.apex]}, apex"
        axes.set_xticks(list(named), [f"{frame}\n{name}" for frame, name in named.items()])
        plain_axes(axes, LIGHT)
        axes.set_ylabel("% of relevance")
        axes.legend(loc="upper right", ncols=2, fontsize=9, frameon=True, framealpha=0.8, edgecolor="none")
        return axes.axvline(clip.onset, color=LIGHT.ink, linewidth=1.2)

    def show(self, frame: int) -> np.ndarray:
        """The picture for a frame of the clip, `(height, width, 3)` uint8, both even."""
        clip = self.explanation.clip
        face = grey_face(clip.frames[frame], 2 * FACE)
        for name, place in self.axes.items():
            number = tubelet_at(clip, name, frame)
            self.pictures[name].set_data(draw_over(face, self.found.streams[name][number], self.strongest))
            shares = region_shares(self.shares[name][number])[:-1]
            best = REGIONS[int(shares.argmax())]
            shown = clip.tubelet_names(name)[number].split(", ", 1)[1]
            place.set_title(f"{_NAMES[name]}: {shown}", fontsize=10)
            most = f"{best.label}: {100 * shares.max():.0f} %" if shares.max() >= 0.005 else "hardly anything here"
            place.set_xlabel(most, fontsize=10)
        self.cursor.set_xdata([frame, frame])  # type: ignore[attr-defined]
        self.canvas.draw()
        drawn = np.asarray(self.canvas.buffer_rgba())[..., :3]
        return np.ascontiguousarray(drawn[: len(drawn) // 2 * 2, : drawn.shape[1] // 2 * 2])


def save_overlay_video(
    explanation: Explanation, method: str, title: str, path: Path, frames_per_second: float = FRAMES_PER_SECOND
) -> None:
    """Write the video as an MP4 file (H.264), whole or not at all.

    Args:
        explanation: what to draw.
        method: which of its maps.
        title: what to call the clip.
        path: the file.
        frames_per_second: how fast the clip's frames are shown; its own rate is not known here.
    """
    clip = explanation.clip
    step = -(-(clip.offset - clip.onset + 1) // MOST_FRAMES)
    rate = Fraction(frames_per_second).limit_denominator(1000)
    with figure_style(LIGHT), replacing(path) as temporary, av.open(str(temporary), "w", format="mp4") as container:
        screen = _Screen(explanation, method, title)
        stream = None
        for frame in range(clip.onset, clip.offset + 1, step):
            picture = screen.show(frame)
            if stream is None:
                stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        assert stream is not None
        container.mux(stream.encode())
