"""The slices of a DICOM series: checked, and read as stacks of values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ...errors import LLMBoostError
from .file import read_headers
from .groups import FUNCTIONAL_GROUPS, Header
from .pixels import PIXEL_FORMAT, pixel_format, read_pixels

_PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}
_VALUES = ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence")
_THICKNESS = ("SliceThickness", "SpacingBetweenSlices")
# What tells images apart: first their kind, which is the same for all slices of an image, ...
KINDS = (
    *("SeriesDescription", "ImageType", "FrameType", "ComplexImageComponent", "CorrectedImage", "ConvolutionKernel"),
    *("KVP", "EchoTime", "EffectiveEchoTime", "EchoNumbers", "InversionTime", "InversionTimes", "FlipAngle"),
    *("DiffusionBValue", "DiffusionGradientOrientation", "ASLContext"),
    *("TemporalPositionIdentifier", "TemporalPositionIndex", "TemporalPositionTimeOffset"),
    *("NominalPercentageOfCardiacPhase", "NominalPercentageOfRespiratoryPhase"),
)
# ... then times, which may differ from slice to slice
TIMES = (
    *("AcquisitionNumber", "FrameAcquisitionNumber", "NominalCardiacTriggerDelayTime", "TriggerTime"),
    *("FrameReferenceTime", "AcquisitionTime", "FrameAcquisitionDateTime"),
)
TELLING = (*KINDS, *TIMES)
# the value of one of them, to be compared and sorted: a number, or 0 and a text
Told = tuple[float, str]
_READ = (
    *(*_PLACE, *_VALUES, *_THICKNESS, *TELLING, *PIXEL_FORMAT, *FUNCTIONAL_GROUPS),
    *("InstanceNumber", "ImagerPixelSpacing"),
)

_INTEGERS = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64)
_SAME_DIRECTION = 1e-3  # cosines of parallel slices may differ by so much: files round them
_FAR = 1e5  # mm; nothing in a scanner is as far or as large


@dataclass(frozen=True, eq=False)
class Slice:
    """A gray image with a place in space: a frame of a file.

    Attributes:
        path, frame: where its pixels are.
        size: rows and columns.
        position: (3,) LPS position in mm of its first voxel.
        orientation: (6,) direction of its rows and of its columns in LPS.
        pixel: (2,) mm between voxels along i, j.
        thickness: mm; None if not told.
        slope, intercept: value = slope * stored + intercept; where a negative is wanted, these make it.
        bounds: the smallest and the largest value that could be stored; None if values are no integers.
        inverted: whether it is shown with small values in white, but values are as they are stored.
        told: what tells it from others, in the order of TELLING.
        number: of the image in its series; those of a file with many frames follow each other.
    """

    path: Path
    frame: int
    size: tuple[int, int]
    position: np.ndarray
    orientation: np.ndarray
    pixel: np.ndarray
    thickness: float | None
    slope: float
    intercept: float
    bounds: tuple[float, float] | None
    inverted: bool
    told: tuple[Told, ...]
    number: float


def find_slices(files: Sequence[Path], where: str, *, negative: bool = False) -> tuple[list[Slice], int]:
    """The parallel slices of equal size in some files, and how many localizers among them were left out.

    Args:
        where: begins the message of a refusal that concerns several files.
        negative: see :func:`checked_slice`.

    Raises:
        LLMBoostError: they are not such slices.
    """
    frames = [(path, n, header) for path in files for n, header in enumerate(_frames(path))]
    slices = [
        checked_slice(path, n, header, negative=negative)
        for path, n, header in frames
        if "LOCALIZER" not in _image_type(header)
    ]
    if not slices:
        raise LLMBoostError(f"{where}: a localizer (scout); choose the series of the scan itself")
    first = slices[0]
    if any(np.abs(one.orientation - first.orientation).max() > _SAME_DIRECTION for one in slices):
        raise LLMBoostError(f"{where}: slices of several orientations; give each stack as a series of its own")
    if any(one.size != first.size or not np.allclose(one.pixel, first.pixel, rtol=1e-3) for one in slices):
        raise LLMBoostError(f"{where}: slices of several sizes; give each stack as a series of its own")
    return slices, len(frames) - len(slices)


def headers_of(path: Path) -> list[Header]:
    """What :func:`checked_slice` needs of a file, see :func:`.file.read_headers`.

    Raises:
        LLMBoostError: the file is no longer there, or is damaged.
    """
    headers = read_headers(path, _READ)
    if not headers:
        raise LLMBoostError(f"{path}: no longer a DICOM file; look for the series again")
    return headers


def _frames(path: Path) -> list[Header]:
    headers = headers_of(path)
    if numbers(headers[0].get("NumberOfFrames") or 1, 1) != len(headers):
        raise LLMBoostError(f"{path}: a file of many frames that does not tell the place of each; give single slices")
    return headers


def checked_slice(path: Path, frame: int, header: Header, *, negative: bool) -> Slice:
    """The slice of a header, with all checked that reading relies on.

    Args:
        negative: MONOCHROME1 images are to become their negatives, as ITK makes them: before values are rescaled, and
            within the bits that are stored.

    Raises:
        LLMBoostError: a color image, or a header that lacks something or says something impossible.
    """
    stored = pixel_format(header, path)
    if stored.color:
        raise LLMBoostError(f"{path}: a color image ({stored.color}); give the original gray images")
    if "ModalityLUTSequence" in header:
        raise LLMBoostError(f"{path}: its values need a lookup table (Modality LUT); export it with rescaled values")
    if "MOSAIC" in _image_type(header):
        raise LLMBoostError(f"{path}: a mosaic of slices in one picture; convert it first, for example with dcm2niix")
    place = {keyword: numbers(header.get(keyword), n) for keyword, n in _PLACE.items()}
    for keyword, values in place.items():
        if values is None:
            raise LLMBoostError(
                f"{path}: has no {keyword}, so no place in the body; give slices of a scan, not pictures"
            )
    position, orientation, pixel = cast(list[np.ndarray], list(place.values()))
    right, down = orientation.reshape(2, 3)
    if np.abs(position).max() > _FAR or not (0 < pixel.min() <= pixel.max() < _FAR):
        raise LLMBoostError(f"{path}: impossible ImagePositionPatient or PixelSpacing; export it again")
    if np.abs([right @ right - 1, down @ down - 1, right @ down]).max() > 1e-2:
        raise LLMBoostError(f"{path}: impossible ImageOrientationPatient; export it again")
    slope, intercept = _number(header.get("RescaleSlope"), 1.0), _number(header.get("RescaleIntercept"), 0.0)
    if not slope or intercept is None:
        raise LLMBoostError(f"{path}: impossible RescaleSlope or RescaleIntercept; export it again")
    inverted = header.get("PhotometricInterpretation") == "MONOCHROME1"
    if inverted and negative and "BitsStored" in header:  # FloatPixelData has no BitsStored
        inverted, slope, intercept = False, -slope, intercept + slope * sum(stored.bounds)
    bounds = None
    if "BitsStored" in header and slope % 1 == intercept % 1 == 0:
        low, high = sorted(slope * bound + intercept for bound in stored.bounds)
        bounds = low, high
    thickness = next((t for keyword in _THICKNESS if (t := _number(header.get(keyword), None)) and t > 0), None)
    return Slice(
        path,
        frame,
        (stored.rows, stored.columns),
        position,
        orientation,
        pixel[::-1],
        thickness,
        slope,
        intercept,
        bounds,
        inverted,
        tuple(_sortable(header.get(keyword)) for keyword in TELLING),
        (_number(header.get("InstanceNumber"), None) or 0) + frame / stored.frames,
    )


def _image_type(header: Header) -> list[str]:
    value = header.get("FrameType") or header.get("ImageType") or []
    return [value] if isinstance(value, str) else list(value)


def numbers(value: Any, n: int) -> np.ndarray | None:
    """n finite numbers, or None."""
    try:
        array = np.array(value, np.float64).reshape(n)
    except (TypeError, ValueError):
        return None
    return array if np.isfinite(array).all() else None


def _number(value: Any, default: float | None) -> float | None:
    """A number; the default if there is no value; None if it is no number."""
    if value is None or value == "":
        return default
    array = numbers(value, 1)
    return None if array is None else float(array[0])


def _sortable(value: Any) -> Told:
    array = numbers(value, 1)
    return (0.0, str(value)) if array is None else (float(array[0]), "")


def read_stacks(slices: Sequence[Slice], places: np.ndarray, times: Sequence[int]) -> list[np.ndarray]:
    """The rescaled values of each time frame, [place, j, i].

    Raises:
        LLMBoostError: a file cannot be read, or two images differ at one place and time.
    """
    dtype = value_type(slices)
    stacks = [np.empty((max(places) + 1, *slices[0].size), dtype) for _ in range(max(times) + 1)]
    files: dict[Path, dict[int, int]] = defaultdict(dict)
    for n, one in enumerate(slices):
        files[one.path][one.frame] = n
    sources: dict[tuple[int, int], int] = {}
    for path, wanted in files.items():  # each file once, in whatever order its frames lie
        for frame, stored in enumerate(read_pixels(path)):
            if frame not in wanted:
                continue
            n = wanted[frame]
            target = stacks[times[n]][places[n]]
            values = rescaled(stored, slices[n], dtype)
            twin = sources.setdefault((times[n], int(places[n])), n)
            if twin != n and not np.array_equal(target, values):
                raise LLMBoostError(
                    f"{path}: another image in the place of {slices[twin].path}; give each scan as a series of its own"
                )
            target[...] = values
    return stacks


def rescaled(stored: np.ndarray, one: Slice, dtype: np.dtype) -> np.ndarray:
    """The values of a slice, from what :func:`.pixels.read_pixels` gives.

    Raises:
        LLMBoostError: there are NaN or infinite ones.
    """
    if dtype.kind != "f":
        return (stored.astype(np.int64) * int(one.slope) + int(one.intercept)).astype(dtype)
    values = (stored * one.slope + one.intercept).astype(dtype)
    if not np.isfinite(values).all():
        raise LLMBoostError(f"{one.path}: holds NaN or infinite values; replace them by numbers")
    return values


def value_type(slices: Sequence[Slice]) -> np.dtype:
    """The smallest integer type for all values that could be stored, as in ITK; else float32."""
    bounds = [bound for one in slices for bound in one.bounds or (-np.inf, np.inf)]
    fits = (i for i in _INTEGERS if np.iinfo(i).min <= min(bounds) and max(bounds) <= np.iinfo(i).max)
    return np.dtype(next(fits, np.float32))
