"""Random variations of training patches: other poses, sizes, scanners and contrasts (MONAI's transforms)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from math import cos, pi, sin
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
from monai.transforms.spatial.dictionary import RandSimulateLowResolutiond
from monai.transforms.transform import MapTransform, RandomizableTransform
from torch import Tensor

from ..card import Preprocessing

IMAGE, LABEL = "image", "label"
# an axis whose voxels are at least this many times longer than the shortest are slices
ANISOTROPY = 2.0
TURN = pi / 9  # to either side, about each axis
SCALE = 0.2  # the logarithm's largest change, of all axes alike; of each alone, a third of it


def random_pose(preprocessing: Preprocessing, random: np.random.Generator) -> np.ndarray:
    """How a patch lies in its volume: turned, scaled, mirrored as anatomy may be; poses vary more than nnU-Net's, for a
    user's crop is seldom framed like the training set's.

    Returns:
        (3, 3), from steps in the patch to steps in the volume, in voxels.
    """
    spacing = np.array(preprocessing.spacing)
    flat = [axis for axis, size in enumerate(preprocessing.patch_size) if size == 1]
    # thick slices stay slices: a tilted one would show several
    thick = flat or ([int(spacing.argmax())] if spacing.max() >= ANISOTROPY * spacing.min() else [])
    pose = np.eye(3)
    for axis in range(3):
        angle = random.uniform(-TURN, TURN) if not thick or axis in thick else 0.0
        one, other = (n for n in range(3) if n != axis)
        turn = np.eye(3)
        turn[one, one] = turn[other, other] = cos(angle)
        turn[one, other], turn[other, one] = -sin(angle), sin(angle)
        pose = pose @ turn
    scale = np.exp(random.uniform(-SCALE, SCALE) + random.uniform(-SCALE, SCALE, 3) / 3)
    scale[flat] = 1
    mirrored = [-1 if axis in preprocessing.mirror and random.random() < 0.5 else 1 for axis in range(3)]
    return (pose * (scale * mirrored)) * spacing / spacing[:, None]


def augmentation(contrast: float = 0.0, thick: float = 0.0) -> Compose:
    """A random transform of the image of {"image": (C, R, A, S) float, "label": (1, R, A, S)} patches; strengths follow
    nnU-Net's.

    Args:
        contrast: the share of patches in a random contrast, see :class:`RandContrastd`.
        thick: the share of patches in thick slices, see :class:`RandThickSlicesd`.
    """
    return Compose(
        [
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
