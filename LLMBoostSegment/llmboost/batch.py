"""Segmenting many cases: one result a case, a summary of all, and no case that stops the others."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import __version__
from .card import Card
from .cases import ALL_FRAMES, Case
from .dicom import write_dicom_seg
from .errors import LLMBoostError
from .files import TEMPORARY, write_whole
from .image import Image, write_image
from .memory import describe_need, shortage
from .model import Model
from .roi import Roi
from .segment import Segmentation, segment
from .segnrrd import write_segmentation

DICOM = "dcm"
FORMATS = ("seg.nrrd", "nii.gz", DICOM)
OK, FAILED = "ok", "failed"
NOTICE = "Not for clinical use"


@dataclass(frozen=True)
class BatchOptions:
    """What to compute and write for each case.

    Attributes:
        format: of the segmentation; ``dcm`` (DICOM SEG) needs DICOM input.
        uncertainty, probabilities: also write these maps (.nii.gz).
        mirror, roi: as for :func:`.segment.segment`.
        frame: of series in time, see :meth:`.cases.Case.read`.
    """

    format: str = "seg.nrrd"
    uncertainty: bool = False
    probabilities: bool = False
    mirror: bool = False
    roi: Roi | None = None
    frame: str = ""


@dataclass
class Row:
    """A case in the summary."""

    id: str
    input: list[str]
    status: str
    output: str = ""
    error: str = ""
    seconds: float = 0.0
    volumes_ml: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


def segment_cases(
    model: Model,
    cases: dict[str, Case],
    output: Path,
    options: BatchOptions,
    *,
    resume: bool = False,
    report: Callable[[Row], None] = lambda row: None,
    progress: Callable[[str, float], None] = lambda text, fraction: None,
) -> list[Row]:
    """Segment each case into ``output`` and keep summary.json and summary.csv there up to date.

    A case that fails is a row with its error. With ``resume``, cases that the summary lists as done from the same
    input, and whose files are all there, are left alone.

    Args:
        report: called with each row that is new.
        progress: called while a case is computed, with its id and expected memory in words and the fraction done.

    Raises:
        LLMBoostError: the folder cannot be written, a result would overwrite an input, or options contradict.
    """
    if options.format == DICOM and options.frame:
        raise LLMBoostError("--format dcm: a frame of a series in time cannot be written so; use --format seg.nrrd")
    _spare_inputs(model, cases, output, options)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LLMBoostError(f"{output}: cannot be made ({error.strerror}); choose another folder") from error
    rows = {}
    if resume:
        rows = _earlier(output, model)
        for path in output.iterdir():
            if TEMPORARY.match(path.name):
                path.unlink(missing_ok=True)
    run = _Run(model, output, options, rows, report, progress)
    for case in cases.values():
        run.case(case)
    run.write_summary()
    return list(rows.values())


class _Run:
    """The cases of one call, one after the other."""

    def __init__(
        self,
        model: Model,
        output: Path,
        options: BatchOptions,
        rows: dict[str, Row],
        report: Callable[[Row], None],
        progress: Callable[[str, float], None],
    ) -> None:
        self.model, self.output, self.options = model, output, options
        self.rows, self.report, self.progress = rows, report, progress

    def case(self, case: Case) -> None:
        every = self.options.frame == ALL_FRAMES
        if not every and self.is_done(case.id, case):
            return
        row = Row(case.id, case.names, FAILED)
        try:
            images, notes = case.read(self.model.card.preprocessing, self.options.frame)
        except Exception as error:
            self.add(_failed(row, error))
            return
        for id, channels in images.items():
            if every and self.is_done(id, case):
                continue
            row = Row(id, case.names, FAILED, warnings=list(notes))
            try:
                self.segment(row, case, channels)
            except Exception as error:
                row = _failed(row, error)
            self.add(row)

    def segment(self, row: Row, case: Case, channels: list[Image]) -> None:
        """Segment, write the results, and fill the row."""
        model, options = self.model, self.options
        segmentation, *maps = (self.output / name for name in _files(model, row.id, options))
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
        except LLMBoostError as error:  # knows images, but not their files
            raise LLMBoostError(f"{case.names[0]}: {error}") from error
        # maps first: a segmentation in place says that the case is complete
        if result.entropy is not None:
            write_image(result.entropy, maps.pop(0))
        if result.probabilities is not None:
            for path, chance in zip(maps, result.probabilities.array[1:], strict=True):
                write_image(result.probabilities.with_array(chance), path)
        self.write_labelmap(result, case, segmentation)
        row.status, row.output = OK, segmentation.name
        row.seconds = round(result.seconds, 3)
        row.volumes_ml = {key: round(value, 4) for key, value in result.volumes_ml.items()}
        row.warnings += result.warnings

    def write_labelmap(self, result: Segmentation, case: Case, path: Path) -> None:
        card = self.model.card
        if self.options.format == DICOM:
            if case.series is None:
                raise LLMBoostError(
                    f"{case.names[0]}: is no DICOM series, and --format dcm needs one to refer to;"
                    " use --format seg.nrrd"
                )
            write_dicom_seg(result.labelmap, replace(card, labels=result.labels), case.series, path)
        elif path.name.endswith(".seg.nrrd"):
            write_segmentation(result.labelmap, result.labels, path, provenance(self.model, result.localizer))
        else:
            write_image(result.labelmap, path)

    def is_done(self, id: str, case: Case) -> bool:
        row = self.rows.get(id)
        if row is None or row.status != OK or row.input != case.names:
            return False
        return all((self.output / name).exists() for name in _files(self.model, id, self.options))

    def add(self, row: Row) -> None:
        self.rows[row.id] = row
        self.report(row)
        self.write_summary()

    def write_summary(self) -> None:
        _write_summary(self.model, list(self.rows.values()), self.output)


def _failed(row: Row, error: Exception) -> Row:
    """The row of a case that failed; whatever it is, the other cases go on."""
    reason = [*str(error).strip().splitlines(), ""][0]
    if isinstance(error, MemoryError) or "allocate" in reason:  # torch's is a RuntimeError
        reason = f"{row.input[0]}: not enough memory ({reason}); limit it to a region of interest (--roi)"
    elif not isinstance(error, LLMBoostError):
        reason = f"{row.input[0]}: could not be segmented ({type(error).__name__}: {reason})"
    row.error = reason
    return row


def _files(model: Model, id: str, options: BatchOptions) -> list[str]:
    """The names of a case's results: the segmentation, then the maps."""
    names = [f"{id}.{options.format}"]
    if options.uncertainty:
        names.append(f"{id}_entropy.nii.gz")
    if options.probabilities:
        names += [f"{id}_probability_{label.value}.nii.gz" for label in model.card.labels]
    return names


def _spare_inputs(model: Model, cases: dict[str, Case], output: Path, options: BatchOptions) -> None:
    given = {os.path.realpath(path) for case in cases.values() for path in case.files}
    for id in cases:
        for name in _files(model, id, options):
            if os.path.realpath(output / name) in given:
                raise LLMBoostError(
                    f"{output / name}: is an input, the result would overwrite it; use another --output"
                )


def provenance(model: Model, localizer: Card | None = None) -> dict[str, str]:
    """Who made a segmentation, for the file's header; ``localizer`` is the model that told where to look."""
    first = {}
    if localizer is not None:
        first = {"LLMBoost.Localizer": localizer.name, "LLMBoost.LocalizerDigest": localizer.digest}
    return {
        "LLMBoost.Model": model.card.name,
        "LLMBoost.ModelVersion": model.card.version,
        "LLMBoost.ModelDigest": model.card.digest,
        **first,
        "LLMBoost.Version": __version__,
        "LLMBoost.Notice": NOTICE,
    }


def _earlier(output: Path, model: Model) -> dict[str, Row]:
    try:
        summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
        if summary["digest"] != model.card.digest:
            raise LLMBoostError(f"{output}: holds results of another model; choose another folder, or drop --resume")
        return {row["id"]: Row(**row) for row in summary["cases"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LLMBoostError(f"{output / 'summary.json'}: cannot be read ({error}); drop --resume") from error


def _write_summary(model: Model, rows: Sequence[Row], output: Path) -> None:
    summary: dict[str, Any] = {
        "model": model.card.name,
        "digest": model.card.digest,
        "version": __version__,
        "notice": NOTICE,
        "cases": [vars(row) for row in rows],
    }
    write_whole(output / "summary.json", (json.dumps(summary, indent=1) + "\n").encode())
    write_whole(output / "summary.csv", _csv(rows).encode(errors="backslashreplace"))


def _csv(rows: Sequence[Row]) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    names = dict.fromkeys(name for row in rows for name in row.volumes_ml)
    writer.writerow(["id", "status", *(f"{name} (mL)" for name in names), "seconds", "warnings", "error"])
    for row in rows:
        volumes = [row.volumes_ml.get(name, "") for name in names]
        writer.writerow([row.id, row.status, *volumes, row.seconds, "; ".join(row.warnings), row.error])
    return table.getvalue()
