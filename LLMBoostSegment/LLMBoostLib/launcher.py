"""How a worker is started, and how its processes are ended."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
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


def killTree(process: subprocess.Popen) -> None:
    """Kill the process that was started here and its descendants: PythonSlicer is a launcher that stays as parent.

    Nothing else can be hit: a remote worker's process number means nothing here, and is not used.
    """
    if process.poll() is None:
        if sys.platform == "win32":
            command = ["taskkill", "/F", "/T", "/PID", str(process.pid)]
            subprocess.run(command, capture_output=True, creationflags=subprocess.CREATE_NO_WINDOW, check=False)
        else:
            for pid in descendants(process.pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
    process.kill()


def descendants(pid: int) -> list[int]:
    """The processes that ``pid`` started, and those that they started; not on Windows."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found = children.get(pid, [])
    for child in found:  # grows meanwhile
        found.extend(children.get(child, []))
    return found


def _parents() -> list[tuple[int, int]]:
    """(process, its parent) for all processes of this machine."""
    if not os.path.isdir("/proc/self"):  # macOS
        lines = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False).stdout
        return [(int(pid), int(parent)) for pid, parent in map(str.split, lines.splitlines())]
    pairs = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # ended meanwhile
            # the name in parentheses may hold anything; then follow the state and the parent
            status = Path("/proc", name, "stat").read_text(errors="replace")
            pairs.append((int(name), int(status.rpartition(")")[2].split()[1])))
    return pairs
