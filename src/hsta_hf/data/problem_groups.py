"""Problems by sort, for a terminal: 320 lines that say the same hide the one that does not."""

from __future__ import annotations

import re
from collections.abc import Sequence

from hsta_hf.data.check_kinds import OTHER, problem_kind
from hsta_hf.data.databases.base import ERROR, Problem
from hsta_hf.data.wording import counted

_EXAMPLES = 2
# What differs between sentences of one wording: quoted cells, paths, numbers.
_VARIABLE = re.compile(r"'[^']*'|\S*[/\\]\S*|\d+(?:[-,. ]+\d+)*")


def group_lines(problems: Sequence[Problem], limit: int, rest: str) -> list[str]:
    """Markdown list of the sorts of problems, errors first and then the most frequent, with few examples each.

    A sort is the severity, the field and the kind (`check_kinds`); where the kind is "other", the wording, too.

    Args:
        problems: All problems.
        limit: List at most this many sorts, and say how many problems are of others.
        rest: Where all problems are to be found.
    """
    groups: dict[tuple[str, str, str, str], list[Problem]] = {}
    for problem in problems:
        kind = problem_kind(problem)
        wording = _wording(problem) if kind == OTHER else ""
        groups.setdefault((problem.severity, problem.field, kind, wording), []).append(problem)
    in_order = sorted(groups.items(), key=lambda item: (item[0][0] != ERROR, -len(item[1])))
    lines = []
    hidden = 0
    for (severity, field, kind, _), found in in_order[:limit]:
        title = field if kind in (OTHER, field) else f"{field} ({kind})"
        lines.append(f"- {counted(len(found), severity)}: {title}")
        examples = _examples(found)
        lines += [f"  - {_where(problem)}: {problem.message}" for problem in examples]
        if len(found) > len(examples):
            hidden += len(found) - len(examples)
            lines.append(f"  - … and {len(found) - len(examples)} more")
    others = sum(len(found) for _, found in in_order[limit:])
    if others:
        lines.append(f"- … and {counted(others, 'problem')} of {counted(len(in_order) - limit, 'other sort')}")
    if hidden or others:
        lines.append(f"- {len(problems)} in all, {rest}")
    return lines


def _wording(problem: Problem) -> str:
    return _VARIABLE.sub("#", problem.message)


def _where(problem: Problem) -> str:
    return f"{problem.clip} ({problem.source})" if problem.source else problem.clip


def _examples(problems: Sequence[Problem]) -> list[Problem]:
    """The first problem and the first that says something else; where all say the same, the first two."""
    other = next((problem for problem in problems if _wording(problem) != _wording(problems[0])), None)
    return [problems[0], other] if other is not None else list(problems[:_EXAMPLES])
