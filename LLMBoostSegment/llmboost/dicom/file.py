"""One DICOM file: what it says of each of its frames, and their pixels as they are stored; colors as RGB."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    generate_uid,
)

from ..errors import LLMBoostError

# what a file says of one frame: keyword of DICOM -> value
Header = dict[str, Any]

FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
PIXEL_FORMAT = (
    *("SamplesPerPixel", "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
)

# how the pixels of a color image are to be understood
_COLORS = (
    "PlanarConfiguration",
    *(f"{color}PaletteColorLookupTable{part}" for color in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")),
)
# GDCM takes any other kind for RGB, without a word
_KINDS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_DAMAGED = "a damaged or truncated DICOM file; copy or export it again"
_NO_PIXELS = "a DICOM file without pixels, or a truncated one; copy or export it again"

# Values that are too long or hold odd characters are common and harmless; what matters is checked where it is used.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def read_headers(path: Path, keywords: Sequence[str]) -> list[Header]:
    """The named elements of a file, but not its pixels, for each frame; an empty list if it is not a DICOM file.

    There is one header a file, unless FUNCTIONAL_GROUPS are among the keywords and the file has them (enhanced
    multi-frame images): then one a frame, and the elements of its groups are in it as if they were its own.

    Raises:
        LLMBoostError: the file cannot be read or is damaged.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    marked = start[128:] == b"DICM"
    if not marked and start[:2] not in (b"\x02\x00", b"\x08\x00"):  # old exports begin with the first element
        return []
    try:
        dataset = _read(path, keywords, stop_before_pixels=True)
        common = _elements(dataset)
        common.setdefault("SOPClassUID", dataset.file_meta.get("MediaStorageSOPClassUID") or "")
        shared, frames = (dataset.get(groups) or [] for groups in FUNCTIONAL_GROUPS)
        for group in shared:
            common |= _macros(group)
        headers = [common | _macros(group) for group in frames] or [common]
    except Exception as error:  # pydicom raises all kinds of exceptions at damaged bytes
        if not marked:
            return []
        raise LLMBoostError(f"{path}: {_DAMAGED}") from error
    if common["SOPClassUID"] or "Rows" in common:  # anonymizers may take the former away
        return headers
    if marked:  # pydicom silently reads what there is of a truncated file
        raise LLMBoostError(f"{path}: {_DAMAGED}")
    return []


def _read(path: Path, keywords: Sequence[str], **options: Any) -> Dataset:
    """The named elements and all within them, understood now: pydicom would do that, and warn or fail, at their use."""
    with warnings.catch_warnings(action="ignore"):  # they would stand beside the one line of a refusal
        dataset = pydicom.dcmread(path, force=True, specific_tags=list(keywords), **options)
        for _ in dataset.iterall():
            pass
    return dataset


def _elements(dataset: Dataset) -> Header:
    return {element.keyword: element.value for element in dataset}


def _macros(group: Dataset) -> Header:
    """The elements of a functional group; their keywords are unique among all macros that are used here."""
    macros = (element.value for element in group if element.VR == "SQ")
    return {keyword: value for macro in macros for item in macro[:1] for keyword, value in _elements(item).items()}


@dataclass(frozen=True)
class PixelFormat:
    """How pixels are stored; the least of a value's bits is bit ``high + 1 - stored``; ``color``: see color_of."""

    frames: int
    rows: int
    columns: int
    allocated: int
    stored: int
    high: int
    signed: bool
    color: str

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest integer that can be stored."""
        low = -(2 ** (self.stored - 1)) if self.signed else 0
        return low, low + 2**self.stored - 1

    def value_bits(self, frame: np.ndarray) -> np.ndarray:
        """A frame of integers without what else is stored in them: old files keep overlays in the spare bits."""
        if self.stored == self.allocated:
            return frame
        return frame << (self.allocated - 1 - self.high) >> (self.allocated - self.stored)


def color_of(header: Header | Dataset) -> str:
    """DICOM's word for the kind of color of an image; empty if it is gray."""
    kind = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    gray = header.get("SamplesPerPixel", 1) == 1 and kind in ("MONOCHROME1", "MONOCHROME2")
    return "" if gray else kind


def pixel_format(header: Header | Dataset, path: Path) -> PixelFormat:
    """The format that the elements named PIXEL_FORMAT describe.

    Raises:
        LLMBoostError: an image of impossible sizes.
    """
    try:
        frames = int(header.get("NumberOfFrames") or 1)
        rows, columns, allocated = (int(header.get(keyword) or 0) for keyword in ("Rows", "Columns", "BitsAllocated"))
        stored = int(header.get("BitsStored") or allocated)
        high = int(header.get("HighBit") or stored - 1)
    except (TypeError, ValueError) as error:
        raise LLMBoostError(f"{path}: {_DAMAGED}") from error
    if not (frames > 0 and rows > 0 and columns > 0 and allocated > 0):
        raise LLMBoostError(f"{path}: {_NO_PIXELS}")
    if allocated not in (8, 16, 32, 64) or not 0 < stored <= high + 1 <= allocated:
        raise LLMBoostError(f"{path}: pixels of {stored} bits in {allocated} are not readable; export it with 16 bits")
    return PixelFormat(
        frames, rows, columns, allocated, stored, high, bool(header.get("PixelRepresentation")), color_of(header)
    )


def read_pixels(path: Path) -> Iterator[np.ndarray]:
    """The values of each frame as they are stored, (rows, columns); of a color image red, green and blue, uint8
    (rows, columns, 3), as GDCM converts them, hence as Slicer has them.

    SimpleITK decodes, by its GDCM and with no further package: JPEG (baseline, extended, lossless), JPEG-LS, JPEG 2000,
    RLE and, in recent releases, high-throughput JPEG 2000. JPEG XL and videos are refused.

    Raises:
        LLMBoostError: no pixels, too few, or in a compression that is not readable here.
    """
    try:
        dataset = _read(path, (*PIXEL_FORMAT, *_COLORS, *_PIXELS))
        keyword = next((keyword for keyword in _PIXELS if keyword in dataset), None)
    except Exception as error:  # pydicom raises all kinds of exceptions at damaged bytes
        raise LLMBoostError(f"{path}: {_DAMAGED}") from error
    if keyword is None:
        raise LLMBoostError(f"{path}: {_NO_PIXELS}")
    pixels = pixel_format(dataset, path)
    shape = (pixels.frames, pixels.rows, pixels.columns)
    compressed = dataset[keyword].is_undefined_length  # true of compressed pixels alone
    truncated = f"{path}: truncated, it has less pixels than it says; copy or export it again"
    if pixels.color and not compressed and len(dataset[keyword].value or b"") < prod(shape) * _bytes(pixels):
        raise LLMBoostError(truncated)  # GDCM would make up the rest
    if pixels.color or compressed:
        try:
            image = _decoded(dataset, pixels)  # named, for a view does not keep its image alive
            if pixels.color:
                yield from _eight_bits(sitk.GetArrayFromImage(image).reshape(*shape, 3), pixels)
            else:
                yield from sitk.GetArrayViewFromImage(image).reshape(shape)
        except (RuntimeError, ValueError) as error:
            syntax = UID(dataset.file_meta.get("TransferSyntaxUID", "no transfer syntax")).name
            stored, plain = f"compressed in a way that is not readable here ({syntax})", "uncompressed"
            if pixels.color:
                stored, plain = f"of colors that are not readable here ({pixels.color}, {syntax})", "as 8-bit RGB"
            raise LLMBoostError(
                f"{path}: its pixels are damaged, or {stored}; "
                f"pip install -U SimpleITK pydicom may help, or export it {plain}"
            ) from error
        return
    order = ">" if dataset.file_meta.get("TransferSyntaxUID") == ExplicitVRBigEndian else "<"
    kind = "f" if keyword != "PixelData" else "i" if pixels.signed else "u"
    dtype = np.dtype(f"{order}{kind}{pixels.allocated // 8}")
    try:
        stack = np.frombuffer(dataset[keyword].value or b"", dtype, prod(shape)).reshape(shape)
    except ValueError as error:
        raise LLMBoostError(truncated) from error
    for frame in stack:
        native = frame.astype(dtype.newbyteorder("="))
        yield native if kind == "f" else pixels.value_bits(native)


def _bytes(pixels: PixelFormat) -> int:
    """How many bytes a pixel of a color image takes, uncompressed."""
    return {"PALETTE COLOR": 1, "YBR_FULL_422": 2}.get(pixels.color, 3) * pixels.allocated // 8


def _eight_bits(values: np.ndarray, pixels: PixelFormat) -> np.ndarray:
    """Colors of 8 bits; palettes may have 16, of which the upper ones are kept."""
    if values.dtype == np.uint16 and pixels.color == "PALETTE COLOR":
        return (values >> 8).astype(np.uint8)
    if values.dtype != np.uint8:
        raise ValueError(f"colors of {pixels.stored} bits")
    return values


def _decoded(dataset: Dataset, pixels: PixelFormat) -> sitk.Image:
    """The stored values, from a file that holds nothing else: GDCM would rescale them, all frames as the first one.

    Raises:
        RuntimeError: SimpleITK cannot decode them.
        ValueError: colors of an unknown kind.
    """
    if pixels.color and pixels.color not in _KINDS:
        raise ValueError(pixels.color)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = dataset.file_meta.get("TransferSyntaxUID", "")
    meta.MediaStorageSOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    if pixels.color:
        meta.MediaStorageSOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
    big = meta.TransferSyntaxUID == ExplicitVRBigEndian
    if not (big or dataset["PixelData"].is_undefined_length):
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    bare = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=not big)
    bare.SOPClassUID, bare.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    for keyword in (*PIXEL_FORMAT, *_COLORS, "PixelData"):
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    if not pixels.color:
        bare.PhotometricInterpretation = "MONOCHROME2"  # of MONOCHROME1, GDCM would give the negative
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pixels.dcm"
        bare.save_as(file)
        return sitk.ReadImage(str(file), imageIO="GDCMImageIO")
