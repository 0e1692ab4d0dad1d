"""What to do with onset, apex and offset that cannot be right: rules in one place, each use reported.

The rules, in order:

1. An onset without a frame leaves the clip out: every movement is measured from the onset.
2. An offset of 0, missing, or not after the onset is unknown. It becomes the last frame of the unbroken
   run of frames that starts at the onset (or at the apex, where there is a valid one), at most half a
   second later: a micro-expression lasts at most half a second (Yan et al. 2013). Where a database has no
   such bound (macro-expressions last half a second to four, Ekman 2003), an end would be a guess of what the
   clip shows: the clip is left out.
3. An offset beyond the last frame on disk becomes the last frame on disk before it.
4. An apex before the onset, after the offset, without a frame or missing is unknown: it is spotted later.
5. An apex equal to the onset is unknown as well: a face that has not moved yet cannot be at its strongest,
   and a special stream of onset and apex would see the same frame twice.
6. Frames missing between onset and offset are reported, and the clip keeps those that exist.
7. A clip of fewer than two frames is left out.
8. Of several files with the number of one frame the first by name is used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hsta_hf.data.databases.base import ERROR, WARNING
from hsta_hf.data.frame_folders import describe_numbers

LONGEST_SECONDS = 0.5
NO_FRAME = "there is no frame"
_SHOWN_REPEATED = 3


@dataclass
class Timing:
    """Onset, apex and offset as they are used.

    Attributes:
        onset: First frame number.
        apex: Strongest frame's number, None if it has to be spotted.
        offset: Last frame number.
        frame_numbers: Frames on disk from onset to offset; empty if the clip is unusable.
        findings: (field, message, severity) of everything that was wrong.
    """

    onset: int
    apex: int | None
    offset: int
    frame_numbers: tuple[int, ...] = ()
    findings: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """False if the clip is left out."""
        return bool(self.frame_numbers)


def frame_number(cell: str) -> int | None:
    """A frame number; None for anything that is no whole number ("/", "", "-1" are how owners say unknown).

    Programs that write tables make 46.0 of 46 in a column with empty cells.
    """
    match = re.fullmatch(r"([0-9]+)(?:\.0+)?", cell.strip(), re.ASCII)
    return int(match.group(1)) if match else None


def _unread(cell: str) -> str:
    """What to say about a cell that is no frame number; "" for the owners' ways to leave one unknown."""
    return "" if cell.strip() in ("", "/", "-1") else f"{cell!r} is not a frame number"


def resolve_timing(
    onset: int,
    apex: int | None,
    offset: int | None,
    on_disk: Collection[int],
    fps: float,
    *,
    apex_cell: str = "",
    offset_cell: str = "",
    longest_seconds: float | None = LONGEST_SECONDS,
    repeated: Mapping[int, Sequence[str]] | None = None,
) -> Timing:
    """Apply the rules of this module to one annotation row.

    Args:
        onset: Frame number of the onset, known corrections applied.
        apex: Frame number of the apex; None where the annotation has none.
        offset: Frame number of the offset; None where the annotation has none.
        on_disk: Numbers of the frames on disk.
        fps: Frames per second, for rule 2.
        apex_cell: What the annotation says where `apex` is None; the finding shows it.
        offset_cell: What the annotation says where `offset` is None; the finding shows it.
        longest_seconds: How long after its apex an expression may last, for rule 2; None where nobody can say.
        repeated: The numbers that several files have, with their names, the one that is used first.

    Returns:
        What is used, and what was found.
    """
    frames = set(on_disk)
    timing = Timing(onset, apex, onset)
    note = timing.findings.append
    if onset not in frames:
        note(("Onset", f"{NO_FRAME} {onset} on disk; the clip is left out", ERROR))
        return timing

    if offset is None or offset <= onset:
        what = (_unread(offset_cell) or "missing") if offset is None else f"{offset} is not after the onset {onset}"
        if longest_seconds is None:
            note(("Offset", f"{what}, and where the expression ends cannot be known; the clip is left out", ERROR))
            return timing
        start = apex if apex is not None and apex > onset and apex in frames else onset
        last = start
        while last + 1 in frames and last + 1 - start <= round(longest_seconds * fps):
            last += 1
        note(("Offset", f"{what}; {last}, the last frame of the unbroken run, is used", WARNING))
        offset = last
    elif offset not in frames:
        last = max(number for number in frames if onset <= number <= offset)
        note(("Offset", f"{NO_FRAME} {offset} on disk; {last}, the last before it, is used", ERROR))
        offset = last
    timing.offset = offset

    reason = None
    if apex is None:
        reason = _unread(apex_cell) or "not annotated"
    elif apex == onset:
        reason = f"{apex} equals the onset, where nothing has moved yet"
    elif apex < onset:
        reason = f"{apex} is before the onset {onset}"
    elif apex > offset:
        reason = f"{apex} is after the offset {offset}"
    elif apex not in frames:
        reason = f"{apex} has no frame on disk"
    if reason is not None:
        note(("Apex", f"{reason}; the apex is spotted instead", WARNING))
        timing.apex = None

    inside = range(onset, offset + 1)
    present = tuple(number for number in inside if number in frames)
    if len(present) < 2:
        note(("frames", "fewer than 2 frames from onset to offset; the clip is left out", ERROR))
        return timing
    if len(present) < len(inside):
        absent = [number for number in inside if number not in frames]
        note(("frames", f"{len(absent)} of {len(inside)} missing: {describe_numbers(absent)}", ERROR))
    twice = [number for number in present if number in (repeated or {})]
    if repeated and twice:
        shown = "; ".join(f"frame {number} is {' and '.join(repeated[number])}" for number in twice[:_SHOWN_REPEATED])
        more = f" and {len(twice) - _SHOWN_REPEATED} more such frames" if len(twice) > _SHOWN_REPEATED else ""
        note(("frames", f"{shown}{more}: of files with one number the first is used; remove the others", WARNING))
    timing.frame_numbers = present
    return timing
