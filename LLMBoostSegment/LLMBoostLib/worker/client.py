"""The Slicer side of the seam: requests to the worker process, and what comes back."""

from __future__ import annotations

import platform
import sys
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llmboost.card import read_card
from llmboost.errors import LLMBoostError
from llmboost.library import find
from llmboost.messages.codec import A, Answer, Request, from_message, sensible, to_message
from llmboost.messages.words import ErrorKind, RequestKind
from llmboost.messages.worker import Failure, Hello, ModelRequest, Progress, PutModelRequest
from llmboost.wire import ERROR, PROGRESS, PROTOCOL, Message, ProtocolError, message_parts

from . import troubles
from .connection import STALL_SECONDS, Connection, Ended, Event, Stalled
from .launcher import workerCommand, workerEnvironment
from .troubles import WorkerError, cancelled, plain

TICK_MS = 20
DIGEST_PREFIX = "sha256:"

T = TypeVar("T")

# a fresh worker is needed
_FATAL = {ErrorKind.NOT_STARTED, ErrorKind.VERSION, ErrorKind.CRASHED, ErrorKind.PROTOCOL}


def _ignore(_: Any) -> None:
    pass


@dataclass(eq=False)
class _Call:
    request: Request[Any]
    onProgress: Callable[[Progress], None]
    onDone: Callable[[Any], None]
    onError: Callable[[Exception], None]
    id: int = 0  # of the message sent last, none yet
    sent: Request[Any] | None = None  # and what it was
    model: Path | None = None  # its file, where a remote worker knows the model by digest only
    started: float = 0.0
    told: float = 0.0  # when onProgress was called last
    heard: float = 0.0  # when the worker was heard last
    progress: Progress = field(default_factory=Progress)
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
        self._hello: Hello | None = None
        self._loadingSince: float | None = None  # when the worker began what it cannot interrupt
        self._call: _Call | None = None
        self._failure: WorkerError | None = None
        self._ids = count(1)
        self._timer = self._makeTimer()
        _clients.add(self)

    def start(
        self,
        request: Request[A],
        onProgress: Callable[[Progress], None] | None = None,
        onDone: Callable[[A], None] | None = None,
        onError: Callable[[Exception], None] | None = None,
    ) -> None:
        """Send a request; one of ``onDone`` and ``onError`` will be called, once.

        What ``onDone`` raises, ``onError`` is given. The request's arrays must not change until then. A worker is
        started if none runs.

        Raises:
            WorkerError: another request runs, of this client or another one (kind "busy").
        """
        if running := next((client._call.request.sent_as for client in _clients if client._call), None):
            raise troubles.busy(running)
        now = time.monotonic()
        self._failure = None
        callbacks = onProgress or _ignore, onDone or _ignore, onError or _ignore
        self._call = _Call(request, *callbacks, started=now, told=now, heard=now)
        self._connect()
        if self._hello:
            self._transmit(self._call)
        if self._timer:
            self._timer.start()

    def call(self, request: Request[A], onProgress: Callable[[Progress], None] | None = None) -> A:
        """Send a request and wait for its answer; in Slicer, the GUI stays alive meanwhile.

        Raises:
            WorkerError: the request failed.
        """
        return self.wait(partial(self.start, request, onProgress))

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
            if self._call:
                onError = self._call.onError
                self._finish(lambda: onError(cancelled()))
            raise
        if errors:
            raise errors[0]
        return found[0]

    def finish(self) -> None:
        """Ask the request to come to its end with what it has so far; the answer comes as usual."""
        call = self._call
        if call and call.id and call.killAt is None and self._connection:
            self._connection.send(message_parts(Message(call.id, RequestKind.FINISH, {}, {})))

    def poll(self, seconds: float = 0.0) -> None:
        """Wait for news, so long at most, and call the callbacks. In Slicer a timer does this, else a script's loop."""
        event = self._connection.receive(seconds) if self._connection else None
        while event and self._call and not self._failure:
            self._handle(event, self._call)
            event = self._connection.receive() if self._connection and self._call else None
        if self._call:
            self._watch(self._call)

    def cancel(self) -> None:
        """Stop the request: its worker is asked, and killed where that does not help; ``onError`` tells "cancelled"."""
        call = self._call
        if not call or call.killAt is not None:
            return
        call.killAt = time.monotonic() + self.cancelSeconds
        if call.id and self._connection:
            self._connection.send(message_parts(Message(call.id, RequestKind.CANCEL, {}, {})))
        elif not self._failure:  # nothing was sent, and who just starts is there for the next request
            self._failure = cancelled()

    @property
    def busy(self) -> bool:
        """Whether a request of this client runs."""
        return self._call is not None

    def haveMachineToItself(self) -> None:
        """End the idle workers of other clients, which keep models in memory; they start again when they are needed."""
        for client in [client for client in _clients if client is not self and not client.busy]:
            client.shutDown()

    @property
    def remoteHost(self) -> str:
        """The other machine that the worker runs on, known after a first request; empty for this machine."""
        host = plain(self._hello.host) if self._hello else ""
        return "" if host == platform.node() else host

    def shutDown(self) -> None:
        """End the worker; a request that runs is cancelled."""
        if self._close:
            self._close()
        self._connection = self._hello = self._loadingSince = None
        if self._call:
            onError = self._call.onError
            self._finish(lambda: onError(cancelled()))

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
        return self._hello is not None and self._connection is not None and not self._connection.ended

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
            self._failure = troubles.couldNotStart(reason)
        else:
            self._connection.stallSeconds = self.stallSeconds
            # also at the interpreter's end
            self._close = weakref.finalize(self, self._connection.close)

    def _killWorker(self) -> None:
        """The next request starts a fresh one."""
        if self._connection and self._close:
            self._connection.kill()
            self._close.detach()  # it would keep the connection
        self._connection = self._hello = self._loadingSince = None

    def _handle(self, event: Event, call: _Call) -> None:
        call.heard = time.monotonic()
        if isinstance(event, Ended):
            self._failure = self._ended(event)
        elif isinstance(event, Stalled):
            self._failure = troubles.stalled(event.seconds, self._lastLines())
        elif isinstance(event, ProtocolError):
            self._failure = self._rubbish(event)
        elif not self._hello:
            self._welcome(sensible(Hello, event), call)
        else:
            progress = sensible(Progress, event) if event.kind == PROGRESS else None
            self._noteLoading(progress)
            if event.id != call.id:  # a late word about an earlier request
                return
            if progress is None:
                self._hear(event, call)
            elif call.killAt is None and progress.loading is not False:  # the end of that is no news
                self._tell(call, _shown(progress))

    def _rubbish(self, error: Exception) -> WorkerError:
        return troubles.rubbish(error, self._lastLines())

    def _noteLoading(self, progress: Progress | None) -> None:
        """Also of an earlier request that was cancelled, for the worker goes on with it."""
        if progress and progress.loading:
            self._loadingSince = time.monotonic()
        elif progress is None or progress.loading is False:
            self._loadingSince = None

    def _welcome(self, hello: Hello, call: _Call) -> None:
        if hello.protocol == PROTOCOL:
            self._hello = hello
            if call.killAt is None:
                self._transmit(call)
            return
        self._failure = troubles.ofAnotherVersion(hello)

    def _transmit(self, call: _Call) -> None:
        """Send the request; to another machine, a model that lies here is named by its digest."""
        request = call.request
        if self.remoteHost and isinstance(request, ModelRequest) and not request.model.startswith(DIGEST_PREFIX):
            with suppress(LLMBoostError):  # else it may lie there
                path = find(request.model)
                call.request = replace(request, model=DIGEST_PREFIX + read_card(path).digest)
                call.model = path
        try:
            self._send(call, call.request)
        except ProtocolError as error:
            self._failure = WorkerError(ErrorKind.BAD_INPUT, str(error))

    def _send(self, call: _Call, request: Request[Any]) -> None:
        assert self._connection
        id = next(self._ids)
        self._connection.send(message_parts(to_message(id, request)))
        call.id, call.sent = id, request

    def _hear(self, message: Message, call: _Call) -> None:
        """An answer or an error."""
        if message.kind == ERROR:
            failure = sensible(Failure, message)
            if failure.kind == ErrorKind.UNKNOWN_MODEL and call.model and isinstance(call.request, ModelRequest):
                self._send(call, PutModelRequest(call.request.model, np.fromfile(call.model, np.uint8)))
                return
            text, hint = plain(failure.message), plain(failure.hint)
            self._failure = WorkerError(failure.kind, text, hint, self._lastLines())
        elif call.killAt is not None:  # done in spite of cancel
            self._failure = cancelled()
        elif call.sent is not call.request:  # the model has arrived
            self._transmit(call)
        else:
            try:
                answer = from_message(call.request.answer(), message)
            except LLMBoostError as error:
                self._failure = self._rubbish(error)
            else:
                self._finish(lambda: call.give(answer))

    def _watch(self, call: _Call) -> None:
        """Time-outs, and the news that there are none."""
        now = time.monotonic()
        loading = self._loadingSince is not None and now < self._loadingSince + self.loadSeconds
        if call.killAt is not None and loading and not self._failure:
            self._failure = cancelled()
        elif call.killAt is not None and now >= call.killAt and not self._failure:
            self._failure = cancelled()
            self._killWorker()
        elif not self._hello and now >= call.started + self.startSeconds and not self._failure:
            self._failure = troubles.startedTooLate(self.startSeconds, self._lastLines())
        if failure := self._failure:
            if failure.kind in _FATAL:
                self._killWorker()
            if call.killAt is not None:  # whatever went wrong since, nobody waits for the result
                failure = cancelled()
            self._finish(lambda: call.onError(failure))
        elif now - call.heard >= self.silenceSeconds and now - call.told >= 1:
            text = troubles.silence(int(now - call.heard), hasBegun=self._hello is not None)
            self._tell(call, Progress(call.progress.fraction, text, call.progress.memory))

    def _tell(self, call: _Call, progress: Progress) -> None:
        call.told, call.progress = time.monotonic(), progress
        call.onProgress(progress)

    def _finish(self, callback: Callable[[], None]) -> None:
        self._call = self._failure = None
        if self._timer:
            self._timer.stop()
        callback()

    def _ended(self, event: Ended) -> WorkerError:
        return troubles.ended(event.status, self._lastLines(), hasBegun=self._hello is not None)

    def _lastLines(self) -> str:
        return "\n".join(map(plain, self._connection.lastLines)) if self._connection else ""


def _shown(progress: Progress) -> Progress:
    """What a worker tells, as far as it makes sense."""
    fraction, memory = progress.fraction, progress.memory
    return replace(
        progress,
        fraction=fraction if fraction is not None and 0 <= fraction <= 1 else None,
        text=plain(progress.text),
        memory=memory if memory is not None and memory >= 0 else None,
    )
