"""Numbers of folds as people write them: `3-5`, `0-3 7`, `0-3,7`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_RANGE = re.compile(r"(\d+)\s*-\s*(\d+)")


def expand_folds(value: Any) -> Any:
    """Write out ranges in the field `folds`; both ends belong to a range.

    Args:
        value: a number, text such as "3-5" or "0-3,7", or a list of these. Anything else comes back as it is, for
            the check of the field's type to name it.

    Raises:
        ValueError: a range that ends before it begins.
    """
    if isinstance(value, str):
        parts = [part.strip() for part in value.split(",")]
        if len(parts) > 1:
            return _joined(parts)
        match = _RANGE.fullmatch(parts[0])
        if match is None:
            return int(value) if value.strip().isdigit() else value
        first, last = int(match[1]), int(match[2])
        if last < first:
            raise ValueError(f"the range {value!r} ends before it begins; write {last}-{first}")
        return list(range(first, last + 1))
    if isinstance(value, (list, tuple)):
        return _joined(value)
    return value


def _joined(parts: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for part in parts:
        numbers = expand_folds(part)
        found += numbers if isinstance(numbers, list) else [numbers]
    return found
