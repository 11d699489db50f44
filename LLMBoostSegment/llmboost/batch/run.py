"""What is done with a case of any batch: what is left alone, and what is put in place."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import asdict
from typing import Any, Generic

from ..card import read_card
from ..errors import LLMBoostError
from ..files import check_regular, digest_of, staging
from ..inference.second import reader_of
from ..io.case import ALL_FRAMES, InputCase, Unsuitable
from ..io.image import Image
from ..library import find
from . import overview
from .summary import FAILED, OK, REFUSED, Summary
from .work import R, Work


class Run(Generic[R]):
    """What one call of a batch does with each case.

    Args:
        taken: ids that no frame of a case gets.
        id: of this call: what it has done itself is done, whether it resumes another or not.
    """

    def __init__(
        self,
        work: Work[R, Any],
        summary: Summary[R],
        taken: Container[str],
        *,
        resume: bool,
        report: Callable[[R], None],
        id: str = "",
    ) -> None:
        self.work, self.summary, self.taken, self.frame = work, summary, taken, work.options.frame
        self.resume, self.report = resume, report
        self.conditions = _conditions(work)
        self.id = id or uuid.uuid4().hex

    def rows_of(self, case: InputCase) -> list[R]:
        """Do what is to be done for a case."""
        every = self.frame == ALL_FRAMES
        row = self.work.row(case.id, case.names, FAILED, series=case.chosen, run=self.id)
        try:
            made_from = {"input": case.digest(), **self.also_read(case), **self.conditions}
            if not every:
                if self.is_done(case.id, made_from):
                    return [self.summary.rows[case.id]]
                self.summary.check(case.id, self.work.files(case.id))
            images, notes = case.read(self.work.card.preprocessing, self.frame, self.taken)
        except Exception as error:
            return [self.failed(row, error)]
        rows = []
        for id, channels in images.items():
            if every and self.is_done(id, made_from):
                rows.append(self.summary.rows[id])
                continue
            row = self.work.row(
                id, case.names, OK, warnings=list(notes), series=case.chosen, made_from=made_from, run=self.id
            )
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
        self.summary.refresh()
        row = self.summary.rows.get(id)
        if row is None or row.status != OK or row.made_from != made_from or not (self.resume or row.run == self.id):
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

    def lost(self, case: InputCase, reason: str) -> R:
        """The row of a case from which nothing was heard, for this reason."""
        self.summary.refresh()
        row = self.summary.rows.get(case.id)
        if row is None or row.status != OK or row.run != self.id:  # else, whoever did it was lost right after
            row = self.work.row(case.id, case.names, FAILED, series=case.chosen, run=self.id)
            return self.failed(row, LLMBoostError(f"{case.names[0]}: {reason}"))
        self.report(row)
        return row

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
    if (reader := reader_of(work.card)) is not None:
        conditions["second_reader"] = reader.digest
    return json.loads(json.dumps(conditions, default=lambda array: array.tolist()))


def _failed(row: R, error: Exception) -> R:
    reason = [*str(error).strip().splitlines(), ""][0]
    if isinstance(error, MemoryError) or "allocate" in reason:  # torch's is a RuntimeError
        reason = f"{row.input[0]}: not enough memory ({reason}); limit it to a region of interest (--roi)"
    elif not isinstance(error, LLMBoostError):
        reason = f"{row.input[0]}: could not be computed ({type(error).__name__}: {reason})"
    row.status, row.error = REFUSED if isinstance(error, Unsuitable) else FAILED, reason
    return row
