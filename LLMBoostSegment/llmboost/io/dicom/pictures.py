"""DICOM pictures: X-rays, ultrasound, photographs of the eye or the skin; all that tells no place in space or is in
color. They lie as PNG and JPEG files do: columns to the left, rows to the back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..image import Image, images_of
from .file import read_headers
from .groups import FUNCTIONAL_GROUPS
from .pixels import PIXEL_FORMAT, color_of, read_pixels
from .series import Series
from .slices import checked_slice, headers_of, numbers, rescaled, value_type

_NOWHERE = {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing")


def are_pictures(series: Series) -> bool:
    """Whether none of a series' files is a gray image with a place in space.

    Raises:
        LLMBoostError: a file cannot be read or is damaged.
    """
    keywords = (*_NOWHERE, *PIXEL_FORMAT, *FUNCTIONAL_GROUPS)
    for path in series.files:
        for header in read_headers(path, keywords)[:1]:
            if all(header.get(keyword) for keyword in _NOWHERE) and not color_of(header):
                return False
    return True


def read_pictures(path: Path, *, color: bool) -> list[list[Image]]:
    """The pictures in a file, one a frame, each as its channels: one, or with ``color`` red, green and blue (uint8).

    Pixels are as large as PixelSpacing says, else ImagerPixelSpacing, else 1 mm. Values are rescaled as those of a
    series (RescaleSlope, RescaleIntercept); windows and VOI lookup tables, which only tell how to show them, are left
    alone. MONOCHROME1 becomes its negative, and colors become RGB, as ITK does it, so that a picture is as in Slicer.

    Raises:
        LLMBoostError: colors where gray is needed, or the other way round; damaged files, unreadable compressions.
    """
    headers = headers_of(path)
    in_color = bool(color_of(headers[0]))
    found = (numbers(headers[0].get(keyword), 2) for keyword in _SPACINGS)
    pixel = next((mm for mm in found if mm is not None), np.ones(2))
    placed = [header | _NOWHERE | {"PixelSpacing": pixel} for header in headers]
    slices = [] if in_color else [checked_slice(path, n, header, negative=True) for n, header in enumerate(placed)]
    dtype = value_type(slices) if slices else np.dtype(np.uint8)
    frames = []
    for n, stored in enumerate(read_pixels(path)):
        # a header each, or all frames share one
        values = stored if in_color else rescaled(stored, slices[min(n, len(slices) - 1)], dtype)
        layers = np.atleast_3d(values).transpose()
        frames.append(images_of(layers, np.array([*pixel[::-1], 1.0]), np.zeros(3), np.eye(3), path, color))
    return frames
