"""What a segmentation measures as a DICOM structured report (TID 1500), which refers to the DICOM segmentation.

A measurement group a segment that was found has its volume; what volumes say together (asymmetry indices, the total
intracranial volume) and the expected quality are groups of their own. For what no standard has a code, codes are of the
scheme 99LLMBOOST.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from ... import __version__
from ...card import LEFT, RIGHT, Card, Code, Flag, Label, Volumetry
from ...files import atomic_path
from .segmentation import NOT_CLINICAL, coded, highdicom_or_refusal, short_text

_OWN = "99LLMBOOST"
_VOLUME = Code("SCT", "118565006", "Volume")
_INTRACRANIAL = Code("SCT", "1101003", "Intracranial structure")
_ASYMMETRY = Code(_OWN, "asymmetry", "Asymmetry index 100 (left - right) / mean of both")
_EXPECTED_DICE = Code(_OWN, "expected-dice", "Expected Dice with an expert's segments")
_QUALITY = Code(_OWN, "quality", "Expected quality of a segmentation")
_IMAGING = Code("SCT", "363679005", "Imaging procedure")
_MILLILITER, _PERCENT, _ONE = (
    Code("UCUM", "mL", "milliliter"),
    Code("UCUM", "%", "percent"),
    Code("UCUM", "1", "no units"),
)


def write_dicom_sr(
    path: Path,
    segmentation: Path,
    card: Card,
    volumes_ml: Mapping[str, float],
    volumetry: Volumetry,
    quality: Flag | None = None,
) -> None:
    """Write the measurements of a case, of the patient and study of the segmentation.

    Args:
        segmentation: a file of :func:`.segmentation.write_dicom_seg` by the same card.
        card: of the model, with the labels that were drawn.
        volumes_ml: of each label, by name.

    Raises:
        LLMBoostError: highdicom is missing or too old, or the file cannot be written.
    """
    hd = highdicom_or_refusal()
    drawn = dcmread(segmentation, stop_before_pixels=True)
    algorithm = hd.sr.AlgorithmIdentification(
        short_text(f"LLMBoost {card.name}"), short_text(card.version) or "unknown"
    )
    groups = [
        *_segments(hd, card, drawn, volumes_ml, algorithm),
        *_together(hd, volumes_ml, volumetry, algorithm),
        *([_expected(hd, quality, algorithm)] if quality else []),
    ]
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        hd.UID(), "LLMBoost", "LLMBoost", short_text(card.name), card.digest or None
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as: a patient's name without a caret
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(
                observer_device_context=hd.sr.ObserverContext(codes.DCM.Device, device)
            ),
            procedure_reported=coded(hd, _IMAGING),
            imaging_measurements=groups,
        )
        report = hd.sr.Comprehensive3DSR(
            evidence=[drawn],
            content=content[0],
            series_instance_uid=hd.UID(),
            series_number=int(drawn.SeriesNumber or 0) + 1,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="LLMBoost",
            manufacturer_model_name=short_text(card.name),
            software_versions=__version__,
            device_serial_number=card.digest or "unknown",
            series_description=short_text(f"LLMBoost {card.title} (research use only)"),
            is_complete=True,
        )
    report.SpecificCharacterSet = "ISO_IR 192"  # UTF-8
    report.ContentQualification = "RESEARCH"
    report.CompletionFlagDescription = NOT_CLINICAL
    with atomic_path(path) as temporary:
        report.save_as(temporary)


def _segments(
    hd: ModuleType, card: Card, drawn: Dataset, volumes_ml: Mapping[str, float], algorithm: Any
) -> Iterator[Any]:
    (series,) = {reference.SeriesInstanceUID for reference in drawn.ReferencedSeriesSequence}
    for number, label in enumerate(sorted(card.labels, key=lambda label: label.value), 1):
        if not volumes_ml.get(label.name):
            continue  # nothing was measured of what was not found
        yield hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracked(hd, label.name),
            referenced_segment=hd.sr.ReferencedSegment(
                drawn.SOPClassUID,
                drawn.SOPInstanceUID,
                number,
                source_series=hd.sr.SourceSeriesForSegmentation(series),
            ),
            finding_type=coded(hd, label.type),
            finding_category=coded(hd, label.category),
            finding_sites=[_site(hd, label)],
            algorithm_id=algorithm,
            measurements=[_number(hd, _VOLUME, volumes_ml[label.name], _MILLILITER)],
        )


def _together(hd: ModuleType, volumes_ml: Mapping[str, float], volumetry: Volumetry, algorithm: Any) -> Iterator[Any]:
    total = volumetry.intracranial_ml(volumes_ml)
    if total is not None:
        yield hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracked(hd, "total intracranial volume"),
            finding_type=coded(hd, _INTRACRANIAL),
            algorithm_id=algorithm,
            measurements=[_number(hd, _VOLUME, total, _MILLILITER)],
        )
    for structure, index in volumetry.asymmetry_percent(volumes_ml).items():
        yield hd.sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=_tracked(hd, structure),
            algorithm_id=algorithm,
            measurements=[_number(hd, _ASYMMETRY, index, _PERCENT)],
        )


def _expected(hd: ModuleType, quality: Flag, algorithm: Any) -> Any:
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracked(hd, "all segments"),
        finding_type=coded(hd, _QUALITY),
        algorithm_id=algorithm,
        measurements=[_number(hd, _EXPECTED_DICE, quality.predicted_dice, _ONE)],
    )


def _number(hd: ModuleType, name: Code, value: float, unit: Code) -> Any:
    return hd.sr.Measurement(name=coded(hd, name), value=round(value, 4), unit=coded(hd, unit))


def _tracked(hd: ModuleType, name: str) -> Any:
    return hd.sr.TrackingIdentifier(hd.UID(), short_text(name))


def _site(hd: ModuleType, label: Label) -> Any:
    """Where a segment is, and on which side."""
    place, modifier = (label.region, label.region_modifier) if label.region else (label.type, label.modifier)
    sides = [one for one in (modifier, label.modifier) if one in (LEFT, RIGHT)]
    return hd.sr.FindingSite(coded(hd, place), laterality=coded(hd, sides[0]) if sides else None)
