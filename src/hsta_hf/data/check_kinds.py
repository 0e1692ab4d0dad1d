"""What sort of problem a problem is, so that `hsta check` can count them: told by its field and its words.

Whoever reports a problem writes a sentence for a person. The sentences are sorted here, in one place;
tests/data/test_check.py runs every rule that writes one and fails where a new wording is not sorted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from hsta_hf.data.databases.base import Problem

ORDER = "order"
MISSING = "missing frames"
UNREADABLE = "unreadable frame"
SIZE = "frames of another size"
DUPLICATE = "duplicate row"
FOOTAGE = "duplicated footage"
OUTSIDE = "path outside the root"
LABEL = "label"
OTHER = "other"
# The field of problems about footage.
FOOTAGE_FIELD = "footage"

# The first that fits is taken. (field, message): patterns that are searched for, case aside.
_SORTED: tuple[tuple[str, re.Pattern[str], re.Pattern[str]], ...] = tuple(
    (kind, re.compile(field, re.IGNORECASE), re.compile(message, re.IGNORECASE))
    for kind, field, message in (
        (FOOTAGE, f"^{FOOTAGE_FIELD}$", r""),
        (OUTSIDE, r"", r"\bis refused\b|\bare refused\b"),
        (DUPLICATE, r"^(row|folder|clip)$", r"^(repeats|contradicts)\b| is also .* left out"),
        (ORDER, r"^(onset|apex|offset)", r"is not after the onset|is (before|after) the o(n|ff)set|equals the onset"),
        (UNREADABLE, r"^frames$", r"the frame is left out$"),
        (SIZE, r"^frames$", r" of size .* in a clip of "),
        (
            MISSING,
            r"",
            r"there is no (frame|folder|video)|has no frame on disk|\d+ of \d+ missing|fewer than 2 frames"
            r"|needs 2 or more",
        ),
        (LABEL, r"emotion|^aus?$|action unit|objective|label|^subject$", r""),
    )
)


def problem_kind(problem: Problem) -> str:
    """One of the kinds above; `OTHER` for a sentence that fits none."""
    for kind, field, message in _SORTED:
        if field.search(problem.field) and message.search(problem.message):
            return kind
    return OTHER


def rows_with(problems: Iterable[Problem], kind: str, field: str = "") -> int:
    """How many rows (or clips) have a problem of a kind.

    Args:
        problems: All problems.
        kind: What is counted.
        field: Count only problems of fields that begin with this, case aside.
    """
    return len(
        {
            problem.source or problem.clip
            for problem in problems
            if problem_kind(problem) == kind and problem.field.casefold().startswith(field)
        }
    )
