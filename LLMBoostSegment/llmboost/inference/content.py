"""What of an image is not empty: many images, such as those of a head without its skull, are zero all around."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..card import Foreground, Preprocessing
from ..io.image import Image, resample

Box = tuple[slice, slice, slice]


def seen_of(channels: Sequence[Image], preprocessing: Preprocessing) -> tuple[tuple[Image, ...], Box]:
    """What a model sees of a case: all of it, or, if the card says so, what is not empty.

    Returns:
        the channels, on the first one's grid if they are cut; and where in that they lie, [i, j, k].
    """
    i, j, k = (slice(0, n) for n in channels[0].shape)
    foreground = preprocessing.foreground
    if not preprocessing.crop and (foreground is None or foreground.when != "first"):
        return tuple(channels), (i, j, k)
    channels = [on_grid_of(image, channels[0]) for image in channels]
    if foreground is not None:
        i, j, k = foreground_box([image.array for image in channels], foreground)
    elif found := ndimage.find_objects(_nonzero(channels).view(np.uint8)):
        i, j, k = found[0]  # the box around all that is not zero in any channel
    return tuple(image.cut((i, j, k)) for image in channels), (i, j, k)


def foreground_box(channels: Sequence[np.ndarray] | np.ndarray, foreground: Foreground) -> Box:
    """Where, in arrays [i, j, k] of one shape, the foreground lies; all of them, if there is none."""
    above = np.zeros(channels[0].shape, bool)
    for channel in channels:
        above |= channel > foreground.above
    i, j, k = (slice(0, n) for n in above.shape)
    if found := ndimage.find_objects(above.view(np.uint8)):
        i, j, k = (
            slice(max(part.start - foreground.margin, 0), min(part.stop + foreground.margin, n))
            for part, n in zip(found[0], above.shape, strict=True)
        )
    return i, j, k


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
