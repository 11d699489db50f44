"""A worker process and the threads that carry its streams.

Slicer's event loop keeps Python's global lock between ticks, so a thread gets on only while the GUI's thread waits in
:meth:`Connection.receive`. Hence an array must not need the lock until it is complete: the streams are a socket where
the system allows it, which sends and receives any amount in one call. Through pipes, as on Windows, an array arrives in
pieces, and the GUI waits a little longer while that lasts.
"""

from __future__ import annotations

import io
import queue
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llmboost.messages.codec import sensible
from llmboost.messages.worker import Hello
from llmboost.wire import Message, ProtocolError, StreamEnded, read_hello, read_message

from .launcher import Process, descendant, killTree, startProcess

BUFFER = 2**16
LOG_BYTES = 2**14
LOG_LINES = 20
STALL_SECONDS = 30.0
TICK_SECONDS = 0.1  # no more of the time between two looks counts as silence: the threads may not have run in it
WAIT = 0.001  # seconds in which the threads run
PIPE_WAIT = 0.03  # the same while an array arrives through a pipe


@dataclass(frozen=True)
class Ended:
    """The worker is gone, with this exit status (negative: the signal that killed it)."""

    status: int


@dataclass(frozen=True)
class Stalled:
    """The worker fell silent in the middle of a frame, for so many seconds, and was killed."""

    seconds: float


Event = Message | ProtocolError | Stalled | Ended


class Connection:
    """A worker that was just started; its hello is the first event. Raises OSError if there is no such program.

    Attributes:
        stallSeconds: how long the worker may send nothing between the first byte of a frame and its last one.
    """

    def __init__(
        self, command: list[str], environment: dict[str, str], useSocket: bool = sys.platform != "win32"
    ) -> None:
        self._stream: _Socket | _Pipes
        if useSocket:
            ours, theirs = socket.socketpair()
            with theirs:
                self._stream = _Socket(ours)
                try:
                    streams: dict[str, Any] = {"stdin": theirs, "stdout": theirs, "stderr": subprocess.PIPE}
                    self._process = startProcess(command, environment, **streams)
                except OSError:
                    ours.close()
                    raise
        else:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            self._process = startProcess(command, environment, **pipes)
            self._stream = _Pipes(self._process.stdin, self._process.stdout)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[list[memoryview] | None] = queue.SimpleQueue()
        self._log = b""
        self._worker: Process | None = None
        self._inFrame = False
        self.stallSeconds = STALL_SECONDS
        self._looked, self._silence, self._received = time.monotonic(), 0.0, 0
        self._drain = threading.Thread(target=self._readLog, daemon=True)
        for thread in (
            self._drain,
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._write, daemon=True),
        ):
            thread.start()

    def send(self, parts: list[memoryview]) -> None:
        """Send bytes, in the background."""
        self._outbox.put(parts)

    def receive(self, seconds: float = 0.0) -> Event | None:
        """The next event, or None if none comes within ``seconds`` or the little time that the threads need."""
        patience = PIPE_WAIT if self._stream.arriving else WAIT
        try:
            return self._events.get(timeout=max(seconds, patience))
        except queue.Empty:
            return self._stalled()
        finally:
            self._looked = time.monotonic()

    def _stalled(self) -> Stalled | None:
        """Kill a worker that is silent too long in the middle of a frame: what it promised never comes."""
        received = self._stream.received
        if not self._inFrame or received != self._received:
            self._received, self._silence = received, 0.0
            return None
        self._silence += min(time.monotonic() - self._looked, TICK_SECONDS)
        if self._silence < self.stallSeconds:
            return None
        self.kill()
        return Stalled(self.stallSeconds)

    @property
    def ended(self) -> bool:
        """Whether the worker has gone, even if no thread could notice that yet."""
        return self._stream.ended

    @property
    def lastLines(self) -> list[str]:
        """The end of what the worker printed."""
        return [line for line in self._log.decode(errors="replace").splitlines() if line.strip()][-LOG_LINES:]

    def close(self, seconds: float = 1.0) -> None:
        """End the worker: it leaves when its input ends, and is killed if it has not done so within ``seconds``."""
        self._outbox.put(None)
        end = time.monotonic() + seconds
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        while self._workerRuns and time.monotonic() < end:  # its launcher may have been killed
            time.sleep(WAIT)
        if self._workerRuns or self._process.poll() is None:
            self.kill()

    def kill(self) -> None:
        """Kill what runs on this machine for the worker. A remote worker leaves as its input ends with that."""
        killTree(self._process, self._worker)
        self._outbox.put(None)

    @property
    def _workerRuns(self) -> bool:
        return self._worker is not None and self._worker.runs

    def _read(self) -> None:
        stream = io.BufferedReader(self._stream, BUFFER)
        rubbish: ProtocolError | None = None
        try:
            message = read_hello(stream)
            if message:
                self._worker = descendant(self._process, sensible(Hello, message).pid)
            while message:
                self._events.put(message)
                self._inFrame = False
                self._inFrame = bool(stream.peek(1))  # waits for as long as the worker computes
                message = read_message(stream)
        except (StreamEnded, OSError):  # the worker ended while one side was sending
            pass
        except Exception as error:  # whatever a stranger sent, the client must hear of the end
            rubbish = error if isinstance(error, ProtocolError) else ProtocolError(f"{type(error).__name__}: {error}")
            self.kill()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:  # closed its output, but lives
            self.kill()
        if self._workerRuns:  # the same below a launcher that has ended
            self.kill()
        status = self._process.wait()
        self._drain.join(1)
        self._events.put(rubbish or Ended(status))

    def _write(self) -> None:
        try:
            while parts := self._outbox.get():
                for part in parts:
                    while part:
                        part = part[self._stream.write(part) :]
        except OSError:  # the worker is gone, which the reader notices
            pass
        finally:
            self._stream.endInput()

    def _readLog(self) -> None:
        assert self._process.stderr
        with self._process.stderr as stream:
            while data := stream.read(BUFFER):
                self._log = (self._log + data)[-LOG_BYTES:]


class _Socket(io.RawIOBase):
    """Our end of the worker's standard input and output."""

    arriving = False  # in pieces, that is

    def __init__(self, end: socket.socket) -> None:
        self._end, self.received = end, 0
        # a call that waits for a whole array gives what came so far after that time, which tells silence from patience
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", 1, 0))

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        # an array as a whole: the call returns, and needs Python's lock, once
        flags = socket.MSG_WAITALL if len(view) > BUFFER else 0
        while True:
            with suppress(BlockingIOError):  # nothing came for a second
                count = self._end.recv_into(view, len(view), flags)
                self.received += count
                return count

    def write(self, view: Any) -> int:
        self._end.sendall(view)
        return len(view)

    @property
    def ended(self) -> bool:
        try:
            return not self._end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError as error:
            return not isinstance(error, BlockingIOError)  # that is a silent worker

    def endInput(self) -> None:
        with suppress(OSError):  # not connected any more
            self._end.shutdown(socket.SHUT_WR)


class _Pipes(io.RawIOBase):
    """The worker's standard input and output where no socket can take their place."""

    def __init__(self, requests: Any, answers: Any) -> None:
        self._requests, self._answers, self.received = requests, answers, 0
        self.arriving = self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        self.arriving = len(view) > BUFFER
        count = self._answers.readinto(view)
        self.received += count
        self.ended = not count
        return count

    def write(self, view: Any) -> int:
        return self._requests.write(view)

    def endInput(self) -> None:
        with suppress(OSError):
            self._requests.close()
