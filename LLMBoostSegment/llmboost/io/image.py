"""Images and their geometry: reading, writing, canonical axes, resampling.

One axis order holds everywhere: an array is indexed ``[i, j, k]`` (or ``[c, i, j, k]`` with channels), spacing and the
columns of the direction matrix follow the same order, and the world frame is LPS in mm, as in ITK and DICOM.
"""

from __future__ import annotations

import itertools
import struct
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf, log, prod, sqrt
from pathlib import Path
from typing import Literal, cast

import numpy as np
import PIL.ExifTags
import PIL.Image
import SimpleITK as sitk

from ..errors import LLMBoostError
from ..files import atomic_path, check_regular, printable
from . import nifti
from .imagecheck import (
    AGAIN,
    MAX_AXES,
    NOT_FINITE,
    bad_spacing,
    check_image_file,
    is_big_endian,
    is_in_order,
    read_checked,
    read_fields,
)
from .spaces import Place, meta_place, nrrd_place

Interpolation = Literal["linear", "nearest", "cubic"]

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
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")

_INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "cubic": sitk.sitkBSpline3}
_FWHM = 2 * sqrt(2 * log(2))  # full width at half maximum of a Gaussian, in standard deviations
_LARGEST = 1e15  # squares of larger values leave the range of float32
_MIN_SPACING, _MAX_EXTENT = 1e-5, 1e4  # mm: from less than a cell to more than a body
_LPS_TO_RAS = np.array([[-1.0], [-1.0], [1.0]])

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

# ITK reports recoverable oddities of a header on stderr, past all logging; what matters is checked here.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels on a grid in space.

    Args:
        array: (I, J, K), or (C, I, J, K) with a leading channel axis; the pixel type is kept as stored.
        spacing: distance in mm between voxel centers along i, j, k.
        origin: LPS position in mm of the center of voxel (0, 0, 0).
        direction: (3, 3); column a is the unit vector in LPS along grid axis a.
        forms: of a NIfTI file with this very grid, what its header says of it, to be written again.
        sides_known: whether it is known how the image lies in the patient; if not, there is no left and right.
        notes: what a user should know of the reading, a line each.

    Raises:
        ValueError: the array has neither 3 nor 4 axes.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray
    forms: nifti.Forms | None = None
    sides_known: bool = True
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4):
            raise ValueError(f"an image has 3 axes, or 4 with channels, not {self.array.ndim}")
        # A frozen dataclass can only normalize its fields through object.__setattr__.
        object.__setattr__(self, "spacing", _triple(self.spacing))
        object.__setattr__(self, "origin", _triple(self.origin))
        object.__setattr__(self, "direction", np.asarray(self.direction, dtype=np.float64).reshape(3, 3))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid sizes (I, J, K), without channels."""
        return cast(tuple[int, int, int], self.array.shape[-3:])

    @property
    def affine(self) -> np.ndarray:
        """(4, 4): homogeneous index (i, j, k, 1) to LPS position in mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * self.spacing
        matrix[:3, 3] = self.origin
        return matrix

    def with_array(self, array: np.ndarray) -> Image:
        """The same grid with other values, with or without channels.

        Raises:
            ValueError: ``array`` has another grid shape.
        """
        if array.shape[-3:] != self.shape:
            raise ValueError(f"array of shape {array.shape} does not fit the grid {self.shape}")
        return replace(self, array=array)

    def on_grid(
        self, array: np.ndarray, spacing: Sequence[float], origin: Sequence[float] | np.ndarray, direction: np.ndarray
    ) -> Image:
        """Voxels on another grid that lies in the patient as this one does."""
        return replace(
            self,
            array=array,
            spacing=_triple(spacing),
            origin=_triple(origin),
            direction=direction,
            forms=None,
        )

    def same_grid(self, other: Image, tolerance: float = 1e-3) -> bool:
        """Whether both grids have equal sizes and all voxel centers within ``tolerance`` voxels of each other."""
        return self.grid_distance(other) <= tolerance

    def grid_distance(self, other: Image) -> float:
        """How far the voxel centers of ``other`` lie from those of this image: at most, along any axis, in voxels of
        this image; infinite if the sizes differ."""
        if self.shape != other.shape:
            return inf
        return float(np.abs(_index_map(self, other) - _corners(self.shape)).max())


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
    extension = _extension(path, READABLE)
    if extension in PICTURES:
        pixels, notes = _read_picture(path)
        images = images_of(pixels, np.ones(3), np.zeros(3), np.eye(3), path, color)
        return [replace(image, notes=notes) for image in images]
    if extension in NIFTI:
        return _read_nifti(path, color)
    return _volumes(read_sitk(path), path, color)


def read_sitk(path: Path) -> sitk.Image:
    """The NRRD or MetaImage file as SimpleITK reads it, with its metadata; raises LLMBoostError as ``read_image``."""
    extension = _extension(path, [extension for extension in VOLUMES if extension not in NIFTI])
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
    reader.SetImageIO(VOLUMES[_extension(path, VOLUMES)])
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
    for key in reader.GetMetaDataKeys():
        result.SetMetaData(key, reader.GetMetaData(key))
    return result


def image_from_sitk(stored: sitk.Image, path: Path) -> Image:
    """An Image of a SimpleITK image that was read from ``path``, checked for what the engine relies on."""
    return _single(_volumes(stored, path, color=False), path)


def write_image(image: Image, path: str | Path) -> None:
    """Write a 3D image, compressed, in the format of the extension: .nii.gz, .nii, .nrrd or .mha.

    The file appears complete or not at all. float16 is stored as float32 and bool as uint8. NIfTI gets the image's own
    ``forms``, where it has some.

    Raises:
        LLMBoostError: unknown extension, unwritable folder, full disk, or NIfTI asked for a sheared or too long grid.
        ValueError: the image has channels.
    """
    path = Path(path)
    extension = _extension(path, WRITABLE)
    if image.array.ndim != 3:
        raise ValueError("an image with channels cannot be written; write one channel at a time")
    if extension in NIFTI and max(image.shape) > nifti.LARGEST_SIZE:
        raise LLMBoostError(f"{path}: NIfTI cannot hold {max(image.shape)} voxels along an axis; choose .nrrd")
    if extension in NIFTI and image.forms is not None:
        known = _known_type(image.array.dtype)
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


def to_canonical(image: Image) -> Image:
    """The image with axes as near as possible to the patient's Right, Anterior, Superior.

    Axes are only permuted and flipped: values and the world position of each voxel stay, arrays are views.
    """
    cosines = _LPS_TO_RAS * image.direction
    # A greedy choice can assign one axis twice on oblique grids, so all six assignments are compared.
    axes = max(itertools.permutations(range(3)), key=lambda axes: sum(abs(cosines[w, a]) for w, a in enumerate(axes)))
    flips = [bool(cosines[w, a] < 0) for w, a in enumerate(axes)]
    corner = np.zeros(3)  # index of the voxel that becomes (0, 0, 0)
    signs = np.ones(3)
    for axis, flip in zip(axes, flips, strict=True):
        if flip:
            corner[axis], signs[axis] = image.shape[axis] - 1, -1
    return image.on_grid(
        _reorder(image.array, axes, flips),
        [image.spacing[a] for a in axes],
        image.affine[:3, :3] @ corner + image.origin,
        (image.direction * signs)[:, axes],
    )


def resample(
    image: Image, reference: Image, interpolation: Interpolation = "linear", fill: float | None = None
) -> Image:
    """The image on the grid of ``reference``, which gives only its geometry; channels are kept.

    Args:
        interpolation: "linear", "nearest", or "cubic" (B-spline of order 3; linear if an axis has less than 4 voxels).
        fill: the value outside the image; by default that of the nearest voxel.

    Returns:
        float32, or the image's own type for "nearest". If both grids are equal up to the order and the sense of their
        axes, values are re-ordered and not interpolated.
    """
    order = _same_voxels(image, reference)
    if order is not None:
        values = _reorder(image.array, *order)
        return reference.with_array(values if interpolation == "nearest" else values.astype(np.float32, copy=False))
    return _interpolate(image, reference, interpolation, fill)


def resample_to_spacing(image: Image, spacing: Sequence[float], interpolation: Interpolation = "linear") -> Image:
    """The image at another spacing (mm along i, j, k), with the same axes and the same field of view.

    The new grid is centerd on the field of view (outer voxel edges); its size is the rounded quotient, at least 1. An
    axis that becomes coarser by more than 1.2 is smoothed first, unless for "nearest" (labels). Types as ``resample``.

    The Gaussian turns a point spread of one old voxel (full width at half maximum) into that of one new voxel: Cardoso
    et al., "Scale factor point spread function matching", MICCAI 2015.
    """
    old, new = np.array(image.spacing), np.array(_triple(spacing))
    if np.allclose(old, new, rtol=1e-3, atol=0):
        return image
    shape = np.maximum(1, np.rint(np.array(image.shape) * old / new)).astype(int)
    shift = ((np.array(image.shape) - 1) * old - (shape - 1) * new) / 2
    grid = image.on_grid(
        np.broadcast_to(np.float32(0), shape),  # geometry alone: takes no memory
        _triple(new),
        image.direction @ shift + image.origin,
        image.direction,
    )
    smooth = (new > 1.2 * old) & (interpolation != "nearest")
    variance = np.where(smooth, (new**2 - old**2) / _FWHM**2, 0.0) / old**2
    return _interpolate(image, grid, interpolation, variance=variance)


def _interpolate(
    image: Image,
    grid: Image,
    interpolation: Interpolation,
    fill: float | None = None,
    variance: np.ndarray | None = None,
) -> Image:
    """Sample at the voxel centers of ``grid``, after a Gaussian of ``variance`` (voxels squared, along i, j, k)."""
    if interpolation == "cubic" and min(image.shape) < 4:
        interpolation = "linear"
    dtype = image.array.dtype if interpolation == "nearest" else np.dtype(np.float32)
    sampler = sitk.ResampleImageFilter()
    sampler.SetSize([int(n) for n in grid.shape])
    # From index to index: ITK's own inverse of a direction matrix is silently wrong for some near-axis directions
    # (denormal cosines), and rounding here keeps such residues out.
    to_index = np.linalg.solve(image.affine, grid.affine).round(12)
    sampler.SetTransform(sitk.AffineTransform(to_index[:3, :3].ravel().tolist(), to_index[:3, 3].tolist()))
    sampler.SetInterpolator(_INTERPOLATORS[interpolation])
    sampler.SetUseNearestNeighborExtrapolator(fill is None)
    sampler.SetDefaultPixelValue(0.0 if fill is None else float(fill))

    channels = image.array.reshape(-1, *image.shape)
    result = np.empty((len(channels), *grid.shape), dtype)
    for channel, out in zip(channels, result, strict=True):  # one at a time: memory stays bounded
        volume = _voxels(channel if interpolation == "nearest" else channel.astype(np.float32))
        if variance is not None and variance.any():
            width = int(8 * sqrt(variance.max())) + 3
            volume = sitk.DiscreteGaussian(volume, variance.tolist(), width, 0.001, useImageSpacing=False)
        sampled = sampler.Execute(volume)  # named, for a view does not keep its image alive
        out[...] = sitk.GetArrayViewFromImage(sampled).transpose()
    return grid.with_array(result if image.array.ndim == 4 else result[0])


def _same_voxels(image: Image, reference: Image) -> tuple[tuple[int, ...], list[bool]] | None:
    """Axes and flips that turn the grid of ``image`` into that of ``reference``, if such exist."""
    steps = np.rint(np.linalg.solve(image.affine, reference.affine)[:3, :3])
    if not (np.array_equal(np.abs(steps).sum(0), np.ones(3)) and np.array_equal(np.abs(steps).sum(1), np.ones(3))):
        return None
    axes = tuple(int(a) for a in np.abs(steps).argmax(0))
    flips = [bool(steps[a, r] < 0) for r, a in enumerate(axes)]
    if tuple(image.shape[a] for a in axes) != reference.shape:
        return None
    ends = np.array(image.shape) - 1
    expected = _corners(reference.shape) @ steps.T + np.where(steps.sum(1) < 0, ends, 0)
    return (axes, flips) if np.all(np.abs(_index_map(image, reference) - expected) <= 1e-3) else None


def _reorder(array: np.ndarray, axes: Sequence[int], flips: Sequence[bool]) -> np.ndarray:
    """A view whose spatial axis r is axis ``axes[r]`` of ``array``, reversed where ``flips[r]``."""
    lead = array.ndim - 3
    array = array.transpose(*range(lead), *(lead + a for a in axes))
    return array[(slice(None),) * lead + tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def _corners(shape: Sequence[int]) -> np.ndarray:
    """(8, 3): the indices of the outermost voxels."""
    return np.array(list(itertools.product(*((0, n - 1) for n in shape))), dtype=np.float64)


def _index_map(image: Image, other: Image) -> np.ndarray:
    """(8, 3): the corners of ``other`` as continuous indices of ``image``."""
    corners = np.c_[_corners(other.shape), np.ones(8)]
    return np.linalg.solve(image.affine, other.affine @ corners.T).T[:, :3]


def to_sitk(image: Image) -> sitk.Image:
    """A SimpleITK image of an image without channels."""
    result = _voxels(image.array)
    result.SetSpacing(image.spacing)
    result.SetOrigin(image.origin)
    result.SetDirection(image.direction.ravel().tolist())
    return result


def _voxels(array: np.ndarray) -> sitk.Image:
    """A SimpleITK image of an (I, J, K) array on the unit grid, in the nearest type that SimpleITK knows."""
    return sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(), dtype=_known_type(array.dtype)))


def _known_type(dtype: np.dtype) -> np.dtype:
    """The nearest type that files know."""
    return np.dtype({"bool": np.uint8, "float16": np.float32}.get(dtype.name, dtype))


def _triple(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    i, j, k = (float(v) for v in values)
    return i, j, k


def _extension(path: Path, known: Iterable[str]) -> str:
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
    reading = nrrd_place if _extension(path, VOLUMES) in NRRD else meta_place
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
    return [Image(array, _triple(spacing), _triple(origin), direction) for array in arrays]


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
