"""What goes on in a panel: one run at a time, in one of four states. All who show something of it observe it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from typing import Any

from llmboost.messages.words import ErrorKind

from ..worker.troubles import WorkerError

REST_MS = 600  # in which the second click of a double click would cancel what the first one began


class State(enum.Enum):
    """Of a run; asking: what has to be settled before something is computed, such as consent."""

    IDLE = enum.auto()
    ASKING = enum.auto()
    RUNNING = enum.auto()
    CANCELLING = enum.auto()


class Work(enum.Enum):
    """What a run does, and by that who started it."""

    IMAGE = enum.auto()  # segments, classifies or explains one
    TRAINING = enum.auto()
    CASES = enum.auto()  # ranks, compares or segments them
    ENVIRONMENT = enum.auto()  # makes a private one
    DIAGNOSTICS = enum.auto()
    MODEL = enum.auto()  # imports one


class Run:
    """The run that goes on, if one does.

    Args:
        cancel: asks what computes to end.
        later: calls a function after so many milliseconds; by default, a run has no rest at its beginning.

    Attributes:
        work: what goes on; None: nothing.
        reason: why it was stopped; empty while it may go on.
        resting: it began just now, and a click means nothing yet.
        lastError: what the worker, or its being lost, last brought a run to nothing with.
    """

    restMs = REST_MS

    def __init__(
        self, cancel: Callable[[], None], later: Callable[[int, Callable[[], None]], None] | None = None
    ) -> None:
        self._cancel, self._later = cancel, later
        self._observers: list[Callable[[], None]] = []
        self._needs: list[Any] = []
        self.state = State.IDLE
        self.work: Work | None = None
        self.reason = ""
        self.resting = False
        self.lastError: WorkerError | None = None

    def observe(self, observer: Callable[[], None]) -> None:
        """Call this whenever something of the run has changed."""
        self._observers.append(observer)

    def shutDown(self) -> None:
        """Nobody is told any more: the widgets go, and what was to be called later still is."""
        self._observers.clear()

    @property
    def active(self) -> bool:
        return self.state is not State.IDLE

    def does(self, *works: Work) -> bool:
        """Whether one of these goes on."""
        return self.work in works

    def begin(self, work: Work) -> None:
        """Something goes on from now on, though it may still have to ask."""
        assert not self.active, f"{self.work} goes on"
        self.state, self.work, self.reason = State.ASKING, work, ""
        if self._later:
            self.resting = True
            self._later(self.restMs, self._rested)
        self._tell()

    def go(self, needs: Iterable[Any] = ()) -> None:
        """All is answered: now it computes, as long as these nodes are there.

        Raises:
            WorkerError: it was stopped meanwhile (kind "cancelled").
        """
        if self.state is State.CANCELLING:
            raise WorkerError(ErrorKind.CANCELLED, self.reason)
        self.state, self._needs = State.RUNNING, list(needs)
        self._tell()

    def needs(self, node: Any) -> bool:
        """Whether what goes on is of no use without this node."""
        return any(node is each for each in self._needs)

    def stop(self, reason: str) -> None:
        """End it, for this reason, or an earlier one; it is over once :meth:`end` is called."""
        if self.active:
            self.state, self.reason = State.CANCELLING, self.reason or reason
            self._cancel()
            self._tell()

    def end(self, error: Exception | None = None) -> None:
        """It is over."""
        self.state, self.work, self._needs = State.IDLE, None, []
        self.lastError = error if isinstance(error, WorkerError) else self.lastError
        self._tell()

    def _rested(self) -> None:
        self.resting = False
        self._tell()

    def _tell(self) -> None:
        for observer in self._observers:
            observer()
