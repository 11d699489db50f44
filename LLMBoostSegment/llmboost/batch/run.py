"""What all batches share: the loop over cases, what is left alone, and what is put in place."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Generic

from ..card import read_card
from ..errors import LLMBoostError
from ..files import check_regular, digest_of, remove_leftovers, staging
from ..io.case import ALL_FRAMES, InputCase, Unsuitable
from ..io.image import Image
from ..library import find
from ..report.overview import check_overview
from . import overview
from .summary import FAILED, OK, REFUSED, WAY_OUT, Summary
from .work import R, Work


def run_cases(
    work: Work[R, Any],
    cases: dict[str, InputCase],
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[R], None] = lambda row: None,
) -> list[R]:
    """Do the work for each case; summary.json and summary.csv in ``output`` tell of it at the end, and now and then
    before (:mod:`.summary`). At the end, write overview.html, which shows all that is in the folder.

    A case that fails is a row with its error. With ``resume``, cases are left alone that the summary lists as done from
    the same bytes, with the same options, and whose files are as they were written. Rows of other cases stay.

    Args:
        overwrite: replace files that are not this batch's own.
        report: called with each row that is new.

    Returns:
        the rows of ``cases``, old and new.

    Raises:
        LLMBoostError: the folder cannot be written or is in other use, or a result would overwrite an input.
    """
    _spare_inputs(work, cases, output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LLMBoostError(f"{output}: cannot be made ({error.strerror}); choose another folder") from error
    if not overwrite:
        check_overview(output, WAY_OUT)
    summary = Summary(output, work.card, work.row, overwrite=overwrite)
    remove_leftovers(output)
    run = _Run(work, summary, cases, resume, report)
    rows: list[R] = []
    try:
        for case in cases.values():
            rows += run.rows_of(case)
            summary.write_now_and_then()
    finally:
        summary.write()
    overview.write(output, work.card, summary.rows.values())
    return rows


class _Run(Generic[R]):
    """The cases of one call, one after the other."""

    def __init__(
        self,
        work: Work[R, Any],
        summary: Summary[R],
        cases: dict[str, InputCase],
        resume: bool,
        report: Callable[[R], None],
    ) -> None:
        self.work, self.summary, self.cases, self.frame = work, summary, cases, work.options.frame
        self.resume, self.report = resume, report
        self.conditions = _conditions(work)

    def rows_of(self, case: InputCase) -> list[R]:
        """Do what is to be done for a case."""
        every = self.frame == ALL_FRAMES
        row = self.work.row(case.id, case.names, FAILED, series=case.chosen)
        try:
            made_from = {"input": case.digest(), **self.also_read(case), **self.conditions}
            if not every:
                if self.is_done(case.id, made_from):
                    return [self.summary.rows[case.id]]
                self.summary.check(case.id, self.work.files(case.id))
            images, notes = case.read(self.work.card.preprocessing, self.frame, self.cases)
        except Exception as error:
            return [self.failed(row, error)]
        rows = []
        for id, channels in images.items():
            if every and self.is_done(id, made_from):
                rows.append(self.summary.rows[id])
                continue
            row = self.work.row(id, case.names, OK, warnings=list(notes), series=case.chosen, made_from=made_from)
            gone = "" if case.id in images else case.id
            try:
                self.compute(row, case, channels, gone)
                rows.append(row)
            except Exception as error:
                rows.append(self.failed(row, error, gone))
        return rows

    def also_read(self, case: InputCase) -> dict[str, str]:
        """The digests of what else a case's result depends on."""
        paths = self.work.also_read(case)
        for path in paths.values():
            check_regular(path)
        return {what: digest_of(path) for what, path in paths.items()}

    def is_done(self, id: str, made_from: dict[str, Any]) -> bool:
        if not self.resume:
            return False
        self.summary.refresh()
        row = self.summary.rows.get(id)
        if row is None or row.status != OK or row.made_from != made_from:
            return False
        return self.summary.is_intact(id, self.work.files(id))

    def compute(self, row: R, case: InputCase, channels: list[Image], gone: str) -> None:
        names = [*self.work.files(row.id), overview.picture_of(row.id)]
        self.summary.check(row.id, names)
        if self.is_anothers(row) and not self.summary.overwrite:
            other = self.summary.rows[row.id].input[0]
            raise LLMBoostError(
                f"{row.input[0]}: the results named '{row.id}' here are of another input ({other}); choose another"
                " --output, or give --overwrite"
            )
        with staging(self.summary.folder) as stage:
            try:
                self.work.compute(row, case, channels, stage)
            except LLMBoostError as error:  # of a file: where it was to be
                told = str(error).replace(f"{stage}{os.sep}", f"{self.summary.folder}{os.sep}")
                raise LLMBoostError(told) from error
            made = [name for name in names if (stage / name).exists()]
            self.summary.put(row, stage, made, gone)
        self.report(row)

    def is_anothers(self, row: R) -> bool:
        """Whether the summary has a result of this name that was made from another input."""
        earlier = self.summary.rows.get(row.id)
        if earlier is None or earlier.status != OK or earlier.input == row.input:
            return False
        return earlier.made_from.get("input") != row.made_from.get("input")

    def failed(self, row: R, error: Exception, gone: str = "") -> R:
        """The row of a case that failed; whatever it is, the other cases go on."""
        row = _failed(row, error)
        if not self.is_anothers(row):  # whose row stays
            self.summary.add(row, gone)
        self.report(row)
        return row


def _conditions(work: Work[Any, Any]) -> dict[str, Any]:
    """What decides, next to the input and the model, what comes out: as it is read again from JSON."""
    cascade, localizer = work.card.cascade, ""
    if cascade is not None:
        with suppress(LLMBoostError):  # whoever needs it will tell
            localizer = read_card(find(cascade.localizer)).digest
    conditions = {"options": asdict(work.options), "localizer": localizer}
    return json.loads(json.dumps(conditions, default=lambda array: array.tolist()))


def _failed(row: R, error: Exception) -> R:
    reason = [*str(error).strip().splitlines(), ""][0]
    if isinstance(error, MemoryError) or "allocate" in reason:  # torch's is a RuntimeError
        reason = f"{row.input[0]}: not enough memory ({reason}); limit it to a region of interest (--roi)"
    elif not isinstance(error, LLMBoostError):
        reason = f"{row.input[0]}: could not be computed ({type(error).__name__}: {reason})"
    row.status, row.error = REFUSED if isinstance(error, Unsuitable) else FAILED, reason
    return row


def _spare_inputs(work: Work[Any, Any], cases: dict[str, InputCase], output: Path) -> None:
    given = {os.path.realpath(path) for case in cases.values() for path in case.files}
    for case in cases.values():
        with suppress(LLMBoostError):  # it will be told when the case's turn comes
            given |= {os.path.realpath(path) for path in work.also_read(case).values()}
    for id in cases:
        for name in work.files(id):
            if os.path.realpath(output / name) in given:
                raise LLMBoostError(
                    f"{output / name}: is an input, the result would overwrite it; use another --output"
                )
