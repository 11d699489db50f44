"""Parallel slices in space, and the regular grid of voxels that they make or are brought to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import atan2, degrees

import numpy as np
from scipy import ndimage

from ...errors import LLMBoostError
from ..image import Image

# Slices may lie off a regular grid by this part of their distance; in plane, by half a pixel over the whole stack.
JITTER = 0.1
# A wider gap, in typical slice distances, is not interpolated.
WIDEST_GAP = 3
# Slices that are nearer to each other than this part of a pixel lie at the same place.
SAME_PLACE = 0.01


@dataclass(frozen=True, eq=False)
class Layout:
    """Where slices lie, sorted along their normal.

    Attributes:
        places: (n,) which of the m places along the normal each slice takes.
        origin: (3,) LPS position in mm of the first voxel at the first place.
        axes: (3, 3) columns are the unit vectors of i, j and the normal, in LPS.
        pixel: (2,) mm between voxels along i, j.
        depths: (m,) mm along the normal from the first place.
        shifts: (m, 2) mm along i, j by which each place's first voxel is away from the normal through the first one's.
        thickness: mm, the distance of slices if there is only one.
    """

    places: np.ndarray
    origin: np.ndarray
    axes: np.ndarray
    pixel: np.ndarray
    depths: np.ndarray
    shifts: np.ndarray
    thickness: float

    @property
    def straight(self) -> bool:
        """Whether slices lie right above each other; those of a tilted gantry do not."""
        return bool((np.ptp(self.shifts, axis=0) <= self.pixel / 2).all())

    @cached_property
    def ticks(self) -> np.ndarray:
        """(m,) where along k each place lies on the regular grid, which begins and ends with a slice.

        Whole numbers if slices lie on that grid up to JITTER, with or without missing ones.
        """
        length = self.depths[-1]
        if not length:
            return np.zeros(1)
        steps = np.diff(self.depths)
        complete = np.arange(len(self.depths))
        gaps = np.concatenate([[0], np.cumsum(np.rint(steps / _typical(steps)))])
        for ticks in (complete, gaps):
            if np.abs(self.depths * ticks[-1] / length - ticks).max() <= JITTER:
                return ticks
        return self.depths * round(length / _typical(steps)) / length

    @property
    def size(self) -> int:
        """How many slices the regular grid has."""
        return round(self.ticks[-1]) + 1

    @property
    def distance(self) -> float:
        """mm between the slices of the regular grid."""
        return self.depths[-1] / (self.size - 1) if self.size > 1 else self.thickness

    @property
    def even(self) -> bool:
        """Whether all distances are equal, up to JITTER."""
        return self.size == len(self.ticks) and bool((self.ticks % 1 == 0).all())

    def notes(self) -> list[str]:
        """What :meth:`to_image` mends, a line each."""
        notes = []
        if not self.straight:
            tilt = degrees(atan2(float(np.linalg.norm(self.shifts[-1])), self.depths[-1]))
            notes.append(f"sheared slices (gantry tilt of {tilt:.1f}°): moved in plane onto an upright grid")
        if not self.even:
            steps = np.diff(self.depths)
            if (self.ticks % 1 == 0).all():
                notes.append(f"missing slices: {self.size - len(steps) - 1} interpolated between their neighbors")
            else:
                notes.append(
                    f"uneven slice distances ({steps.min():.2f} to {steps.max():.2f} mm): "
                    f"interpolated at every {self.distance:.2f} mm"
                )
        return notes

    def to_image(self, stack: np.ndarray) -> Image:
        """The image of slices [place, j, i], on a regular grid with right angles.

        Sheared slices are moved within their planes, on a grid that is large enough for all; outside of them, it has
        each slice's smallest value. Slices are linearly interpolated only where distances are uneven.
        """
        origin = self.origin
        if not (self.straight and self.even):
            stack, corner = self._regular(stack)
            origin = origin + self.axes[:, :2] @ (corner * self.pixel)
        return Image(stack.transpose(), (*self.pixel, self.distance), tuple(origin), self.axes)

    def _regular(self, stack: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[k, j, i] of the regular grid, and the index (i, j) of its first voxel in the first slice."""
        offsets = np.zeros_like(self.shifts) if self.straight else np.round(self.shifts / self.pixel, 2)
        corner = np.floor(offsets.min(axis=0))
        offsets = offsets - corner
        rows, columns = stack.shape[1:]
        wide, high = np.ceil(offsets.max(axis=0)).astype(int)
        dtype = np.result_type(stack.dtype, np.float32)

        @lru_cache(maxsize=2)
        def plane(place: int) -> np.ndarray:
            values = stack[place].astype(dtype)
            if self.straight:
                return values
            low = values.min()
            values = np.pad(values, ((0, high), (0, wide)), constant_values=low)
            return ndimage.shift(values, offsets[place, ::-1], order=1, mode="grid-constant", cval=low)

        result = np.empty((self.size, rows + high, columns + wide), stack.dtype)
        sources = np.interp(np.arange(self.size), self.ticks, np.arange(len(stack)))
        for k, source in enumerate(sources):
            place, weight = int(source), source % 1
            values = plane(place)
            if weight:
                values = (1 - weight) * values + weight * plane(place + 1)
            result[k] = values if dtype == stack.dtype else np.rint(values)
        return result, corner


def lay_out(positions: np.ndarray, orientation: np.ndarray, pixel: np.ndarray, thickness: float, where: str) -> Layout:
    """Sort slices along their normal.

    Args:
        positions: (n, 3) LPS in mm of the slices' first voxels.
        orientation: (6,) direction of rows and of columns in LPS, as in ImageOrientationPatient.
        pixel: (2,) mm between voxels along i, j.
        thickness: mm, of one slice.
        where: begins the message of a refusal.

    Raises:
        LLMBoostError: slices are not one above the other, or the gaps between them are too wide.
    """
    right, down = (vector / np.linalg.norm(vector) for vector in np.reshape(orientation, (2, 3)))
    normal = np.cross(right, down)
    axes = np.stack([right, down, normal / np.linalg.norm(normal)], axis=1)
    relative = (positions - positions[0]) @ axes
    order = np.argsort(relative[:, 2], kind="stable")
    new = np.diff(relative[order, 2], prepend=-np.inf) > SAME_PLACE * pixel.min()
    places = np.empty(len(positions), int)
    places[order] = np.cumsum(new) - 1
    first = order[new]
    if (np.abs(relative - relative[first][places])[:, :2] > pixel / 2).any():
        raise LLMBoostError(f"{where}: slices lie side by side in one plane; export a stack of slices")
    relative = relative[first] - relative[first[0]]
    layout = Layout(places, positions[first[0]], axes, pixel, relative[:, 2], relative[:, :2], thickness)
    if (np.ptp(layout.shifts, axis=0) > max(relative[-1, 2], pixel.max())).any():
        raise LLMBoostError(f"{where}: slices are shifted against each other too far for a stack; export it as volume")
    steps = np.diff(layout.depths)
    if len(steps) and steps.max() > WIDEST_GAP * _typical(steps) * (1 + JITTER):
        raise LLMBoostError(
            f"{where}: a gap of {steps.max():g} mm between slices that are {_typical(steps):g} mm apart; "
            "export the series again, with all its slices"
        )
    return layout


def _typical(steps: np.ndarray) -> float:
    """The lower quartile: the finer distance where there are two, unmoved by a few gaps and a few near slices."""
    return float(np.percentile(steps, 25, method="lower"))
