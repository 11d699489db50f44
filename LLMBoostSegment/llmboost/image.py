"""Images and their geometry: reading, writing, canonical axes, resampling.

One axis order holds everywhere: an array is indexed ``[i, j, k]`` (or ``[c, i, j, k]`` with channels), spacing and the
columns of the direction matrix follow the same order, and the world frame is LPS in mm, as in ITK and DICOM.
"""

from __future__ import annotations

import gzip
import itertools
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import log, prod, sqrt
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import SimpleITK as sitk

from .errors import LLMBoostError
from .files import atomic_path

Interpolation = Literal["linear", "nearest", "cubic"]

READABLE = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
WRITABLE = (".nii.gz", ".nii", ".nrrd", ".mha")

_INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "cubic": sitk.sitkBSpline3}
_FWHM = 2 * sqrt(2 * log(2))  # full width at half maximum of a Gaussian, in standard deviations
_NOT_FINITE = "holds NaN or infinite voxels; replace them by numbers"
_LPS_TO_RAS = np.array([[-1.0], [-1.0], [1.0]])

# ITK reports recoverable oddities of a header on stderr, past all logging; what matters is checked here.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels on a grid in space.

    Args:
        array: (I, J, K), or (C, I, J, K) with a leading channel axis; the pixel type is kept as stored.
        spacing: distance in mm between voxel centres along i, j, k.
        origin: LPS position in mm of the centre of voxel (0, 0, 0).
        direction: (3, 3); column a is the unit vector in LPS along grid axis a.

    Raises:
        ValueError: the array has neither 3 nor 4 axes.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4):
            raise ValueError(f"an image has 3 axes, or 4 with channels, not {self.array.ndim}")
        # A frozen dataclass can only normalise its fields through object.__setattr__.
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

    def same_grid(self, other: Image, tolerance: float = 1e-3) -> bool:
        """Whether both grids have equal sizes and all voxel centres within ``tolerance`` voxels of each other."""
        if self.shape != other.shape:
            return False
        return bool(np.all(np.abs(_index_map(other, self) - _corners(self.shape)) <= tolerance))


def read_image(path: str | Path) -> Image:
    """Read a 3D image from NIfTI-1, NRRD or MetaImage; a 2D image becomes a volume of one slice.

    Geometry is ITK's reading of the file, hence Slicer's.

    Raises:
        LLMBoostError: the file is missing, damaged or of another kind; it holds several volumes or components, voxels
            that are not finite numbers, or a geometry that cannot be used.
    """
    path = Path(path)
    return image_from_sitk(read_sitk(path), path)


def read_volumes(path: str | Path) -> list[Image]:
    """Read the volumes along the fourth axis of a file (the Decathlon stores channels so); of a 3D file, the one.

    Raises:
        LLMBoostError: as ``read_image``.
    """
    path = Path(path)
    stored = read_sitk(path)
    if stored.GetDimension() < 4:
        return [image_from_sitk(stored, path)]
    return [image_from_sitk(stored[:, :, :, n], path) for n in range(stored.GetSize()[3])]


def read_sitk(path: Path) -> sitk.Image:
    """The file as SimpleITK reads it, with its metadata; raises LLMBoostError as ``read_image`` does."""
    extension = _extension(path, READABLE)
    if not path.is_file():
        raise LLMBoostError(f"{path}: no such file")
    if extension in (".nii", ".nii.gz"):
        _check_nifti(path)
    try:
        return sitk.ReadImage(str(path), imageIO=READABLE[extension])
    except RuntimeError as error:
        raise LLMBoostError(f"{path}: {_reason(str(error))}") from error


def image_from_sitk(stored: sitk.Image, path: Path) -> Image:
    """An Image of a SimpleITK image that was read from ``path``, checked for what the engine relies on."""
    if stored.GetNumberOfComponentsPerPixel() > 1:
        raise LLMBoostError(f"{path}: a color or vector image; give an image of one component")
    array = sitk.GetArrayFromImage(stored).transpose()
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim > 3:
        raise LLMBoostError(f"{path}: {array.shape[-1]} volumes in one file; split it and give one volume")
    if not array.size:
        raise LLMBoostError(f"{path}: holds no voxels")
    if array.dtype.kind == "c":
        raise LLMBoostError(f"{path}: complex-valued; give its magnitude image")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise LLMBoostError(f"{path}: {_NOT_FINITE}")
    n = stored.GetDimension()
    spacing, origin, direction = np.ones(3), np.zeros(3), np.eye(3)
    m = min(n, 3)
    spacing[:m] = stored.GetSpacing()[:m]
    origin[:m] = stored.GetOrigin()[:m]
    direction[:m, :m] = np.reshape(stored.GetDirection(), (n, n))[:m, :m]
    if not (np.isfinite(spacing).all() and np.all(spacing > 0)):
        raise LLMBoostError(f"{path}: {_bad_spacing(spacing)}")
    # A NaN in the matrix fails the comparison, too.
    if not (np.isfinite(origin).all() and abs(np.linalg.det(direction)) > 1e-3):
        raise LLMBoostError(f"{path}: its header places the voxels nowhere (singular direction); correct it")
    return Image(array.reshape(array.shape + (1,) * (3 - array.ndim)), _triple(spacing), _triple(origin), direction)


def write_image(image: Image, path: str | Path) -> None:
    """Write a 3D image, compressed, in the format of the extension: .nii.gz, .nii, .nrrd or .mha.

    The file appears complete or not at all. float16 is stored as float32 and bool as uint8.

    Raises:
        LLMBoostError: unknown extension, unwritable folder, full disk, or NIfTI asked for a sheared grid.
        ValueError: the image has channels.
    """
    path = Path(path)
    extension = _extension(path, WRITABLE)
    if image.array.ndim != 3:
        raise ValueError("an image with channels cannot be written; write one channel at a time")
    orthonormal = np.allclose(image.direction.T @ image.direction, np.eye(3), atol=1e-3)
    if extension in (".nii", ".nii.gz") and not orthonormal:
        raise LLMBoostError(f"{path}: NIfTI cannot hold this image's sheared axes; choose .nrrd")
    write_sitk(to_sitk(image), path)


def write_sitk(image: sitk.Image, path: Path) -> None:
    """Write ``image``, compressed and atomically; raises LLMBoostError."""
    with atomic_path(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)
        read_sitk(temporary)  # ITK's NIfTI writer does not notice a full disk, so the file has to prove itself


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
    return Image(
        _reorder(image.array, axes, flips),
        _triple([image.spacing[a] for a in axes]),
        _triple(image.affine[:3, :3] @ corner + image.origin),
        (image.direction * signs)[:, axes],
    )


def crop(image: Image, center: Sequence[float], size: Sequence[float]) -> Image:
    """The voxels within a box, as a view with its place in space kept.

    Args:
        center: LPS position in mm of the box's middle.
        size: the box's edges in mm along left-right, posterior-anterior, inferior-superior. On an oblique image, the
            crop is the smallest one that holds the box.

    Raises:
        LLMBoostError: no voxel's centre lies in the box.
    """
    corners = np.array(list(itertools.product(*((c - s / 2, c + s / 2) for c, s in zip(center, size, strict=True)))))
    indices = np.linalg.solve(image.affine, np.c_[corners, np.ones(8)].T)[:3]
    start = np.maximum(np.ceil(indices.min(axis=1) - 1e-6), 0).astype(int)
    stop = np.minimum(np.floor(indices.max(axis=1) + 1e-6) + 1, image.shape).astype(int)
    if (stop <= start).any():
        raise LLMBoostError(f"the region at {tuple(center)} (LPS, mm) lies outside the image")
    inside: tuple[Any, ...] = (..., *(slice(a, b) for a, b in zip(start, stop, strict=True)))
    origin = image.affine[:3, :3] @ start + image.origin
    return replace(image, array=image.array[inside], origin=_triple(origin))


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

    The new grid is centred on the field of view (outer voxel edges); its size is the rounded quotient, at least 1. An
    axis that becomes coarser by more than 1.2 is smoothed first, unless for "nearest" (labels). Types as ``resample``.

    The Gaussian turns a point spread of one old voxel (full width at half maximum) into that of one new voxel: Cardoso
    et al., "Scale factor point spread function matching", MICCAI 2015.
    """
    old, new = np.array(image.spacing), np.array(_triple(spacing))
    if np.allclose(old, new, rtol=1e-3, atol=0):
        return image
    shape = np.maximum(1, np.rint(np.array(image.shape) * old / new)).astype(int)
    shift = ((np.array(image.shape) - 1) * old - (shape - 1) * new) / 2
    grid = Image(
        np.broadcast_to(np.float32(0), shape),  # geometry alone: takes no memory
        _triple(new),
        _triple(image.direction @ shift + image.origin),
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
    """Sample at the voxel centres of ``grid``, after a Gaussian of ``variance`` (voxels squared, along i, j, k)."""
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
    known = {"bool": np.uint8, "float16": np.float32}.get(array.dtype.name, array.dtype)
    return sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(), dtype=known))


def _triple(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    i, j, k = (float(v) for v in values)
    return i, j, k


def _extension(path: Path, known: Iterable[str]) -> str:
    for extension in known:
        if path.name.lower().endswith(extension):
            return extension
    raise LLMBoostError(f"{path}: unknown image format; use one of {', '.join(known)}")


def _check_nifti(path: Path) -> None:
    """Refuse what ITK lets pass: it fills a truncated file with zeros, reads NaN as 0, invalid spacing as 1 mm."""
    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with cast(BinaryIO, opener(path, "rb")) as file:
            header = file.read(348)
            sizes, spacing, dtype, start, expected = _nifti_header(header)
            size, finite, rest = len(header), True, b""
            while chunk := file.read(2**22):  # to the end: gzip checks its sums
                if dtype is not None:
                    voxels = rest + chunk[max(start - size, 0) : max(expected - size, 0)]
                    whole = len(voxels) - len(voxels) % dtype.itemsize
                    finite = finite and bool(np.isfinite(np.frombuffer(voxels[:whole], dtype)).all())
                    rest = voxels[whole:]
                size += len(chunk)
    except (OSError, EOFError, zlib.error, struct.error, ValueError, OverflowError) as error:
        raise LLMBoostError(f"{path}: not a NIfTI-1 file, or a damaged one; copy or export it again") from error
    if size < expected:
        raise LLMBoostError(f"{path}: truncated ({size} of {expected} bytes of data); copy or export it again")
    if not (sizes and min(sizes) > 0):
        raise LLMBoostError(f"{path}: holds no voxels")
    if not all(0 < s < float("inf") for s in spacing):
        raise LLMBoostError(f"{path}: {_bad_spacing(spacing)}")
    if not finite:
        raise LLMBoostError(f"{path}: {_NOT_FINITE}")


def _nifti_header(header: bytes) -> tuple[Sequence[int], Sequence[float], np.dtype | None, int, int]:
    """Sizes, spacing along the (up to three) spatial axes, the voxels' type if floating, their first and last byte."""
    order = next((order for order in "<>" if struct.unpack_from(f"{order}i", header)[0] == 348), None)
    if order is None:
        raise struct.error("not NIfTI-1")
    rank, *sizes = struct.unpack_from(f"{order}8h", header, 40)
    kind, bits = struct.unpack_from(f"{order}2h", header, 70)
    dtype = {16: np.dtype(f"{order}f4"), 64: np.dtype(f"{order}f8")}.get(kind)
    spacing = struct.unpack_from(f"{order}7f", header, 80)
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    start = int(offset)
    return sizes[:rank], spacing[: min(3, rank)], dtype, start, start + prod(sizes[:rank]) * bits // 8


def _bad_spacing(spacing: Sequence[float] | np.ndarray) -> str:
    values = ", ".join(f"{s:g}" for s in spacing)
    return f"its header gives the voxel spacing as ({values}) mm; correct it (in Slicer: module Volumes)"


def _reason(message: str) -> str:
    """One line for a user from SimpleITK's several."""
    if "orthonormal" in message:
        return "its voxel axes are not perpendicular (sheared sform); correct the header or resample the image"
    if "determinant is 0" in message:
        return "its voxel axes are linearly dependent (singular direction); correct the header"
    if "spacing" in message.lower():
        return "its header gives a voxel spacing that is not positive; correct the header"
    return "not an image of this format, damaged, or without its data file; copy or export it again"
