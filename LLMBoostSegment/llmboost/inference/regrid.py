"""Bringing what a network says back onto an image's grid, slab by slab as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from math import floor

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from ..card import Card
from ..io.image import Image, resample
from .cubic import nearest_planes


def slabs_on_grid(
    slabs: Iterator[Tensor], work: Image, target: Image, axis: int
) -> Iterator[tuple[slice, Image, Image]]:
    """Sort the network's slabs (classes, R, A, S) into pieces of ``target``, whose axes are those of ``work``.

    Args:
        work: the grid that the slabs are cut from, across ``axis`` (0, 1, 2: R, A, S).

    Yields:
        planes of ``target`` along ``axis``, the slab that surrounds them on the network's grid, and their own grid.
    """
    to_work = np.linalg.solve(work.affine, target.affine)
    first, step = float(to_work[axis, 3]), float(to_work[axis, axis])
    slab, start, written = np.empty(0, np.float32), 0, 0
    for found in slabs:
        slab = np.concatenate([slab, found.numpy()], axis=axis + 1) if slab.size else found.numpy()
        end = start + slab.shape[axis + 1]
        ready = target.shape[axis]
        if end < work.shape[axis]:  # only what has a neighbor on both sides can be interpolated yet
            ready = min(max(floor((end - 1 - first) / step + 1e-9) + 1, 0), ready)
        if ready > written:
            planes = slice(written, ready)
            yield planes, _planes(work, axis, start, slab), _planes(target, axis, written, ready - written)
            written = ready
        needed = min(max(floor(first + step * written + 1e-9), start), end)
        slab = slab[(slice(None),) * (axis + 1) + (slice(needed - start, None),)].copy()
        start = needed


def class_scores(
    slab: Image, part: Image, card: Card, across: int | None, *, probabilities: bool
) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """What the network says of each class on a part of an image's grid.

    Args:
        slab: [c, r, a, s]: probabilities, or the logits that the card's tiling averages.
        across: the axis across slices that lie far apart, whose values are not mixed.
        probabilities: are wanted, which of logits takes longer.

    Yields:
        the number of a class, 0 for the background; scores (float32, on the grid of ``part``), the highest of which,
        and of equal ones the first yielded, tells a voxel's class; and probabilities, if they are wanted.
    """

    def on_part(n: int) -> np.ndarray:
        one = slab.with_array(slab.array[n])
        return resample(one if across is None else _nearest_planes(one, part, across), part, "linear").array

    if card.tiling.average == "probabilities":
        for n in range(card.classes):
            p = on_part(n)
            yield n, p, p
    elif card.activation == "softmax":
        total = None
        if probabilities:
            total = on_part(0)
            for n in range(1, card.classes):
                total = np.logaddexp(total, on_part(n))
        for n in range(card.classes):
            logits = on_part(n)
            yield n, logits, None if total is None else np.exp(logits - total)
    else:
        highest = np.full(part.shape, -np.inf, np.float32)
        for n in range(1, card.classes):  # what is drawn later covers what was before
            logits = on_part(n - 1)
            np.maximum(highest, logits, out=highest)
            yield n, np.where(logits > 0, np.float32(n), np.float32(-1)), expit(logits) if probabilities else None
        yield 0, np.zeros(part.shape, np.float32), expit(-highest) if probabilities else None


def classes_of(slab: Tensor, card: Card) -> Tensor:
    """The class of each voxel (int16, [r, a, s]) of a slab on the network's own grid."""
    if card.activation == "softmax":
        return slab.argmax(dim=0).to(torch.int16)
    numbers = torch.arange(1, len(slab) + 1, dtype=torch.int16).view(-1, 1, 1, 1)
    return ((slab > 0) * numbers).amax(dim=0)  # what is drawn later covers what was before


def _nearest_planes(slab: Image, part: Image, axis: int) -> Image:
    """The planes of ``slab`` that lie nearest to those of ``part`` along ``axis``, as if they lay there."""
    to_slab = np.linalg.solve(slab.affine, part.affine)
    places = to_slab[axis, 3] + to_slab[axis, axis] * np.arange(part.shape[axis])
    array = np.take(slab.array, nearest_planes(places, slab.shape[axis]), axis)
    shift = slab.direction[:, axis] * slab.spacing[axis] * places[0]
    spacing = [part.spacing[n] if n == axis else mm for n, mm in enumerate(slab.spacing)]
    return slab.on_grid(array, spacing, slab.origin + shift, slab.direction)


def _planes(grid: Image, axis: int, start: int, content: np.ndarray | int) -> Image:
    """A part of ``grid`` from plane ``start`` on: with an array [c, i, j, k], or so many planes without content."""
    if isinstance(content, int):
        shape = [content if n == axis else size for n, size in enumerate(grid.shape)]
        content = np.broadcast_to(np.float32(0), shape)
    shift = grid.direction[:, axis] * grid.spacing[axis] * start
    x, y, z = (float(mm) for mm in shift + grid.origin)
    return Image(content, grid.spacing, (x, y, z), grid.direction)
