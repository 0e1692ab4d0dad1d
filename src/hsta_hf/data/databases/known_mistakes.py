"""Known mistakes of owners' annotations, as the corrections tables of the databases hold them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Known:
    """A known mistake of one clip: its `field` becomes `value`.

    Attributes:
        field: The column: "Onset", "Apex" or "Offset".
        value: What is right.
        source: Whose correction this is.
        variant: The version of the frames in which this is a mistake; "" for all.
    """

    field: str
    value: int
    source: str
    variant: str = ""


@dataclass(frozen=True)
class UnprovenOffset:
    """An offset that is known to be wrong, where only the right value and the row's place are public.

    Its row is known by its place in one version of the table, and the clip only by inference if at all. So it is
    replaced where the annotated offset cannot be right and the known one can, and nowhere else: not after the onset,
    before the apex, or more than a second after the onset, in a database of micro-expressions.

    Attributes:
        value: The right offset.
        source: Whose correction this is.
        row: Place among the table's rows, counted from 0.
        of_rows: How many rows the version of the table has in which that place is meant.
        clip: Folder of the subject and filename, where they are known: the row in any version of the table.
    """

    value: int
    source: str
    row: int
    of_rows: int
    clip: tuple[str, str] | None = None

    def applies(
        self,
        clip: tuple[str, str],
        row: int,
        of_rows: int,
        onset: int | None,
        apex: int | None,
        offset: int | None,
        fps: float,
    ) -> bool:
        """Whether this is the mistake of a row with these values."""
        if onset is None or (clip != self.clip and (row, of_rows) != (self.row, self.of_rows)):
            return False
        return not _possible(onset, apex, offset, fps) and _possible(onset, apex, self.value, fps)


def _possible(onset: int, apex: int | None, offset: int | None, fps: float) -> bool:
    return offset is not None and onset < offset <= onset + fps and (apex is None or apex <= offset)
