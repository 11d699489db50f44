"""How a worker is started, and how its processes are ended."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import llmboost

COMMAND_SETTING = "LLMBoost/WorkerCommand"


def workerCommand() -> list[str]:
    """The command line of the application setting LLMBoost/WorkerCommand; by default, Slicer's own Python.

    Another one names another interpreter (``/opt/venv/bin/python -m llmboost.worker``) or another machine
    (``ssh -T gpu-box python -m llmboost.worker``, ``srun ...``). It is never read from a scene.
    """
    try:
        from qt import QSettings
    except ImportError:  # not in Slicer
        text = ""
    else:
        text = str(QSettings().value(COMMAND_SETTING) or "")
    if text.strip():
        # with POSIX rules, the backslashes of Windows' paths would vanish
        return (
            [part.strip('"') for part in shlex.split(text, posix=False)]
            if sys.platform == "win32"
            else shlex.split(text)
        )
    return defaultCommand()


def defaultCommand() -> list[str]:
    return [shutil.which("PythonSlicer") or sys.executable, "-m", "llmboost.worker"]


def workerEnvironment(command: list[str]) -> dict[str, str]:
    """What the worker's process inherits: Slicer's environment for Slicer's Python, else the one Slicer was started in.

    ``llmboost`` is found in either, and modules that lie in the current folder are not.
    """
    environment = dict(os.environ)
    slicer: Any = sys.modules.get("slicer")
    # not in PythonSlicer, which has the package without the application
    if command != defaultCommand() and hasattr(slicer, "app"):
        # Slicer's own library paths and PYTHONHOME would break another Python, and ssh
        environment = dict(slicer.util.startupEnvironment())
    package = str(Path(llmboost.__file__).parents[1])
    paths = [package, environment.get("PYTHONPATH", "")]
    return {**environment, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONSAFEPATH": "1"}


def startProcess(command: list[str], environment: dict[str, str], **streams: Any) -> subprocess.Popen:
    """Start the worker: away from Slicer's terminal, on Windows without a window. Raises OSError."""
    if sys.platform == "win32":
        look = subprocess.STARTUPINFO(dwFlags=subprocess.STARTF_USESHOWWINDOW, wShowWindow=subprocess.SW_HIDE)
        streams |= {"startupinfo": look, "creationflags": subprocess.CREATE_NO_WINDOW}
    else:
        streams["process_group"] = 0
    return subprocess.Popen(command, env=environment, bufsize=0, **streams)


@dataclass(frozen=True)
class Process:
    """A process of this machine; ``started`` tells it from a later one that got its number."""

    pid: int
    started: str

    @property
    def runs(self) -> bool:
        """Also if it is stopped."""
        entry = _entry(self.pid)
        return entry is not None and entry.started == self.started and not entry.ended


def descendant(process: subprocess.Popen, pid: Any) -> Process | None:
    """The process ``pid`` if ``process`` is it or started it: else it is a number of another machine, or a lie."""
    found = _entry(pid) if type(pid) is int and pid > 0 else None
    above, entry = pid, found
    while entry and above != process.pid:
        above = entry.parent
        entry = _entry(above) if above else None
    return Process(pid, found.started) if found and entry else None


def killTree(process: subprocess.Popen, worker: Process | None = None) -> None:
    """Kill the process that was started here and its descendants: PythonSlicer is a launcher that stays as parent.

    Nothing else can be hit: a remote worker's process number means nothing here, and is not used.

    Args:
        worker: what :func:`descendant` told, to be found also once its launcher has ended.
    """
    if sys.platform != "win32":
        pids = descendants(process.pid) if process.poll() is None else []
        if worker and worker.runs:
            pids += [worker.pid, *descendants(worker.pid)]
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)  # ends one that is stopped, too
    elif process.poll() is None:
        command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
        subprocess.run(command, capture_output=True, creationflags=subprocess.CREATE_NO_WINDOW, check=False)
    process.kill()


def descendants(pid: int) -> list[int]:
    """The processes that ``pid`` started, and those that they started; not on Windows."""
    children: dict[int, list[int]] = {}
    for child, entry in _entries().items():
        children.setdefault(entry.parent, []).append(child)
    found = children.get(pid, [])
    for child in found:  # grows meanwhile
        found.extend(children.get(child, []))
    return found


@dataclass(frozen=True)
class _Entry:
    """What the system tells about a process; one that has ended stays until its parent asks for its status."""

    parent: int
    ended: bool
    started: str


def _entry(pid: int) -> _Entry | None:
    """None: there is no such process, or the system (Windows) does not tell."""
    if sys.platform == "win32":
        return None
    if not os.path.isdir("/proc/self"):  # macOS
        return _listed("-p", str(pid)).get(pid)
    with suppress(OSError):
        # the name in parentheses may hold anything; then follow the state, the parent, and much else
        status = Path("/proc", str(pid), "stat").read_text(errors="replace").rpartition(")")[2]
        state, parent, *rest = status.split()
        return _Entry(int(parent), state in "ZX", rest[17])
    return None


def _entries() -> dict[int, _Entry]:
    """All processes of this machine."""
    if not os.path.isdir("/proc/self"):  # macOS
        return _listed("-A")
    entries = {pid: _entry(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))}
    return {pid: entry for pid, entry in entries.items() if entry}


def _listed(*which: str) -> dict[int, _Entry]:
    """The processes that the program ps lists."""
    command = ["ps", *which, "-o", "pid=,ppid=,state=,lstart="]
    lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
    rows = [line.split(None, 3) for line in lines]
    return {int(pid): _Entry(int(parent), state[0] == "Z", started) for pid, parent, state, started in rows}
