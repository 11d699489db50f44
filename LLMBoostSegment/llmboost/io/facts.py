"""What an image's place in space says of it as a series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..studies import SeriesFacts


def along_ras(facts: SeriesFacts, axes: np.ndarray, mm: Sequence[float], sizes: Sequence[float]) -> SeriesFacts:
    """With spacing and extent along R, A and S.

    Args:
        axes: (3, 3), columns are the image's axes in space, RAS or LPS.
        mm, sizes: between voxels, and how many voxels, along these.
    """
    free = {0, 1, 2}
    spacing, extent = [0.0] * 3, [0.0] * 3
    for n in np.argsort(-np.abs(axes).max(axis=0)):  # what lies straight, first
        axis = max(sorted(free), key=lambda axis: abs(axes[axis, n]))
        free.remove(axis)
        spacing[axis], extent[axis] = float(mm[n]), float(mm[n] * sizes[n])
    return replace(facts, spacing=(spacing[0], spacing[1], spacing[2]), extent=(extent[0], extent[1], extent[2]))
