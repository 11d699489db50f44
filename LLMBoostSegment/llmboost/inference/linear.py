"""Images at another spacing or size as MONAI brings them there: by linear interpolation, with no smoothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..io.image import Image

CLOSE = 1e-3  # mm: MONAI takes spacings that differ no more for equal


def resize_linear(image: Image, spacing: Sequence[float], slack: float = 0.0) -> Image:
    """The image at another spacing (mm along its axes), from its first voxel on, as MONAI's Spacing gives it; float32.

    Args:
        slack: the share by which a spacing may differ from what is wanted and stays.
    """
    old, new = np.array(image.spacing), np.array(spacing, float)
    new = np.where(np.abs(old - new) <= slack * new, old, new)
    shape = np.round((np.array(image.shape) - 1) * old / new + 1).astype(int)
    if tuple(shape) == image.shape and np.allclose(old, new, rtol=0, atol=CLOSE):
        return image.with_array(image.array.astype(np.float32, copy=False))
    return interpolated(image, _grid(image, shape, new, image.origin))


def resize_to(image: Image, shape: Sequence[int]) -> Image:
    """All of the image in so many voxels along each axis, as MONAI's Resize gives it; float32."""
    old, sizes = np.array(image.spacing), np.array(shape)
    new = old * image.shape / sizes
    shift = ((np.array(image.shape) - 1) * old - (sizes - 1) * new) / 2
    return interpolated(image, _grid(image, sizes, new, image.direction @ shift + image.origin))


def interpolated(image: Image, grid: Image) -> Image:
    """The image, [i, j, k], on a grid along the same axes; float32. What lies outside of it is as its border is, along
    that axis alone: :func:`..io.image.resample` takes the nearest voxel there, and no longer interpolates."""
    result, to_image = image.array.astype(np.float32, copy=False), np.linalg.solve(image.affine, grid.affine)
    for axis, count in enumerate(grid.shape):
        last = image.shape[axis] - 1
        places = np.clip(to_image[axis, 3] + to_image[axis, axis] * np.arange(count), 0, last)
        lower = np.minimum(np.floor(places + CLOSE**2).astype(int), max(last - 1, 0))
        share = (places - lower).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
        below = np.take(result, lower, axis)
        if np.abs(share).max() > CLOSE**2:
            above = np.take(result, np.minimum(lower + 1, last), axis)
            above -= below
            above *= share
            below += above
        result = below
    return grid.with_array(result)


def _grid(image: Image, shape: np.ndarray, spacing: np.ndarray, origin: Sequence[float] | np.ndarray) -> Image:
    """A grid along the axes of ``image``; its array holds no values."""
    return image.on_grid(np.broadcast_to(np.float32(0), shape), list(spacing), origin, image.direction)
