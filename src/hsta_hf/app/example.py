"""A clip of a drawn face, so that the page can be tried without a film, and without anybody's face."""

from __future__ import annotations

import numpy as np

from hsta_hf.app.intake import Footage
from hsta_hf.data.drawn_clip import draw_clip
from hsta_hf.data.synthesize import EXPRESSIONS, database_subject

_SIZE = 256
_RATE = 30


def drawn_footage(number: int) -> Footage:
    """A drawn person who makes one movement, with a few still frames before and after it.

    Args:
        number: which person and movement; the same number draws the same frames.
    """
    rng = np.random.default_rng([number, 7])
    emotion = str(rng.choice(sorted(EXPRESSIONS)))
    units = str(rng.choice(list(EXPRESSIONS[emotion])))
    subject = database_subject(number, size=_SIZE, seed=number)
    clip = draw_clip(subject, units, rng, amplitude=(2.5, 4.0), num_frames=(12, 18), lead=(3, 5), distractors=0.0)
    note = (
        f"A drawn face, no real person. It was drawn with action units {clip.action_units}, which go with "
        f"“{emotion}”: onset at frame {clip.onset}, apex at {clip.apex}, offset at {clip.offset}."
    )
    return Footage("a drawn face", clip.frames, np.arange(len(clip.frames)) / _RATE, (note,))
