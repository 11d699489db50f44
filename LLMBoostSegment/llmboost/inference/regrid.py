"""Bringing what a network says back onto an image's grid, slab by slab as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from math import floor

import numpy as np
from scipy.special import expit
from torch import Tensor

from ..card import Card
from ..io.image import Image
from .cubic import nearest_planes
from .linear import interpolated

AT_ONCE = 2**26  # numbers of a slab


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
    for found in (thin for thick in slabs for thin in _thin(thick, axis)):
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


def _thin(slab: Tensor, axis: int) -> Iterator[Tensor]:
    """The slab; a large one in parts, for copies are made of them."""
    plane = slab.numel() // slab.shape[axis + 1]
    yield from slab.split(max(AT_ONCE // plane, 1), dim=axis + 1)


def class_scores(
    slab: Image, part: Image, card: Card, across: int | None, *, probabilities: bool
) -> Iterator[tuple[int, np.ndarray, np.ndarray | None]]:
    """What the network says of each class on a part of an image's grid.

    Args:
        slab: [c, r, a, s], what the card's tiling brings back: probabilities, or logits.
        across: the axis across slices that lie far apart, whose values are not mixed.
        probabilities: are wanted, which of logits takes longer.

    Yields:
        the number of a class, 0 for the background; scores (float32, on the grid of ``part``), the highest of which,
        and of equal ones the first yielded, tells a voxel's class; and probabilities, if they are wanted.
    """

    def on_grid(n: int) -> np.ndarray:
        return on_part(slab.with_array(slab.array[n]), part, across)

    if card.activation == "sigmoid":
        by_logits = card.tiling.back == "averaged"
        highest = np.full(part.shape, -np.inf if by_logits else 0, np.float32)
        for n in range(1, card.classes):  # what is drawn later covers what was before
            found = on_grid(n - 1)
            np.maximum(highest, found, out=highest)
            drawn = np.where(found > drawn_above(card), np.float32(n), np.float32(-1))
            yield n, drawn, (expit(found) if by_logits else found) if probabilities else None
        rest = (expit(-highest) if by_logits else 1 - highest) if probabilities else None
        yield 0, np.zeros(part.shape, np.float32), rest
    elif card.tiling.average == "probabilities" or card.tiling.back != "averaged":
        for n in range(card.classes):
            p = on_grid(n)
            yield n, p, p
    else:
        total = None
        if probabilities:
            total = on_grid(0)
            for n in range(1, card.classes):
                total = np.logaddexp(total, on_grid(n))
        for n in range(card.classes):
            logits = on_grid(n)
            yield n, logits, None if total is None else np.exp(logits - total)


def on_part(scores: Image, part: Image, across: int | None) -> np.ndarray:
    """Scores, [r, a, s], of one class on the grid of ``part``, float32; see :func:`class_scores`."""
    return interpolated(scores if across is None else _nearest_planes(scores, part, across), part).array


def drawn_above(card: Card) -> float:
    """The score above which a region is drawn, where a network tells regions that lie over each other."""
    return 0.0 if card.tiling.back == "averaged" else 0.5


def as_probabilities(slab: Tensor, card: Card, axis: int) -> Tensor:
    """Of logits (classes, R, A, S), probabilities, in their place: plane by plane along ``axis``, for that copies."""
    for plane in slab.unbind(axis + 1):
        logits = plane.float()
        plane.copy_(logits.softmax(dim=0) if card.activation == "softmax" else logits.sigmoid())
    return slab


def covered(target: Image, work: Image) -> tuple[slice, slice, slice]:
    """Where, on the grid ``target``, voxels lie less than one of the network's from its grid ``work``, whose axes are
    the same: what lies further off was cut away before the network saw the image."""
    to_work = np.linalg.solve(work.affine, target.affine)
    parts = []
    for axis, count in enumerate(target.shape):
        places = to_work[axis, 3] + to_work[axis, axis] * np.arange(count)
        inside = np.flatnonzero((places > -1) & (places < work.shape[axis]))
        parts.append(slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0))
    i, j, k = parts
    return i, j, k


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
