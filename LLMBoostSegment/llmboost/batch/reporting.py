"""The reports of a segmented case."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..files import write_whole
from ..inference.segment import Segmentation
from ..io.dicom import write_dicom_sr
from ..io.image import Image
from ..report.case import case_report, mean_entropy
from ..report.casepdf import pdf
from ..report.sentences import Measured


def report_names(id: str, *, dicom: bool) -> list[str]:
    """The names of a case's reports; of a DICOM segmentation, there is a structured one, too."""
    return [f"{id}_report.html", f"{id}_report.pdf", *([f"{id}_measurements.dcm"] if dicom else [])]


def write_reports(
    id: str, found: Segmentation, warnings: Sequence[str], image: Image, segmentation: Path, files: Sequence[Path]
) -> None:
    """Write what :func:`report_names` names.

    Args:
        warnings: what is known of the case besides.
        image: that was segmented.
        segmentation: the file of the segments.

    Raises:
        LLMBoostError: one cannot be written.
    """
    entropy = None if found.entropy is None else mean_entropy(found.entropy, found.labelmap)
    measured = Measured(found.volumes_ml, found.volumetry, found.quality, entropy, warnings)
    report = case_report(id, found.drawer, measured, image, found.labelmap, found.labels, found.entropy)
    page, print_out, *structured = files
    write_whole(page, report.html())
    write_whole(print_out, pdf(report))
    for path in structured:
        write_dicom_sr(path, segmentation, found.drawer, found.volumes_ml, found.volumetry, found.quality)
