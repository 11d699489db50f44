"""Smooth random fields and the sampling of one axis, as small matrices: three matrix products handle a whole volume."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Axes = tuple[Tensor, Tensor, Tensor]  # positions in mm of the voxel centers along R, A, S
FWHM = 2 * math.sqrt(2 * math.log(2))  # full width at half maximum of a Gaussian, in standard deviations


def along_axes(volume: Tensor, matrices: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Apply a matrix (new, old) along each of the last three axes of ``volume`` (..., I, J, K)."""
    a, b, c = matrices
    result = volume @ c.T
    result = b @ result
    return (a @ result.flatten(-2)).unflatten(-1, result.shape[-2:])


def gaussian(out: Tensor, at: Tensor, width: float | Tensor) -> Tensor:
    """Rows of Gaussian weights that sum to one: samples at positions ``at`` seen from ``out``, standard deviation
    ``width``, in the same unit; of two samples equally far, both count."""
    distance = (out[:, None] - at[None, :]) / width
    return torch.softmax(-0.5 * distance**2, dim=1)


def linear(out: Tensor, at: Tensor) -> Tensor:
    """Linear interpolation at ``out`` between samples at equally spaced positions ``at``; constant beyond them."""
    if len(at) == 1:
        return torch.ones(len(out), 1)
    step = at[1] - at[0]
    place = ((out - at[0]) / step).clamp(0, len(at) - 1)
    return (1 - (place[:, None] - torch.arange(len(at))).abs()).clamp(min=0)


def smooth_field(axes: Axes, knots: float, random: torch.Generator, channels: int = 1) -> Tensor:
    """Normally distributed values (channels, I, J, K) that vary smoothly over about ``knots`` mm, of unit variance."""
    matrices = []
    for axis in axes:
        at = torch.arange(float(axis[0]) - knots, float(axis[-1]) + 2 * knots, knots)
        weights = gaussian(axis, at, 0.7 * knots)
        # independent knots keep their variance
        matrices.append(weights / weights.square().sum(dim=1, keepdim=True).sqrt())
    values = torch.randn(channels, *(matrix.shape[1] for matrix in matrices), generator=random)
    return along_axes(values, triple(matrices))


def triple(values: Sequence[Tensor]) -> Axes:
    first, second, third = values
    return first, second, third
