"""Bringing what a network says back onto an image's grid, slab by slab as it comes."""

from __future__ import annotations

from collections.abc import Iterator
from math import floor

import numpy as np
from torch import Tensor

from ..io.image import Image


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


def _planes(grid: Image, axis: int, start: int, content: np.ndarray | int) -> Image:
    """A part of ``grid`` from plane ``start`` on: with an array [c, i, j, k], or so many planes without content."""
    if isinstance(content, int):
        shape = [content if n == axis else size for n, size in enumerate(grid.shape)]
        content = np.broadcast_to(np.float32(0), shape)
    shift = grid.direction[:, axis] * grid.spacing[axis] * start
    x, y, z = (float(mm) for mm in shift + grid.origin)
    return Image(content, grid.spacing, (x, y, z), grid.direction)
