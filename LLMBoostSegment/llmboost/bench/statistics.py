"""Intervals of figures and of paired differences: a bootstrap over seeds and subjects, with Holm's correction.

Every arm runs with the same seeds and measures the same cases, so seeds and subjects are crossed: a resample draws
seeds and, independently, whole subjects, the same ones for both arms of a difference (Owen 2007, "The pigeonhole
bootstrap", arXiv 0712.1111: such intervals err on the wide side). With one seed, an interval tells nothing of what
another seed would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
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


def estimate(arm: Sequence[Cases], measure: Measure, other: Sequence[Cases] | None = None) -> Estimate:
    """The measure of an arm, or the difference to another arm, with an interval.

    Args:
        arm: for each seed, the cases; the same ones in the same order.
        other: the other arm with the same seeds and cases.

    Raises:
        ValueError: seeds or cases differ.
    """
    each, drawn = _resampled([arm] if other is None else [arm, other], measure)
    if other is None:
        return _estimate(float(each.mean()), each[0], drawn[0])
    each, drawn = each[0] - each[1], drawn[0] - drawn[1]
    result, defined = _estimate(float(each.mean()), each, drawn), drawn[~np.isnan(drawn)]
    if not len(defined):
        return result
    beyond = min(np.count_nonzero(defined <= 0), np.count_nonzero(defined >= 0))
    return replace(result, p=min(1.0, 2 * (int(beyond) + 1) / (len(defined) + 1)))


def share(arm: Sequence[Cases], start: Sequence[Cases], end: Sequence[Cases], measure: Measure) -> Estimate:
    """How much of the way from one arm's measure to another's this arm has gone: 0 at the start, 1 at the end.

    A ratio of means over the seeds, all three arms with the same seeds and cases.

    Raises:
        ValueError: seeds or cases differ.
    """
    each, drawn = _resampled([arm, start, end], measure)
    mean = each.mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        value, seeds, draws = ((of[0] - of[1]) / (of[2] - of[1]) for of in (mean, each, drawn))
    return _estimate(float(value), seeds, draws)


def _resampled(arms: Sequence[Sequence[Cases]], measure: Measure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The measure of each arm for each seed (arms, seeds), and its mean over the seeds in each resample (arms, draws);
    none of one subject alone."""
    first = arms[0][0]
    if any(len(arm) != len(arms[0]) or any(_ids(cases) != _ids(first) for cases in arm) for arm in arms):
        raise ValueError("arms that are compared need the same seeds and the same cases")
    subjects = [str(case.get("subject", case["id"])) for case in first]
    whole = np.ones((1, len(subjects)))
    each = np.array([[measure(cases, whole)[0] for cases in arm] for arm in arms])
    if len(set(subjects)) < 2:
        return each, np.empty((len(arms), 0))
    seeds, weights = _draws(len(arms[0]), subjects)
    values = np.array([[measure(cases, weights) for cases in arm] for arm in arms])  # (arms, seeds, draws)
    return each, (seeds.T * values).sum(axis=1) / len(arms[0])


def _ids(cases: Cases) -> list[Any]:
    return [case["id"] for case in cases]


def _estimate(value: float, each: NDArray[np.float64], drawn: NDArray[np.float64]) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    seeds = tuple(each.tolist())
    if not len(drawn):
        return Estimate(value, None, seeds)
    low, high = np.quantile(drawn, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Estimate(value, (float(low), float(high)), seeds)


def _draws(seeds: int, subjects: Sequence[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """How often each resample holds each seed (draws, seeds) and each case (draws, cases)."""
    generator = np.random.default_rng(0)
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
