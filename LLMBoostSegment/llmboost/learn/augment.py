"""Random variations of training windows: other poses, sizes, scanners and contrasts (MONAI's transforms)."""

from __future__ import annotations

from math import pi

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

IMAGE, LABEL = "image", "label"


def augmentation(mirror: tuple[int, ...]) -> Compose:
    """A random transform of {"image": (C, R, A, S) float, "label": (1, R, A, S)} windows.

    Strengths follow nnU-Net's; poses vary more, because a user's crop is seldom framed like the training set's.

    Args:
        mirror: spatial axes (0, 1, 2) along which anatomy may be mirrored.
    """
    return Compose(
        [
            *(RandFlipd((IMAGE, LABEL), prob=0.5, spatial_axis=axis) for axis in mirror),
            RandAffined(
                (IMAGE, LABEL),
                prob=0.8,
                rotate_range=(pi / 9,) * 3,
                scale_range=(0.2,) * 3,
                shear_range=(0.08,) * 6,
                translate_range=(5,) * 3,
                mode=("bilinear", "nearest"),
                padding_mode=("border", "zeros"),
            ),
            RandGaussianSmoothd(IMAGE, prob=0.15, sigma_x=(0.5, 1), sigma_y=(0.5, 1), sigma_z=(0.5, 1)),
            RandSimulateLowResolutiond(IMAGE, prob=0.2, zoom_range=(0.5, 1)),
            RandScaleIntensityd(IMAGE, factors=0.3, prob=0.5),
            RandShiftIntensityd(IMAGE, offsets=0.2, prob=0.5),
            RandAdjustContrastd(IMAGE, prob=0.4, gamma=(0.6, 1.6), retain_stats=True),
            RandBiasFieldd(IMAGE, prob=0.15, degree=2, coeff_range=(-0.3, 0.3)),
            RandGaussianNoised(IMAGE, prob=0.3, std=0.15),
        ]
    )
