"""The pixels of one DICOM file, frame by frame as they are stored; colors as RGB."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    RLELossless,
    generate_uid,
)

from ...errors import LLMBoostError
from ...files import printable
from .dataset import open_dataset
from .file import DAMAGED
from .groups import Header
from .streams import OFFSETS, are_fragments, is_stream, streams_of

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
# where pixels are, and as what kind of number of how many bits; those of PixelData are integers of any size
_PIXELS = {"PixelData": ("", 0), "FloatPixelData": ("f", 32), "DoubleFloatPixelData": ("f", 64)}
_PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_NO_PIXELS = "a DICOM file without pixels, or a truncated one; copy or export it again"
# More bytes of pixels than this, and than this many from a byte of the file, are no image but an attack on memory.
_LARGE, _DENSEST = 2**28, 500


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

    @property
    def shape(self) -> tuple[int, int, int]:
        """Frames, rows, columns."""
        return self.frames, self.rows, self.columns

    @property
    def nbytes(self) -> int:
        """How many bytes all pixels take, uncompressed."""
        samples = {"": 1, "PALETTE COLOR": 1, "YBR_FULL_422": 2}.get(self.color, 3)
        return prod(self.shape) * samples * self.allocated // 8

    def value_bits(self, frame: np.ndarray) -> np.ndarray:
        """A frame of integers without what else is stored in them: old files keep overlays in the spare bits."""
        if self.stored == self.allocated:
            return frame
        return frame << (self.allocated - 1 - self.high) >> (self.allocated - self.stored)


def color_of(header: Header | Dataset) -> str:
    """DICOM's word for the kind of color of an image, fit to be shown; empty if it is gray."""
    kind = str(header.get("PhotometricInterpretation", "MONOCHROME2"))
    gray = header.get("SamplesPerPixel", 1) == 1 and kind in ("MONOCHROME1", "MONOCHROME2")
    return "" if gray else printable(kind)


def pixel_format(header: Header | Dataset, path: Path) -> PixelFormat:
    """The format that the elements named PIXEL_FORMAT describe.

    Raises:
        LLMBoostError: an image of impossible sizes, or of sizes that such a small file cannot fill.
    """
    try:
        frames = int(header.get("NumberOfFrames") or 1)
        rows, columns, allocated = (int(header.get(keyword) or 0) for keyword in ("Rows", "Columns", "BitsAllocated"))
        stored = int(header.get("BitsStored") or allocated)
        high = int(header.get("HighBit") or stored - 1)
    except (TypeError, ValueError) as error:
        raise LLMBoostError(f"{path}: {DAMAGED}") from error
    if not (frames > 0 and rows > 0 and columns > 0 and allocated > 0):
        raise LLMBoostError(f"{path}: {_NO_PIXELS}")
    if allocated not in (8, 16, 32, 64) or not 0 < stored <= high + 1 <= allocated:
        raise LLMBoostError(f"{path}: pixels of {stored} bits in {allocated} are not readable; export it with 16 bits")
    signed = bool(header.get("PixelRepresentation"))
    pixels = PixelFormat(frames, rows, columns, allocated, stored, high, signed, color_of(header))
    if pixels.nbytes > _LARGE and pixels.nbytes > _DENSEST * path.stat().st_size:
        raise LLMBoostError(
            f"{path}: says that it holds {columns} x {rows} pixels in {frames} frame(s), more than such a small file "
            "can; copy or export it again"
        )
    return pixels


def read_pixels(path: Path) -> Iterator[np.ndarray]:
    """The values of each frame as they are stored, (rows, columns); of a color image red, green and blue, uint8
    (rows, columns, 3), as GDCM converts them, hence as Slicer has them.

    SimpleITK decodes, by its GDCM and with no further package: JPEG (baseline, extended, lossless), JPEG-LS, JPEG 2000,
    RLE and, in recent releases, high-throughput JPEG 2000. JPEG XL and videos are refused.

    Raises:
        LLMBoostError: no pixels, too few, or in a compression that is not readable here.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # they would stand beside the one line of a refusal
            keywords = (*PIXEL_FORMAT, *_COLORS, *OFFSETS, *_PIXELS)
            dataset = open_dataset(path, keywords, lambda header: pixel_format(header, path).nbytes)
            pixels = pixel_format(dataset, path)
            keyword = next((keyword for keyword in _PIXELS if keyword in dataset), None)
            data = b"" if keyword is None else dataset[keyword].value or b""
            for _ in dataset:  # understood now: pydicom would warn or fail at their use
                pass
    except LLMBoostError:
        raise
    except Exception as error:  # pydicom raises all kinds of exceptions at damaged bytes
        raise LLMBoostError(f"{path}: {DAMAGED}") from error
    if keyword is None:
        raise LLMBoostError(f"{path}: {_NO_PIXELS}")
    compressed = _is_compressed(dataset, keyword, pixels, path)
    if not compressed and len(data) < pixels.nbytes:  # of colors, GDCM would make up the rest
        raise LLMBoostError(f"{path}: truncated, it has less pixels than it says; copy or export it again")
    if pixels.color or compressed:
        yield from _by_gdcm(dataset, pixels, compressed, path)
    else:
        yield from _plain(dataset, keyword, pixels, path)


def _is_compressed(dataset: FileDataset, keyword: str, pixels: PixelFormat, path: Path) -> bool:
    """Raises LLMBoostError where the transfer syntax says another thing than the look of the data, or is unknown."""
    syntax = UID(dataset.file_meta.get("TransferSyntaxUID") or "")
    if syntax and syntax.type != "Transfer Syntax":
        raise LLMBoostError(f"{path}: of an unknown transfer syntax ({printable(syntax)}); export it uncompressed")
    told = bool(syntax) and syntax not in _PLAIN
    element = dataset[keyword]
    data = element.value or b""
    looks = element.is_undefined_length or are_fragments(data)
    looks |= len(data) - pixels.nbytes not in (0, 1) and is_stream(data)
    if looks != told:
        raise LLMBoostError(
            f"{path}: its pixels are {'' if looks else 'not '}compressed, and its transfer syntax"
            f" ({syntax.name or 'none'}) says otherwise; export it again"
        )
    return told


def _plain(dataset: FileDataset, keyword: str, pixels: PixelFormat, path: Path) -> Iterator[np.ndarray]:
    big = dataset.original_encoding[1] is False
    kind, bits = _PIXELS[keyword]
    if kind and bits != pixels.allocated:
        raise LLMBoostError(f"{path}: {keyword} of {pixels.allocated} bits is not readable; export it with {bits}")
    data = dataset[keyword].value
    if big and pixels.allocated == 8 and dataset[keyword].VR == "OW":  # two pixels a word
        data = np.frombuffer(data, ">u2", len(data) // 2).astype("<u2").tobytes()
    number = np.dtype(f"{'>' if big else '<'}{kind or 'ui'[pixels.signed]}{pixels.allocated // 8}")
    for frame in np.frombuffer(data, number, prod(pixels.shape)).reshape(pixels.shape):
        native = frame.astype(number.newbyteorder("="))
        yield native if kind else pixels.value_bits(native)


def _by_gdcm(dataset: FileDataset, pixels: PixelFormat, compressed: bool, path: Path) -> Iterator[np.ndarray]:
    try:
        image = _decoded(dataset, pixels, compressed)  # named, for a view does not keep its image alive
        if pixels.color:
            yield from _eight_bits(sitk.GetArrayFromImage(image).reshape(*pixels.shape, 3), pixels)
            return
        for frame in sitk.GetArrayViewFromImage(image).reshape(pixels.shape):
            yield pixels.value_bits(frame) if frame.itemsize * 8 == pixels.allocated else frame
    except Exception as error:  # pydicom raises all kinds of exceptions at damaged bytes
        syntax = UID(dataset.file_meta.get("TransferSyntaxUID") or "no transfer syntax").name
        stored, plain = f"compressed in a way that is not readable here ({syntax})", "uncompressed"
        if pixels.color:
            stored, plain = f"of colors that are not readable here ({pixels.color}, {syntax})", "as 8-bit RGB"
        raise LLMBoostError(
            f"{path}: its pixels are damaged, or {stored}; "
            f"pip install -U SimpleITK pydicom may help, or export it {plain}"
        ) from error


def _eight_bits(values: np.ndarray, pixels: PixelFormat) -> np.ndarray:
    """Colors of 8 bits; palettes may have 16, of which the upper ones are kept."""
    if values.dtype == np.uint16 and pixels.color == "PALETTE COLOR":
        return (values >> 8).astype(np.uint8)
    if values.dtype != np.uint8:
        raise ValueError(f"colors of {pixels.stored} bits")
    return values


def _decoded(dataset: FileDataset, pixels: PixelFormat, compressed: bool) -> sitk.Image:
    """The stored values, from a file that holds nothing else: GDCM would rescale them, all frames as the first one.

    Raises:
        RuntimeError: SimpleITK cannot decode them.
        ValueError: colors of an unknown kind, or streams that do not fit what the file says.
    """
    if pixels.color and pixels.color not in _KINDS:
        raise ValueError(pixels.color)
    big = dataset.original_encoding[1] is False
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRBigEndian if big else ExplicitVRLittleEndian
    if compressed:
        meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    meta.MediaStorageSOPClassUID = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    if pixels.color:
        meta.MediaStorageSOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    bare = FileDataset("", {}, b"\0" * 128, meta, is_implicit_VR=False, is_little_endian=not big)
    bare.SOPClassUID, bare.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    for keyword in (*PIXEL_FORMAT, *_COLORS, "PixelData"):
        if keyword in dataset:
            bare[keyword] = dataset[keyword]
    if compressed:
        bare.add_new("PixelData", "OB", encapsulate(streams_of(dataset, *pixels.shape)))  # each in one fragment
        bare["PixelData"].is_undefined_length = True
    if meta.TransferSyntaxUID == RLELossless and not pixels.color:  # GDCM would refuse overlays in the spare bits
        bare.BitsStored, bare.HighBit = pixels.allocated, pixels.allocated - 1
    if not pixels.color:
        bare.PhotometricInterpretation = "MONOCHROME2"  # of MONOCHROME1, GDCM would give the negative
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pixels.dcm"
        bare.save_as(file)
        return sitk.ReadImage(str(file), imageIO="GDCMImageIO")
