"""Segmenting many cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..card import ASYMMETRY_FORMULA, SHARE_FORMULA, Card
from ..errors import LLMBoostError
from ..inference.memory import describe_need, expected_peak, shortage
from ..inference.pace import about, expected_seconds
from ..inference.segment import Segmentation, segment
from ..inference.views import check_channels
from ..io.case import InputCase
from ..io.dicom import write_dicom_seg
from ..io.image import Image, write_image
from ..io.segnrrd import write_segmentation
from ..model import Model
from ..provenance import FAST, provenance
from .engine import Engine, Here, run_cases
from .reporting import report_names, write_reports
from .summary import Row, nothing_found
from .work import ModelOptions, ModelWork

DICOM = "dcm"
FORMATS = ("seg.nrrd", "nii.gz", DICOM)


@dataclass(frozen=True, kw_only=True)
class SegmentOptions(ModelOptions):
    """What to compute and write for each case.

    Attributes:
        format: of the segmentation; ``dcm`` (DICOM SEG) needs DICOM input.
        uncertainty, probabilities: also write these maps (.nii.gz).
        mirror: as for :func:`..inference.segment.segment`.
        report: also write a report of each case (HTML, PDF; of a DICOM segmentation, DICOM SR as well).
        fast: with a larger step from patch to patch, see :meth:`..model.Model.faster`.
    """

    format: str = "seg.nrrd"
    uncertainty: bool = False
    probabilities: bool = False
    mirror: bool = False
    fast: bool = False
    report: bool = False


@dataclass
class SegmentRow(Row):
    """A segmented case in the summary.

    Attributes:
        volumes_ml: of each label, by name.
        intracranial_ml, intracranial_percent: the total intracranial volume, and the share of each label in it.
        asymmetry_percent: of each structure on both sides, see :class:`..card.Volumetry`.
        quality: the fields of :class:`..card.Flag`, where the card has numbers for it.
    """

    volumes_ml: dict[str, float] = field(default_factory=dict)
    intracranial_ml: float | None = None
    intracranial_percent: dict[str, float] = field(default_factory=dict)
    asymmetry_percent: dict[str, float] = field(default_factory=dict)
    quality: dict[str, Any] | None = None

    def compared(self) -> dict[str, float]:
        found = {f"{name} (mL)": ml for name, ml in self.volumes_ml.items()}
        if self.intracranial_ml is not None:
            found["total intracranial volume (mL)"] = self.intracranial_ml
        found |= {
            f"{name} (% of total intracranial volume)": share for name, share in self.intracranial_percent.items()
        }
        return found | {f"{name} asymmetry index (%)": index for name, index in self.asymmetry_percent.items()}

    def columns(self) -> dict[str, Any]:
        found: dict[str, Any] = {**self.compared()}
        if self.quality is not None:
            found |= {"predicted Dice": self.quality["predicted_dice"], "check closely": int(self.quality["low"])}
        return found

    def flags(self) -> list[str]:
        return [
            *nothing_found(self.volumes_ml),
            *([self.quality["text"]] if self.quality and self.quality["low"] else []),
        ]

    def doubt(self) -> float | None:
        return None if self.quality is None else 1 - float(self.quality["predicted_dice"])

    def formulas(self) -> dict[str, str]:
        found = {"asymmetry_percent": ASYMMETRY_FORMULA} if self.asymmetry_percent else {}
        if self.intracranial_ml is not None:
            added = f"sum of the volumes of {', '.join(self.intracranial_percent)}"
            found |= {"intracranial_ml": added, "intracranial_percent": SHARE_FORMULA}
        return found


def segment_cases(
    model: Model,
    cases: dict[str, InputCase],
    output: Path,
    options: SegmentOptions,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[SegmentRow], None] = lambda row: None,
    engine: Engine | None = None,
) -> list[SegmentRow]:
    """Segment each case into ``output``, see :func:`.engine.run_cases`; progress is told with a case's id, expected
    time and memory.

    Raises:
        LLMBoostError: as :func:`.engine.run_cases`, or options contradict.
    """
    check_format(options.format, options.frame)
    if options.fast and options.mirror:
        raise LLMBoostError("--fast and --mirror contradict each other; leave one out")
    engine = engine or Here()
    work = _Segmenting(model, options, engine.progress)
    return run_cases(work, cases, output, resume=resume, overwrite=overwrite, report=report, engine=engine)


def check_format(format: str, frame: str) -> None:
    """Raises LLMBoostError for a frame in a format that has no room for one."""
    if format == DICOM and frame:
        raise LLMBoostError("--format dcm: a frame of a series in time cannot be written so; use --format seg.nrrd")


class _Segmenting(ModelWork[SegmentRow, SegmentOptions, Segmentation]):
    row = SegmentRow

    def files(self, id: str) -> list[str]:
        """The segmentation, then the maps."""
        names = [f"{id}.{self.options.format}"]
        if self.options.uncertainty:
            names.append(f"{id}_entropy.nii.gz")
        if self.options.probabilities:
            names += [f"{id}_probability_{label.value}.nii.gz" for label in self.model.card.labels]
        if self.options.report:
            names += report_names(id, dicom=self.options.format == DICOM)
        return names + super().files(id)

    def ask(self, row: SegmentRow, channels: list[Image]) -> Segmentation:
        options, image = self.options, channels[0]
        model = self.model.faster() if options.fast else self.model
        check_channels(model, channels)  # what is wrong is told, and not how long it would take
        seconds = expected_seconds(model, image, options.roi, mirror=options.mirror)
        need = describe_need(model.card, image, options.roi)
        watch = self.watch(", ".join(filter(None, (row.id, about(seconds), need))))
        self.needs(seconds, expected_peak(model.card, image, options.roi))
        row.warnings += shortage(model.card, image, options.roi)
        return segment(
            model,
            channels,
            roi=options.roi,
            mirror=options.mirror,
            entropy=options.uncertainty or options.report,
            probabilities=options.probabilities,
            explain=options.explain,
            watch=watch,
        )

    def keep(self, found: Segmentation, row: SegmentRow, case: InputCase, image: Image, folder: Path) -> None:
        segmentation, *maps = (folder / name for name in self.files(row.id))
        if found.entropy is not None and self.options.uncertainty:
            write_image(found.entropy, maps.pop(0))
        if found.probabilities is not None:
            for path, of_class in zip(maps[: len(self.model.card.labels)], found.probabilities.array[1:], strict=True):
                write_image(found.probabilities.with_array(of_class), path)
        made_by = provenance(self.card, found.localizer, found.drawn_by) | (FAST if self.options.fast else {})
        write_labelmap(found.labelmap, found.drawer, case, segmentation, made_by)
        row.output = segmentation.name
        volumes, compared = found.volumes_ml, found.volumetry
        total = compared.intracranial_ml(volumes)
        row.volumes_ml = _rounded(volumes)
        row.intracranial_ml = None if total is None else round(total, 4)
        row.intracranial_percent = _rounded(compared.intracranial_percent(volumes))
        row.asymmetry_percent = _rounded(compared.asymmetry_percent(volumes))
        if found.quality is not None:
            row.quality = {
                **asdict(found.quality),
                "predicted_dice": round(found.quality.predicted_dice, 4),
                "per_segment": _rounded(found.quality.per_segment),
            }
        row.warnings += found.warnings
        if self.options.report:
            names = report_names(row.id, dicom=self.options.format == DICOM)
            reports = [folder / name for name in names]
            write_reports(row.id, found, row.warnings, image, segmentation, reports)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def write_labelmap(
    labelmap: Image, card: Card, case: InputCase, path: Path, made_by: Mapping[str, str], *, guided: bool = False
) -> None:
    """Write a case's segmentation in one of FORMATS.

    Args:
        card: of what drew it, with the labels that the values mean.
        made_by: entries of the file's header, if that has room for any.
        guided: by a person's strokes.

    Raises:
        LLMBoostError: as DICOM, of what is no DICOM series; or the file cannot be written.
    """
    if path.name.endswith(f".{DICOM}"):
        if case.series is None:
            raise LLMBoostError(
                f"{case.names[0]}: is no DICOM series, and --format dcm needs one to refer to; use --format seg.nrrd"
            )
        write_dicom_seg(labelmap, card, case.series, path, guided=guided)
    elif path.name.endswith(".seg.nrrd"):
        write_segmentation(labelmap, card.labels, path, made_by)
    else:
        write_image(labelmap, path)
