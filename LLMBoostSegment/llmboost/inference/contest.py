"""The class of each voxel, where nothing else is wanted: of many classes, few can win at a place.

What is between the network's voxels is a mean of theirs. A class whose highest score around a place is below another
one's lowest cannot win there, and is not brought to the image's grid.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import torch
from torch import Tensor

from ..card import Card
from ..io.image import Image
from .regrid import drawn_above, on_part

Box = tuple[slice, slice, slice]
TILE = 64  # voxels of the image along each axis, at a time
SLACK = 1e-6  # of the scores: means are rounded


def winning_classes(slab: Image, part: Image, card: Card, across: int | None) -> np.ndarray:
    """The class of each voxel of a part of an image's grid: int16, [i, j, k].

    Args:
        slab, part, across: see :func:`.regrid.class_scores`, whose classes these are.
    """
    result = np.zeros(part.shape, np.int16)
    for i, j, k in product(*([slice(n, min(n + TILE, size)) for n in range(0, size, TILE)] for size in part.shape)):
        tile = part.cut((i, j, k))
        _decide(slab.cut(_around(slab, tile)), tile, card, across, result[i, j, k])
    return result


def _decide(slab: Image, part: Image, card: Card, across: int | None, winner: np.ndarray) -> None:
    """Fill in the class of each voxel of a small part; ``winner`` is 0 before."""
    regions = card.activation == "sigmoid"
    found = _contenders(slab, part, drawn_above(card) if regions else None)
    if len(found) == 1 and not regions:
        winner[...] = found[0][0]
        return
    best = np.full(part.shape, -np.inf, np.float32)
    for channel, box in found:
        there = part.cut(box)
        one = slab.with_array(slab.array[channel])
        scores = on_part(one.cut(_around(one, there)), there, across)
        if regions:  # what is drawn later covers what was before
            np.copyto(winner[box], channel + 1, where=scores > drawn_above(card))
            continue
        np.copyto(winner[box], channel, where=scores > best[box])
        np.maximum(best[box], scores, out=best[box])


def _contenders(slab: Image, part: Image, above: float | None) -> list[tuple[int, Box]]:
    """The channels of ``slab`` that may win somewhere on the grid of ``part``, each with the box around where.

    Args:
        above: what a channel must exceed; None: all others.
    """
    scores = torch.from_numpy(slab.array).float()
    low, high = torch.aminmax(scores.flatten(1), dim=1)
    slack = SLACK * float(torch.maximum(high.max(), -low.min()))
    bar = (low.max() if above is None else torch.tensor(above)) - slack
    alive = torch.nonzero(high >= bar).flatten()
    if len(alive) < 2 and above is None:
        return [(int(n), (slice(None),) * 3) for n in alive]
    scores = scores[alive]
    if above is None and len(alive):
        bar = _of_cells(scores, torch.minimum).amax(0) - slack
    may_win = (_of_cells(scores, torch.maximum) >= bar).numpy()
    places = _places(slab, part)
    boxes = ((int(n), _box(cells, places)) for n, cells in zip(alive, may_win, strict=True) if cells.any())
    return [(n, box) for n, box in boxes if all(one.start < one.stop for one in box)]


def _of_cells(scores: Tensor, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The lowest or highest of the voxels around each cell between voxels: [c, i, j, k], one fewer along each axis."""
    for axis in (1, 2, 3):
        if (size := scores.shape[axis]) > 1:
            scores = choose(scores.narrow(axis, 0, size - 1), scores.narrow(axis, 1, size - 1))
    return scores


def _places(slab: Image, part: Image) -> list[np.ndarray]:
    """Where the voxels of ``part`` lie along each axis of ``slab``, whose axes are the same, in its voxels."""
    to_slab = np.linalg.solve(slab.affine, part.affine)
    return [to_slab[n, 3] + to_slab[n, n] * np.arange(size) for n, size in enumerate(part.shape)]


def _box(cells: np.ndarray, places: list[np.ndarray]) -> Box:
    """The box of voxels that lie in cells, those beyond the outermost cells among them."""
    parts = []
    for axis, along in enumerate(places):
        there = np.flatnonzero(cells.any(axis=tuple(n for n in range(3) if n != axis)))
        first, last = there[0], there[-1]
        low = along[0] if first == 0 else first - SLACK
        high = along[-1] if last == cells.shape[axis] - 1 else last + 1 + SLACK
        inside = np.flatnonzero((along >= low) & (along <= high))
        parts.append(slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0))
    i, j, k = parts
    return i, j, k


def _around(slab: Image, part: Image) -> Box:
    """The voxels of ``slab`` that surround those of ``part``."""
    parts = []
    for along, size in zip(_places(slab, part), slab.shape, strict=True):
        first = min(max(int(np.floor(along[0] - SLACK)), 0), size - 1)
        last = min(max(int(np.ceil(along[-1] + SLACK)), 0), size - 1)
        parts.append(slice(first, last + 1))
    i, j, k = parts
    return i, j, k
