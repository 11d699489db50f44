"""Which cases of a cohort are unlike the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ENOUGH = 20  # cases: of fewer, nobody knows what is usual
UNUSUAL = 3.5  # from here on, as Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993) advise
_NORMAL = 0.6745  # a normal distribution's median absolute deviation, in standard deviations


def robust_z(values: Sequence[float | None]) -> list[float | None]:
    """How far each value is from the median, in what would be standard deviations if the values were normally
    distributed: 0.6745 (x - median) / MAD, where MAD is the median absolute deviation from the median.

    Args:
        values: of a cohort, a value a case; None where a case has none.

    Returns:
        of each value; None where there is none, and everywhere if there are fewer than ``ENOUGH`` values or half of
        them are the same.
    """
    known = np.array([value for value in values if value is not None], np.float64)
    if len(known) < ENOUGH:
        return [None] * len(values)
    middle = np.median(known)
    spread = float(np.median(np.abs(known - middle)))
    if not spread:
        return [None] * len(values)
    return [None if value is None else float(_NORMAL * (value - middle) / spread) for value in values]
