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
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from llmboost.wire import Frame, ProtocolError, StreamEnded, read_frame, read_hello

from .launcher import killTree, startProcess

BUFFER = 2**16
LOG_BYTES = 2**14
LOG_LINES = 20
WAIT = 0.001  # seconds in which the threads run
PIPE_WAIT = 0.03  # the same while an array arrives through a pipe


@dataclass(frozen=True)
class Ended:
    """The worker is gone, with this exit status (negative: the signal that killed it)."""

    status: int


Event = Frame | ProtocolError | Ended


class Connection:
    """A worker that was just started; its hello is the first event. Raises OSError if there is no such program."""

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
        with suppress(queue.Empty):
            return self._events.get(timeout=max(seconds, patience))
        return None

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
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill what runs on this machine for the worker. A remote worker leaves as its input ends with that."""
        killTree(self._process)
        self._outbox.put(None)

    def _read(self) -> None:
        stream = io.BufferedReader(self._stream, BUFFER)
        rubbish: ProtocolError | None = None
        try:
            frame = read_hello(stream)
            while frame:
                self._events.put(frame)
                frame = read_frame(stream)
        except (StreamEnded, OSError):  # the worker ended while one side was sending
            pass
        except ProtocolError as error:
            rubbish = error
            self.kill()
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:  # closed its output, but lives
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
        self._end = end

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        # an array as a whole: the call returns, and needs Python's lock, once
        return self._end.recv_into(view, len(view), socket.MSG_WAITALL if len(view) > BUFFER else 0)

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
        self._requests, self._answers = requests, answers
        self.arriving = self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, view: Any) -> int:
        self.arriving = len(view) > BUFFER
        count = self._answers.readinto(view)
        self.ended = not count
        return count

    def write(self, view: Any) -> int:
        return self._requests.write(view)

    def endInput(self) -> None:
        with suppress(OSError):
            self._requests.close()
