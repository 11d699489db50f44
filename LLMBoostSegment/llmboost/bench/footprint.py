"""What a command takes of this machine: seconds and peak memory of its process."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import LLMBoostError

# in a process between, which has no other children: a parent that is large itself would be counted
_BETWEEN = (
    "import resource, subprocess, sys;"
    "done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True);"
    "print(done.stdout.splitlines()[-1] if done.stdout else '');"
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);"
    "sys.exit(done.returncode)"
)


def measured(command: Sequence[str | Path]) -> tuple[float, float, str]:
    """Seconds from start to end, peak memory in GB, and the last line of what it said (not on Windows).

    Raises:
        LLMBoostError: the command failed, with the last line of what it said.
    """
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _BETWEEN, *command], stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - started
    message, kilobytes = done.stdout.splitlines()[-2:]
    if done.returncode:
        raise LLMBoostError(f"{' '.join(map(str, command))}: failed with status {done.returncode}; {message}")
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes
    return seconds, int(kilobytes) / unit, message
