"""The labels of a case, measured one by one: for the plan of a training, and for what a data set is like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..inference.components import TOUCHING


@dataclass(frozen=True)
class Structure:
    """A label in a case.

    Attributes:
        extent: of the box around it, in mm along its label map's axes.
        pieces: how many, each connected through faces, edges and corners.
        largest: the share of its voxels that its largest piece has.
    """

    voxels: int
    extent: tuple[float, ...]
    pieces: int
    largest: float


def measure(labels: np.ndarray, spacing: Sequence[float]) -> dict[int, Structure]:
    """By value, what a label map [i, j, k] of whole numbers shows besides 0; ``spacing`` in mm."""
    found = {}
    for value, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None:
            mask = labels[box] == value
            pieces, count = ndimage.label(mask, TOUCHING)
            sizes = np.bincount(pieces.ravel())[1:]
            extent = tuple(n * mm for n, mm in zip(mask.shape, spacing, strict=True))
            found[value] = Structure(int(sizes.sum()), extent, count, float(sizes.max() / sizes.sum()))
    return found
