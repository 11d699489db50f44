"""How a synthetic head looks: random intensities of its tissues, and a random scanner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from .field import FWHM, Axes, along_axes, gaussian, linear, smooth_field, triple
from .structures import BETWEEN, BONE, FLUID, GRAY, OUTSIDE, WHITE, as_left

TISSUES = (FLUID, GRAY, WHITE)
# fluid, gray and white matter from dark to bright, as in T1, T2, FLAIR and proton density
USUAL = ((0, 1, 2), (2, 1, 0), (0, 2, 1))
ALIKE, ORDERED = 0.85, 0.75  # shares: tissues look as one; from dark to bright in a usual order
THICKEST = 8.0  # mm
NOISE = 0.08  # the most, of the range of intensities
BIAS = 0.35
GAMMA = 0.3


@dataclass(frozen=True)
class Contrast:
    """Of each value of a map: the intensities' mean, their spread, and how much they vary from place to place."""

    mean: Tensor
    spread: Tensor
    patchy: Tensor


def random_contrast(values: Sequence[int], random: np.random.Generator) -> Contrast:
    """The looks of each of ``values`` of the maps, in about 0 to 1; 0 is the air around.

    Most contrasts make gray matter, white matter and fluid uniform, as sequences do; the others give every
    structure an intensity of its own. Both sides mostly look alike.
    """
    alike = as_left()
    mean = {value: random.random() for value in values}
    if random.random() < ALIKE:
        fluid, gray, white = random.random(3)
        if random.random() < ORDERED:
            order = USUAL[random.integers(len(USUAL))]
            fluid, gray, white = np.sort((fluid, gray, white))[np.argsort(order)]
        unlike = random.uniform(0, 0.06)
        for tissue, middle in zip(TISSUES, (fluid, gray, white), strict=True):
            mean |= {value: middle + unlike * random.standard_normal() for value in tissue}
        mean |= {value: gray + (white - gray) * random.random() for value in BETWEEN}
        if random.random() < 0.7:
            mean |= {value: random.uniform(0, 0.15) for value in BONE}
    spread = {value: random.uniform(0, 0.1) for value in values}
    patchy = {value: random.uniform(0, 0.25 if value in OUTSIDE else 0.05) for value in values}
    mean[0] = random.random() if random.random() < 0.1 else random.uniform(0, 0.1)
    spread[0], patchy[0] = random.uniform(0, 0.03), 0.0
    if random.random() < 0.9:
        mean, spread, patchy = ({v: table[alike[v]] for v in values} for table in (mean, spread, patchy))
    return Contrast(*(torch.tensor([table[v] for v in values]).float() for table in (mean, spread, patchy)))


def paint(
    index: Tensor,
    contrast: Contrast,
    axes: Axes,
    random: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    """Intensities of a map (I, J, K) of indices into the tables of ``contrast``."""
    flat = index.flatten().long()
    image = torch.randn(index.shape, generator=generator)
    image *= contrast.spread[flat].view_as(image)
    image += contrast.mean[flat].view_as(image)
    image += contrast.patchy[flat].view_as(image).mul_(smooth_field(axes, random.uniform(6, 16), generator)[0])
    return image


def scan(
    image: Tensor,
    axes: Axes,
    grid: Axes,
    random: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    """What a scanner with coils, slices and noise makes of ``image``, on the network's ``grid``.

    Args:
        axes, grid: positions in mm of the voxel centers along each axis, before and after.
    """
    image = image * torch.exp(BIAS * random.random() * smooth_field(axes, random.uniform(50, 150), generator)[0])
    finest, painted = (float(one[0][1] - one[0][0]) for one in (grid, axes))
    acquired, blur = [], []
    for fine, out, spacing in zip(axes, grid, random_spacing(finest, random), strict=True):
        first, last = float(out[0]), float(out[-1])
        at = (
            out
            if spacing <= finest
            else torch.arange(first + random.uniform(-0.5, 0) * spacing, last + spacing, spacing)
        )
        # slices may overlap or leave gaps
        thickness = max(spacing * random.uniform(0.7, 1.3), 1.01 * painted)
        blur.append(gaussian(at, fine, sqrt(thickness**2 - painted**2) / FWHM))
        acquired.append(at)
    image = along_axes(image, triple(blur))
    noise = NOISE * random.random() ** 2
    image += noise * torch.randn(image.shape, generator=generator)
    if random.random() < 0.5:  # a magnitude of two noisy channels (Rice)
        image = torch.hypot(image, noise * torch.randn(image.shape, generator=generator))
    image = along_axes(image, triple([linear(out, at) for out, at in zip(grid, acquired, strict=True)]))
    low, high = image.min(), image.max()
    return ((image - low) / (high - low).clamp(min=1e-6)) ** float(np.exp(random.normal(0, GAMMA)))


def random_spacing(finest: float, random: np.random.Generator) -> np.ndarray:
    """Distances in mm of the voxels that a scanner gives, brought to ``finest`` where they are finer."""
    kind = random.random()
    spacing = np.full(3, finest)
    if kind < 0.35:
        spacing[random.integers(3)] = random.uniform(finest, THICKEST)
    elif kind < 0.5:
        spacing[:] = random.uniform(finest, 1.5 * finest)
    return spacing
