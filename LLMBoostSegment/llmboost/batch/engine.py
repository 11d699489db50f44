"""By what the cases of a batch are done: here, one after the other, or by several processes on one machine or many."""

from __future__ import annotations

import os
import pickle
import queue
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import LLMBoostError
from ..files import remove_leftovers
from ..io.case import ALL_FRAMES, InputCase
from ..jobs.keeper import Jobs, Link, Lost, Outcome, Seat
from ..jobs.workers import workers
from ..report.overview import check_overview
from . import overview
from .run import Run
from .summary import FAILED, WAY_OUT, R, Row, Summary
from .work import ModelOptions, ModelWork, Progress, Work

TRIES = 2  # of a case of which nothing has come


class Engine(ABC):
    """By what the cases of a batch are done.

    Attributes:
        progress: called with words about the case at work and the fraction done of it.
    """

    progress: Progress = staticmethod(lambda text, fraction: None)

    @abstractmethod
    def do(self, run: Run[R], cases: dict[str, InputCase]) -> list[R]:
        """The rows of the cases, in their order; they are in the run's summary by then."""


class Here(Engine):
    """One case after the other, in this process."""

    def __init__(self, progress: Progress = Engine.progress) -> None:
        self.progress = progress

    def do(self, run: Run[R], cases: dict[str, InputCase]) -> list[R]:
        rows: list[R] = []
        for case in cases.values():
            rows += run.rows_of(case)
            run.summary.write_now_and_then()
        return rows


@dataclass(frozen=True, kw_only=True)
class Workers(Engine):
    """Several processes, each with the model; a case that ends its process, or takes too long, is tried once more, and
    then it has failed.

    Attributes:
        model: the file, and the ``device`` to compute on; several GPUs of a machine are shared out.
        count: how many, on this machine; 0 on a cluster.
        cluster: the address of a Dask scheduler, or ``slurm:FILE.yaml``; ``scheduler_file``: where it stands.
        limit: seconds a case; None: half an hour, or more where more is expected.
        tell: is given a line on what else there is to know.
    """

    model: Path
    device: str
    count: int = 0
    cluster: str = ""
    scheduler_file: Path | None = None
    limit: float | None = None
    tell: Callable[[str], None] = lambda note: None

    def do(self, run: Run[R], cases: dict[str, InputCase]) -> list[R]:
        if not cases:
            return []
        begun = _Beginning(run, self.model, self.device, cases)
        jobs = Jobs(pickle.dumps(begun), run.id, self.limit, os.getcwd(), __version__, begun.files)
        found: dict[str, list[R]] = {}
        ended: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
        tries = dict.fromkeys(cases, 0)

        def begin(id: str) -> None:
            tries[id] += 1
            submit(pickle.dumps(cases[id]), lambda outcome: ended.put((id, outcome)))

        with workers(self.count, self.cluster, self.scheduler_file, jobs, self.tell) as submit:
            for id in cases:
                begin(id)
            while len(found) < len(cases):
                id, outcome = ended.get()
                if isinstance(outcome, Exception):
                    raise outcome
                if isinstance(outcome, Lost):
                    tries[id] += outcome.tries - 1
                rows: list[R] = pickle.loads(outcome) if isinstance(outcome, bytes) else []
                if tries[id] < TRIES and (not rows or any(row.status == FAILED for row in rows)):
                    begin(id)
                    continue
                if isinstance(outcome, Lost):
                    rows = [run.lost(cases[id], f"{outcome.reason}, {tries[id]} times")]
                else:
                    for row in rows:
                        if row.run == run.id:  # and was not done before
                            run.report(row)
                found[id] = rows
                run.summary.write_now_and_then()
        return [row for id in cases for row in found[id]]


class _Beginning:
    """Pickled, what a process needs to know to do the cases of a run, see :class:`..jobs.keeper.Jobs`."""

    def __init__(self, run: Run[Any], model: Path, device: str, cases: Iterable[str]) -> None:
        work = run.work
        if not isinstance(work, ModelWork):
            raise TypeError(f"{type(work).__name__}: is done here alone")
        self.work: type[ModelWork[Any, Any, Any]] = type(work)
        self.options: ModelOptions = work.options
        self.model, self.device, self.digest = os.path.abspath(model), device, work.card.digest
        self.output, self.overwrite = run.summary.folder, run.summary.overwrite
        self.id, self.resume, self.conditions = run.id, run.resume, run.conditions
        self.taken = frozenset(cases) if work.options.frame == ALL_FRAMES else frozenset()

    @property
    def files(self) -> tuple[str, ...]:
        """What there has to be wherever cases are done."""
        return self.model, os.path.abspath(self.output), os.getcwd()

    def __call__(self, seat: Seat, link: Link) -> Callable[[InputCase], list[Row]]:
        """What gives the rows of a case."""
        import torch

        from ..inference.device import choose_device
        from ..model import load_model

        device = choose_device(self.device)
        if device.type == "cuda":
            torch.cuda.set_device(seat.index % torch.cuda.device_count())
        model = load_model(Path(self.model), device)
        work = self.work(model, self.options, Engine.progress)
        work.needs = link.needs
        remove_leftovers(self.output)  # of a process that a case has ended
        summary = Summary(self.output, model.card, work.row, overwrite=self.overwrite)
        run = Run(work, summary, self.taken, resume=self.resume, report=lambda row: None, id=self.id)
        if model.card.digest != self.digest or run.conditions != self.conditions:
            raise LLMBoostError(f"{self.model}: this model, or its localizer, is not the one that this was begun with")
        return run.rows_of


def run_cases(
    work: Work[R, Any],
    cases: dict[str, InputCase],
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[R], None] = lambda row: None,
    engine: Engine | None = None,
) -> list[R]:
    """Do the work for each case; summary.json and summary.csv in ``output`` tell of it at the end, and now and then
    before (:mod:`.summary`). At the end, write overview.html, which shows all that is in the folder.

    A case that fails is a row with its error. With ``resume``, cases are left alone that the summary lists as done from
    the same bytes, with the same options, and whose files are as they were written. Rows of other cases stay.

    Args:
        overwrite: replace files that are not this batch's own.
        report: called with each row that is new.
        engine: by what; None: here.

    Returns:
        the rows of ``cases``, old and new.

    Raises:
        LLMBoostError: the folder cannot be written or is in other use, or a result would overwrite an input; or there
            are no workers that could do it.
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
    run = Run(work, summary, cases, resume=resume, report=report)
    try:
        rows = (engine or Here()).do(run, cases)
    finally:
        summary.write()
        remove_leftovers(output)
    overview.write(output, work.card, summary.rows.values())
    return rows


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
