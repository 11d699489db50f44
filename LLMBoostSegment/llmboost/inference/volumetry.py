"""Which volumes of what was drawn can be set against each other, and why others cannot.

A structure that the border of the image cuts off has no size; where the image does not tell left from right, nothing
has a side; without the skull, nobody knows how much fluid there was around the brain; and a model that sees but a few
voxels of a structure finds it, and does not measure it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..card import Card, Label, Volumetry
from ..io.image import Image
from .roi import Roi
from .sides import pairs_of
from .views import Views

TOUCHING = 0.1  # of a volume's power 2/3, up to which a cross section cuts off next to nothing: of a ball 0.1 %
CANAL = 800.0  # mm2: more than the spinal canal's cross section, in which brain stem and fluid go on
# of what is inside a skull, at least, lies around it; masks of a brain leave 0.2, heads have 0.9 to 2
TISSUE_AROUND = 0.5
# mm3: models of larger voxels compare no sides; in a symmetric head, one of 4 mm finds 16 % for a thalamus
COARSE = 27.0
NAMED = 10  # structures in a warning


def border_areas(seen: Views, indices: np.ndarray, labels: int, roi: Roi | None) -> np.ndarray:
    """The cross section in mm2 of each class with the border of what was looked at.

    Args:
        indices: [i, j, k] on the grid of the case, the classes drawn; 0 is background.
        labels: how many labels a view may show.

    Returns:
        of each class; more than 0 where it may be cut off.
    """
    areas = np.zeros(len(seen.labels) + 1)
    steps = seen.case.affine[:3, :3]
    for view in seen.views:
        own = slice(1 + view.number * labels, 1 + (view.number + 1) * labels)
        inside = None if roi is None else roi.contains(view.crop)
        for axis, classes in _at_border(view.part(indices), inside):
            mm2 = float(np.linalg.norm(np.cross(steps[:, axis - 2], steps[:, axis - 1])))
            areas[own] += np.bincount(classes, minlength=len(areas))[own] * mm2
    return areas


def volumetry(
    card: Card,
    seen: Views,
    labels: Sequence[Label],
    volumes_ml: Mapping[str, float],
    indices: np.ndarray,
    areas: np.ndarray,
) -> tuple[Volumetry, tuple[str, ...]]:
    """Which volumes can be set against each other; and, for a user, which cannot, and why.

    Args:
        labels: those that were drawn, in the order of ``indices``: without sides, where the image tells none.
        volumes_ml: of each of them, by name.
        indices: [i, j, k] on the grid of the case, the classes drawn; 0 is background.
        areas: of each of these classes, as :func:`border_areas` gives them.
    """
    notes = []
    names = [label.name for label in labels]
    touch = {
        name
        for name, mm2 in zip(names, areas[1:], strict=True)
        if mm2 > TOUCHING * (1000 * volumes_ml[name]) ** (2 / 3)
    }
    fine = float(np.prod(card.preprocessing.spacing)) <= COARSE
    pairs = pairs_of(labels) if fine else ()
    if fine and pairs_of(seen.labels) and not seen.case.sides_known and indices.any():
        notes.append("no asymmetry index: the image does not tell which side is which")
    cut = [pair for pair in pairs if {pair.left, pair.right} & touch]
    if cut:
        more = f" and {len(cut) - NAMED} more" if len(cut) > NAMED else ""
        listed = ", ".join(pair.structure for pair in cut[:NAMED])
        notes.append(f"no asymmetry index of {listed}{more}: at the border of what was looked at, may be cut off")
    inside = np.array([False, *(label.value in card.intracranial for label in labels)])
    why = _why_no_total(seen.case, inside[indices], float(areas[inside].sum())) if inside.any() else ""
    if why:
        notes.append(f"no total intracranial volume: {why}")
    total = () if why else tuple(label.name for label in labels if label.value in card.intracranial)
    return Volumetry(tuple(pair for pair in pairs if pair not in cut), total), tuple(notes)


def _why_no_total(case: Image, inside: np.ndarray, area: float) -> str:
    """Why what was drawn inside the skull is not all of it; empty if it may be, or there is nothing."""
    if area > CANAL:
        return "the head may be cut off, at the border of what was looked at"
    ends = [case.array.take(end, axis).ravel() for axis in range(-3, 0) for end in (0, -1)]
    empty = np.median(np.concatenate(ends)).astype(case.array.dtype)
    around = np.count_nonzero((case.array != empty) & ~inside)
    if around < TISSUE_AROUND * np.count_nonzero(inside):
        return "the image shows no skull, so fluid around the brain may be missing"
    return ""


def _at_border(drawn: np.ndarray, inside: np.ndarray | None) -> Iterator[tuple[int, np.ndarray]]:
    """Along each axis, the classes of voxels beside which nothing was looked at; ``inside``: where anything was, if not
    everywhere."""
    for axis, size in enumerate(drawn.shape):
        if inside is None:
            yield axis, np.concatenate([drawn.take(end, axis).ravel() for end in (0, -1)])
            continue
        around = np.pad(inside, [(int(n == axis),) * 2 for n in range(3)])
        for start in (0, 2):
            beside = around[tuple(np.s_[start : start + size] if n == axis else np.s_[:] for n in range(3))]
            yield axis, drawn[inside & ~beside]
