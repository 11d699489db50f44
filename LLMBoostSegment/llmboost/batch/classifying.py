"""Classifying many cases: a table of probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import LLMBoostError
from ..inference.classify import classify, refusal
from ..inference.roi import Roi
from ..io.cases import InputCase
from ..io.image import Image
from ..model import Model
from .explaining import ExplainOptions, explanation_files, write_explanation
from .run import run_cases
from .summary import REFUSED, Row


@dataclass(frozen=True)
class ClassifyOptions:
    """What to compute for each case: ``roi`` and ``slice_number`` as for :func:`.classify.classify`; ``frame`` of
    series in time, see :meth:`.cases.Case.read`; with ``explain``, also write where the model looked; with ``anyway``,
    answer for images of another kind than the model knows, too."""

    roi: Roi | None = None
    slice_number: int | None = None
    frame: str = ""
    explain: ExplainOptions | None = None
    anyway: bool = False


@dataclass
class ClassifyRow(Row):
    """A classified case in the summary; ``outside``: it is no image of the kind that the model knows, and is refused,
    with the reason for an error, or answered all the same."""

    decision: list[str] = field(default_factory=list)
    probabilities: dict[str, float] = field(default_factory=dict)
    outside: bool = False
    slices: list[dict[str, Any]] = field(default_factory=list)

    def columns(self) -> dict[str, Any]:
        if not self.probabilities:
            return {}
        chances = {f"p({name})": p for name, p in self.probabilities.items()}
        return {"decision": ", ".join(self.decision), **chances, "outside the model's range": int(self.outside)}


def classify_cases(
    model: Model,
    cases: dict[str, InputCase],
    output: Path,
    options: ClassifyOptions,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[ClassifyRow], None] = lambda row: None,
) -> list[ClassifyRow]:
    """Classify each case; ``output`` gets the summary, see :func:`.run.run_cases`.

    Raises:
        LLMBoostError: as :func:`.run.run_cases`.
    """
    work = _Classifying(model, options)
    return run_cases(work, cases, output, frame=options.frame, resume=resume, overwrite=overwrite, report=report)


class _Classifying:
    row = ClassifyRow

    def __init__(self, model: Model, options: ClassifyOptions) -> None:
        self.model, self.options = model, options

    def files(self, id: str) -> list[str]:
        return explanation_files(id) if self.options.explain else []

    def compute(self, row: ClassifyRow, case: InputCase, channels: list[Image], folder: Path) -> None:
        options, names = self.options, [label.name for label in self.model.card.labels]
        try:
            found = classify(
                self.model,
                channels,
                roi=options.roi,
                slice_number=options.slice_number,
                modality=case.series.modality if case.series else "",
                anyway=options.anyway,
            )
            if options.explain and not found.refused:
                row.warnings += write_explanation(
                    self.model,
                    channels,
                    options.explain,
                    folder,
                    row.id,
                    roi=options.roi,
                    slice_number=options.slice_number,
                    anyway=True,
                )
        except LLMBoostError as error:  # knows images, but not their files
            raise LLMBoostError(f"{case.names[0]}: {error}") from error
        row.seconds, row.outside = round(found.seconds, 3), found.range.outside
        if found.refused:
            row.status, row.error = REFUSED, f"{case.names[0]}: {refusal(found.range)}"
            return
        row.decision = list(found.decision)
        row.probabilities = {name: round(p, 4) for name, p in zip(names, found.probabilities, strict=True)}
        if len(found.slices) > 1:
            row.slices = [
                {"slice": number, **{name: round(float(p), 4) for name, p in zip(names, chances, strict=True)}}
                for number, chances in zip(found.slices, found.slice_probabilities, strict=True)
            ]
        row.warnings += found.warnings
