"""The Slicer side of the seam: requests to the worker process, and what comes back."""

from __future__ import annotations

import platform
import sys
import time
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llmboost import __version__
from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.library import find
from llmboost.wire import ERROR, PROGRESS, PROTOCOL, Message, ProtocolError, message_parts

from .connection import STALL_SECONDS, Connection, Ended, Event, Stalled
from .launcher import COMMAND_SETTING, workerCommand, workerEnvironment

TICK_MS = 20
DIGEST_PREFIX = "sha256:"
MAX_TEXT = 2000

T = TypeVar("T")

_NAMES = {
    "adapt": "a training",
    "classify": "a classification",
    "explain": "an explanation",
    "rank_cases": "a ranking of cases",
    "segment": "a segmentation",
}
_FATAL = {"not_started", "version", "crashed", "protocol"}  # a fresh worker is needed
_CHECK_COMMAND = f"Check the worker's command under Advanced (application setting {COMMAND_SETTING})"
_REPORT = "This is a defect of LLMBoost, or of what the worker's command runs; please report it"


class WorkerError(Exception):
    """Why a request failed.

    Attributes:
        kind: from the worker: bad_input, cancelled, out_of_memory, not_available, internal;
            from here: busy, not_started, version, crashed, protocol, bad_input, cancelled.
        message: what is wrong, in a line for the user.
        hint: what to do about it; may be empty.
        details: the last lines of what the worker printed; may be empty.
    """

    def __init__(self, kind: str, message: str, hint: str = "", details: str = "") -> None:
        super().__init__(f"{message}. {hint}" if hint else message)
        self.kind, self.message, self.hint, self.details = kind, message, hint, details


@dataclass(frozen=True)
class Progress:
    """News of a request: the fraction done (None: unknown), what goes on, and the bytes it will take if known.

    ``event`` tells more of a training: a step's loss, or what a validation found.
    """

    fraction: float | None
    text: str
    memory: int | None = None
    event: Mapping[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What a request gave: fields (JSON values) and arrays by name."""

    fields: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


def _ignore(_: Any) -> None:
    pass


@dataclass(eq=False)
class _Request:
    kind: str
    fields: dict[str, Any]
    arrays: Mapping[str, np.ndarray]
    onProgress: Callable[[Progress], None]
    onDone: Callable[[Answer], None]
    onError: Callable[[Exception], None]
    id: int = 0  # of the frame sent last, none yet
    sent: str = ""  # and its kind
    model: Path | None = None  # its file, where a remote worker knows the model by digest only
    started: float = 0.0
    told: float = 0.0  # when onProgress was called last
    heard: float = 0.0  # when the worker was heard last
    progress: Progress = Progress(None, "")
    killAt: float | None = None  # set once cancelled

    def give(self, answer: Answer) -> None:
        try:
            self.onDone(answer)
        except Exception as error:  # nobody else could catch it
            if self.onError is _ignore:
                raise
            self.onError(error)


_clients: weakref.WeakSet[Client] = weakref.WeakSet()


class Client:
    """One worker process, started when it is needed, and at most one request at a time.

    Clients share the machine: while one waits for an answer, the others of this process are busy, too.

    Nothing here blocks the calling thread but :meth:`call`, and :meth:`shutDown` for a second at most. Callbacks are
    called within :meth:`poll` or :meth:`shutDown`, hence in the GUI's thread.

    Args:
        command: the worker's command line; by default the one of :func:`LLMBoostLib.worker.launcher.workerCommand`.
        environment: of the worker's process; by default :func:`LLMBoostLib.worker.launcher.workerEnvironment`.

    Attributes:
        startSeconds: how long a worker may take until it says hello.
        cancelSeconds: how long a cancelled request may go on until its worker is killed.
        loadSeconds: the same for one that imports torch or loads a model, which nothing can interrupt: until then, it
            goes on alone and is warm for the next request.
        silenceSeconds: after how long without news that is reported as progress; nothing else happens then.
        stallSeconds: how long nothing may come in the middle of an answer until its worker is killed.
    """

    startSeconds = 60.0
    cancelSeconds = 3.0
    loadSeconds = 120.0
    silenceSeconds = 10.0
    stallSeconds = STALL_SECONDS

    def __init__(self, command: list[str] | None = None, environment: dict[str, str] | None = None) -> None:
        self._command, self._environment = command, environment
        self._connection: Connection | None = None
        self._close: weakref.finalize | None = None
        self._hello: Mapping[str, Any] = {}
        self._loadingSince: float | None = None  # when the worker began what it cannot interrupt
        self._request: _Request | None = None
        self._failure: WorkerError | None = None
        self._ids = count(1)
        self._timer = self._makeTimer()
        _clients.add(self)

    def start(
        self,
        kind: str,
        fields: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        onProgress: Callable[[Progress], None] | None = None,
        onDone: Callable[[Answer], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
    ) -> None:
        """Send a request; one of ``onDone`` and ``onError`` will be called, once.

        What ``onDone`` raises, ``onError`` is given. ``arrays`` must not change until then. A worker is started if none
        runs.

        Raises:
            WorkerError: another request runs, of this client or another one (kind "busy").
        """
        if running := next((client._request.kind for client in _clients if client._request), None):
            what = _NAMES.get(running, "another computation")
            raise WorkerError("busy", f"{what} runs", "Wait for it, or cancel it")
        now = time.monotonic()
        self._failure = None
        self._request = _Request(
            kind,
            dict(fields or {}),
            dict(arrays or {}),
            onProgress or _ignore,
            onDone or _ignore,
            onError or _ignore,
            started=now,
            told=now,
            heard=now,
        )
        self._connect()
        if self._hello:
            self._transmit(self._request)
        if self._timer:
            self._timer.start()

    def call(
        self,
        kind: str,
        fields: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        onProgress: Callable[[Progress], None] | None = None,
    ) -> Answer:
        """Send a request and wait for its answer; in Slicer, the GUI stays alive meanwhile.

        Raises:
            WorkerError: the request failed.
        """
        return self.wait(partial(self.start, kind, fields, arrays, onProgress))

    def wait(self, start: Callable[[Callable[[T], None], Callable[[Exception], None]], None]) -> T:
        """What a computation gives that ``start`` begins with this client; in Slicer, the GUI stays alive meanwhile.

        Args:
            start: is given ``onDone`` and ``onError``, one of which is called once.

        Raises:
            Exception: what ``onError`` is given, or ``start`` raises.
        """
        found: list[T] = []
        errors: list[Exception] = []
        start(found.append, errors.append)
        application = getattr(sys.modules.get("slicer"), "app", None)
        try:
            while not (found or errors):
                self.poll(TICK_MS / 1000)
                if application:
                    application.processEvents()
        except BaseException:  # such as Ctrl-C: nobody waits for the answer any more
            self._killWorker()
            if self._request:
                onError = self._request.onError
                self._finish(lambda: onError(_cancelled()))
            raise
        if errors:
            raise errors[0]
        return found[0]

    def finish(self) -> None:
        """Ask the request to come to its end with what it has so far; the answer comes as usual."""
        request = self._request
        if request and request.id and request.killAt is None and self._connection:
            self._connection.send(message_parts(Message(request.id, "finish", {}, {})))

    def poll(self, seconds: float = 0.0) -> None:
        """Wait for news, so long at most, and call the callbacks. In Slicer a timer does this, else a script's loop."""
        event = self._connection.receive(seconds) if self._connection else None
        while event and self._request and not self._failure:
            self._handle(event, self._request)
            event = self._connection.receive() if self._connection and self._request else None
        if self._request:
            self._watch(self._request)

    def cancel(self) -> None:
        """Stop the request: its worker is asked, and killed where that does not help; ``onError`` tells "cancelled"."""
        request = self._request
        if not request or request.killAt is not None:
            return
        request.killAt = time.monotonic() + self.cancelSeconds
        if request.id and self._connection:
            self._connection.send(message_parts(Message(request.id, "cancel", {}, {})))
        elif not self._failure:  # nothing was sent, and who just starts is there for the next request
            self._failure = _cancelled()

    @property
    def busy(self) -> bool:
        """Whether a request of this client runs."""
        return self._request is not None

    def haveMachineToItself(self) -> None:
        """End the idle workers of other clients, which keep models in memory; they start again when they are needed."""
        for client in [client for client in _clients if client is not self and not client.busy]:
            client.shutDown()

    @property
    def remoteHost(self) -> str:
        """The other machine that the worker runs on, known after a first request; empty for this machine."""
        host = plain(self._hello.get("host", ""))
        return "" if host == platform.node() else host

    def shutDown(self) -> None:
        """End the worker; a request that runs is cancelled."""
        if self._close:
            self._close()
        self._connection, self._hello, self._loadingSince = None, {}, None
        if self._request:
            onError = self._request.onError
            self._finish(lambda: onError(_cancelled()))

    def _makeTimer(self) -> Any:
        try:
            from qt import QTimer
        except ImportError:  # not in Slicer
            return None
        timer = QTimer()
        timer.setInterval(TICK_MS)
        timer.timeout.connect(self.poll)
        return timer

    @property
    def ready(self) -> bool:
        """Whether a worker runs that has said hello."""
        return bool(self._hello) and self._connection is not None and not self._connection.ended

    def _connect(self) -> None:
        """Make sure that a worker runs, or is being started."""
        if self._connection and self._connection.ended:  # since the last request
            self._killWorker()
        if self._connection:
            self._connection.stallSeconds = self.stallSeconds
            return
        command = self._command or workerCommand()
        try:
            self._connection = Connection(command, self._environment or workerEnvironment(command))
        except OSError as error:
            reason = f"{command[0]}: {error.strerror or error}"
            self._failure = WorkerError("not_started", f"the worker could not be started ({reason})", _CHECK_COMMAND)
        else:
            self._connection.stallSeconds = self.stallSeconds
            # also at the interpreter's end
            self._close = weakref.finalize(self, self._connection.close)

    def _killWorker(self) -> None:
        """The next request starts a fresh one."""
        if self._connection and self._close:
            self._connection.kill()
            self._close.detach()  # it would keep the connection
        self._connection, self._hello, self._loadingSince = None, {}, None

    def _handle(self, event: Event, request: _Request) -> None:
        request.heard = time.monotonic()
        if isinstance(event, Ended):
            self._failure = self._ended(event)
        elif isinstance(event, Stalled):
            text = f"the worker stopped in the middle of an answer: nothing came for {event.seconds:.0f} s"
            hint = "Look whether its machine and the connection to it are well, then try again"
            self._failure = WorkerError("crashed", text, hint, self._lastLines())
        elif isinstance(event, ProtocolError):
            text = f"the worker sent rubbish ({plain(event)})"
            self._failure = WorkerError("protocol", text, _REPORT, self._lastLines())
        elif not self._hello:
            self._welcome(event.fields, request)
        else:
            self._noteLoading(event)
            if event.id == request.id:  # else a late word about an earlier request
                self._hear(event, request)

    def _noteLoading(self, message: Message) -> None:
        """Also of an earlier request that was cancelled, for the worker goes on with it."""
        loading = message.kind == PROGRESS and message.fields.get("loading")
        if loading is True:
            self._loadingSince = time.monotonic()
        elif loading is False or message.kind != PROGRESS:
            self._loadingSince = None

    def _welcome(self, hello: Mapping[str, Any], request: _Request) -> None:
        protocol = hello.get("protocol")
        if protocol == PROTOCOL:
            self._hello = hello
            if request.killAt is None:
                self._transmit(request)
            return
        older = isinstance(protocol, int) and protocol < PROTOCOL
        self._failure = WorkerError(
            "version",
            f"the worker on {plain(hello.get('host'))} is LLMBoost {plain(hello.get('llmboost'))}"
            f" (protocol {plain(protocol)}),"
            f" this Slicer has LLMBoost {__version__} (protocol {PROTOCOL})",
            "Update LLMBoost for the worker" if older else "Update the extension in Slicer",
        )

    def _transmit(self, request: _Request) -> None:
        """Send the request; to another machine, a model that lies here is named by its digest."""
        model = request.fields.get("model")
        if self.remoteHost and model and not model.startswith(DIGEST_PREFIX):
            with suppress(LLMBoostError):  # else it may lie there
                request.fields["model"] = DIGEST_PREFIX + read_card(find(model)).digest
                request.model = find(model)
        try:
            self._send(request, request.kind, request.fields, request.arrays)
        except ProtocolError as error:
            self._failure = WorkerError("bad_input", str(error))

    def _send(self, request: _Request, kind: str, fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        assert self._connection
        id = next(self._ids)
        self._connection.send(message_parts(Message(id, kind, fields, arrays)))
        request.id, request.sent = id, kind

    def _hear(self, message: Message, request: _Request) -> None:
        fields = message.fields
        if message.kind == PROGRESS:
            if request.killAt is None and fields.get("loading") is not False:  # the end of that is no news
                self._tell(request, _progress(fields))
        elif message.kind == ERROR and fields.get("kind") == "unknown_model" and request.model:
            digest = {"digest": request.fields["model"]}
            self._send(request, "put_model", digest, {"file": np.fromfile(request.model, np.uint8)})
        elif message.kind == ERROR:
            kind, message, hint = (plain(fields.get(key, "")) for key in ("kind", "message", "hint"))
            self._failure = WorkerError(kind, message, hint, self._lastLines())
        elif request.killAt is not None:  # done in spite of cancel
            self._failure = _cancelled()
        elif request.sent != request.kind:  # the model has arrived
            self._transmit(request)
        else:
            self._finish(lambda: request.give(Answer(fields, message.arrays)))

    def _watch(self, request: _Request) -> None:
        """Time-outs, and the news that there are none."""
        now = time.monotonic()
        loading = self._loadingSince is not None and now < self._loadingSince + self.loadSeconds
        if request.killAt is not None and loading and not self._failure:
            self._failure = _cancelled()
        elif request.killAt is not None and now >= request.killAt and not self._failure:
            self._failure = _cancelled()
            self._killWorker()
        elif not self._hello and now >= request.started + self.startSeconds and not self._failure:
            text = f"the worker did not start within {self.startSeconds:.0f} s"
            self._failure = WorkerError("not_started", text, _CHECK_COMMAND, self._lastLines())
        if failure := self._failure:
            if failure.kind in _FATAL:
                self._killWorker()
            if request.killAt is not None:  # whatever went wrong since, nobody waits for the result
                failure = _cancelled()
            self._finish(lambda: request.onError(failure))
        elif now - request.heard >= self.silenceSeconds and now - request.told >= 1:
            seconds = int(now - request.heard)
            text = f"no news from the worker for {seconds} s" if self._hello else f"the worker starts ({seconds} s)"
            self._tell(request, Progress(request.progress.fraction, text, request.progress.memory))

    def _tell(self, request: _Request, progress: Progress) -> None:
        request.told, request.progress = time.monotonic(), progress
        request.onProgress(progress)

    def _finish(self, callback: Callable[[], None]) -> None:
        self._request = self._failure = None
        if self._timer:
            self._timer.stop()
        callback()

    def _ended(self, event: Ended) -> WorkerError:
        details = self._lastLines()
        how = f"signal {-event.status}" if event.status < 0 else f"exit status {event.status}"
        last = f"{how}: {details.splitlines()[-1]}" if details else how
        if not self._hello:
            return WorkerError("not_started", f"the worker could not be started ({last})", _CHECK_COMMAND, details)
        hint = "It may have needed more memory than there is; limit it to a region of interest, or try again"
        return WorkerError("crashed", f"the worker ended unexpectedly ({last})", hint, details)

    def _lastLines(self) -> str:
        return "\n".join(map(plain, self._connection.lastLines)) if self._connection else ""


def plain(text: Any) -> str:
    """What a worker, which may be another machine's, wants to be shown: in one line, nothing invisible, not endless."""
    # of other values, the text may be endless
    shown = str(text)[:MAX_TEXT] if isinstance(text, str | int | float | Exception | None) else "?"
    return " ".join("".join(c if c.isprintable() else " " for c in shown).split())


def _progress(fields: Mapping[str, Any]) -> Progress:
    """What a worker tells, as far as it makes sense."""
    fraction, memory, event = (fields.get(key) for key in ("fraction", "memory", "event"))
    return Progress(
        float(fraction) if type(fraction) in (int, float) and 0 <= fraction <= 1 else None,
        plain(fields.get("text", "")),
        memory if type(memory) is int and memory >= 0 else None,
        event if isinstance(event, dict) else None,
    )


def _cancelled() -> WorkerError:
    return WorkerError("cancelled", "cancelled")
