"""A training's life: frozen cases, the request to the worker, and the adapter that it gives."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from slicer.i18n import tr as _

from llmboost import library
from llmboost.errors import LLMBoostError
from llmboost.messages.cases import AdaptAnswer, AdaptRequest, CrossCheckAnswer, CrossCheckRequest
from llmboost.messages.codec import Request
from llmboost.messages.worker import Hello, HelloRequest, Progress

from ..install.packages import ensureInstalled
from ..worker.client import Client
from ..worker.consent import checkCommand
from .candidate import AdapterCandidate, candidatePath, checkName
from .casestore import CaseStore, defaultFolder
from .filechanges import makeFolder
from .runfolders import RUN, newRun, removeRun

ALIVE_SECONDS = 60.0
Freeze = Callable[[Path], Path]
R = TypeVar("R", bound=AdaptRequest | CrossCheckRequest)
OnDone = Callable[[AdapterCandidate], None]
OnError = Callable[[Exception], None]


@dataclass(frozen=True)
class Asked(Generic[R]):
    """What is asked of a training.

    Attributes:
        request: for the worker; the files in it are told when it begins.
        freeze: writes the data set into a folder and returns where it is; None: the request tells it.
        onProgress: is called now and then.
    """

    request: R
    freeze: Freeze | None
    onProgress: Callable[[Progress], None]


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

    def start(self, name: str, asked: Asked[AdaptRequest], onDone: OnDone, onError: OnError) -> None:
        """Begin; one of ``onDone`` and ``onError`` will be called, once.

        Args:
            name: of the model to make.

        Raises:
            LLMBoostError: what can be known at once: the name is taken, or a training runs.
        """
        self._check(name)
        run = newRun(self.folder)
        take = partial(_candidate, asked.request, candidatePath(self.folder, name))
        self._begin(run, asked, run / (name + library.EXTENSION), take, onDone, onError)

    def goOn(self, candidate: AdapterCandidate, asked: Asked[AdaptRequest], onDone: OnDone, onError: OnError) -> None:
        """Train on what waits for a decision, in its place; until the new one is written, the old one stays.

        Args:
            asked: with the budget of the whole.

        Raises:
            LLMBoostError: as :meth:`start`; or there is nothing to go on from.
        """
        self._checkRun(candidate)
        resumed = replace(asked, request=replace(asked.request, resume=True))
        take = partial(_candidate, asked.request, candidate.path)
        self._begin(newRun(self.folder), resumed, candidate.path, take, onDone, onError)

    def crossCheck(
        self, candidate: AdapterCandidate, asked: Asked[CrossCheckRequest], onDone: OnDone, onError: OnError
    ) -> None:
        """Tell by every case how good what waits for a decision is; until that is known, it stays as it was.

        Raises:
            LLMBoostError: as :meth:`goOn`.
        """
        self._checkRun(candidate)
        self._begin(newRun(self.folder), asked, candidate.path, partial(_crossChecked, candidate), onDone, onError)

    def _checkRun(self, candidate: AdapterCandidate) -> None:
        """Raises LLMBoostError unless something can begin that needs the run of what waits for a decision."""
        self._check(candidate.name)
        if not candidate.path.with_suffix(RUN).is_dir():
            raise LLMBoostError(
                _("{name}: what it would go on from is gone; train it anew").format(name=candidate.name)
            )

    def _check(self, name: str) -> None:
        if self.running:
            raise LLMBoostError(_("a training runs already; wait for it, or cancel it"))
        CaseStore(self.folder)  # raises for a folder that others keep files in
        checkName(name)

    def _begin(
        self,
        run: Path,
        asked: Asked[Any],
        output: Path,
        take: Callable[[Any], AdapterCandidate],
        onDone: OnDone,
        onError: OnError,
    ) -> None:
        """Freeze the cases into the run's folder, and let the worker write ``output``; ``take`` makes of its answer
        what is to be decided about."""
        self._run = run

        def failed(error: Exception) -> None:
            self._tidy()
            onError(error)

        def ready() -> None:
            dataset = asked.freeze(run / "dataset") if asked.freeze else Path(asked.request.dataset)
            makeFolder(run)
            self.client.haveMachineToItself()
            request: Request[Any] = replace(asked.request, dataset=str(dataset), output=str(output))
            self.client.start(request, partial(self._tell, asked.onProgress), done, failed)

        def done(answer: Any) -> None:
            try:
                candidate = take(answer)
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


def _candidate(settings: AdaptRequest, path: Path, answer: AdaptAnswer) -> AdapterCandidate:
    return AdapterCandidate(
        name=path.stem,
        path=path,
        base=settings.base,
        task=settings.task or "",
        rank=settings.rank,
        device=settings.device,
        dataset=settings.dataset,
        inSteps=settings.steps is not None,
        before=answer.before,
        after=answer.after,
        oldTask=answer.old_task,
        seconds=answer.seconds,
        steps=answer.steps,
        stopped=answer.stopped,
        warnings=answer.warnings,
    )


def _crossChecked(candidate: AdapterCandidate, answer: CrossCheckAnswer) -> AdapterCandidate:
    warnings = (*candidate.warnings, *answer.warnings)
    return replace(candidate, outOfFold=answer.found, folds=answer.folds, warnings=warnings)


def whenLocal(client: Client, onReady: Callable[[], None], onError: Callable[[Exception], None]) -> None:
    """Call one of the two: whether the packages are there, and the worker runs on this machine, where the cases are.

    ``onError`` also gets what ``onReady`` raises.

    Raises:
        LLMBoostError: packages are missing and were not installed; the worker's command cannot be read.
        WorkerError: another computation runs.
    """
    checkCommand()
    ensureInstalled("train")

    def hear(_hello: Hello) -> None:
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

    client.start(HelloRequest(), onDone=hear, onError=onError)
