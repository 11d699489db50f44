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
from typing import Any, BinaryIO

import numpy as np

from . import __version__
from .errors import LLMBoostError
from .files import printable
from .wire import (
    ANSWER,
    ERROR,
    HELLO,
    PROGRESS,
    PROTOCOL,
    Message,
    ProtocolError,
    StreamEnded,
    read_message,
    write_message,
)

PROGRESS_SECONDS = 0.1
IDLE_SECONDS = 600.0
MAX_IDLE_SECONDS = 86400.0 * 365

Answer = tuple[Mapping[str, Any], Mapping[str, np.ndarray]]  # fields and arrays


class RequestError(Exception):
    """A request that cannot be answered, of a kind that Slicer knows; ``hint`` says what to do."""

    def __init__(self, kind: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.kind, self.hint = kind, hint


class Job:
    """A request at work: what a handler is given.

    Attributes:
        fields, arrays: of the request.
        cancelled: nobody waits for the answer any more.
        finishing: the answer is wanted soon, with what there is so far.
    """

    def __init__(
        self,
        message: Message,
        send: Callable[[Message], None],
        cancelled: Callable[[], bool],
        finishing: Callable[[], bool] = lambda: False,
    ) -> None:
        self.id, self.fields, self.arrays = message.id, message.fields, message.arrays
        self.cancelled, self.finishing = cancelled, finishing
        self._send = send
        self._last = -PROGRESS_SECONDS

    def progress(
        self,
        fraction: float | None,
        text: str,
        memory: int | None = None,
        event: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell Slicer the fraction done (None: unknown), what goes on, and the bytes it will take if known.

        At most 10 times a second; what comes sooner is dropped, but for a trainer's events other than steps.
        """
        now = time.monotonic()
        rare = event is not None and event.get("event") != "step"
        if rare or now - self._last >= PROGRESS_SECONDS:
            self._last = now
            fields = {"fraction": fraction, "text": text, "memory": memory, "event": event}
            self._send(Message(self.id, PROGRESS, fields, {}))

    @contextmanager
    def loading(self, text: str) -> Iterator[None]:
        """Do what cannot be interrupted and serves the next request, too, such as importing torch.

        Slicer is told, so that it neither waits for the end of this when the request is cancelled, nor kills a worker
        that soon is warm.

        Raises:
            RequestError: cancelled meanwhile.
        """
        fields = {"fraction": None, "text": text, "memory": None, "event": None}
        self._send(Message(self.id, PROGRESS, {**fields, "loading": True}, {}))
        try:
            yield
        finally:
            self._send(Message(self.id, PROGRESS, {**fields, "loading": False}, {}))
        if self.cancelled():
            raise RequestError("cancelled", "cancelled")


Handler = Callable[[Job], Answer]


class Service:
    """The worker's loop.

    Requests ``hello`` (field ``idle_seconds``: after how long without requests ``release`` is called), ``cancel`` and
    ``finish`` (with the id of the request meant) and ``shut_down`` are answered here, all others by ``handlers``.
    """

    def __init__(self, requests: BinaryIO, answers: BinaryIO, handlers: Mapping[str, Handler]) -> None:
        self._input, self._output = requests, answers
        self._handlers = {HELLO: self._hello, **handlers}
        self._requests: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._cancelled: set[int] = set()
        self._finishing = 0
        self._idle_seconds = IDLE_SECONDS

    def run(self) -> None:
        """Say hello, then answer until the input ends; does not return."""
        self._output.write(b"\n")  # ends whatever a login may have printed
        self._send(Message(0, HELLO, introduction(), {}))
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
                if message.kind == "cancel":
                    self._cancelled.add(message.id)
                elif message.kind == "finish":
                    self._finishing = message.id
                elif message.kind == "shut_down":
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
            if message.kind not in self._handlers:
                raise RequestError(
                    "bad_input", f"the worker knows no request '{message.kind}'", "Update LLMBoost there"
                )
            if not cancelled():
                job = Job(message, self._send, cancelled, lambda: self._finishing == message.id)
                fields, arrays = self._handlers[message.kind](job)
                if not cancelled():
                    return Message(message.id, ANSWER, fields, arrays)
            failure = _failure("cancelled", "cancelled")
        except Exception as error:
            failure = _failure("cancelled", "cancelled") if cancelled() else describe(error)
        if failure["kind"] == "out_of_memory":
            self._release()  # outside the except clause, whose traceback holds arrays
        return Message(message.id, ERROR, failure, {})

    def _send(self, message: Message) -> None:
        try:
            write_message(self._output, message)
        except OSError:
            _leave(0)
        except ProtocolError as error:  # an answer that no frame can hold
            traceback.print_exc()
            write_message(self._output, Message(message.id, ERROR, describe(error), {}))

    def _release(self) -> None:
        if "release" in self._handlers:
            self._handlers["release"](Job(Message(0, "release", {}, {}), self._send, lambda: False))

    def _hello(self, job: Job) -> Answer:
        seconds = job.fields.get("idle_seconds", self._idle_seconds)
        # not a comparison alone: True is a number, too, and an integer may be too long for one
        if type(seconds) not in (int, float) or not 0 < seconds <= MAX_IDLE_SECONDS:
            given = printable(repr(seconds))
            raise RequestError("bad_input", f"idle_seconds is {given}", "Give seconds, more than 0 and at most a year")
        self._idle_seconds = float(seconds)
        return introduction(), {}


def introduction() -> dict[str, Any]:
    """The fields of hello. Versions come from what is installed, for importing torch takes seconds."""
    return {
        "protocol": PROTOCOL,
        "pid": os.getpid(),
        "host": platform.node(),
        "llmboost": __version__,
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "monai")},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe(error: Exception) -> dict[str, str]:
    """The fields of an error: kind, message and hint."""
    text = [*str(error).strip().splitlines(), ""][0]
    if isinstance(error, RequestError):
        return _failure(error.kind, str(error), error.hint)
    if isinstance(error, LLMBoostError):
        return _failure("bad_input", str(error))
    # torch (on CPU and GPU) and ITK report a lack of memory as RuntimeError
    scarce = isinstance(error, RuntimeError) and ("out of memory" in str(error) or "allocate" in str(error))
    if scarce or isinstance(error, MemoryError):
        hint = "Limit the computation to a region of interest, close other programs, or choose the CPU"
        return _failure("out_of_memory", f"the memory is too small ({text or 'out of memory'})", hint)
    traceback.print_exception(error)
    return _failure("internal", f"{type(error).__name__}: {text}", "This is a defect of LLMBoost; please report it")


def _failure(kind: str, message: str, hint: str = "") -> dict[str, str]:
    return {"kind": kind, "message": message, "hint": hint}


def _leave(status: int) -> None:
    """End at once, whatever the other thread computes: nobody is there for its result."""
    sys.stderr.flush()
    os._exit(status)
