"""Random variations of training patches: other poses, sizes, scanners and contrasts (MONAI's transforms)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from math import pi
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

# from their own modules, for mypy: monai.transforms re-exports them without saying so
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import (
    RandAdjustContrastd,
    RandBiasFieldd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
)
from monai.transforms.spatial.dictionary import RandAffined, RandFlipd, RandSimulateLowResolutiond
from monai.transforms.transform import MapTransform, RandomizableTransform
from torch import Tensor

IMAGE, LABEL = "image", "label"


# what each number of a shear in three dimensions mixes: the axis that moves, and the one along which
SHEARS = ((0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1))


def augmentation(
    mirror: tuple[int, ...], contrast: float = 0.0, thick: float = 0.0, flat: Collection[int] = ()
) -> Compose:
    """A random transform of {"image": (C, R, A, S) float, "label": (1, R, A, S)} patches.

    Strengths follow nnU-Net's; poses vary more, because a user's crop is seldom framed like the training set's.

    Args:
        mirror: spatial axes (0, 1, 2) along which anatomy may be mirrored.
        contrast: the share of patches in a random contrast, see :class:`RandContrastd`.
        thick: the share of patches in thick slices, see :class:`RandThickSlicesd`.
        flat: axes along which patches have one voxel: poses stay within the slice, which a tilted one would leave.
    """
    deep = [axis not in flat for axis in range(3)]
    return Compose(
        [
            *(RandFlipd((IMAGE, LABEL), prob=0.5, spatial_axis=axis) for axis in mirror),
            RandAffined(
                (IMAGE, LABEL),
                prob=0.8,
                rotate_range=[pi / 9 if all(deep[a] for a in range(3) if a != axis) else 0.0 for axis in range(3)],
                scale_range=[0.2 * each for each in deep],
                shear_range=[0.08 if deep[a] and deep[b] else 0.0 for a, b in SHEARS],
                translate_range=[5.0 * each for each in deep],
                mode=("bilinear", "nearest"),
                padding_mode=("border", "zeros"),
            ),
            *([RandContrastd(IMAGE, prob=contrast)] if contrast else []),
            *([RandThickSlicesd(IMAGE, prob=thick)] if thick else []),
            RandGaussianSmoothd(IMAGE, prob=0.15, sigma_x=(0.5, 1), sigma_y=(0.5, 1), sigma_z=(0.5, 1)),
            RandSimulateLowResolutiond(IMAGE, prob=0.2, zoom_range=(0.5, 1)),
            RandScaleIntensityd(IMAGE, factors=0.3, prob=0.5),
            RandShiftIntensityd(IMAGE, offsets=0.2, prob=0.5),
            RandAdjustContrastd(IMAGE, prob=0.4, gamma=(0.6, 1.6), retain_stats=True),
            RandBiasFieldd(IMAGE, prob=0.15, degree=2, coeff_range=(-0.3, 0.3)),
            RandGaussianNoised(IMAGE, prob=0.3, std=0.15),
        ]
    )


class RandImaged(RandomizableTransform, MapTransform):
    """A random change of an image's values, the same one for all keys."""

    def __init__(self, keys: str, prob: float) -> None:
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        result = dict(data)
        self.randomize(None)
        if self._do_transform:
            change = self.draw()
            result |= {key: change(torch.as_tensor(result[key])) for key in self.keys}
        return result

    def draw(self) -> Callable[[Tensor], Tensor]:
        """What to do with an image (C, R, A, S)."""
        raise NotImplementedError


class RandContrastd(RandImaged):
    """Intensities through a random curve, rising and falling, so that tissues look as in another MR sequence.

    What was dark may be bright afterwards; mean and standard deviation stay. A network that sees such images learns
    where borders are, and not which side of them is the brighter one.
    """

    KNOTS = (3, 6)

    def draw(self) -> Callable[[Tensor], Tensor]:
        curve = self.R.standard_normal(self.R.randint(*self.KNOTS))

        def change(image: Tensor) -> Tensor:
            low, high = np.percentile(image.numpy(), (1, 99))
            mapped = np.interp(image.numpy(), np.linspace(low, max(high, low + 1e-6), len(curve)), curve)
            mapped = (mapped - mapped.mean()) / max(float(mapped.std()), 1e-6)
            return torch.from_numpy(mapped).to(image) * image.std() + image.mean()

        return change


class RandThickSlicesd(RandImaged):
    """The image as if scanned in slices of several voxels across a random axis, and brought back to its grid."""

    VOXELS = (2.0, 8.0)

    def draw(self) -> Callable[[Tensor], Tensor]:
        axis, voxels = int(self.R.randint(3)), self.R.uniform(*self.VOXELS)

        def change(image: Tensor) -> Tensor:
            size = list(image.shape[1:])
            size[axis] = max(2, round(size[axis] / voxels))
            slices = F.interpolate(image[None], size, mode="area")
            return F.interpolate(slices, image.shape[1:], mode="trilinear")[0]

        return change
