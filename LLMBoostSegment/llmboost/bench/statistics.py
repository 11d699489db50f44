"""Intervals of figures and of paired differences: a bootstrap over seeds and subjects, with Holm's correction.

Every arm runs with the same seeds and measures the same cases, so seeds and subjects are crossed: a resample draws
seeds and, independently, whole subjects, the same ones for both arms of a difference (Owen 2007, "The pigeonhole
bootstrap", arXiv 0712.1111: such intervals err on the wide side). With one seed, an interval tells nothing of what
another seed would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kinds import Cases, Measure

RESAMPLES = 2000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval (None where nothing can be drawn), and each seed's own value.

    ``p`` of a difference: twice the share of resamples on the wrong side of zero.
    """

    value: float
    interval: tuple[float, float] | None
    seeds: tuple[float, ...]
    p: float | None = None


def estimate(arm: Sequence[Cases], measure: Measure, other: Sequence[Cases] | None = None, seed: int = 0) -> Estimate:
    """The measure of an arm, or the difference to another arm, with an interval.

    Args:
        arm: for each seed, the cases; the same ones in the same order.
        other: the other arm with the same seeds and cases.
        seed: of the resampling.

    Raises:
        ValueError: seeds or cases differ.
    """
    subjects = [str(case.get("subject", case["id"])) for case in arm[0]]
    ids = [[case["id"] for case in cases] for cases in (*arm, *(other or ()))]
    if any(one != ids[0] for one in ids) or (other is not None and len(arm) != len(other)):
        raise ValueError("arms that are compared need the same seeds and the same cases")
    seeds, cases = _draws(len(arm), subjects, seed)
    whole = np.ones((1, len(subjects)))

    def values(weights: NDArray[np.float64]) -> NDArray[np.float64]:  # (seeds, draws)
        result = np.array([measure(one, weights) for one in arm])
        return result if other is None else result - np.array([measure(one, weights) for one in other])

    each = values(whole)[:, 0]
    value = float(each.mean())
    if len(set(subjects)) < 2:
        return Estimate(value, None, tuple(each.tolist()))
    drawn = (seeds * values(cases).T).sum(axis=1) / len(arm)
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Estimate(value, None, tuple(each.tolist()))
    low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    p = None
    if other is not None:
        beyond = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
        p = min(1.0, 2 * (int(beyond) + 1) / (len(drawn) + 1))
    return Estimate(value, (float(low), float(high)), tuple(each.tolist()), p)


def _draws(seeds: int, subjects: Sequence[str], seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """How often each resample holds each seed (draws, seeds) and each case (draws, cases)."""
    generator = np.random.default_rng(seed)
    member = np.unique(np.asarray(subjects), return_inverse=True)[1]

    def draw(n: int) -> NDArray[np.float64]:
        return generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)

    return draw(seeds), draw(int(member.max()) + 1)[:, member]


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for their number (Holm 1979); those that are None take no part."""
    order = sorted((p, place) for place, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, place) in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p))
        corrected[place] = highest
    return corrected
