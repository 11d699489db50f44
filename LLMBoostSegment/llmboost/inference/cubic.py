"""Images at another spacing as nnU-Net brings them there: by cubic splines; its networks know no others.

Where slices lie far apart, their values are not mixed: each is interpolated in its plane, and what lies between them
is the nearest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..io.image import Image

ANISOTROPIC = 3.0  # from this ratio of the spacings on, slices lie far apart


def across_slices(current: Sequence[float], wanted: Sequence[float]) -> int | None:
    """The axis (0, 1, 2) across slices that lie far apart at the one spacing or the other (mm); None if none do."""
    for spacing in (current, wanted):
        if max(spacing) / min(spacing) > ANISOTROPIC:
            longest = [axis for axis, mm in enumerate(spacing) if mm == max(spacing)]
            return longest[0] if len(longest) == 1 else None
    return None


def resize_cubic(image: Image, spacing: Sequence[float]) -> Image:
    """The image, [i, j, k], at about another spacing (mm along its axes), with the same field of view.

    Sizes are rounded and the spacing follows from them. Values stay within those of the image; what lies outside of it
    is as its border. The result is float32.
    """
    old = np.array(image.spacing)
    shape = [max(round(a / b * n), 1) for a, b, n in zip(image.spacing, spacing, image.shape, strict=True)]
    if tuple(shape) == image.shape:
        return image.with_array(image.array.astype(np.float32, copy=False))
    new = old * image.shape / shape
    shift = ((np.array(image.shape) - 1) * old - (np.array(shape) - 1) * new) / 2
    axis = across_slices(image.spacing, spacing)
    array = _resized(image.array, shape) if axis is None else _by_slices(image.array, shape, axis)
    return image.on_grid(array, list(new), image.direction @ shift + image.origin, image.direction)


def nearest_planes(places: np.ndarray, count: int) -> np.ndarray:
    """The number of the plane, of ``count``, that lies nearest to each place, given in planes; of two, the upper."""
    return np.clip(np.floor(places.round(6) + 0.5).astype(int), 0, count - 1)


def _by_slices(array: np.ndarray, shape: Sequence[int], axis: int) -> np.ndarray:
    flat = [size for n, size in enumerate(shape) if n != axis]
    slices = np.stack([_resized(one, flat) for one in np.moveaxis(array, axis, 0)], axis)
    count = array.shape[axis]
    places = (np.arange(shape[axis]) + 0.5) * count / shape[axis] - 0.5
    return np.take(slices, nearest_planes(places, count), axis)


def _resized(array: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    steps = [new / old for new, old in zip(shape, array.shape, strict=True)]
    # in float32, the splines' coefficients are kept in double precision all the same
    result = ndimage.zoom(array, steps, np.float32, order=3, mode="nearest", grid_mode=True)
    return np.clip(result, array.min(), array.max(), out=result)
