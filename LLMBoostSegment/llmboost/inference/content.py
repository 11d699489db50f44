"""What of an image is not empty: many images, such as those of a head without its skull, are zero all around."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..io.image import Image

Box = tuple[slice, slice, slice]


def content_box(channels: Sequence[Image]) -> Box:
    """The box [i, j, k] around all that is not zero in any of some images on one grid; all of it, if nothing is."""
    found = ndimage.find_objects(_nonzero(channels).view(np.uint8))
    i, j, k = found[0] if found else (slice(0, n) for n in channels[0].shape)
    return i, j, k


def content(channels: Sequence[Image]) -> np.ndarray:
    """[i, j, k], bool: what is not zero in any of some images on one grid, and what that encloses."""
    return ndimage.binary_fill_holes(_nonzero(channels))


def _nonzero(channels: Sequence[Image]) -> np.ndarray:
    result = channels[0].array != 0
    for image in channels[1:]:
        result |= image.array != 0
    return result
