"""The clip record: indices against frame numbers, and records that must not exist."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from hsta_hf.data.clip import MicroExpressionClip


def make_clip(**changes: Any) -> MicroExpressionClip:
    numbers = changes.pop("frame_numbers", (10, 11, 12, 13))
    fields: dict[str, Any] = {
        "clip_id": "casme3/spNO.1/a/10",
        "database": "casme3",
        "subject": "spNO.1",
        "filename": "a",
        "onset": 10,
        "apex": 12,
        "offset": 13,
        "frame_paths": tuple(Path(f"{number}.jpg") for number in numbers),
        "frame_numbers": numbers,
        "fps": 30.0,
    }
    return MicroExpressionClip(**{**fields, **changes})


def test_indices_count_frames_from_0():
    clip = make_clip()
    assert (clip.onset_index, clip.apex_index, clip.offset_index, clip.num_frames) == (0, 2, 3, 4)


def test_apex_index_counts_frames_on_disk_where_some_are_missing():
    clip = make_clip(frame_numbers=(10, 12, 13))
    assert clip.apex_index == 1
    assert clip.frame_paths[clip.apex_index].name == "12.jpg"


def test_unknown_apex_has_no_index():
    assert make_clip(apex=None, apex_source="unknown").apex_index is None


def test_a_clip_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        make_clip().onset = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame_numbers": (10,), "apex": 10, "offset": 10}, "needs 2 frames or more, this one has 1"),
        ({"frame_numbers": (10, 12, 11, 13)}, "not in increasing order"),
        ({"frame_numbers": (10, 11, 12)}, "frames run from 10 to 12, onset and offset are 10 and 13"),
        ({"apex": 99}, "apex frame 99 is not one of the clip's frames"),
        ({"apex": None}, "apex None does not go with source 'annotated'"),
        ({"apex_source": "unknown"}, "apex 12 does not go with source 'unknown'"),
        ({"frame_paths": (Path("10.jpg"),)}, "1 frame paths but 4 numbers"),
    ],
)
def test_an_impossible_record_is_refused_by_name(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=r"casme3/spNO\.1/a/10") as error:
        make_clip(**changes)
    assert message in str(error.value)
