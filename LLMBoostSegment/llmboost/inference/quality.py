"""How good a segmentation probably is, told from how sure the network was of it.

The Dice that a network expects of a label, from its own probabilities p, is 2 sum(p in the segment) / (voxels of the
segment + sum(p everywhere)). Networks are too sure of themselves, all the more of unusual images; a straight line,
fitted on validation cases as they are and degraded, makes of it the Dice to expect.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..card import Flag, Quality


class Tally:
    """Sums over the voxels of a segmentation, gathered as it is computed, part by part."""

    def __init__(self, classes: int) -> None:
        self.drawn = np.zeros(classes)  # voxels given to each class
        self.sure = np.zeros(classes)  # probability of each class in them
        self.mass = np.zeros(classes)  # and in all voxels

    def add_class(self, number: int, probabilities: np.ndarray) -> None:
        """Of class ``number``, its probabilities in all voxels of a part."""
        self.mass[number] += probabilities.sum(dtype=np.float64)

    def add_winners(self, winners: np.ndarray, probabilities: np.ndarray) -> None:
        """Of a part's voxels, the class that each was given, and that class's probability."""
        count, flat = len(self.drawn), winners.ravel()
        self.drawn += np.bincount(flat, minlength=count)
        self.sure += np.bincount(flat, probabilities.ravel(), minlength=count)

    def expected_dice(self) -> np.ndarray:
        """Of each label (the background is none); 0 for what was not drawn."""
        return (2 * self.sure / np.maximum(self.drawn + self.mass, 1e-6))[1:]


def flag(quality: Quality, tallies: Sequence[Tally], names: Sequence[Sequence[str]] = ()) -> Flag | None:
    """What a card's numbers make of a case, which a cascade draws in several parts; None if none was drawn.

    Args:
        names: of the labels of each part; those of one name are one segment. Without them, no segment is told of. On 40
            test cases of hippocampi, as they are and with noise, a segment's figure was off by 0.031 on average, that
            of its case by 0.032.
    """
    if not tallies:
        return None
    expected = float(np.mean([tally.expected_dice() for tally in tallies]))
    predicted = _likely(quality, expected)
    limit, advice = f"{quality.limit:.2f}", "check the segments closely"
    if np.isnan(predicted):
        text = f"the agreement with an expert's segments cannot be told: {advice}"
        return Flag(0.0, low=True, limit=quality.limit, text=text)
    low = predicted < quality.limit
    figure = f"{predicted:.2f}"
    if low:  # what is rounded to the limit is not below it
        figure = f"just below {limit}: {advice}" if figure == limit else f"{figure}, below {limit}: {advice}"
    text = f"expected agreement with an expert's segments: Dice {figure}"
    return Flag(predicted, low, quality.limit, text, _per_segment(quality, tallies, names))


def _likely(quality: Quality, expected: float) -> float:
    return min(max(quality.intercept + quality.slope * expected, 0.0), 1.0)


def _per_segment(quality: Quality, tallies: Sequence[Tally], names: Sequence[Sequence[str]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for tally, own in zip(tallies, names, strict=False):
        for name, dice, drawn in zip(own, tally.expected_dice(), tally.drawn[1:], strict=True):
            if drawn:
                found.setdefault(name, []).append(float(dice))
    return {name: _likely(quality, float(np.mean(values))) for name, values in found.items()}
