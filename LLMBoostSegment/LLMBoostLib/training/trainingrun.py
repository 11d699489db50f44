"""A training's life: frozen cases, the request to the worker, and the adapter that it gives."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from llmboost import library
from llmboost.errors import LLMBoostError

from ..install.packages import ensureInstalled
from ..worker.client import Answer, Client, Progress
from ..worker.consent import checkCommand
from .candidate import AdapterCandidate, candidatePath, checkName
from .casestore import CaseStore, defaultFolder
from .filechanges import makeFolder
from .runfolders import newRun, removeRun

ALIVE_SECONDS = 60.0
Freeze = Callable[[Path], Path]


class TrainingRun:
    """One training at a time, in a worker of its own.

    Args:
        client: of that worker.
        folder: gets the run's files while it goes on, and the adapter that waits for a decision.
    """

    def __init__(self, client: Client, folder: Path | None = None) -> None:
        self.client, self.folder = client, Path(folder or defaultFolder())
        self._run: Path | None = None
        self._alive = 0.0

    @property
    def running(self) -> bool:
        return self._run is not None

    def start(
        self,
        settings: Mapping[str, Any],
        freeze: Freeze,
        onProgress: Callable[[Progress], None],
        onDone: Callable[[AdapterCandidate], None],
        onError: Callable[[Exception], None],
    ) -> None:
        """Begin; one of ``onDone`` and ``onError`` will be called, once.

        Args:
            settings: fields of the request ``adapt``, without its files, and ``name`` of the model to make.
            freeze: writes the data set into a folder and returns where it is.

        Raises:
            LLMBoostError: what can be known at once: the name is taken, or a training runs.
        """
        if self.running:
            raise LLMBoostError(_("a training runs already; wait for it, or cancel it"))
        CaseStore(self.folder)  # raises for a folder that others keep files in
        checkName(settings["name"])
        self._run = run = newRun(self.folder)
        output = run / (settings["name"] + library.EXTENSION)

        def failed(error: Exception) -> None:
            self._tidy()
            onError(error)

        def ready() -> None:
            dataset = freeze(run / "dataset")
            makeFolder(run)
            self.client.haveMachineToItself()
            fields = {key: value for key, value in settings.items() if key != "name"}
            fields |= {"dataset": str(dataset), "output": str(output)}
            self.client.start("adapt", fields, None, partial(self._tell, onProgress), done, failed)

        def done(answer: Answer) -> None:
            try:
                candidate = _candidate(settings, answer, candidatePath(self.folder, settings["name"]))
                candidate.keep(output)
            except Exception as error:
                failed(error)
                return
            self._tidy()
            onDone(candidate)

        try:
            whenLocal(self.client, ready, failed)
        except Exception as error:
            failed(error)

    def finish(self) -> None:
        """End it, and keep the best so far."""
        self.client.finish()

    def _tell(self, onProgress: Callable[[Progress], None], news: Progress) -> None:
        now = time.monotonic()
        if self._run and now - self._alive > ALIVE_SECONDS:
            self._alive = now
            with suppress(OSError):
                self._run.touch()
        onProgress(news)

    def _tidy(self) -> None:
        if self._run:
            removeRun(self._run)
        self._run = None


def _candidate(settings: Mapping[str, Any], answer: Answer, path: Path) -> AdapterCandidate:
    fields = answer.fields
    return AdapterCandidate(
        name=settings["name"],
        path=path,
        base=str(settings["base"]),
        task=str(settings["task"]),
        before=fields["before"],
        after=fields["after"],
        oldTask=fields.get("old_task"),
        seconds=float(fields["seconds"]),
        steps=int(fields["steps"]),
        stopped=str(fields["stopped"]),
        warnings=tuple(fields["warnings"]),
    )


def whenLocal(client: Client, onReady: Callable[[], None], onError: Callable[[Exception], None]) -> None:
    """Call one of the two: whether the packages are there, and the worker runs on this machine, where the cases are.

    ``onError`` also gets what ``onReady`` raises.

    Raises:
        LLMBoostError: packages are missing and were not installed; the worker's command cannot be read.
        WorkerError: another computation runs.
    """
    checkCommand()
    ensureInstalled("train")

    def hear(_answer: Any) -> None:
        try:
            if client.remoteHost:
                raise LLMBoostError(
                    _(
                        "The worker runs on another computer, {host}, but cases do not leave this one: nothing was"
                        " sent. To train here, clear the worker's command under Advanced of LLMBoost Segment"
                    ).format(host=client.remoteHost)
                )
            onReady()
        except Exception as error:
            onError(error)

    client.start("hello", onDone=hear, onError=onError)
