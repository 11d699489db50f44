"""Whether a map tells what the network goes by: measures that need no reader's eye."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

# shares of the voxels that are changed: a segment is small, so most happens at first
SHARES = (0.0, 0.05, 0.2, 0.5, 1.0)


def energy(heat: Tensor, mask: Tensor) -> float:
    """The share of a map that lies inside a mask; chance is the mask's share of the voxels."""
    total = float(heat.sum())
    return float(heat[mask].sum()) / total if total > 0 else 0.0


def points_into(heat: Tensor, mask: Tensor) -> bool:
    """Whether the map is highest inside the mask (the pointing game, Zhang et al. 2016, arXiv 1608.00507)."""
    return bool(mask.flatten()[heat.argmax()])


def randomised(network: nn.Module, seed: int) -> nn.Module:
    """A copy whose weights are shuffled within each tensor: a map that looks the same is no explanation of what the
    network has learned (Adebayo et al. 2018, arXiv 1810.03292). What is stored in 4 bits stays."""
    other, generator = copy.deepcopy(network), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.is_floating_point():
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return other


def areas(score: Callable[[Tensor], float], volume: Tensor, nothing: Tensor, heat: Tensor) -> tuple[float, float]:
    """The areas under the curves of deletion and insertion (Petsiuk et al. 2018, arXiv 1806.07421): the score as ever
    more voxels, those highest in the map first, become ``nothing``, or come into it. A good map has a small first and a
    large second one.

    Args:
        score: of a volume (channels, R, A, S).
        nothing: what a voxel is without its information, such as the volume, blurred.
        heat: (R, A, S).
    """
    order = heat.flatten().argsort(descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order))
    rank = rank.view(heat.shape)
    ends = score(volume), score(nothing)
    deleted, inserted = [], []
    for share in SHARES:
        changed = rank < share * rank.numel()
        if share in (0.0, 1.0):
            deleted.append(ends[int(share)])
            inserted.append(ends[1 - int(share)])
            continue
        deleted.append(score(torch.where(changed, nothing, volume)))
        inserted.append(score(torch.where(changed, volume, nothing)))
    return float(np.trapezoid(deleted, SHARES)), float(np.trapezoid(inserted, SHARES))
