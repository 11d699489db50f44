"""What of an image is not empty: many images, such as those of a head without its skull, are zero all around."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..card import Preprocessing
from ..io.image import Image, resample

Box = tuple[slice, slice, slice]


def seen_of(channels: Sequence[Image], preprocessing: Preprocessing) -> tuple[tuple[Image, ...], Box]:
    """What a model sees of a case: all of it, or, if the card says so, what is not empty.

    Returns:
        the channels, on the first one's grid if they are cut; and where in that they lie, [i, j, k].
    """
    i, j, k = (slice(0, n) for n in channels[0].shape)
    if not preprocessing.crop:
        return tuple(channels), (i, j, k)
    channels = [on_grid_of(image, channels[0]) for image in channels]
    if found := ndimage.find_objects(_nonzero(channels).view(np.uint8)):
        i, j, k = found[0]  # the box around all that is not zero in any channel
    return tuple(image.cut((i, j, k)) for image in channels), (i, j, k)


def on_grid_of(image: Image, first: Image) -> Image:
    """The image on the grid of a case's first channel."""
    return image if image.same_grid(first) else resample(image, first, "linear")


def content(channels: Sequence[Image]) -> np.ndarray:
    """[i, j, k], bool: what is not zero in any of some images on one grid, and what that encloses."""
    return ndimage.binary_fill_holes(_nonzero(channels))


def _nonzero(channels: Sequence[Image]) -> np.ndarray:
    result = channels[0].array != 0
    for image in channels[1:]:
        result |= image.array != 0
    return result
