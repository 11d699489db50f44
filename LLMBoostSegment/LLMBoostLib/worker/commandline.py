"""Command lines that Slicer runs and waits for, with its windows alive."""

from __future__ import annotations

import queue
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import slicer

from llmboost.errors import LLMBoostError

from .launcher import killTree, startProcess

TICK_SECONDS = 0.05
LAST_SECONDS = 10


class Cancelled(LLMBoostError):
    """The user wants no more of it."""


def runCommand(
    command: Sequence[str],
    environment: Mapping[str, str],
    onLine: Callable[[str], None],
    shouldCancel: Callable[[], bool] = lambda: False,
    keepOpen: Sequence[int] = (),
) -> int:
    """Run a program until it ends; for the main thread only, as Slicer's events are handled meanwhile.

    Args:
        onLine: is given each line that the program prints, errors too.
        shouldCancel: asked several times a second; True ends the program and those that it started.
        keepOpen: open files that it inherits; not on Windows.

    Returns:
        its exit status.

    Raises:
        Cancelled: ``shouldCancel`` said so.
        OSError: it cannot be started.
    """
    process = startProcess(
        list(command),
        {**environment, "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=keepOpen,
    )
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line.decode("utf-8", "replace").rstrip())
        lines.put(None)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        while True:
            if shouldCancel():
                raise Cancelled("cancelled")
            try:
                line = lines.get(timeout=TICK_SECONDS)  # yields Python's global lock to the reader
            except queue.Empty:
                slicer.app.processEvents()
                continue
            if line is None:
                return process.wait()
            onLine(line)
    finally:
        killTree(process)  # of no effect on one that has ended
        reader.join(LAST_SECONDS)  # until the last of them is gone, and writes no more files
        with suppress(subprocess.TimeoutExpired):
            process.wait(LAST_SECONDS)  # else the system keeps its entry
