"""Segmenting many cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import LLMBoostError
from ..inference.memory import describe_need, shortage
from ..inference.roi import Roi
from ..inference.segment import Segmentation, segment
from ..io.cases import InputCase
from ..io.dicom import write_dicom_seg
from ..io.image import Image, write_image
from ..io.segnrrd import write_segmentation
from ..model import Model
from ..provenance import provenance
from .explaining import ExplainOptions, explanation_files, write_explanation
from .run import run_cases
from .summary import Row

DICOM = "dcm"
FORMATS = ("seg.nrrd", "nii.gz", DICOM)


@dataclass(frozen=True)
class BatchOptions:
    """What to compute and write for each case.

    Attributes:
        format: of the segmentation; ``dcm`` (DICOM SEG) needs DICOM input.
        uncertainty, probabilities: also write these maps (.nii.gz).
        mirror, roi: as for :func:`.segment.segment`.
        frame: of series in time, see :meth:`.cases.Case.read`.
        explain: also write where the model looked.
    """

    format: str = "seg.nrrd"
    uncertainty: bool = False
    probabilities: bool = False
    mirror: bool = False
    roi: Roi | None = None
    frame: str = ""
    explain: ExplainOptions | None = None


@dataclass
class SegmentRow(Row):
    """A segmented case in the summary; ``quality`` holds the fields of :class:`.quality.Flag`, where the card has
    numbers for it."""

    volumes_ml: dict[str, float] = field(default_factory=dict)
    quality: dict[str, Any] | None = None

    def columns(self) -> dict[str, Any]:
        volumes = {f"{name} (mL)": ml for name, ml in self.volumes_ml.items()}
        if self.quality is None:
            return volumes
        return {**volumes, "predicted Dice": self.quality["predicted_dice"], "check closely": int(self.quality["low"])}


def segment_cases(
    model: Model,
    cases: dict[str, InputCase],
    output: Path,
    options: BatchOptions,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[SegmentRow], None] = lambda row: None,
    progress: Callable[[str, float], None] = lambda text, fraction: None,
) -> list[SegmentRow]:
    """Segment each case into ``output``, see :func:`.run.run_cases`.

    Args:
        progress: called while a case is computed, with its id and expected memory in words and the fraction done.

    Raises:
        LLMBoostError: as :func:`.run.run_cases`, or options contradict.
    """
    if options.format == DICOM and options.frame:
        raise LLMBoostError("--format dcm: a frame of a series in time cannot be written so; use --format seg.nrrd")
    work = _Segmenting(model, options, progress)
    return run_cases(work, cases, output, frame=options.frame, resume=resume, overwrite=overwrite, report=report)


class _Segmenting:
    row = SegmentRow

    def __init__(self, model: Model, options: BatchOptions, progress: Callable[[str, float], None]) -> None:
        self.model, self.options, self.progress = model, options, progress

    def files(self, id: str) -> list[str]:
        """The segmentation, then the maps."""
        names = [f"{id}.{self.options.format}"]
        if self.options.uncertainty:
            names.append(f"{id}_entropy.nii.gz")
        if self.options.probabilities:
            names += [f"{id}_probability_{label.value}.nii.gz" for label in self.model.card.labels]
        return names + (explanation_files(id) if self.options.explain else [])

    def compute(self, row: SegmentRow, case: InputCase, channels: list[Image], folder: Path) -> None:
        model, options = self.model, self.options
        segmentation, *maps = (folder / name for name in self.files(row.id))
        try:
            text = f"{row.id}, {describe_need(model.card, channels[0], options.roi)}"
            self.progress(text, 0.0)
            row.warnings += shortage(model.card, channels[0], options.roi)
            result = segment(
                model,
                channels,
                roi=options.roi,
                mirror=options.mirror,
                entropy=options.uncertainty,
                probabilities=options.probabilities,
                modality=case.series.modality if case.series else "",
                progress=lambda fraction: self.progress(text, fraction),
            )
            if options.explain:
                row.warnings += write_explanation(
                    model,
                    channels,
                    options.explain,
                    folder,
                    row.id,
                    drawn=result.labelmap,
                    roi=options.roi,
                    modality=case.series.modality if case.series else "",
                )
        except LLMBoostError as error:  # knows images, but not their files
            raise LLMBoostError(f"{case.names[0]}: {error}") from error
        if result.entropy is not None:
            write_image(result.entropy, maps.pop(0))
        if result.probabilities is not None:
            for path, chance in zip(maps[: len(model.card.labels)], result.probabilities.array[1:], strict=True):
                write_image(result.probabilities.with_array(chance), path)
        self.write_labelmap(result, case, segmentation)
        row.output = segmentation.name
        row.seconds = round(result.seconds, 3)
        row.volumes_ml = {key: round(value, 4) for key, value in result.volumes_ml.items()}
        if result.quality is not None:
            row.quality = {**asdict(result.quality), "predicted_dice": round(result.quality.predicted_dice, 4)}
        row.warnings += result.warnings

    def write_labelmap(self, result: Segmentation, case: InputCase, path: Path) -> None:
        card = self.model.card
        if self.options.format == DICOM:
            if case.series is None:
                raise LLMBoostError(
                    f"{case.names[0]}: is no DICOM series, and --format dcm needs one to refer to;"
                    " use --format seg.nrrd"
                )
            write_dicom_seg(result.labelmap, replace(card, labels=result.labels), case.series, path)
        elif path.name.endswith(".seg.nrrd"):
            write_segmentation(result.labelmap, result.labels, path, provenance(self.model.card, result.localizer))
        else:
            write_image(result.labelmap, path)
