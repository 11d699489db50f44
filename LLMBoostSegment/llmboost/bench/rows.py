"""By what the rows of an experiment are run: here, one after the other, or by processes, here or on a cluster."""

from __future__ import annotations

import dataclasses
import os
import pickle
import queue
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from .. import __version__
from ..errors import LLMBoostError
from ..inference.device import choose_device
from ..jobs.keeper import Jobs, Link, Lost, Outcome, Seat, Submit
from ..learn.provenance import made_with
from ..machine import processor
from .kinds import Context, load_kind
from .recipe import BenchRow

LIMIT = 7 * 24 * 3600  # seconds: a row that takes longer hangs

Record = dict[str, Any]
Report = Callable[[Record], None]
Open = Callable[[Jobs], AbstractContextManager[Submit]]  # such as :func:`..jobs.workers.workers`


@dataclass(frozen=True)
class Common:
    """What the rows of an experiment have in common: its recipe's name and kind, the folders of rows and of data, how
    many threads of the CPU a row has, and the program's commit, see :func:`program_commit`."""

    recipe: str
    kind: str
    output: Path
    data: Path
    threads: int
    commit: str

    def run(self, row: BenchRow, device: torch.device, report: Report = lambda event: None) -> Record:
        """A row's record: its figures, or the error to be told."""
        torch.set_num_threads(self.threads)
        folder = self.output / "runs" / row.id.replace("/", "_")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        started = time.monotonic()
        try:
            entry = {"id": row.id, **dataclasses.asdict(row)}
            figures = load_kind(self.kind).run(entry, Context(self.data, folder, device, report))
            outcome: Record = {"figures": figures}
        except LLMBoostError as error:
            outcome = {"error": str(error)}
        return self.record(row, device.type, time.monotonic() - started, {"machine": processor(), **outcome})

    def record(self, row: BenchRow, device: str, seconds: float, outcome: Record) -> Record:
        """What is kept of a row, whatever came of it."""
        return {
            "row": row.id,
            "recipe": self.recipe,
            "arm": row.arm,
            "factors": row.factors,
            "tuned": row.tuned,
            "seed": row.seed,
            "settings": row.settings,
            "device": device,
            "threads": self.threads,
            **({"commit": self.commit} if self.commit else {}),
            **made_with(),
            "seconds": round(seconds, 1),
            **outcome,
        }


def program_commit() -> str:
    """The commit of this program, with "-dirty" where files were changed; empty where it runs from no checkout."""
    for command in (
        "ls-files --error-unmatch " + Path(__file__).name,
        "describe --always --dirty --abbrev=8 --exclude=*",
    ):
        try:
            asked = subprocess.run(
                ["git", *command.split()], cwd=Path(__file__).parent, capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return ""
    return asked.stdout.strip()


class RunRows(Protocol):
    """Yields the record of each row that it is given, as it ends."""

    def __call__(self, rows: Iterable[BenchRow], /) -> Iterator[Record]: ...


class Here:
    """One row after the other, in this process; ``report`` hears which, and of its progress."""

    def __init__(self, device: torch.device, report: Report = lambda event: None) -> None:
        self.device, self.report = device, report

    @contextmanager
    def opened(self, common: Common) -> Iterator[RunRows]:
        def each(rows: Iterable[BenchRow]) -> Iterator[Record]:
            for row in rows:
                self.report({"event": "row", "row": row.id})
                yield common.run(row, self.device, self.report)

        yield each


class Workers:
    """As many rows at once as there are processes; one that ends its process has failed, and the others go on.

    Args:
        opened_for: begins and ends the processes.
        device: of each, as :func:`..inference.device.choose_device` takes it; a machine's GPUs are shared out.
    """

    def __init__(self, opened_for: Open, device: str) -> None:
        self.opened_for, self.device = opened_for, device

    @contextmanager
    def opened(self, common: Common) -> Iterator[RunRows]:
        """Raises LLMBoostError: there are no processes that could do it."""
        common = dataclasses.replace(common, output=common.output.absolute(), data=common.data.absolute())
        files = tuple(map(str, (common.output, common.data)))
        begun = pickle.dumps(_Beginning(common, self.device))
        jobs = Jobs(begun, uuid.uuid4().hex, LIMIT, os.getcwd(), __version__, files)
        with self.opened_for(jobs) as submit:
            yield lambda rows: _ended(common, rows, submit, self.device)


def _ended(common: Common, rows: Iterable[BenchRow], submit: Submit, device: str) -> Iterator[Record]:
    """The records of the rows, as they end."""
    ended: queue.SimpleQueue[tuple[BenchRow, float, Outcome]] = queue.SimpleQueue()

    def begin(row: BenchRow) -> None:
        started = time.monotonic()
        submit(pickle.dumps(row), lambda outcome: ended.put((row, started, outcome)))

    rows = list(rows)
    for row in rows:
        begin(row)
    for _ in rows:
        row, started, outcome = ended.get()
        if isinstance(outcome, Exception):
            raise outcome
        if isinstance(outcome, Lost):
            yield common.record(row, device, time.monotonic() - started, {"error": f"the row {outcome.reason}"})
        else:
            yield pickle.loads(outcome)


@dataclass(frozen=True)
class _Beginning:
    """Pickled, what a process needs to know to run rows, see :class:`..jobs.keeper.Jobs`."""

    common: Common
    device: str

    def __call__(self, seat: Seat, _link: Link) -> Callable[[BenchRow], Record]:
        device = choose_device(self.device)
        if device.type == "cuda":
            torch.cuda.set_device(seat.index % torch.cuda.device_count())

        def record(row: BenchRow) -> Record:
            started = time.monotonic()
            try:
                return self.common.run(row, device)
            except Exception as error:  # of the code: of several rows, the others go on
                reason = {"error": f"the row could not be run ({type(error).__name__}: {error})"}
                return self.common.record(row, device.type, time.monotonic() - started, reason)

        return record
