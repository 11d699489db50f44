"""Measures of a classifier's probabilities that the program itself does not need: the calibration line, what chance
alone does to the calibration error, and decision curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, mannwhitneyu, norm

from llmboost.metrics.classification import BINS, delong_interval

Floats = NDArray[np.floating[Any]]
Truth = NDArray[np.bool_]

DRAWS = 2000
Z = float(norm.ppf(0.975))
CERTAIN = 1e-6  # logits of what is told with 0 or 1 end here


class Measured(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


def tempered(probabilities: Floats, temperature: float) -> Floats:
    """Softmax probabilities (N, classes) as they are when their logits are divided by ``temperature``."""
    logits = np.log(probabilities.clip(CERTAIN**2)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def area(scores: Floats, truth: Truth) -> Measured:
    """The area under the ROC curve, how often one of the true has the higher score (ties counted half), with DeLong's
    interval."""
    positive, negative = scores[truth], scores[~truth]
    value = float(mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative)))
    low, high = delong_interval(scores, truth.astype(int))
    return Measured(value, low, high)


def calibration_line(chance: Floats, truth: Truth) -> tuple[Measured, Measured]:
    """Slope and intercept of calibration (Cox 1958; Van Calster et al. 2019), with Wald's intervals.

    The slope is that of a logistic regression of the truth on the told logit: 1 is right, less is too sure. The
    intercept is that with a slope of 1: 0 is right, above it the model tells too little on the whole.

    Args:
        chance: (N,) probabilities of the positive class.
        truth: (N,) where it is so.
    """
    told = np.log(chance.clip(CERTAIN, 1 - CERTAIN) / (1 - chance.clip(CERTAIN, 1 - CERTAIN)))
    ones = np.ones_like(told)
    _, slope = _logistic(np.stack([ones, told], axis=1), truth, 0 * told)
    (intercept,) = _logistic(ones[:, None], truth, told)
    return slope, intercept


def _logistic(design: Floats, truth: Truth, offset: Floats) -> list[Measured]:
    """The weights of a logistic regression by Newton's method."""
    weights = np.zeros(design.shape[1])
    for _ in range(100):
        p = 1 / (1 + np.exp(-(design @ weights + offset)))
        information = design.T @ (design * (p * (1 - p))[:, None])
        step = np.linalg.solve(information, design.T @ (truth - p))
        weights += step
        if np.abs(step).max() < 1e-9:
            break
    spread = Z * np.sqrt(np.diag(np.linalg.inv(information)))
    return [Measured(float(w), float(w - s), float(w + s)) for w, s in zip(weights, spread, strict=True)]


def error_by_chance(confidence: Floats, seed: int = 0) -> tuple[float, float]:
    """The calibration error that a perfectly calibrated model of these confidences (N,) would have with so few cases:
    the mean, and what 95 % of draws do not exceed (Vaicenavicius et al. 2019, arXiv 1902.06977)."""
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    right = np.random.default_rng(seed).random((DRAWS, len(confidence))) < confidence
    errors = np.abs((right - confidence) @ np.eye(BINS)[bins]).sum(axis=1) / len(confidence)
    return float(errors.mean()), float(np.quantile(errors, 0.95))


def net_benefit(chance: Floats, truth: Truth, cuts: Floats, weights: Floats | None = None) -> Floats:
    """True positives less false ones, weighed by the threshold's odds, a case (Vickers & Elkin 2006).

    Args:
        chance: (N,) probabilities of the positive class.
        truth: (N,) where it is so.
        cuts: (T,) thresholds between 0 and 1.
        weights: (draws, N) how often each case counts; by default once.

    Returns:
        (T,), or (draws, T) with ``weights``.
    """
    odds = cuts / (1 - cuts)
    worth = (chance[:, None] >= cuts) * np.where(truth[:, None], 1.0, -odds)
    return worth.mean(axis=0) if weights is None else weights @ worth / weights.sum(axis=1, keepdims=True)


def advantage(chance: Floats, truth: Truth, cuts: Floats, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """How much more net benefit (T,) than from treating all or none, whichever is better, and its 95 % interval by the
    bootstrap over cases."""
    n, everyone = len(truth), np.ones_like(chance)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), DRAWS).astype(float)

    def more(weights: Floats | None) -> Floats:
        return net_benefit(chance, truth, cuts, weights) - net_benefit(everyone, truth, cuts, weights).clip(0)

    low, high = np.percentile(more(weights), (2.5, 97.5), axis=0)
    return more(None), low, high


def runs(cuts: Floats, where: Sequence[bool] | Truth) -> list[tuple[float, float]]:
    """First and last of each unbroken row of thresholds that hold."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], where, [False]]).astype(int)))
    return [(float(cuts[first]), float(cuts[end - 1])) for first, end in edges.reshape(-1, 2)]


def share(hits: int, n: int) -> Measured:
    """A share with Wilson's interval."""
    within = binomtest(hits, n).proportion_ci(method="wilson")
    return Measured(hits / n, float(within.low), float(within.high))
