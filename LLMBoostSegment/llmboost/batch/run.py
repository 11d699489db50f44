"""What all batches share: the loop over cases, rows, and the summary that is kept up to date."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from .. import __version__
from ..card import Card
from ..cases import ALL_FRAMES, Case
from ..errors import LLMBoostError
from ..files import TEMPORARY, write_whole
from ..image import Image
from ..model import Model

OK, FAILED, REFUSED = "ok", "failed", "refused"
NOTICE = "Not for clinical use"


@dataclass
class Row:
    """A case in the summary."""

    id: str
    input: list[str]
    status: str
    output: str = ""
    error: str = ""
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def columns(self) -> dict[str, Any]:
        """What summary.csv shows of the result, by column."""
        return {}


R = TypeVar("R", bound=Row)


class Work(Protocol[R]):
    """What is done with each case."""

    model: Model
    row: type[R]

    def files(self, id: str) -> list[str]:
        """The names of a case's results in the output folder."""
        ...

    def compute(self, row: R, case: Case, channels: list[Image]) -> None:
        """Write the results and fill the row, whose status is OK."""
        ...


def run_cases(
    work: Work[R],
    cases: dict[str, Case],
    output: Path,
    *,
    frame: str = "",
    resume: bool = False,
    report: Callable[[R], None] = lambda row: None,
) -> list[R]:
    """Do the work for each case and keep summary.json and summary.csv in ``output`` up to date.

    A case that fails is a row with its error. With ``resume``, cases that the summary lists as done from the same
    input, and whose files are all there, are left alone.

    Args:
        frame: of series in time, see :meth:`.cases.Case.read`.
        report: called with each row that is new.

    Raises:
        LLMBoostError: the folder cannot be written, or a result would overwrite an input.
    """
    _spare_inputs(work, cases, output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LLMBoostError(f"{output}: cannot be made ({error.strerror}); choose another folder") from error
    rows: dict[str, R] = {}
    if resume:
        rows = _earlier(output, work)
        for path in output.iterdir():
            if TEMPORARY.match(path.name):
                path.unlink(missing_ok=True)
    run = _Run(work, output, frame, rows, report)
    for case in cases.values():
        run.case(case)
    run.write_summary()
    return list(rows.values())


class _Run(Generic[R]):
    """The cases of one call, one after the other."""

    def __init__(
        self, work: Work[R], output: Path, frame: str, rows: dict[str, R], report: Callable[[R], None]
    ) -> None:
        self.work, self.output, self.frame, self.rows, self.report = work, output, frame, rows, report

    def case(self, case: Case) -> None:
        every = self.frame == ALL_FRAMES
        if not every and self.is_done(case.id, case):
            return
        row = self.work.row(case.id, case.names, FAILED)
        try:
            images, notes = case.read(self.work.model.card.preprocessing, self.frame)
        except Exception as error:
            self.add(_failed(row, error))
            return
        for id, channels in images.items():
            if every and self.is_done(id, case):
                continue
            row = self.work.row(id, case.names, OK, warnings=list(notes))
            try:
                self.work.compute(row, case, channels)
            except Exception as error:
                row = _failed(row, error)
            self.add(row)

    def is_done(self, id: str, case: Case) -> bool:
        row = self.rows.get(id)
        if row is None or row.status != OK or row.input != case.names:
            return False
        return all((self.output / name).exists() for name in self.work.files(id))

    def add(self, row: R) -> None:
        self.rows[row.id] = row
        self.report(row)
        self.write_summary()

    def write_summary(self) -> None:
        _write_summary(self.work.model, list(self.rows.values()), self.output)


def _failed(row: R, error: Exception) -> R:
    """The row of a case that failed; whatever it is, the other cases go on."""
    reason = [*str(error).strip().splitlines(), ""][0]
    if isinstance(error, MemoryError) or "allocate" in reason:  # torch's is a RuntimeError
        reason = f"{row.input[0]}: not enough memory ({reason}); limit it to a region of interest (--roi)"
    elif not isinstance(error, LLMBoostError):
        reason = f"{row.input[0]}: could not be computed ({type(error).__name__}: {reason})"
    row.status, row.error = FAILED, reason
    return row


def _spare_inputs(work: Work[R], cases: dict[str, Case], output: Path) -> None:
    given = {os.path.realpath(path) for case in cases.values() for path in case.files}
    for id in cases:
        for name in work.files(id):
            if os.path.realpath(output / name) in given:
                raise LLMBoostError(
                    f"{output / name}: is an input, the result would overwrite it; use another --output"
                )


def provenance(model: Model, localizer: Card | None = None) -> dict[str, str]:
    """Who made a result, for a file's header; ``localizer`` is the model that told where to look."""
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


def _earlier(output: Path, work: Work[R]) -> dict[str, R]:
    try:
        summary = json.loads((output / "summary.json").read_text(encoding="utf-8"))
        if summary["digest"] != work.model.card.digest:
            raise LLMBoostError(f"{output}: holds results of another model; choose another folder, or drop --resume")
        return {row["id"]: work.row(**row) for row in summary["cases"]}
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
    names = dict.fromkeys(name for row in rows for name in row.columns())
    writer.writerow(["id", "status", *names, "seconds", "warnings", "error"])
    for row in rows:
        cells = [row.columns().get(name, "") for name in names]
        writer.writerow([row.id, row.status, *cells, row.seconds, "; ".join(row.warnings), row.error])
    return table.getvalue()
