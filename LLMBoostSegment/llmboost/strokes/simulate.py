"""A simulated user who paints strokes: for experiments and tests.

At first, in three slices, a stroke in each structure and three around them; then, round by round, in the slice with
most wrong voxels, a stroke on the largest piece that each structure, or the background, lacks. Strokes are 1 to 3
voxels thick, follow the shape of what they lie in, and are right: what they cover has their label in the truth.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from scipy import ndimage

from ..messages.strokes import BACKGROUND

SLICES = 3
NEAR = 6  # pixels around the structures where background is painted
LONGEST = 25  # pixels of a stroke
TRIES = 20


class SimulatedUser:
    """Paints what ``truth`` shows.

    Args:
        truth: whole numbers [i, j, k], 0 is background.
        axis: across which the user looks at slices.
        seed: of where strokes begin and how thick they are.
    """

    def __init__(self, truth: np.ndarray, axis: int, seed: int) -> None:
        self._truth = np.moveaxis(truth, axis, 0)
        self._axis, self._random = axis, np.random.default_rng(seed)
        self._values = [int(value) for value in np.unique(truth) if value]

    def first_strokes(self) -> np.ndarray:
        """uint16 [i, j, k], as :class:`.strokes.Strokes` takes them."""
        painted = np.zeros_like(self._truth, dtype=np.uint16)
        shown = set()
        for place in self._slices():
            shown |= self._paint_all(place, painted)
        for value in self._values:  # structures that no such slice shows
            if value not in shown:
                areas = (self._truth == value).sum((1, 2))
                shown |= self._paint_all(int(areas.argmax()), painted)
        return np.ascontiguousarray(np.moveaxis(painted, 0, self._axis))

    def correct(self, painted: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The strokes and those of one more round, about what is wrong in ``labels`` [i, j, k]."""
        result, found = np.moveaxis(painted.copy(), self._axis, 0), np.moveaxis(labels, self._axis, 0)
        wrong = (found != self._truth).sum((1, 2))
        place = int(wrong.argmax())
        if wrong[place]:
            truth = self._truth[place]
            for value in (0, *self._values):
                missed = _largest((truth == value) & (found[place] != value))
                if missed.any():
                    self._stroke(missed, truth == value, result[place], value or BACKGROUND)
        return np.ascontiguousarray(np.moveaxis(result, 0, self._axis))

    def _slices(self) -> list[int]:
        """Three places, far from each other, that show as many structures as three can in some tries."""
        planes = np.flatnonzero((self._truth > 0).any((1, 2)))
        first, last = int(planes[0]), int(planes[-1])
        best: tuple[int, list[int]] = (-1, [])
        for _ in range(TRIES):
            shares = (np.arange(SLICES) + 0.5 + self._random.uniform(-0.3, 0.3, SLICES)) / SLICES
            places = sorted({round(first + share * (last - first)) for share in shares})
            count = len(np.unique(self._truth[places])) - 1
            if count > best[0]:
                best = count, places
        return best[1]

    def _paint_all(self, place: int, painted: np.ndarray) -> set[int]:
        """A stroke in each structure of a slice, and three of background: two near, one far; tells which it has."""
        truth, out = self._truth[place], painted[place]
        shown = set()
        for value in self._values:
            region = truth == value
            if region.any():
                shown.add(value)
                self._stroke(_largest(region), region, out, value)
        outside = truth == 0
        distance = ndimage.distance_transform_edt(outside) if shown else np.full(truth.shape, np.inf)
        near, far = outside & (distance > 1) & (distance <= NEAR), outside & (distance > NEAR)
        for region in (near, near, far):
            if region.any():
                self._stroke(region, outside & (distance > 1), out, BACKGROUND)
        return shown

    def _stroke(self, region: np.ndarray, allowed: np.ndarray, out: np.ndarray, value: int) -> None:
        """Paint a line in ``region``, inside of it as far as it is wide, and nowhere but in ``allowed``."""
        thickness = int(self._random.integers(1, 4))
        inner = region
        for _ in range(2):
            smaller = ndimage.binary_erosion(inner)
            inner = smaller if smaller.any() else inner
        pixels = np.argwhere(inner)
        i, j = (int(n) for n in pixels[self._random.integers(len(pixels))])
        line = np.zeros(region.shape, bool)
        line[tuple(zip(*_way(inner, (i, j)), strict=True))] = True
        if thickness > 1:
            line = ndimage.binary_dilation(line, np.ones((thickness, thickness), bool))
        out[line & allowed] = value


def _largest(mask: np.ndarray) -> np.ndarray:
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    return pieces == np.argmax(np.bincount(pieces.ravel())[1:]) + 1


def _way(mask: np.ndarray, start: tuple[int, int]) -> list[tuple[int, int]]:
    """The pixels of a shortest way within ``mask`` from a pixel that is as far from ``start`` as a stroke is long, or
    as there are any."""
    former: dict[tuple[int, int], tuple[int, int] | None] = {start: None}
    steps, todo, end = {start: 1}, deque([start]), start
    while todo:
        here = end = todo.popleft()
        if steps[here] == LONGEST:
            break
        for i, j in ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)):
            other = here[0] + i, here[1] + j
            inside = 0 <= other[0] < mask.shape[0] and 0 <= other[1] < mask.shape[1]
            if inside and other not in former and mask[other]:
                former[other], steps[other] = here, steps[here] + 1
                todo.append(other)
    way: list[tuple[int, int]] = []
    place: tuple[int, int] | None = end
    while place is not None:
        way.append(place)
        place = former[place]
    return way
