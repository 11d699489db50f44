"""Random walker segmentation: each voxel gets the label whose strokes a walker from there reaches first most likely.

Grady 2006, "Random walks for image segmentation" (IEEE TPAMI 28). The walker crosses an edge of the grid the less
gladly the more the intensities differ there. The probabilities solve a sparse symmetric system, the same one for all
labels. It is solved by conjugate gradients, all labels at once, without a matrix: each of the six neighbors is one
shifted multiplication and addition of flat arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..inference.watch import UNWATCHED, Watch

FLOOR = 1e-6  # of a weight: whatever the intensities, there is a way
TOLERANCE = 1e-3  # of the residual, relative to where the seeds alone lead
MOST_STEPS = 1000
COARSE_ABOVE = 500_000  # voxels: more are solved at half the resolution first, and then refined


@dataclass(frozen=True)
class Edges:
    """How intensities become the strength of edges.

    Attributes:
        beta: how much a difference counts; 1000 / 100 times the square of a mean one is the exponent.
    """

    beta: float = 1000.0


def walk(
    image: np.ndarray,
    classes: np.ndarray,
    spacing: Sequence[float],
    edges: Edges = Edges(),
    *,
    start: np.ndarray | None = None,
    device: torch.device | str = "cpu",
    watch: Watch = UNWATCHED,
) -> np.ndarray:
    """Probabilities of each class at each voxel.

    Args:
        image: [c, i, j, k] intensities.
        classes: int [i, j, k]: the class, 0 and up, where it is known, and -1 where not.
        spacing: mm along i, j, k.
        start: a former result for a similar question, to begin from; the result is the same without.

    Returns:
        float32 [classes, i, j, k]; they add up to 1, and are 0 or 1 where the class is known.

    Raises:
        ValueError: no class is known.
        Cancelled: whoever waits cancelled.
    """
    if classes.max() < 0:
        raise ValueError("a walker needs seeds")
    values = torch.from_numpy(np.ascontiguousarray(image, np.float32)).to(device)
    known = torch.from_numpy(np.ascontiguousarray(classes, np.int64)).to(device)
    begin = None if start is None else torch.from_numpy(np.ascontiguousarray(start, np.float32)).to(device)
    found = _levels(values, known, int(classes.max()) + 1, spacing, edges, begin, watch)
    return found.cpu().numpy()


def _levels(
    image: Tensor,
    known: Tensor,
    count: int,
    spacing: Sequence[float],
    edges: Edges,
    start: Tensor | None,
    watch: Watch,
) -> Tensor:
    """Solve at once, or from coarse to fine."""
    if start is None and known.numel() > COARSE_ABOVE:
        factors = [
            2 if size > 8 and mm < 2 * min(spacing) else 1 for size, mm in zip(known.shape, spacing, strict=True)
        ]
        if max(factors) > 1:
            small = F.avg_pool3d(image[None], factors, factors, ceil_mode=True, count_include_pad=False)[0]
            seeds = _coarser(known, factors)
            wider = [mm * factor for mm, factor in zip(spacing, factors, strict=True)]
            coarse = _levels(small, seeds, count, wider, edges, None, watch)
            for axis, factor in enumerate(factors, start=1):
                coarse = coarse.repeat_interleave(factor, axis)
            i, j, k = known.shape
            start = coarse[:, :i, :j, :k]
    return _solve(image, known, count, spacing, edges, start, watch)


def _coarser(known: Tensor, factors: Sequence[int]) -> Tensor:
    """The class that is known of each block, the higher one of several: labels before background."""
    return F.max_pool3d(known[None].float(), list(factors), list(factors), ceil_mode=True)[0].long()


def weights_of(image: Tensor, spacing: Sequence[float], edges: Edges) -> list[Tensor]:
    """The strength of the edge from each voxel to the next one along each axis, [i, j, k], 0 where there is none."""
    differences = [image.diff(dim=axis + 1).square().sum(0) for axis in range(3)]
    count = sum(one.numel() for one in differences)
    spread = float(sum(one.sum() for one in differences)) / max(count, 1)
    nearest, weights = min(spacing), []
    for axis, (difference, mm) in enumerate(zip(differences, spacing, strict=True)):
        weight = torch.zeros(image.shape[1:], device=image.device)
        strength = torch.exp(difference * (-edges.beta / 100 / max(spread, 1e-12))) * (nearest / mm) ** 2 + FLOOR
        weight.narrow(axis, 0, strength.shape[axis]).copy_(strength)
        weights.append(weight)
    return weights


def _solve(
    image: Tensor,
    known: Tensor,
    count: int,
    spacing: Sequence[float],
    edges: Edges,
    start: Tensor | None,
    watch: Watch,
) -> Tensor:
    """The probabilities [count, i, j, k]."""
    shape = known.shape
    strides = (shape[1] * shape[2], shape[2], 1)
    flat = [weight.reshape(-1) for weight in weights_of(image, spacing, edges)]
    seeds = known.reshape(-1)
    free = (seeds < 0).float()
    fixed = F.one_hot(seeds + 1, count + 1).T[1:].float()  # [count, voxels], all 0 where nothing is known
    if count == 1:
        return torch.ones(1, *shape, device=image.device)
    degree = torch.zeros_like(free)
    for weight, stride in zip(flat, strides, strict=True):
        degree += weight
        degree[stride:] += weight[:-stride]
    # the last class is what the others leave
    right = _neighbors(flat, strides, fixed[:-1]) * free
    scale = torch.rsqrt(degree.clamp(min=FLOOR)) * free
    inner = []
    for weight, stride in zip(flat, strides, strict=True):
        one = weight[:-stride] * scale[:-stride] * scale[stride:]
        inner.append(one)
    begin = torch.zeros_like(right) if start is None else start.reshape(count, -1)[:-1] * free
    x = _conjugate_gradients(inner, strides, right * scale, begin * degree.sqrt(), watch) * scale
    found = torch.empty(count, seeds.numel(), device=image.device)
    torch.add(x, fixed[:-1], out=found[:-1]).clamp_(0, 1)
    torch.sub(1, found[:-1].sum(0), out=found[-1]).clamp_(0, 1)
    return found.div_(found.sum(0)).reshape(count, *shape)


def _neighbors(weights: Sequence[Tensor], strides: Sequence[int], x: Tensor) -> Tensor:
    """The weighted sum over each voxel's neighbors; weights are 0 between the ends of lines."""
    result = torch.zeros_like(x)
    for weight, stride in zip(weights, strides, strict=True):
        short = weight[: x.shape[1] - stride]
        for one, values in zip(result, x, strict=True):
            one[stride:].addcmul_(short, values[:-stride])
            one[:-stride].addcmul_(short, values[stride:])
    return result


def _conjugate_gradients(
    inner: Sequence[Tensor], strides: Sequence[int], right: Tensor, x: Tensor, watch: Watch
) -> Tensor:
    """The solution of (1 - inner) x = right for each row, from x on."""
    residual = right - x + _neighbors(inner, strides, x)
    direction = residual.clone()
    size = residual.square().sum(1)
    goal = right.square().sum(1) * TOLERANCE**2
    for _ in range(MOST_STEPS):
        watch.go_on()
        if bool((size <= goal).all()):
            break
        image = direction - _neighbors(inner, strides, direction)
        length = size / (direction * image).sum(1).clamp(min=1e-30)
        x = x.addcmul_(direction, length[:, None])
        residual.addcmul_(image, length[:, None], value=-1)
        former, size = size, residual.square().sum(1)
        direction.mul_((size / former.clamp(min=1e-30))[:, None]).add_(residual)
    return x
