"""Answering requests one after the other, while a second thread listens for cancel and for the end of the input."""

from __future__ import annotations

import os
import platform
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from typing import Any, BinaryIO, Generic, TypeVar

from . import __version__
from .errors import LLMBoostError
from .files import printable
from .messages.codec import Answer, Request, from_message, to_message
from .messages.words import ErrorKind, RequestKind
from .messages.worker import (
    IDLE_SECONDS,
    Failure,
    Hello,
    HelloRequest,
    Progress,
    ReleaseRequest,
    StepEvent,
    TrainingEvent,
)
from .wire import HELLO, PROTOCOL, Message, ProtocolError, StreamEnded, read_message, write_message

PROGRESS_SECONDS = 0.1
MAX_IDLE_SECONDS = 86400.0 * 365

R = TypeVar("R", bound=Request[Any], covariant=True)


class RequestError(Exception):
    """A request that cannot be answered, of a kind that Slicer knows; ``hint`` says what to do."""

    def __init__(self, kind: ErrorKind, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.kind, self.hint = kind, hint


class Job(Generic[R]):
    """A request at work: what a handler is given.

    Attributes:
        cancelled: nobody waits for the answer any more.
        finishing: the answer is wanted soon, with what there is so far.
    """

    def __init__(
        self,
        request: R,
        id: int = 0,
        send: Callable[[Message], None] = lambda message: None,
        cancelled: Callable[[], bool] = lambda: False,
        finishing: Callable[[], bool] = lambda: False,
    ) -> None:
        self.request, self.id = request, id
        self.cancelled, self.finishing = cancelled, finishing
        self._send = send
        self._last = -PROGRESS_SECONDS

    def progress(
        self, fraction: float | None, text: str, memory: int | None = None, event: TrainingEvent | None = None
    ) -> None:
        """Tell Slicer the fraction done (None: unknown), what goes on, and the bytes it will take if known.

        At most 10 times a second; what comes sooner is dropped, but for a training's events other than steps.
        """
        now = time.monotonic()
        rare = event is not None and not isinstance(event, StepEvent)
        if rare or now - self._last >= PROGRESS_SECONDS:
            self._last = now
            self._send(to_message(self.id, Progress(fraction, text, memory, event)))

    @contextmanager
    def loading(self, text: str) -> Iterator[None]:
        """Do what cannot be interrupted and serves the next request, too, such as importing torch.

        Slicer is told, so that it neither waits for the end of this when the request is cancelled, nor kills a worker
        that soon is warm.

        Raises:
            RequestError: cancelled meanwhile.
        """
        self._send(to_message(self.id, Progress(text=text, loading=True)))
        try:
            yield
        finally:
            self._send(to_message(self.id, Progress(text=text, loading=False)))
        if self.cancelled():
            raise RequestError(ErrorKind.CANCELLED, "cancelled")


Handlers = Mapping[type[Request[Any]], Callable[[Job[Any]], Answer]]


class Service:
    """The worker's loop.

    Requests ``hello``, ``cancel``, ``finish`` and ``shut_down`` are answered here, all others by ``handlers``.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO, handlers: Handlers) -> None:
        self._input, self._output = requests, answers
        self._handlers: Handlers = {HelloRequest: self._hello, **handlers}
        self._kinds = {kind.sent_as: kind for kind in self._handlers}
        self._requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._finishing = 0
        self._idle_seconds = IDLE_SECONDS

    def run(self) -> None:
        """Say hello, then answer until the input ends; does not return."""
        self._output.write(b"\n")  # ends whatever a login may have printed
        self._send(to_message(0, introduction(), HELLO))
        threading.Thread(target=self._listen, daemon=True).start()
        patience: float | None = self._idle_seconds
        while True:
            try:
                message = self._requests.get(timeout=patience)
            except queue.Empty:
                self._release()
                patience = None  # there is nothing more to release
                continue
            self._send(self._answer(message))
            self._cancelled.discard(message.id)
            patience = self._idle_seconds
            del message  # and its arrays, while there is nothing to do

    def _listen(self) -> None:
        try:
            while message := read_message(self._input):
                if message.kind == RequestKind.CANCEL:
                    self._cancelled.add(message.id)
                elif message.kind == RequestKind.FINISH:
                    self._finishing = message.id
                elif message.kind == RequestKind.SHUT_DOWN:
                    break
                else:
                    self._requests.put(message)
                del message
            _leave(0)
        except (StreamEnded, OSError):  # the parent ended while it sent something, or with answers unread
            _leave(0)
        except ProtocolError as error:
            print(f"llmboost.worker: {error}", file=sys.stderr)  # noqa: T201  # standard error is the worker's log
            _leave(1)

    def _answer(self, message: Message) -> Message:
        def cancelled() -> bool:
            return message.id in self._cancelled

        try:
            if message.kind not in self._kinds:
                text = f"the worker knows no request '{printable(message.kind)}'"
                raise RequestError(ErrorKind.BAD_INPUT, text, "Update LLMBoost there")
            if not cancelled():
                kind = self._kinds[message.kind]
                request = from_message(kind, message)
                job = Job(request, message.id, self._send, cancelled, lambda: self._finishing == message.id)
                answer = self._handlers[kind](job)
                if not cancelled():
                    return to_message(message.id, answer)
            failure = _CANCELLED
        except Exception as error:
            failure = _CANCELLED if cancelled() else describe(error)
        if failure.kind == ErrorKind.OUT_OF_MEMORY:
            self._release()  # outside the except clause, whose traceback holds arrays
        return to_message(message.id, failure)

    def _send(self, message: Message) -> None:
        try:
            write_message(self._output, message)
        except OSError:
            _leave(0)
        except ProtocolError as error:  # an answer that no frame can hold
            traceback.print_exc()
            write_message(self._output, to_message(message.id, describe(error)))

    def _release(self) -> None:
        if release := self._handlers.get(ReleaseRequest):
            release(Job(ReleaseRequest()))

    def _hello(self, job: Job[HelloRequest]) -> Hello:
        seconds = job.request.idle_seconds
        if not 0 < seconds <= MAX_IDLE_SECONDS:
            text, hint = f"idle_seconds is {seconds}", "Give seconds, more than 0 and at most a year"
            raise RequestError(ErrorKind.BAD_INPUT, text, hint)
        self._idle_seconds = seconds
        return introduction()


def introduction() -> Hello:
    """What hello tells. Versions come from what is installed, for importing torch takes seconds."""
    versions = (_version(name) for name in ("torch", "monai"))
    return Hello(PROTOCOL, os.getpid(), platform.node(), __version__, platform.python_version(), *versions)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe(error: Exception) -> Failure:
    """What Slicer is told of it."""
    text = [*str(error).strip().splitlines(), ""][0]
    if isinstance(error, RequestError):
        return Failure(error.kind, str(error), error.hint)
    if isinstance(error, LLMBoostError):
        return Failure(ErrorKind.BAD_INPUT, str(error))
    # torch (on CPU and GPU) and ITK report a lack of memory as RuntimeError
    scarce = isinstance(error, RuntimeError) and ("out of memory" in str(error) or "allocate" in str(error))
    if scarce or isinstance(error, MemoryError):
        hint = "Limit the computation to a region of interest, close other programs, or choose the CPU"
        return Failure(ErrorKind.OUT_OF_MEMORY, f"the memory is too small ({text or 'out of memory'})", hint)
    traceback.print_exception(error)
    hint = "This is a defect of LLMBoost; please report it"
    return Failure(ErrorKind.INTERNAL, f"{type(error).__name__}: {text}", hint)


_CANCELLED = Failure(ErrorKind.CANCELLED, "cancelled")


def _leave(status: int) -> None:
    """End at once, whatever the other thread computes: nobody is there for its result."""
    sys.stderr.flush()
    os._exit(status)
