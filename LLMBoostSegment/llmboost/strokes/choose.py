"""How much the walker leaks into the background: as much as finds strokes best that are left out.

Where much of an image is alike, structures run out into all that no stroke of background is near; elsewhere a leak only
takes away what is far from strokes. Every second stroked slice is left out, and the walker is asked for it, in the box
of the strokes and roughly. The score is the share of the background's voxels that it has right there, times the mean
share of the labels', so that nothing is gained by losing a label.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage

from ..inference.watch import UNWATCHED, Watch
from .strokes import stroked_slices
from .walker import walk_on, weights_of

LEAKS = (1e-4, 3e-4, 1e-3)
MARGIN = 0.03  # of the score, by which a larger leak must beat a smaller one
ROUGHLY = 3e-2  # the tolerance of the walker


def choose_leak(
    image: np.ndarray,
    classes: np.ndarray,
    spacing: Sequence[float],
    device: torch.device | str = "cpu",
    watch: Watch = UNWATCHED,
) -> float:
    """The leak for :func:`.walker.walk_on`; none where nothing can be left out, or none is clearly better. The same
    strokes lead to the same choice.

    Args:
        image, classes, spacing: as for :func:`.walker.walk`; class 0 is the background.

    Raises:
        Cancelled: whoever waits cancelled.
    """
    box = ndimage.find_objects((classes >= 0).view(np.uint8))[0]
    image, classes = image[:, *box], classes[box]
    held = _every_second(classes)
    asked = np.intersect1d(classes[held], classes[~held & (classes >= 0)])
    if len(asked) < 2 or asked[0] != 0:
        return 0.0
    weights, seeds = weights_of(image, spacing, device), np.where(held, -1, classes)

    def score(leak: float) -> float:
        found = walk_on(weights, seeds, leak, watch=watch, tolerance=ROUGHLY).argmax(0)
        background, *labels = [float((found[held & (classes == n)] == n).mean()) for n in asked]
        return background * float(np.mean(labels))

    chosen, best = 0.0, score(0.0)
    for leak in LEAKS if best > 0 else ():
        if best > 1 - MARGIN:
            break
        if (found := score(leak)) > best + MARGIN:
            chosen, best = leak, found
    return chosen


def _every_second(classes: np.ndarray) -> np.ndarray:
    """Where strokes lie in every second run of slices."""
    axis, runs = stroked_slices(classes)
    held = np.zeros(classes.shape, bool)
    for run in runs[1::2]:
        held[(slice(None),) * axis + (run,)] = True
    return held & (classes >= 0)
