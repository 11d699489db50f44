"""What a user painted of a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import ndimage

from ..errors import LLMBoostError
from ..messages.strokes import BACKGROUND

MARGIN_MM, MARGIN = 15.0, 0.2  # around the strokes: at least so much, and this share of their extent

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Strokes:
    """Painted voxels.

    Args:
        array: uint16 [i, j, k] on the image's grid: 0 where nothing was painted, the labels' values, and BACKGROUND
            where the user painted what is none of them.
        spacing: mm along i, j, k.

    Raises:
        LLMBoostError: other voxels than that, or no label among them.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]

    def __post_init__(self) -> None:
        if self.array.ndim != 3 or self.array.dtype != np.uint16:
            raise LLMBoostError(f"strokes are a label map of 16 bits with 3 axes: 0 unpainted, {BACKGROUND} background")
        if not self.values:
            raise LLMBoostError("no segment is painted yet; paint a stroke in what is to be segmented")

    @cached_property
    def values(self) -> tuple[int, ...]:
        """The labels that were painted, in ascending order."""
        return tuple(int(value) for value in np.unique(self.array[self.array > 0]) if value != BACKGROUND)

    @cached_property
    def classes(self) -> np.ndarray:
        """int16 [i, j, k]: 0 for background, n + 1 for the n-th of ``values``, -1 where nothing was painted."""
        table = np.full(BACKGROUND + 1, -1, np.int16)
        table[BACKGROUND] = 0
        table[list(self.values)] = np.arange(1, len(self.values) + 1)
        return table[self.array]

    @cached_property
    def extent(self) -> Box:
        """The smallest box that holds them."""
        i, j, k = ndimage.find_objects((self.array > 0).view(np.uint8))[0]
        return i, j, k

    def box(self) -> Box:
        """Their extent and a margin, within the image."""
        margins = [
            int(np.ceil(max(MARGIN_MM / mm, MARGIN * (part.stop - part.start))))
            for part, mm in zip(self.extent, self.spacing, strict=True)
        ]
        i, j, k = (
            slice(max(part.start - margin, 0), min(part.stop + margin, size))
            for part, margin, size in zip(self.extent, margins, self.array.shape, strict=True)
        )
        return i, j, k

    def within(self, box: Box) -> Strokes:
        """Those in a box of the grid."""
        return replace(self, array=self.array[box])

    @cached_property
    def groups(self) -> np.ndarray:
        """int16 [i, j, k]: which slice's strokes (:func:`stroked_slices`) each painted voxel belongs to, 0 and up, and
        -1 where nothing is painted."""
        axis, runs = stroked_slices(self.classes)
        result = np.full(self.array.shape, -1, np.int16)
        for number, run in enumerate(runs):
            result[(slice(None),) * axis + (run,)] = number
        result[self.array == 0] = -1
        return result

    @cached_property
    def count(self) -> int:
        """How many strokes there are: connected voxels of one label."""
        everywhere = np.ones((3, 3, 3))
        values = (*self.values, BACKGROUND)
        return sum(int(ndimage.label(self.array == value, everywhere)[1]) for value in values)


def strokes_of(array: np.ndarray, spacing: Sequence[float]) -> Strokes:
    """Strokes of a label map, with spacing as a triple."""
    i, j, k = spacing
    return Strokes(array, (i, j, k))


def stroked_slices(classes: np.ndarray) -> tuple[int, list[slice]]:
    """The axis that strokes were painted across, and the runs of neighboring planes that hold any: of the axes with
    several runs the one whose runs are thinnest."""
    found = []
    for axis in range(3):
        planes = (classes >= 0).any(tuple({0, 1, 2} - {axis}))
        runs = [one[0] for one in ndimage.find_objects(ndimage.label(planes)[0])]
        found.append((len(runs) < 2, planes.sum() / len(runs), axis, runs))
    _, _, axis, runs = min(found, key=lambda one: one[:3])
    return axis, runs
