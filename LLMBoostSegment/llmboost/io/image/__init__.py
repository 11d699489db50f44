"""Images and their geometry: reading, writing, canonical axes, resampling.

One axis order holds everywhere: an array is indexed ``[i, j, k]`` (or ``[c, i, j, k]`` with channels), spacing and the
columns of the direction matrix follow the same order, and the world frame is LPS in mm, as in ITK and DICOM.
"""

from .image import Image, to_canonical, to_sitk
from .reading import (
    PICTURES,
    READABLE,
    VOLUMES,
    image_from_sitk,
    images_of,
    read_image,
    read_sitk,
    read_volumes,
)
from .resampling import resample, resample_to_spacing
from .writing import write_image, write_sitk

__all__ = [
    "PICTURES",
    "READABLE",
    "VOLUMES",
    "Image",
    "image_from_sitk",
    "images_of",
    "read_image",
    "read_sitk",
    "read_volumes",
    "resample",
    "resample_to_spacing",
    "to_canonical",
    "to_sitk",
    "write_image",
    "write_sitk",
]
