"""What a report shows beside figures, gathered while a model is measured: worst cases, what is taken for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..io.image import Image, to_canonical

MOST = 6  # of the worst cases
MARGIN = 15.0  # mm around what is drawn or should be
THICK = 1.5  # slices so many times thicker than pixels are looked at as they were taken


@dataclass(frozen=True)
class View:
    """The slice of a case in which most is wrong, around what is drawn or should be.

    Attributes:
        image, reference, prediction: of the slice, [right, up].
        spacing: mm along these axes.
        named: which axis was cut, and what lies at the picture's left and right.
    """

    id: str
    dice: float
    image: np.ndarray
    reference: np.ndarray
    prediction: np.ndarray
    spacing: tuple[float, float]
    named: str


class Observed:
    """Shown each case as it is measured, see :func:`..evaluation.evaluate_segmenter`.

    Attributes:
        confusion: voxels [reference, prediction], by the place of the labels; 0 is background. Voxels that nobody
            labeled, and those called what was not drawn in the case, are left out.
        worst: cases with the lowest mean Dice, the worst first, at most ``MOST``.
    """

    def __init__(self, labels: Mapping[int, str], ignore: int | None = None) -> None:
        self.labels, self.ignore = dict(labels), ignore
        self.confusion = np.zeros((len(labels) + 1, len(labels) + 1), np.int64)
        self.worst: list[View] = []

    def see(self, scores: Mapping[str, Any], image: Image, reference: Image, prediction: Image) -> None:
        """Take a case.

        Args:
            scores: its measures, as :func:`..metrics.segmentation.segmentation_scores` gives them, with its ``id``.
            image, reference, prediction: on one grid.
        """
        true, called = reference.array.astype(np.int64), prediction.array.astype(np.int64)
        self.confusion += self._confusion(true, called, scores)
        known = [dice for dice in scores["dice"].values() if dice is not None]
        if not known:
            return
        dice = float(np.mean(known))
        if len(self.worst) < MOST or dice < self.worst[-1].dice:
            view = _view(str(scores["id"]), dice, image, reference, prediction, self.ignore)
            self.worst = sorted([*self.worst, view], key=lambda one: one.dice)[:MOST]

    def add(self, other: Observed) -> None:
        """Take what another one, of the same labels, has seen."""
        self.confusion += other.confusion
        self.worst = sorted([*self.worst, *other.worst], key=lambda one: one.dice)[:MOST]

    def _confusion(self, true: np.ndarray, called: np.ndarray, scores: Mapping[str, Any]) -> np.ndarray:
        counted = np.ones(true.shape, bool) if self.ignore is None else true != self.ignore
        undrawn = [int(value) for value, dice in scores["dice"].items() if dice is None]
        if undrawn:
            counted &= ~np.isin(called, undrawn)
        size = len(self.labels) + 1
        place = np.zeros(int(max(true.max(), called.max(), *self.labels)) + 1, np.int64)
        place[list(self.labels)] = np.arange(1, size)
        pairs = place[true[counted]] * size + place[called[counted]]
        return np.bincount(pairs, minlength=size * size).reshape(size, size)


def _view(id: str, dice: float, image: Image, reference: Image, prediction: Image, ignore: int | None) -> View:
    shown = to_canonical(image)
    true, called = (to_canonical(one).array for one in (reference, prediction))
    true = np.where(true == ignore, 0, true)
    called = np.where(to_canonical(reference).array == ignore, 0, called)
    axis = _axis(shown)
    right, up = (n for n in range(3) if n != axis)
    wrong = true != called
    per_slice = (wrong if wrong.any() else true > 0).sum(axis=(right, up))
    place = int(per_slice.argmax()) if per_slice.any() else shown.shape[axis] // 2
    planes = [np.take(array, place, axis) for array in (shown.array, true, called)]
    spacing = (shown.spacing[right], shown.spacing[up])
    box = _box((planes[1] > 0) | (planes[2] > 0), spacing)
    plain, drawn, made = (np.array(plane[box]) for plane in planes)
    name = ("sagittal", "coronal", "axial")[axis] if image.sides_known else "slice"
    return View(id, dice, plain, drawn, made, spacing, f"{name} {place + 1} of {shown.shape[axis]}")


def _axis(image: Image) -> int:
    """Across the slices that an image was taken in; of others, the one from feet to head."""
    if 1 in image.shape:
        return image.shape.index(1)
    thickest = int(np.argmax(image.spacing))
    others = [mm for n, mm in enumerate(image.spacing) if n != thickest]
    return thickest if image.spacing[thickest] > THICK * max(others) else 2


def _box(mask: np.ndarray, spacing: tuple[float, float]) -> tuple[slice, slice]:
    """A square around a mask, in mm, with a margin; all, of an empty one."""
    if not mask.any():
        return slice(None), slice(None)
    ends = []
    for axis, mm in enumerate(spacing):
        there = np.flatnonzero(mask.any(axis=1 - axis))
        ends.append((mm * there[0] - MARGIN, mm * (there[-1] + 1) + MARGIN))
    side = max(high - low for low, high in ends)
    result = []
    for (low, high), mm, count in zip(ends, spacing, mask.shape, strict=True):
        middle = (low + high) / 2
        first, last = round((middle - side / 2) / mm), round((middle + side / 2) / mm)
        result.append(slice(max(first, 0), min(max(last, first + 1), count)))
    return result[0], result[1]
