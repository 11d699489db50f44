"""Which edges suit an image: those by which the walker finds strokes that are left out.

Every second stroked slice is left out, and the walker is asked for it, in the box of the strokes and roughly. The
score is the mean logarithm of the right class's probability there, balanced over the classes. Slices that are left
out lie farther from strokes than what is asked in the end, which flatters what blurs; so the default must be beaten
clearly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from ..inference.watch import UNWATCHED, Watch
from .strokes import stroked_slices
from .walker import Edges, walk_on, weights_of

DEFAULT = Edges()
BETAS = (100.0, 300.0, 1000.0, 3000.0)
MARGIN = (
    0.3  # of the score, by which a choice must beat the default: measured on train cases, as they were and degraded
)
LEAST = 0.01  # a probability below counts as this one: a voxel that is lost is lost
ROUGHLY = 3e-2  # the tolerance of the walker


class EdgeChoice:
    """The edges for one image, remembered until strokes in more slices can tell more."""

    def __init__(self) -> None:
        self._slices, self._edges = 1, DEFAULT

    def edges(
        self,
        image: np.ndarray,
        classes: np.ndarray,
        spacing: Sequence[float],
        device: torch.device | str = "cpu",
        watch: Watch = UNWATCHED,
    ) -> Edges:
        """As :func:`choose`, or what was chosen before."""
        slices = len(stroked_slices(classes)[1])
        if slices > self._slices:
            self._edges, self._slices = choose(image, classes, spacing, device, watch), slices
        return self._edges


def choose(
    image: np.ndarray,
    classes: np.ndarray,
    spacing: Sequence[float],
    device: torch.device | str = "cpu",
    watch: Watch = UNWATCHED,
) -> Edges:
    """The edges by which the walker finds strokes that are left out; the default where nothing can be, or none is
    clearly better. The same strokes lead to the same choice.

    Args:
        image, classes, spacing: as for :func:`.walker.walk`.

    Raises:
        Cancelled: whoever waits cancelled.
    """
    box = ndimage.find_objects((classes >= 0).view(np.uint8))[0]
    image, classes = image[:, *box], classes[box]
    held = _every_second(classes)
    shown = [c for c in range(int(classes.max()) + 1) if (classes[~held] == c).any()]
    asked = [n for n, c in enumerate(shown) if (classes[held] == c).any()]
    if len(shown) < 2 or not asked:
        return DEFAULT
    table = np.full(int(classes.max()) + 2, -1, np.int16)  # the last entry is for -1
    table[shown] = np.arange(len(shown))
    truth = np.where(held, table[classes], -1)
    seeds = np.where(held, -1, table[classes])
    scores: dict[Edges, float] = {}

    def score(edges: Edges) -> float:
        if edges not in scores:
            found = walk_on(weights_of(image, spacing, edges, device), seeds, watch, ROUGHLY)
            scores[edges] = float(np.mean([np.log(found[n][truth == n].clip(LEAST)).mean() for n in asked]))
        return scores[edges]

    best = max((Edges(DEFAULT.beta, median) for median in (False, True)), key=score)
    middle = BETAS.index(DEFAULT.beta)
    for way in (BETAS[middle + 1 :], BETAS[:middle][::-1]):
        for beta in way:
            other = Edges(beta, best.median)
            if score(other) <= score(best):
                break
            best = other
    return best if score(best) > score(DEFAULT) + MARGIN else DEFAULT


def _every_second(classes: np.ndarray) -> np.ndarray:
    """Where strokes lie in every second run of slices."""
    axis, runs = stroked_slices(classes)
    held = np.zeros(classes.shape, bool)
    for run in runs[1::2]:
        held[(slice(None),) * axis + (run,)] = True
    return held & (classes >= 0)
