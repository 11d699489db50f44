"""Writes small DICOM series to test with. A test module says ``from .dicom_samples import write_series``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid
from scipy.spatial.transform import Rotation

CT_IMAGE = UID("1.2.840.10008.5.1.4.1.1.2")
ENHANCED_CT_IMAGE = UID("1.2.840.10008.5.1.4.1.1.2.1")
PICTURES = {
    "DX": UID("1.2.840.10008.5.1.4.1.1.1.1"),
    "CR": UID("1.2.840.10008.5.1.4.1.1.1"),
    "US": UID("1.2.840.10008.5.1.4.1.1.6.1"),
    "US film": UID("1.2.840.10008.5.1.4.1.1.3.1"),
    "OP": UID("1.2.840.10008.5.1.4.1.1.77.1.5.1"),
    "SC": UID("1.2.840.10008.5.1.4.1.1.7"),
}

OBLIQUE = Rotation.from_euler("xyz", (0.2, -0.3, 0.4)).as_matrix()
PLACE: dict[str, Any] = {"spacing": (0.7, 0.9, 2.5), "origin": (-31.5, 12.25, 480.0), "direction": OBLIQUE}

Change = Callable[[Dataset, int], None]


def noise(
    shape: tuple[int, ...] = (5, 8, 6), dtype: type[np.integer] = np.int16, bits: int = 12, seed: int = 0
) -> np.ndarray:
    """[k, j, i] integers that use all of their bits."""
    info = np.iinfo(dtype)
    bits = min(bits, info.bits)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if info.min else (0, 2**bits)
    array = np.random.default_rng(seed).integers(low, high, shape).astype(dtype)
    array.flat[:2] = low, high - 1
    return array


def slice_positions(
    n: int,
    spacing: Sequence[float] = (1, 1, 1),
    origin: Sequence[float] = (0, 0, 0),
    direction: np.ndarray | None = None,
) -> np.ndarray:
    """(n, 3): LPS positions in mm of the first voxels of n regular slices."""
    axes = np.eye(3) if direction is None else direction
    return np.array(origin) + np.arange(n)[:, None] * spacing[2] * axes[:, 2]


def write_series(
    folder: Path,
    array: np.ndarray,
    *,
    spacing: Sequence[float] = (1, 1, 1),
    origin: Sequence[float] = (0, 0, 0),
    direction: np.ndarray | None = None,
    positions: np.ndarray | None = None,
    name: str = "{:03}.dcm",
    change: Change | None = None,
    **elements: Any,
) -> list[Path]:
    """Write a classic series, a file a slice.

    Args:
        array: [k, j, i], the stored integers; all their bits count as stored.
        spacing: mm along i, j, k.
        origin: LPS position in mm of voxel (0, 0, 0).
        direction: (3, 3), columns are the axes i, j, k in LPS; identity by default.
        positions: (K, 3), where each slice really lies; by default ``slice_positions``.
        name: how files are named, from their number.
        change: ``change(dataset, k)`` alters a slice before it is written.
        elements: further elements by keyword, for all slices.
    """
    axes = np.eye(3) if direction is None else direction
    if positions is None:
        positions = slice_positions(len(array), spacing, origin, axes)
    series = elements.setdefault("SeriesInstanceUID", generate_uid())
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):  # files of one series have the same
        elements.setdefault(keyword, generate_uid(entropy_srcs=[series, keyword]))
    paths = []
    for k, (plane, position) in enumerate(zip(array, positions, strict=True)):
        dataset = _image(CT_IMAGE, plane)
        dataset.InstanceNumber = k + 1
        dataset.ImagePositionPatient = _decimals(position)
        dataset.ImageOrientationPatient = _decimals(axes.T[:2].ravel())
        dataset.PixelSpacing = _decimals([spacing[1], spacing[0]])
        dataset.SliceThickness = _decimals([spacing[2]])[0]
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        if change is not None:
            change(dataset, k)
        paths.append(save(dataset, folder / name.format(k)))
    return paths


def write_enhanced(
    path: Path,
    array: np.ndarray,
    *,
    spacing: Sequence[float] = (1, 1, 1),
    origin: Sequence[float] = (0, 0, 0),
    direction: np.ndarray | None = None,
    positions: np.ndarray | None = None,
    rescale: Sequence[tuple[float, float]] | None = None,
    change: Callable[[Dataset], None] | None = None,
    **elements: Any,
) -> Path:
    """Write an enhanced multi-frame image; ``rescale`` gives (slope, intercept) of each frame, else as write_series."""
    axes = np.eye(3) if direction is None else direction
    if positions is None:
        positions = slice_positions(len(array), spacing, origin, axes)
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing = _decimals([spacing[1], spacing[0]])
    measures.SliceThickness = _decimals([spacing[2]])[0]
    orientation.ImageOrientationPatient = _decimals(axes.T[:2].ravel())
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    frames = []
    for k, position in enumerate(positions):
        frame, plane, values = Dataset(), Dataset(), Dataset()
        plane.ImagePositionPatient = _decimals(position)
        slope, intercept = rescale[k] if rescale else (1, 0)
        values.RescaleSlope, values.RescaleIntercept = _decimals([slope, intercept])
        frame.PlanePositionSequence = [plane]
        frame.PixelValueTransformationSequence = [values]
        frames.append(frame)
    dataset = _image(ENHANCED_CT_IMAGE, array)
    dataset.NumberOfFrames = len(array)
    dataset.StudyInstanceUID = generate_uid()
    dataset.SeriesInstanceUID = generate_uid()
    dataset.FrameOfReferenceUID = generate_uid()
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = frames
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    if change is not None:
        change(dataset)
    return save(dataset, path)


def write_picture(
    path: Path,
    array: np.ndarray,
    *,
    sop_class: str,
    color: str = "",
    change: Callable[[Dataset], object] | None = None,
    **elements: Any,
) -> Path:
    """Write an image without a place in space.

    Args:
        array: [frame, j, i] or [j, i] of stored integers; with ``color``, uint8 and a last axis of three samples.
        sop_class: "DX", "CR", "US", "US film", "OP" or "SC".
        color: such as "RGB"; gray without it.
        change: alters the dataset before it is written.
        elements: further elements by keyword.
    """
    plane = array[..., 0] if color else array
    dataset = _image(PICTURES[sop_class], plane)
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Modality = sop_class[:2]
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.InstanceNumber = 1
    if plane.ndim == 3:
        dataset.NumberOfFrames = len(plane)
    if color:
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, color, 0
        dataset.PixelData = _even(array.tobytes())
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    if change is not None:
        change(dataset)
    return save(dataset, path)


def by_pydicom(syntax: UID, **options: Any) -> Change:
    """A change for write_series: compressed by pydicom."""

    def change(dataset: Dataset, k: int) -> None:
        set_syntax(dataset, ExplicitVRLittleEndian)
        dataset.compress(syntax, generate_instance_uid=False, **options)

    return change


def by_gdcm(compressor: str, syntax: UID) -> Change:
    """A change for write_series: uint16 compressed by GDCM, through SimpleITK."""

    def change(dataset: Dataset, k: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            writer = sitk.ImageFileWriter()
            writer.SetFileName(f"{folder}/one.dcm")
            writer.SetImageIO("GDCMImageIO")
            writer.UseCompressionOn()
            writer.SetCompressor(compressor)
            writer.Execute(sitk.GetImageFromArray(stored(dataset)))
            compressed = pydicom.dcmread(f"{folder}/one.dcm")
        assert compressed.file_meta.TransferSyntaxUID == syntax
        set_syntax(dataset, syntax)
        dataset["PixelData"] = compressed["PixelData"]

    return change


JPEG_2000 = by_gdcm("JPEG2000", JPEG2000Lossless)


def stored(dataset: Dataset) -> np.ndarray:
    """uint16 [k, j, i] of a dataset that is not compressed."""
    shape = (int(dataset.get("NumberOfFrames", 1)), dataset.Rows, dataset.Columns)
    return np.frombuffer(dataset.PixelData, "<u2").reshape(shape)


def set_syntax(dataset: Dataset, syntax: UID) -> None:
    """In file meta information that says nothing else."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax


def save(dataset: Dataset, path: Path) -> Path:
    """Write a dataset, in the transfer syntax of its file meta information, if it has one."""
    meta = getattr(dataset, "file_meta", None) or FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if "TransferSyntaxUID" not in meta:
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _image(sop_class: UID, array: np.ndarray) -> Dataset:
    """What every image says, with the pixels [..., j, i]."""
    dataset = Dataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = generate_uid()
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientName, dataset.PatientID = "Nobody^", "0"
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    dataset.StudyDate, dataset.StudyTime = "20200101", "120000"
    dataset.SeriesNumber = 1
    dataset.SeriesDescription = "Sample"
    dataset.Manufacturer = ""
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = array.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = array.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")
    dataset.add_new("PixelData", "OW" if array.dtype.itemsize > 1 else "OB", _even(array.tobytes()))
    return dataset


def _even(data: bytes) -> bytes:
    return data + b"\0" * (len(data) % 2)


def _decimals(values: Sequence[float] | np.ndarray) -> list[str]:
    """Numbers as DICOM's decimal strings, of at most 16 characters."""
    return [f"{float(value):.10g}"[:16] for value in values]
