"""Classifying many cases: a table of probabilities."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..inference.classify import Finding, classify, refusal
from ..io.case import InputCase
from ..io.image import Image
from ..model import Model
from .engine import Engine, Here, run_cases
from .summary import REFUSED, Row
from .work import ModelOptions, ModelWork


@dataclass(frozen=True, kw_only=True)
class ClassifyOptions(ModelOptions):
    """What to compute for each case: ``slice_number`` as for :func:`..inference.classify.classify`; with ``anyway``,
    answer for images of another kind than the model knows, too."""

    slice_number: int | None = None
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
        probabilities = {f"p({name})": p for name, p in self.probabilities.items()}
        return {"decision": ", ".join(self.decision), **probabilities, "outside the model's range": int(self.outside)}

    def flags(self) -> list[str]:
        return ["no image of the kind that the model knows"] if self.outside else []

    def doubt(self) -> float | None:
        """Of the class that is the least decided: 0 where its probability is 0 or 1, 1 where it is a half."""
        return max((2 * min(p, 1 - p) for p in self.probabilities.values()), default=None)


def classify_cases(
    model: Model,
    cases: dict[str, InputCase],
    output: Path,
    options: ClassifyOptions,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[ClassifyRow], None] = lambda row: None,
    engine: Engine | None = None,
) -> list[ClassifyRow]:
    """Classify each case; ``output`` gets the summary, see :func:`.engine.run_cases`.

    Raises:
        LLMBoostError: as :func:`.engine.run_cases`.
    """
    engine = engine or Here()
    work = _Classifying(model, options, engine.progress)
    return run_cases(work, cases, output, resume=resume, overwrite=overwrite, report=report, engine=engine)


class _Classifying(ModelWork[ClassifyRow, ClassifyOptions, Finding]):
    row = ClassifyRow

    def ask(self, row: ClassifyRow, channels: list[Image]) -> Finding:
        options = self.options
        self.needs(None, 0.0)
        return classify(
            self.model,
            channels,
            roi=options.roi,
            slice_number=options.slice_number,
            anyway=options.anyway,
            explain=options.explain,
            watch=self.watch(row.id),
        )

    def keep(self, found: Finding, row: ClassifyRow, case: InputCase, _image: Image, _folder: Path) -> None:
        names = [label.name for label in self.model.card.labels]
        row.outside = found.range.outside
        if found.refused:
            row.status, row.error = REFUSED, f"{case.names[0]}: {refusal(found.range)}"
            return
        row.decision = list(found.decision)
        row.probabilities = {name: round(p, 4) for name, p in zip(names, found.probabilities, strict=True)}
        if len(found.slices) > 1:
            row.slices = [
                {"slice": number, **{name: round(float(p), 4) for name, p in zip(names, of_slice, strict=True)}}
                for number, of_slice in zip(found.slices, found.slice_probabilities, strict=True)
            ]
        row.warnings += found.warnings
