"""Random variations of a batch of images, all at once: MONAI's transforms take images one by one, which takes longer
than a small network's step."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Augmentation:
    """How much images vary.

    Attributes:
        mirror: spatial axes (0, 1, 2) along which they may be mirrored.
        degrees, scale, shift, shear: largest rotation about each axis; largest enlargement or reduction (0.2: by 1.2);
            largest shift, as a share of the image; largest shear.
        intensity: standard deviation of random factors and offsets of the intensities; 0 for masks.
        noise: largest standard deviation of noise, in the images' own standard deviations.
        erase: the share of images in which a random box is set to zero (Zhong et al. 2017, arXiv 1708.04896).
    """

    mirror: tuple[int, ...] = ()
    degrees: float = 20.0
    scale: float = 0.2
    shift: float = 0.1
    shear: float = 0.1
    intensity: float = 0.2
    noise: float = 0.15
    erase: float = 0.25

    def __call__(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Variations of (B, C, R, A, S) images; one voxel along S makes them flat, and turns them in their plane."""

        def uniform(*shape: int) -> Tensor:
            return 2 * torch.rand(*shape, generator=random) - 1

        flat = images.shape[4] == 1
        x = images[..., 0] if flat else images
        x = self._move(x, uniform)
        if self.intensity:
            x = self._shine(x, uniform, random)
        if self.erase:
            x = self._erase(x, random)
        return x[..., None] if flat else x

    def _move(self, x: Tensor, uniform: object) -> Tensor:
        assert callable(uniform)
        axes, batch = x.ndim - 2, len(x)
        matrix = torch.eye(axes).repeat(batch, 1, 1)
        for first in range(axes):
            for second in range(first + 1, axes):
                angle = uniform(batch) * self.degrees * pi / 180
                turn = torch.eye(axes).repeat(batch, 1, 1)
                turn[:, first, first] = turn[:, second, second] = angle.cos()
                turn[:, first, second], turn[:, second, first] = -angle.sin(), angle.sin()
                matrix = matrix @ turn
        stretch = (1 + self.scale) ** uniform(batch, 1, 1) * (1 + self.scale / 2) ** uniform(batch, 1, axes)
        matrix = (matrix + self.shear * uniform(batch, axes, axes) * (1 - torch.eye(axes))) * stretch
        for axis in self.mirror:
            if axis < axes:  # grid_sample counts axes from the last
                matrix[:, axes - 1 - axis] *= uniform(batch, 1).sign()
        theta = torch.cat([matrix, 2 * self.shift * uniform(batch, axes, 1)], dim=2)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _shine(self, x: Tensor, uniform: object, random: torch.Generator) -> Tensor:
        assert callable(uniform)
        ones = [1] * (x.ndim - 2)
        shape = (len(x), x.shape[1], *ones)
        factor, offset = (torch.randn(len(x), 1, *ones, generator=random) * self.intensity for _ in range(2))
        own = torch.randn(shape, generator=random) * self.intensity / 2 if x.shape[1] > 1 else 0.0
        low, high = x.amin(dim=tuple(range(1, x.ndim)), keepdim=True), x.amax(dim=tuple(range(1, x.ndim)), keepdim=True)
        gamma = 1.5 ** uniform(len(x), 1, *ones)
        x = ((x - low) / (high - low).clamp(min=1e-6)) ** gamma * (high - low) + low
        x = x * factor.exp() + offset + own
        strength = self.noise * torch.rand(len(x), 1, *ones, generator=random)
        return x + strength * torch.randn(x.shape, generator=random)

    def _erase(self, x: Tensor, random: torch.Generator) -> Tensor:
        keep = torch.zeros(len(x), 1, *x.shape[2:], dtype=torch.bool)
        for axis, size in enumerate(x.shape[2:], start=2):
            shape = [len(x) if n == 0 else 1 for n in range(x.ndim)]
            middle = torch.rand(shape, generator=random) * size
            half = (0.1 + 0.15 * torch.rand(shape, generator=random)) * size
            place = torch.arange(size).view([size if n == axis else 1 for n in range(x.ndim)])
            keep |= (place + 0.5 - middle).abs() > half
        spared = torch.rand([len(x)] + [1] * (x.ndim - 1), generator=random) >= self.erase
        return torch.where(keep | spared, x, 0.0)
