"""The folders of runs beside the cases, and of the adapter that waits for the user's decision."""

from __future__ import annotations

import re
import shutil
import time
import uuid
from contextlib import suppress
from pathlib import Path

from llmboost.library import EXTENSION

RUNS, PENDING, OUTCOME = "runs", "pending", "outcome.json"
RUN = ".run"  # ends the name of the folder from which a training goes on
STALE_SECONDS = 3600.0  # a folder that nobody wrote to for so long was left by a Slicer that is gone
_ID_LENGTH = 8


def newId() -> str:
    """A name that tells nothing."""
    return uuid.uuid4().hex[:_ID_LENGTH]


def isId(name: str) -> bool:
    return bool(re.fullmatch(f"[0-9a-f]{{{_ID_LENGTH}}}", name))


def newRun(folder: Path) -> Path:
    """Where a new run in a folder of ours keeps its files; not made yet."""
    return folder / RUNS / newId()


def removeRun(run: Path) -> None:
    """Delete a run's folder, and the one around it with the last of them."""
    shutil.rmtree(run, ignore_errors=True)
    with suppress(OSError):
        run.parent.rmdir()


def removeStale(folder: Path) -> None:
    """Delete what runs in a folder of ours left whose Slicer was killed; others may still run, in another Slicer."""
    for run in runs(folder):
        with suppress(OSError):
            if time.time() - run.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(run, ignore_errors=True)


def removeRuns(folder: Path) -> None:
    """Delete what runs left in a folder of ours."""
    for run in runs(folder):
        shutil.rmtree(run, ignore_errors=True)
    with suppress(OSError):
        (folder / RUNS).rmdir()
    discardPending(folder)


def runs(folder: Path) -> list[Path]:
    """The folders of runs; others may lie beside them."""
    return [run for run in (folder / RUNS).glob("*") if isId(run.name) and not run.is_symlink()]


def discardPending(folder: Path) -> None:
    """Delete an adapter that waits for a decision, and what it would go on from."""
    place = folder / PENDING
    for run in place.glob("*" + RUN):
        if not run.is_symlink():
            shutil.rmtree(run, ignore_errors=True)
    for path in (place / OUTCOME, *place.glob("*" + EXTENSION)):
        with suppress(OSError):
            path.unlink()
    with suppress(OSError):
        place.rmdir()
