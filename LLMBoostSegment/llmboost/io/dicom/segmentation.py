"""DICOM segmentations (SEG): a label map as one binary segment a label, tied to the series that it was drawn on.

Where the label map lies on the planes of the series, each frame takes its plane's own position and refers to the very
instance (or frame) that it was drawn on. Elsewhere (a series that had to be resampled to be read) the segmentation has
its own geometry in the same frame of reference, and refers to the series.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from pydicom.valuerep import DA, TM, DSfloat

from ... import __version__
from ...card import Card, Code, Label
from ...card.anatomy import GUESSED
from ...errors import LLMBoostError
from ...files import atomic_path, printable
from ..image import Image, to_canonical
from .dataset import open_dataset
from .grid import JITTER
from .series import Series

NOT_CLINICAL = "Research use only. Not for clinical use."

# How many voxels (i, j, k) a slice may lie off the grid that it was read on: see .grid. A bit more, for rounding.
_OFF_GRID = 1.01 * np.array([[0.5], [0.5], [JITTER]])
# What geometry and references need of every file; the rest of the header is read of one file.
_REFERENCE = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "NumberOfFrames",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]
# Where anonymization removed one, a new one takes its place, which keeps the file valid.
_IDENTIFIERS = ["StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"]
# What a segmentation must have, if only empty; anonymized files often lack some.
_MAY_BE_EMPTY = [
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
]


def write_dicom_seg(labelmap: Image, card: Card, series: Series, path: Path, *, guided: bool = False) -> None:
    """Write a label map (integers [i, j, k], 0 is background) as a DICOM segmentation of ``series``.

    The labels become segments 1, 2, ... by ascending value; an absent one is a segment without frames. If none was
    found at all, one empty frame a segment, in the middle plane, keeps the file valid. Patient, study and frame of
    reference are those of the series, new ones where anonymization emptied them. Where the series has several images
    of one place (times, echoes), all of them are named as sources. The file appears complete or not at all.

    Args:
        labelmap: on any grid in the frame of reference of the series, its axes in any order and sense.
        card: of the model that drew the labels.
        series: what they were drawn on, single-frame or multi-frame images.
        guided: a person told by strokes where the segments lie.

    Raises:
        LLMBoostError: highdicom is missing or too old; the series lacks what a segmentation must say; the file cannot
            be written.
        ValueError: the map has channels, or a value without a label.
    """
    if labelmap.array.ndim != 3:
        raise ValueError("a label map has no channels")
    hd = highdicom_or_refusal()
    labels = sorted(card.labels, key=lambda label: label.value)
    with _refusing(series):
        sources = _sources(series)
        grid = _along(labelmap, _orientation(sources[0]))
        _complete(sources, grid.spacing[2])
    found = np.flatnonzero(grid.array.any(axis=(0, 1)))
    planes = found if found.size else np.array([grid.shape[2] // 2])
    pixels = _segment_numbers(grid, planes, labels)
    # highdicom takes many single-frame images, or one with several frames and any others besides.
    main = 1 if "PerFrameFunctionalGroupsSequence" in sources[0] else len(sources)
    with _refusing(series), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as: a patient's name without a caret
        segmentation = hd.seg.Segmentation(
            source_images=sources[:main],
            further_source_images=sources[main:],
            pixel_array=pixels,
            segmentation_type="BINARY",
            segment_descriptions=[_segment(hd, number, label, card, guided) for number, label in enumerate(labels, 1)],
            omit_empty_frames=bool(found.size),
            **_geometry(hd, grid, planes, sources),
            **_identity(hd, card, sources[0]),
        )
    segmentation.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    segmentation.ImageComments = NOT_CLINICAL
    with atomic_path(path) as temporary:
        segmentation.save_as(temporary)


def lies_on(image: Image, series: Series) -> bool:
    """Whether the planes of an image are those of the series, voxel for voxel.

    Raises:
        LLMBoostError: the headers of the series do not suffice to tell.
    """
    with _refusing(series):
        sources = _sources(series)
        grid = _along(image, _orientation(sources[0]))
        return len(_stored_positions(grid, sources)) == grid.shape[2]


def highdicom_or_refusal() -> ModuleType:
    """The library; raises LLMBoostError if it is missing or too old."""
    try:
        import highdicom

        if tuple(int(part) for part in highdicom.__version__.split(".")[:2]) >= (0, 27):
            return highdicom
    except ImportError:
        pass
    raise LLMBoostError('DICOM segmentations need highdicom: pip install "highdicom>=0.27" "pydicom>=3"')


@contextmanager
def _refusing(series: Series) -> Iterator[None]:
    """Turn what headers that lack something, or say something impossible, lead to into a line for the user."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, OSError, RecursionError, TypeError, ValueError) as error:
        raise LLMBoostError(
            f"{series.files[0].parent}: the headers of the series do not suffice for a DICOM segmentation"
            f" ({printable(' '.join(str(error).split()))}); write .seg.nrrd instead"
        ) from error


def _sources(series: Series) -> list[Dataset]:
    """The headers of the images of the series, without those that differ from most in size or orientation."""
    headers = [_header(file, _REFERENCE) for file in series.files]
    layouts = [(h.Rows, h.Columns, *(round(float(c), 2) for c in _orientation(h))) for h in headers]
    ((usual, _),) = Counter(layouts).most_common(1)
    kept = [n for n, layout in enumerate(layouts) if layout == usual]
    return [_header(series.files[kept[0]]), *(headers[n] for n in kept[1:])]


def _header(file: Path, keywords: list[str] | None = None) -> Dataset:
    header = open_dataset(file, keywords)
    for keyword in ("SOPClassUID", "SOPInstanceUID"):
        if not header.get(keyword):  # some anonymizers forget the copy in the file meta information
            setattr(header, keyword, header.file_meta[f"MediaStorage{keyword}"].value)
    header.decode()
    header.pop("SpecificCharacterSet", None)  # texts are Unicode from here on
    return header


def _group(header: Dataset, name: str, frame: int = 0) -> Dataset:
    """What holds the attributes of functional group ``name``: in a single-frame image, the header itself."""
    if "PerFrameFunctionalGroupsSequence" not in header:
        return header
    own = header.PerFrameFunctionalGroupsSequence[frame]
    return (own if name in own else header.SharedFunctionalGroupsSequence[0])[name].value[0]


def _orientation(header: Dataset) -> Sequence[float]:
    return _group(header, "PlaneOrientationSequence").ImageOrientationPatient


def _positions(header: Dataset) -> list[Sequence[float]]:
    frames = range(len(header.get("PerFrameFunctionalGroupsSequence", [header])))
    return [_group(header, "PlanePositionSequence", frame).ImagePositionPatient for frame in frames]


def _complete(sources: Sequence[Dataset], slice_spacing: float) -> None:
    """Give the headers what highdicom expects to find, and the true distance of slices: stored ones are often wrong."""
    first = sources[0]
    new = {keyword: generate_uid() for keyword in _IDENTIFIERS}
    for header in sources:
        for keyword in _IDENTIFIERS:
            if not header.get(keyword):
                setattr(header, keyword, new[keyword])
        orientation, measures = _group(header, "PlaneOrientationSequence"), _group(header, "PixelMeasuresSequence")
        orientation.ImageOrientationPatient = _orientation(first)
        measures.SpacingBetweenSlices = DSfloat(slice_spacing, auto_format=True)
        if not measures.get("SliceThickness"):
            measures.SliceThickness = measures.SpacingBetweenSlices
        if measures is not header:
            shared = header.SharedFunctionalGroupsSequence[0]
            shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    for keyword in _MAY_BE_EMPTY:
        if keyword not in first:
            setattr(first, keyword, "")
    if first.PatientSex not in ("M", "F", "O"):
        first.PatientSex = ""
    for keyword, kind in (("PatientBirthDate", DA), ("StudyDate", DA), ("StudyTime", TM)):
        try:
            kind(first[keyword].value or "")
        except ValueError:  # such as 00000000
            setattr(first, keyword, "")


def _along(image: Image, orientation: Sequence[float]) -> Image:
    """The image with its axes along the columns, rows and normal of a plane, as closely as re-ordering allows."""
    right, down = np.array(orientation, np.float64).reshape(2, 3)
    # into the space where these are the patient's axes, which to_canonical() knows
    turn = np.stack([-right, -down, np.cross(right, down)])
    there = to_canonical(replace(image, direction=turn @ image.direction, origin=tuple(turn @ image.origin)))
    back = np.linalg.inv(turn)
    return replace(there, direction=back @ there.direction, origin=tuple(back @ there.origin))


def _segment_numbers(grid: Image, planes: np.ndarray, labels: Sequence[Label]) -> np.ndarray:
    """(plane, row, column): 0, or the place of the label among ``labels``, counted from 1."""
    unknown = len(labels) + 1
    numbers = np.full(2**16, unknown, np.min_scalar_type(unknown))
    numbers[0] = 0
    numbers[[label.value for label in labels]] = range(1, unknown)
    pixels = np.empty((len(planes), grid.shape[1], grid.shape[0]), numbers.dtype)
    for plane, k in zip(pixels, planes, strict=True):
        plane[...] = numbers[grid.array[:, :, k].T]
    if pixels.max() == unknown:
        raise ValueError("the label map holds values without a label")
    return pixels


def _geometry(hd: ModuleType, grid: Image, planes: np.ndarray, sources: Sequence[Dataset]) -> dict[str, Any]:
    def positions(points: Sequence[Sequence[float]]) -> list[Any]:
        return [hd.PlanePositionSequence("PATIENT", point) for point in points]

    stored = _stored_positions(grid, sources)
    if all(plane in stored for plane in planes):
        return {"plane_positions": positions([stored[plane] for plane in planes])}
    columns, rows, slices = grid.spacing
    return {
        "plane_positions": positions([grid.affine[:3, 2] * plane + grid.origin for plane in planes]),
        "plane_orientation": hd.PlaneOrientationSequence("PATIENT", grid.direction[:, :2].T.ravel()),
        "pixel_measures": hd.PixelMeasuresSequence((rows, columns), slices, slices),
    }


def _stored_positions(grid: Image, sources: Sequence[Dataset]) -> dict[int, Sequence[float]]:
    """The position as stored in the series, by plane of the grid, of the planes that are the same voxel for voxel."""
    header = sources[0]
    if (header.Columns, header.Rows) != grid.shape[:2]:
        return {}
    axes = np.array(_orientation(header), np.float64).reshape(2, 3).T
    row_spacing, column_spacing = _group(header, "PixelMeasuresSequence").PixelSpacing
    far = axes * (column_spacing * (header.Columns - 1), row_spacing * (header.Rows - 1))
    ends = np.c_[np.zeros(3), far]  # (3, corners) mm from the position of a plane
    expected = np.array([[0, header.Columns - 1, 0], [0, 0, header.Rows - 1], [0, 0, 0]])
    found: dict[int, Sequence[float]] = {}
    for position in (position for source in sources for position in _positions(source)):
        corners = np.subtract(np.array(position, np.float64), grid.origin)[:, None] + ends
        shift = np.linalg.solve(grid.affine[:3, :3], corners) - expected
        plane = round(shift[2, 0])
        if (np.abs(shift - [[0], [0], [plane]]) <= _OFF_GRID).all():
            found.setdefault(plane, position)
    return found


def _segment(hd: ModuleType, number: int, label: Label, card: Card, guided: bool) -> Any:
    described = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=short_text(label.name) or f"Label {label.value}",
        segmented_property_category=coded(hd, label.category),
        segmented_property_type=coded(hd, label.type),
        algorithm_type="SEMIAUTOMATIC" if guided else "AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=short_text(f"LLMBoost {card.name}"),
            family=codes.DCM.ArtificialIntelligence if card.network else codes.DCM.NeighborhoodAnalysis,
            version=short_text(card.version),
            source="LLMBoost",
            parameters={"sha256": card.digest} if card.digest else None,
        ),
        display_color=hd.color.CIELabColor.from_rgb(*label.color),
        anatomic_regions=[coded(hd, label.region)] if label.region else None,
    )
    if label.guessed:
        described.SegmentDescription = f"Codes {GUESSED[1]}"
    if label.modifier is not None:
        kind = described.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [coded(hd, label.modifier)]
    if label.region is not None and label.region_modifier is not None:
        region = described.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence = [coded(hd, label.region_modifier)]
    return described


def _identity(hd: ModuleType, card: Card, source: Dataset) -> dict[str, Any]:
    """Who made the segmentation, and as which instance of which series."""
    return {
        "series_instance_uid": hd.UID(),
        "series_number": max(0, int(source.get("SeriesNumber") or 0)) + 1000,
        "series_description": short_text(f"LLMBoost {card.title} (research use only)"),
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "manufacturer": "LLMBoost",
        "manufacturer_model_name": short_text(card.name),
        "software_versions": __version__,
        "device_serial_number": card.digest or "unknown",  # tells which weights, as a serial number does of a scanner
        "content_label": "SEGMENTATION",
        "content_description": short_text(card.title),
        "content_creator_name": "LLMBoost^",
        "content_qualification": "RESEARCH",
    }


def coded(hd: ModuleType, code: Code) -> Any:
    """A code as highdicom's."""
    return hd.sr.CodedConcept(code.value, code.scheme, short_text(code.meaning))


def short_text(text: str) -> str:
    """What the short text types of DICOM take: 64 characters, no backslash, no control character."""
    return " ".join("".join(c if c.isprintable() and c != "\\" else " " for c in text).split())[:64].strip()
