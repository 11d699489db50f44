"""Processes that do jobs, one after the other, and who keeps them: a job that ends its process or never ends costs
itself alone."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import LLMBoostError
from ..machine import GB, share_cores, total_memory

BEGINNING = 600  # seconds until a process has read its model; longer, it hangs
DEFAULT_LIMIT = 1800  # seconds for a job, or TIMES_EXPECTED what it is expected to take, if that is more
TIMES_EXPECTED = 20
USED = 0.9  # of the machine's memory
_GONE = (EOFError, OSError, pickle.UnpicklingError)  # what talking to a process that has ended raises


@dataclass(frozen=True)
class Seat:
    """Where a process works: the ``index``-th of ``count`` on this machine, with ``threads`` of its own."""

    index: int
    count: int
    threads: int


class Link(Protocol):
    """What a job can say to its keeper."""

    def needs(self, seconds: float | None, memory: float) -> None:
        """Tell what comes next takes, as far as one knows (bytes); returns when there is so much memory to be had."""


@dataclass(frozen=True)
class Jobs:
    """Jobs of one kind.

    Attributes:
        begin: a pickled callable, which is called in each process with (seat, link) and gives what is called with each
            job; an LLMBoostError that it raises ends all.
        id: of no other jobs.
        limit: seconds a job; None: DEFAULT_LIMIT, or more where more is expected.
        folder: where the processes work.
        version: of LLMBoost, here and there.
        files: what else there has to be where they work.
    """

    begin: bytes
    id: str
    limit: float | None
    folder: str
    version: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class Lost:
    """Nothing came of a job, for this reason, though it was tried so often."""

    reason: str
    tries: int = 1


Outcome = bytes | Lost | Exception
Submit = Callable[[bytes, Callable[[Outcome], None]], None]  # a job, and what is called with what came of it


class Keeper:
    """Keeps one process that does jobs, see :class:`Jobs`."""

    def __init__(self, jobs: Jobs, seat: Seat) -> None:
        self.jobs, self.seat = jobs, seat
        self._process: subprocess.Popen[bytes] | None = None
        self._late = self._closed = False

    def do(self, job: bytes, memory: Memory) -> bytes | Lost:
        """The pickled result of a pickled job.

        Raises:
            LLMBoostError: no process can do any.
        """
        limit, needed = self.jobs.limit or DEFAULT_LIMIT, 0.0
        try:
            if self._process is None or self._process.poll() is not None:
                self._start()
            self._say(job)
            with memory.share() as take:
                while True:
                    what, *told = self._answer(limit)
                    if what == "done":
                        return told[0]
                    expected, needed = told
                    limit = self.jobs.limit or max(DEFAULT_LIMIT, TIMES_EXPECTED * (expected or 0))
                    take(needed)
                    self._say(b"")
        except _GONE:
            return Lost(self._ending(limit, needed))

    def close(self) -> None:
        """End the process, whatever it is doing, and begin no other."""
        self._closed = True
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        share_cores()
        path = os.pathsep.join(filter(None, (str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH"))))
        threads = str(self.seat.threads)
        for _ in range(2):  # somebody may have killed it
            self._process = subprocess.Popen(
                [sys.executable, "-m", "llmboost.jobs.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
                cwd=self.jobs.folder,
            )
            if self._closed:
                self._process.kill()
            try:
                self._say((self.jobs.begin, self.seat))
                what, *told = self._answer(BEGINNING)
            except _GONE:
                reason = self._ending(BEGINNING, 0)
                continue
            if what == "refused":
                raise LLMBoostError(told[0])
            return
        raise LLMBoostError(f"a process that was to do the work {reason} before it could begin, twice")

    def _say(self, what: Any) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        pickle.dump(what, self._process.stdin)
        self._process.stdin.flush()

    def _answer(self, seconds: float) -> Any:
        """What the process says next; it is ended if it takes longer."""
        assert self._process is not None
        assert self._process.stdout is not None
        self._late = False
        alarm = threading.Timer(seconds, self._end_late)
        alarm.daemon = True
        alarm.start()
        try:
            return pickle.load(self._process.stdout)
        finally:
            alarm.cancel()

    def _end_late(self) -> None:
        assert self._process is not None
        self._late = True
        self._process.kill()

    def _ending(self, limit: float, needed: float) -> str:
        """Why there is no answer."""
        if self._process is None:
            return "no process could be started for it"
        self._process.kill()
        status, self._process = self._process.wait(), None
        if self._late:
            return f"took longer than {limit:.0f} s"
        if status >= 0:
            return f"ended its process (exit status {status})"
        name = str(-status)
        with suppress(ValueError):
            name = signal.Signals(-status).name
        scarce = f", perhaps for want of memory: it needs about {needed / GB:.1f} GB" if needed and -status == 9 else ""
        return f"ended its process (signal {name}{scarce})"


class Memory:
    """This machine's memory, shared by the jobs of a process: one waits until what it needs is to be had.

    Args:
        share: of the machine's memory that these jobs may take.
    """

    def __init__(self, share: float = 1.0) -> None:
        self._total = (total_memory() or float("inf")) * USED * share
        self._taken = 0.0
        self._changed = threading.Condition()

    @contextmanager
    def share(self) -> Iterator[Callable[[float], None]]:
        """``take(bytes)`` waits for them, in place of what was taken before; at the end they are given back. What is
        more than all there is begins alone."""
        mine = 0.0

        def take(needed: float) -> None:
            nonlocal mine
            with self._changed:
                self._taken -= mine
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._taken or self._taken + needed <= self._total)
                mine = needed
                self._taken += mine

        try:
            yield take
        finally:
            with self._changed:
                self._taken -= mine
                self._changed.notify_all()


_KEEPERS: dict[int, Keeper] = {}
_GUARD = threading.Lock()


def do(jobs: Jobs, job: bytes, seat: Callable[[int], Seat], memory: Memory) -> bytes | Lost:
    """Do a job by the keeper of this thread.

    Args:
        seat: is given how many keepers this process has, where one more is needed.

    Raises:
        LLMBoostError: as :meth:`Keeper.do`.
    """
    me = threading.get_ident()
    with _GUARD:
        kept = _KEEPERS.get(me)
        if kept is None or kept.jobs.id != jobs.id:
            index = kept.seat.index if kept else len(_KEEPERS)
            _KEEPERS[me] = Keeper(jobs, seat(index))
    if kept is not None and kept is not _KEEPERS[me]:
        kept.close()
    return _KEEPERS[me].do(job, memory)


def close_all(id: str) -> None:
    """End the processes that do the jobs of this id."""
    with _GUARD:
        ended = [thread for thread, keeper in _KEEPERS.items() if keeper.jobs.id == id]
        keepers = [_KEEPERS.pop(thread) for thread in ended]
    for keeper in keepers:
        keeper.close()
