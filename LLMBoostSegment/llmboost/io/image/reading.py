"""Images from files."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable
from dataclasses import replace
from math import prod
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image
import SimpleITK as sitk

from ...errors import LLMBoostError
from ...files import check_regular, printable
from .. import nifti
from ..imagecheck import (
    AGAIN,
    MAX_AXES,
    NOT_FINITE,
    bad_spacing,
    is_big_endian,
    is_in_order,
    read_checked,
    read_fields,
)
from ..spaces import Place, meta_place, nrrd_place
from .image import Image, triple

VOLUMES = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
NIFTI = (".nii.gz", ".nii")
NRRD = (".nrrd", ".nhdr")
PICTURES = (".png", ".jpg", ".jpeg")
READABLE = (*VOLUMES, *PICTURES)

_LARGEST = 1e15  # squares of larger values leave the range of float32
_MIN_SPACING, _MAX_EXTENT = 1e-5, 1e4  # mm: from less than a cell to more than a body

# Pillow's modes of gray pictures, and as what they are read; all others are colors
_PIXELS = {"1": "L", "L": "L", "LA": "L", "La": "L", "I": "I", "I;16": "I;16", "I;16B": "I", "I;16L": "I", "F": "F"}
_TURNS = {  # by the EXIF orientation
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


def read_image(path: str | Path) -> Image:
    """Read one gray image from NIfTI, NRRD, MetaImage, PNG or JPEG; a 2D image becomes a volume of one slice.

    Geometry is ITK's reading of the file, hence Slicer's, with what ITK does not heed, see :mod:`.spaces`. PNG and JPEG
    tell none: theirs is pixels of 1 mm.

    Raises:
        LLMBoostError: the file is missing, damaged or of another kind; it holds several volumes or components, voxels
            that are not finite numbers, or a geometry that cannot be used.
    """
    return _single(read_volumes(path), Path(path))


def read_volumes(path: str | Path, *, color: bool = False) -> list[Image]:
    """Read the volumes along the fourth axis of a file (the Decathlon stores channels so); of a 3D file, the one.

    With ``color``, the red, the green and the blue of a color image (8 bits a component; opacity is dropped). The
    volumes of a file may share memory.

    Raises:
        LLMBoostError: as ``read_image``, or the image is colored and should not be, or the other way round.
    """
    path = Path(path)
    check_regular(path)
    extension = extension_of(path, READABLE)
    if extension in PICTURES:
        pixels, notes = _read_picture(path)
        images = images_of(pixels, np.ones(3), np.zeros(3), np.eye(3), path, color)
        return [replace(image, notes=notes) for image in images]
    if extension in NIFTI:
        return _read_nifti(path, color)
    return _volumes(read_sitk(path), path, color)


def read_sitk(path: Path) -> sitk.Image:
    """The NRRD or MetaImage file as SimpleITK reads it, with its metadata; raises LLMBoostError as ``read_image``."""
    extension = extension_of(path, [extension for extension in VOLUMES if extension not in NIFTI])
    try:
        image = _from_bytes(path, read_checked(path))
        return sitk.ReadImage(str(path), imageIO=VOLUMES[extension]) if image is None else image
    except (RuntimeError, MemoryError) as error:
        raise LLMBoostError(f"{path}: {_reason(str(error) or 'alloc')}") from error


def _from_bytes(path: Path, data: bytearray) -> sitk.Image | None:
    """What ITK would make of the voxels ``data`` of an NRRD or a MetaImage, so that they are decompressed once, and
    those of a MetaImage, too, that does not say where they end: ITK leaves in memory what was there. None: only ITK
    knows."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(VOLUMES[extension_of(path, VOLUMES)])
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    components, sizes, fields = reader.GetNumberOfComponents(), reader.GetSize(), read_fields(path)
    kind = sitk.GetArrayViewFromImage(sitk.Image([1] * len(sizes), reader.GetPixelID(), components)).dtype
    if not is_in_order(fields) or len(data) != prod(sizes) * components * kind.itemsize:
        return None
    stored = np.frombuffer(data, kind.newbyteorder(">" if is_big_endian(fields) else "<")).astype(kind, copy=False)
    shape = (*reversed(sizes), components) if components > 1 else tuple(reversed(sizes))
    result = sitk.GetImageFromArray(stored.reshape(shape), isVector=components > 1)
    result.SetSpacing(reader.GetSpacing())
    result.SetOrigin(reader.GetOrigin())
    result.SetDirection(reader.GetDirection())
    try:
        for key in reader.GetMetaDataKeys():
            result.SetMetaData(key, reader.GetMetaData(key))
    except TypeError:  # text that is not UTF-8, which only ITK itself can hand on
        return None
    return result


def image_from_sitk(stored: sitk.Image, path: Path) -> Image:
    """An Image of a SimpleITK image that was read from ``path``, checked for what the engine relies on."""
    return _single(_volumes(stored, path, color=False), path)


def extension_of(path: Path, known: Iterable[str]) -> str:
    for extension in known:
        if path.name.lower().endswith(extension):
            return extension
    raise LLMBoostError(f"{path}: unknown image format; use one of {', '.join(known)}")


def _read_picture(path: Path) -> tuple[np.ndarray, tuple[str, ...]]:
    """Pixels [c, i, j] of a PNG or JPEG file, and what a user should know. Not by ITK, which fills a truncated JPEG
    with gray, and does not turn what a camera says is to be turned."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of damaged EXIF data, without which the picture is as good
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=("PNG", "JPEG")) as picture:
                if picture.format == "PNG" and getattr(picture, "is_animated", False):
                    raise LLMBoostError(f"{path}: an animated picture; save the one that is meant")
                mode = _PIXELS.get(picture.mode, "RGB")
                upright = picture if picture.mode == mode else picture.convert(mode)
                turn = _TURNS.get(picture.getexif().get(PIL.ExifTags.Base.Orientation, 1))
                pixels = np.asarray(upright if turn is None else upright.transpose(turn))
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError) as error:
        raise LLMBoostError(f"{path}: too large a picture ({str(error).split(' exceeds')[0]}); crop it") from error
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, struct.error) as error:
        raise LLMBoostError(f"{path}: not a PNG or JPEG picture, or a damaged one; {AGAIN}") from error
    notes = () if turn is None else ("the picture was turned upright, as its EXIF orientation says",)
    return pixels.reshape(*pixels.shape[:2], -1).transpose(), notes


@np.errstate(all="ignore")  # numbers that are none are refused, not remarked on
def _read_nifti(path: Path, color: bool) -> list[Image]:
    try:
        data = read_checked(path)
        header = nifti.read_header(path)
        place = nifti.place(path, header)
        values = nifti.voxels_of(data, header)
        images = images_of(values, *_in_space(*place), path, color)
        notes = nifti.notes(header.forms, images[0].affine, images[0].shape)
    except (RuntimeError, MemoryError) as error:
        raise LLMBoostError(f"{path}: {_reason(str(error) or 'alloc')}") from error
    except (ValueError, struct.error) as error:
        raise LLMBoostError(f"{path}: its header does not tell where it lies ({error}); correct it") from error
    forms = header.forms
    return [replace(image, forms=forms, sides_known=forms.sides_known, notes=tuple(notes)) for image in images]


def _volumes(stored: sitk.Image, path: Path, color: bool) -> list[Image]:
    n = stored.GetDimension()
    geometry = np.array(stored.GetSpacing()), np.array(stored.GetOrigin()), np.reshape(stored.GetDirection(), (n, n))
    values = sitk.GetArrayFromImage(stored).transpose()
    if stored.GetNumberOfComponentsPerPixel() == 1:
        values = values[np.newaxis]
    reading = nrrd_place if extension_of(path, VOLUMES) in NRRD else meta_place
    flat = min((*stored.GetSize(), 1)[:3]) == 1
    try:
        with np.errstate(all="ignore"):  # numbers that are none are refused, not remarked on
            place = reading(path, read_fields(path), Place(*_in_space(*geometry)), flat)
    except (ValueError, OverflowError) as error:
        raise LLMBoostError(f"{path}: a damaged header ({printable(str(error))}); {AGAIN}") from error
    if place.scaling:
        values = nifti.scaled(values, *place.scaling)
    images = images_of(values, place.spacing, place.origin, place.direction, path, color)
    return [replace(image, sides_known=place.sides_known, notes=place.notes) for image in images]


def _in_space(
    spacing: np.ndarray, origin: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The geometry of an image of any number of axes as one of three."""
    m = min(len(spacing), 3)
    result = np.ones(3), np.zeros(3), np.eye(3)
    result[0][:m], result[1][:m], result[2][:m, :m] = spacing[:m], origin[:m], direction[:m, :m]
    return result


def images_of(
    values: np.ndarray, spacing: np.ndarray, origin: np.ndarray, direction: np.ndarray, path: Path, color: bool
) -> list[Image]:
    """The volumes, or the colors, of values [c, i, j, ...] that were read from ``path``, checked for what the engine
    relies on; raises LLMBoostError as ``read_volumes`` does."""
    values = values[(..., *(np.newaxis,) * (MAX_AXES - values.ndim))]
    while values.ndim > MAX_AXES and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim > MAX_AXES:
        raise LLMBoostError(f"{path}: more than four axes; split it and give one volume")
    components, *shape, volumes = values.shape
    picture = values.dtype == np.uint8 and components in (3, 4) and shape[2] == volumes == 1
    if picture and not color and (values[1:3] == values[0]).all():  # X-rays often are gray, stored as color
        values, components = values[:1], 1
    colored = components in (3, 4) and values.dtype == np.uint8
    if components > 1 and not colored:
        raise LLMBoostError(f"{path}: a vector image ({components} values a voxel); give an image of one component")
    if colored and not color:
        raise LLMBoostError(
            f"{path}: a color image, but a gray one is needed; convert it (in Slicer: module Vector to Scalar Volume)"
        )
    if color and not (colored and volumes == 1):
        raise LLMBoostError(f"{path}: not a color image, but one is needed (red, green and blue of 8 bits, one volume)")
    if values.dtype.kind == "c":
        raise LLMBoostError(f"{path}: complex-valued; give its magnitude image")
    if values.dtype.kind == "f" or values.dtype.itemsize == 8:
        low, high = values.min(), values.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise LLMBoostError(f"{path}: {NOT_FINITE}")
        if max(-low, high) > _LARGEST:
            raise LLMBoostError(
                f"{path}: holds voxels as large as {max(-low, high):.3g}; replace them by real intensities"
            )
    # a NaN fails these comparisons, too
    if not (np.all(spacing >= _MIN_SPACING) and np.all(spacing * shape <= _MAX_EXTENT)):
        raise LLMBoostError(f"{path}: {bad_spacing(spacing)}")
    if not (np.isfinite(origin).all() and abs(np.linalg.det(direction)) > 1e-3):
        raise LLMBoostError(f"{path}: its header places the voxels nowhere (singular direction); correct it")
    arrays = values[:3, ..., 0] if color else np.moveaxis(values[0], -1, 0)
    return [Image(array, triple(spacing), triple(origin), direction) for array in arrays]


def _single(images: list[Image], path: Path) -> Image:
    if len(images) > 1:
        raise LLMBoostError(f"{path}: {len(images)} volumes in one file; split it and give one volume")
    return images[0]


def _reason(message: str) -> str:
    """One line for a user from SimpleITK's several."""
    if "orthonormal" in message:
        return "its voxel axes are not perpendicular (sheared sform); correct the header or resample the image"
    if "determinant is 0" in message:
        return "its voxel axes are linearly dependent (singular direction); correct the header"
    if "spacing" in message.lower():
        return "its header gives a voxel spacing that is not positive; correct the header"
    if "alloc" in message:
        return "does not fit into this machine's memory; crop it, or use a machine with more"
    return "not an image of this format, damaged, or without its data file; copy or export it again"
