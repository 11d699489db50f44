"""Random walker segmentation: each voxel gets the label whose strokes a walker from there reaches first most likely.

Grady 2006, "Random walks for image segmentation" (IEEE TPAMI 28). The walker crosses an edge of the grid the less
gladly the more the intensities differ there. The probabilities solve a sparse symmetric system, the same one for all
labels. It is solved by conjugate gradients, all labels at once, without a matrix: each of the six neighbors is one
shifted multiplication and addition of flat arrays. They are preconditioned by multigrid: blocks of two voxels along
each axis that have one value each are a grid again, with fewer voxels and the same kind of system. On one grid alone,
nothing would come through in time from strokes that are far.

Edges to a class's strokes are the stronger the fewer voxels of it are painted, by the square root of how many times
fewer. Otherwise what is painted thinly comes out too small, among the background's longer strokes.

A leak is a weak edge from each voxel to the first class, as Grady 2005 ("Multilabel random walker image segmentation
using prior models", CVPR) has edges to each: a walker that finds no stroke for long ends there. What is far from all
strokes, or behind many weak borders, is then background.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..inference.watch import UNWATCHED, Watch

SHARPNESS = 10.0  # times the square of a difference, relative to the mean square, is a weight's exponent
FLOOR = 3e-4  # of a weight: whatever the intensities, there is a way
RANGE = (2, 98)  # percentiles of the labels' intensities
BEYOND = 1.0  # of that range
TOLERANCE = 3e-3
MOST_STEPS = 200
DAMPING = 0.7  # of Jacobi's smoothing


def walk(
    image: np.ndarray,
    classes: np.ndarray,
    spacing: Sequence[float],
    leak: float = 0.0,
    *,
    device: torch.device | str = "cpu",
    watch: Watch = UNWATCHED,
) -> np.ndarray:
    """Probabilities of each class at each voxel.

    Args:
        image: [c, i, j, k] intensities.
        classes: int [i, j, k]: the class, 0 and up, where it is known, and -1 where not.
        spacing: mm along i, j, k.
        leak: the strength of the edge from each voxel to class 0; edges where intensities are alike have 1.

    Returns:
        float32 [classes, i, j, k]; they add up to 1, and are 0 or 1 where the class is known.

    Raises:
        ValueError: no class is known.
        Cancelled: whoever waits cancelled.
    """
    return walk_on(weights_of(image, spacing, device), classes, leak, watch=watch)


def near_labels(image: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Intensities [c, i, j, k], clipped to those that are painted as labels, and as much again to either side.

    What lies beyond differs from the labels anyway. How much a difference means is relative to the mean of all: with
    air and bone in it, all soft tissue would look alike.
    """
    low, high = np.percentile(image[:, classes > 0], RANGE, axis=1).reshape(2, -1, 1, 1, 1)
    beyond = np.where(high > low, BEYOND * (high - low), np.inf)
    return np.clip(image, low - beyond, high + beyond)


def weights_of(image: np.ndarray, spacing: Sequence[float], device: torch.device | str = "cpu") -> list[Tensor]:
    """The strength of the edge from each voxel to the next one along each axis, [i, j, k], 0 where there is none."""
    intensities = torch.from_numpy(np.ascontiguousarray(image, np.float32)).to(device)
    differences = [intensities.diff(dim=axis + 1).square().sum(0) for axis in range(3)]
    count = sum(one.numel() for one in differences)
    spread = float(sum(one.sum() for one in differences)) / max(count, 1)
    nearest, weights = min(spacing), []
    for axis, (difference, mm) in enumerate(zip(differences, spacing, strict=True)):
        weight = torch.zeros(intensities.shape[1:], device=device)
        strength = torch.exp(difference * (-SHARPNESS / max(spread, 1e-12))) * (nearest / mm) ** 2 + FLOOR
        weight.narrow(axis, 0, strength.shape[axis]).copy_(strength)
        weights.append(weight)
    return weights


def walk_on(
    weights: Sequence[Tensor],
    classes: np.ndarray,
    leak: float = 0.0,
    *,
    watch: Watch = UNWATCHED,
    tolerance: float = TOLERANCE,
) -> np.ndarray:
    """:func:`walk` on edges of these strengths, see :func:`weights_of`.

    Args:
        tolerance: of the error that is left, by an estimate, relative to the solution.
    """
    if classes.max() < 0:
        raise ValueError("a walker needs seeds")
    known = torch.from_numpy(np.ascontiguousarray(classes, np.int16)).to(weights[0].device)
    fixed = torch.stack([(known == n).float() for n in range(int(known.max()) + 1)])
    found = torch.ones_like(fixed)
    if len(fixed) > 1:
        counts = fixed.flatten(1).sum(1).view(-1, 1, 1, 1)
        # the last class is what the others leave
        grid, right = _Grid.of(weights, known < 0, fixed * (counts.max() / counts.clamp(min=1)).sqrt(), leak)
        torch.add(_solve(grid, right.flatten(1), tolerance, watch).view_as(right), fixed[:-1], out=found[:-1]).clamp_(
            0, 1
        )
        torch.sub(1, found[:-1].sum(0), out=found[-1]).clamp_(0, 1)
        found /= found.sum(0)
    return found.cpu().numpy()


class _Grid:
    """The system for the free voxels of a grid, and for its blocks: each voxel's value times the sum of its weights and
    its load, less the weighted sum of its neighbors' values. Voxels that are not free have neither weights nor load,
    and the value 0. Values are [c, voxels].

    Args:
        weights: of the edges between free voxels along each axis, [i, j, k].
        load: the weights of each voxel's edges to seeds, [i, j, k].
    """

    def __init__(self, weights: Sequence[Tensor], load: Tensor) -> None:
        self._shape = load.shape
        self._edges = _edges(weights)
        degree = load.flatten() + _neighbors(self._edges, torch.ones_like(load).view(1, -1))[0]
        self._degree, self._free = degree, degree > 0
        self._inverse = torch.where(self._free, 1 / degree, 0.0)
        self.blocks = _Grid(*_in_blocks(weights, load)) if load.numel() > 1 else None

    @classmethod
    def of(cls, weights: Sequence[Tensor], free: Tensor, seeds: Tensor, leak: float) -> tuple[_Grid, Tensor]:
        """The system and its right side: the weights of edges to each class's seeds but the last one's, [c, i, j, k].

        Args:
            seeds: how much stronger than others the edges to each class's seeds are, 0 elsewhere, [c + 1, i, j, k].
        """
        inner = []
        for axis, weight in enumerate(weights):
            both = torch.zeros_like(free)
            both.narrow(axis, 0, free.shape[axis] - 1).copy_(free.narrow(axis, 1, free.shape[axis] - 1))
            inner.append(weight * (both & free))
        towards = torch.cat([seeds.sum(0, keepdim=True), seeds[:-1]])
        towards = _neighbors(_edges(weights), towards.flatten(1)).view_as(towards)
        towards[:2] += leak
        towards *= free
        return cls(inner, towards[0]), towards[1:]

    def apply(self, x: Tensor) -> Tensor:
        return (x * self._degree).sub_(_neighbors(self._edges, x))

    def roughly(self, right: Tensor) -> Tensor:
        """What leads about to ``right``: a V-cycle, which is linear, symmetric and positive."""
        if self.blocks is None:
            return right * self._inverse
        x = right * (self._inverse * DAMPING)
        x += self.finer(self.blocks.roughly(self.coarser(right - self.apply(x))))
        return x.addcmul_(right - self.apply(x), self._inverse, value=DAMPING)

    def coarser(self, x: Tensor) -> Tensor:
        """Sums over blocks."""
        x = x.view(-1, *self._shape)
        for axis in (1, 2, 3):
            x = _pairs(x, axis).sum(axis + 1)
        return x.flatten(1)

    def finer(self, x: Tensor) -> Tensor:
        """Each free voxel gets its block's value."""
        i, j, k = self._shape
        x = x.view(-1, (i + 1) // 2, (j + 1) // 2, (k + 1) // 2)
        for axis in (1, 2, 3):
            x = x.repeat_interleave(2, axis)
        return x[:, :i, :j, :k].flatten(1) * self._free


def _in_blocks(weights: Sequence[Tensor], load: Tensor) -> tuple[list[Tensor], Tensor]:
    """Weights and loads of blocks of two voxels along each axis."""
    larger = []
    for axis, weight in enumerate(weights):
        for other in range(3):
            pairs = _pairs(weight, other)
            weight = pairs.select(other + 1, 1) if other == axis else pairs.sum(other + 1)
        larger.append(weight)
    for axis in range(3):
        load = _pairs(load, axis).sum(axis + 1)
    return larger, load


def _pairs(values: Tensor, axis: int) -> Tensor:
    """The axis in two, the second one of two values; 0 fills up."""
    if values.shape[axis] % 2:
        values = F.pad(values, [0, 0] * (values.ndim - 1 - axis) + [0, 1])
    return values.unflatten(axis, (-1, 2))


def _edges(weights: Sequence[Tensor]) -> list[tuple[Tensor, int]]:
    """Flat weights, and how far from each other the voxels lie that they connect; 0 between the ends of lines."""
    _, j, k = weights[0].shape
    return [
        (weight.flatten()[: max(weight.numel() - stride, 0)], stride)
        for weight, stride in zip(weights, (j * k, k, 1), strict=True)
    ]


def _neighbors(edges: Sequence[tuple[Tensor, int]], x: Tensor) -> Tensor:
    """The weighted sum over each voxel's neighbors."""
    result = torch.zeros_like(x)
    for weight, stride in edges:
        for one, values in zip(result, x, strict=True):
            one[stride:].addcmul_(weight, values[:-stride])
            one[:-stride].addcmul_(weight, values[stride:])
    return result


def _solve(grid: _Grid, right: Tensor, tolerance: float, watch: Watch) -> Tensor:
    """The values that lead to ``right``, from those that do in blocks."""
    if grid.blocks is None:
        return grid.roughly(right)
    x = grid.finer(_solve(grid.blocks, grid.coarser(right), tolerance, watch))
    goal = (right * grid.roughly(right)).sum(1) * tolerance**2
    residual = right - grid.apply(x)
    direction, former = torch.zeros_like(x), goal.new_ones(len(x))
    for _ in range(MOST_STEPS):
        watch.go_on()
        near = grid.roughly(residual)
        size = (residual * near).sum(1)
        if bool((size <= goal).all()):
            break
        direction.mul_((size / former)[:, None]).add_(near)
        image = grid.apply(direction)
        length = size / (direction * image).sum(1).clamp(min=1e-30)
        x.addcmul_(direction, length[:, None])
        residual.addcmul_(image, length[:, None], value=-1)
        former = size.clamp(min=1e-30)
    return x
