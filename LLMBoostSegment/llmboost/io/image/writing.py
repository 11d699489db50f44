"""Images into files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...errors import LLMBoostError
from ...files import atomic_path
from .. import nifti
from ..imagecheck import check_image_file
from .image import Image, known_type, to_sitk
from .reading import NIFTI, extension_of

WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")


def write_image(image: Image, path: str | Path) -> None:
    """Write a 3D image, compressed, in the format of the extension: .nii.gz, .nii, .nrrd or .mha.

    The file appears complete or not at all. float16 is stored as float32 and bool as uint8. NIfTI gets the image's own
    ``forms``, where it has some.

    Raises:
        LLMBoostError: unknown extension, unwritable folder, full disk, or NIfTI asked for a sheared or too long grid.
        ValueError: the image has channels.
    """
    path = Path(path)
    extension = extension_of(path, WRITABLE)
    if image.array.ndim != 3:
        raise ValueError("an image with channels cannot be written; write one channel at a time")
    if extension in NIFTI and max(image.shape) > nifti.LARGEST_SIZE:
        raise LLMBoostError(f"{path}: NIfTI cannot hold {max(image.shape)} voxels along an axis; choose .nrrd")
    if extension in NIFTI and image.forms is not None:
        known = known_type(image.array.dtype)
        with atomic_path(path) as temporary:
            nifti.write(image.array.astype(known, copy=False), image.forms, temporary, extension == ".nii.gz")
            check_image_file(temporary)
        return
    orthonormal = np.allclose(image.direction.T @ image.direction, np.eye(3), atol=1e-3)
    if extension in NIFTI and not orthonormal:
        raise LLMBoostError(f"{path}: NIfTI cannot hold this image's sheared axes; choose .nrrd")
    write_sitk(to_sitk(image), path)


def write_sitk(image: sitk.Image, path: Path) -> None:
    """Write ``image``, compressed and atomically; raises LLMBoostError."""
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)
        check_image_file(temporary)  # ITK's NIfTI writer does not notice a full disk, so the file has to prove itself
