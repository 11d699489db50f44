"""Writes small exports of several studies to test with: nested folders with odd names, and BIDS trees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.uid import ComprehensiveSRStorage, MRImageStorage

from .dicom_samples import noise, write_picture, write_series

ORIGINAL, DERIVED = ["ORIGINAL", "PRIMARY", "M"], ["DERIVED", "SECONDARY", "MPR"]
SAGITTAL = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]])
# number, description, ImageType, mm along i, j, k, direction: as a scanner sends them
SERIES: tuple[tuple[int, str, list[str], tuple[float, float, float], np.ndarray | None], ...] = (
    (1, "localizer", ["ORIGINAL", "PRIMARY", "LOCALIZER"], (15, 15, 20), None),
    (2, "T1 SE SAG", ORIGINAL, (12, 12, 6), SAGITTAL),
    (3, "t1_mprage_sag_iso", ORIGINAL, (1, 1, 1), SAGITTAL),
    (4, "T2 TSE AX", ORIGINAL, (1, 1, 5), None),
    (5, "FLAIR 3D", ORIGINAL, (1, 1, 1), SAGITTAL),
    (6, "t1_mprage_MPR_tra", DERIVED, (1, 1, 1), None),
)


def write_study(
    root: Path, n: int, array: np.ndarray | None = None, folder: str = "{study}/{series}", **elements: Any
) -> dict[int, list[Path]]:
    """The files of each series of a study, by number: six of images, a screen shot (98) and a report (99).

    Args:
        n: of the study, which decides its UIDs and its patient.
        array: [k, j, i] of all series; by default noise, of 12 slices.
        folder: where a series lies below ``root``.
        elements: further elements of all.
    """
    array = noise((12, 40, 30)) if array is None else array
    study: dict[str, Any] = {
        "Modality": "MR",
        "StudyInstanceUID": f"1.2.7.{n}",
        "FrameOfReferenceUID": f"1.2.7.{n}.0",
        "PatientID": f"SECRET{n}",
        "PatientName": f"Secret^{n}",
        "StudyDescription": "MR BRAIN",
    } | elements
    written = {}
    for number, text, kinds, spacing, direction in SERIES:
        place = root / folder.format(study=f"{n * 977:08X}", series=f"{n * 7919 + number:08X}")
        kind = {"SOPClassUID": MRImageStorage, "SeriesInstanceUID": f"1.2.7.{n}.{number}"}
        series = kind | {"SeriesNumber": number, "SeriesDescription": text, "ImageType": kinds}
        written[number] = write_series(
            place,
            array,
            spacing=spacing,
            direction=direction,
            name=f"{n}{number}{{:04X}}",
            **study | series | elements,
        )
    place = root / folder.format(study=f"{n * 977:08X}", series="OTHER")
    screen = {"SeriesInstanceUID": f"1.2.7.{n}.98", "SeriesNumber": 98}
    color = np.zeros((4, 4, 3), np.uint8)
    written[98] = [write_picture(place / f"S{n}", color, sop_class="SC", color="RGB", **study | screen)]
    report = {"SeriesInstanceUID": f"1.2.7.{n}.99", "SeriesNumber": 99, "Modality": "SR", "SeriesDescription": "Report"}
    report["SOPClassUID"] = ComprehensiveSRStorage
    written[99] = [write_picture(place / f"R{n}", color[..., 0], sop_class="SC", change=_no_pixels, **study | report)]
    return written


def _no_pixels(dataset: Dataset) -> None:
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(dataset, keyword)


def write_bids(root: Path, name: str, spacing: tuple[float, float, float] = (1, 1, 1), **sidecar: Any) -> Path:
    """A file of a BIDS tree, with a sidecar if there is something to say in it."""
    subject, *session = (part for part in name.split("_") if part.startswith(("sub-", "ses-")))
    kind = {"bold": "func", "dwi": "dwi"}.get(name.rsplit("_", 1)[1], "anat")
    path = root.joinpath(subject, *session, kind, f"{name}.nii.gz")
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(np.zeros((40, 40, 40), np.int16))
    image.SetSpacing(spacing)
    sitk.WriteImage(image, str(path))
    if sidecar:
        path.with_name(f"{name}.json").write_text(json.dumps(sidecar))
    return path
