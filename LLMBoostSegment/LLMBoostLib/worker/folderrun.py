"""Folders of cases: the command line in a process of its own, for the files need not enter the scene."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import slicer

from llmboost.errors import LLMBoostError

from .launcher import defaultCommand, killTree, startProcess, workerCommand, workerEnvironment

_ERROR = "error: "  # begins the command line's last line when nothing could be done


def runFolder(arguments: Sequence[str], output: Path, onLine: Callable[[str], None]) -> list[dict[str, Any]]:
    """Run ``llmboost`` with the worker's Python and wait; Slicer's windows stay alive meanwhile.

    A worker on another machine does not see this machine's folders: then Slicer's own Python is taken.

    Args:
        arguments: of the command line, the command first.
        output: the folder named in them.
        onLine: is given what the command line prints.

    Returns:
        the rows of ``output``/summary.json.

    Raises:
        LLMBoostError: it ended without a summary of all cases.
    """
    worker = workerCommand()
    if len(worker) != 3:  # more than [python, -m, llmboost.worker], such as ssh
        worker = defaultCommand()
    process = startProcess(
        [*worker[:-1], "llmboost", *arguments],
        {**workerEnvironment(worker), "PYTHONIOENCODING": "utf-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    last = ""
    try:
        for line in _lines(process):
            last = line or last
            onLine(line)
        status = process.wait()
    finally:
        killTree(process)  # of no effect on one that has ended
    if status and (last.startswith(_ERROR) or status != 1):
        raise LLMBoostError(last.removeprefix(_ERROR) or f"llmboost {arguments[0]} ended with status {status}")
    return json.loads((output / "summary.json").read_text(encoding="utf-8"))["cases"]


def _lines(process: subprocess.Popen) -> Iterator[str]:
    """The lines of a process as they come, with time for Slicer's events in between."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line.decode("utf-8", "replace").rstrip())
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=0.05)
        except queue.Empty:
            slicer.app.processEvents()
            continue
        if line is None:
            return
        yield line
