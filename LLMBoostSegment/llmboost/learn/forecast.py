"""What to expect of so many cases and minutes, before a training for new labels begins. The standard library alone, for
Slicer shows it, too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

MANY = 8  # labels; of so many, the rows tell nothing
MORE = (5, 10, 20, 60)  # minutes that may be worth to wait for
WORDS = (
    (0.85, "close to what careful labeling gives"),
    (0.75, "a good draft"),
    (0.5, "a draft to correct"),
    (0.0, "a rough draft"),
)


@dataclass(frozen=True)
class Row:
    """What was measured: mean Dice of new labels, from the lower to the higher end over data sets and seeds."""

    cases: int
    minutes: float
    low: float
    high: float


# the recipe few_shot's arms own and own-10, on one core (docs/evidence.md)
ROWS: tuple[Row, ...] = (
    Row(5, 1, 0.57, 0.79),
    Row(5, 3, 0.60, 0.85),
    Row(5, 10, 0.67, 0.82),
    Row(10, 3, 0.72, 0.90),
)


def forecast(cases: int, minutes: float, labels: int = 1, rows: Sequence[Row] = ROWS) -> str:
    """A sentence; empty where nothing is known.

    Args:
        cases: that are labeled, those held out included.
        rows: in any order; between them, Dice is linear in the logarithms of minutes and of cases, beyond them as at
            the nearest. Of fewer cases than all of them have, nothing is known.
    """
    if not rows or labels >= MANY or cases < min(row.cases for row in rows):
        return ""
    low, high = _expected(cases, minutes, rows)
    now = _word(low, high)
    what = f"{_counted(cases, 'case')} and {_counted(minutes, 'minute')}"
    text = f"With {what}: expect {now} (Dice {low:.2f} to {high:.2f})"
    better = []
    known = max(row.minutes for row in rows)
    for more in MORE:
        if minutes < more and more <= known and (word := _word(*_expected(cases, more, rows))) != now:
            better.append(f"{more} minutes: {word}")
            break
    twice = 2 * cases
    if twice <= max(row.cases for row in rows) and (word := _word(*_expected(twice, minutes, rows))) != now:
        better.append(f"{twice} cases: {word}")
    return "; ".join([text, *better])


def _expected(cases: int, minutes: float, rows: Sequence[Row]) -> tuple[float, float]:
    """The range of Dice."""
    counts, lows, highs = sorted({row.cases for row in rows}), [], []
    for count in counts:
        own = sorted((row for row in rows if row.cases == count), key=lambda row: row.minutes)
        times = [row.minutes for row in own]
        lows.append(_between(minutes, times, [row.low for row in own]))
        highs.append(_between(minutes, times, [row.high for row in own]))
    return _between(cases, counts, lows), _between(cases, counts, highs)


def _between(at: float, places: Sequence[float], values: Sequence[float]) -> float:
    """The value at a place between others, which rise."""
    if at <= places[0]:
        return values[0]
    for (a, x), (b, y) in pairwise(zip(places, values, strict=True)):
        if at <= b:
            share = math.log(at / a) / math.log(b / a)
            return x + share * (y - x)
    return values[-1]


def _word(low: float, high: float) -> str:
    return next(word for dice, word in WORDS if (low + high) / 2 >= dice)


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'s'[: number != 1]}"
