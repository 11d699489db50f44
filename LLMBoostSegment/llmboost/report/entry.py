"""A case of a batch as its overview tells of it, and which cases most need a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .cohort import UNUSUAL, robust_z

NAMED = 3  # unusual values of a case in words
Value = float | str


@dataclass(frozen=True)
class Entry:
    """A case on the page.

    Attributes:
        status: in a word; ``fine`` if there is a result.
        picture: file in the folder, or none.
        files: further ones that were written for it.
        values: what was found, by the names of columns.
        compared: the names of those that are compared with other cases'.
        flags: why it needs a look, in words.
        doubt: how doubtful the result is, which puts a case before others; None: nobody knows.
        told: what else there is to know: errors, warnings.
    """

    id: str
    status: str
    fine: bool
    picture: str = ""
    files: Sequence[str] = ()
    values: dict[str, Value] = field(default_factory=dict)
    compared: frozenset[str] = frozenset()
    flags: Sequence[str] = ()
    doubt: float | None = None
    told: Sequence[str] = ()


def worst_first(entries: Sequence[Entry]) -> list[tuple[Entry, dict[str, float]]]:
    """The cases, those that most need a look first: without a result, flagged, unusual, doubtful. Each has the robust z
    of its values that are unlike other cases', by name, the most unusual first."""
    return sorted(zip(entries, _unusual(entries), strict=True), key=_urgency)


def unusual_in_words(unusual: dict[str, float]) -> list[str]:
    """The most unusual values of a case."""
    told = [f"{name}: z {z:+.1f}" for name, z in unusual.items()]
    return [*told[:NAMED], *([f"and {len(told) - NAMED} more unusual values"] if len(told) > NAMED else [])]


def _unusual(entries: Sequence[Entry]) -> list[dict[str, float]]:
    """Of each case, the robust z of the values that are unlike other cases', the most unusual first."""
    found: list[dict[str, float]] = [{} for _ in entries]
    for name in dict.fromkeys(name for entry in entries for name in sorted(entry.compared)):
        values = [entry.values[name] if name in entry.compared else None for entry in entries]
        numbers = [float(value) if isinstance(value, (int, float)) else None for value in values]
        for case, z in zip(found, robust_z(numbers), strict=True):
            if z is not None and abs(z) > UNUSUAL:
                case[name] = round(z, 1)
    return [dict(sorted(case.items(), key=lambda one: -abs(one[1]))) for case in found]


def _urgency(case: tuple[Entry, dict[str, float]]) -> tuple[Any, ...]:
    """What puts a case before others: no result, flags, unusual values, doubt."""
    entry, unusual = case
    furthest = max(map(abs, unusual.values()), default=0.0)
    return entry.fine, not entry.flags, not unusual, -(entry.doubt or 0.0), -furthest, entry.id
