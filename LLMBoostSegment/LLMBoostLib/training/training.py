"""A training's life: frozen cases, the request to the worker, and an adapter that waits for the user's decision."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import Card, read_card
from llmboost.card.figures import ADVICE
from llmboost.errors import LLMBoostError
from llmboost.files import write_whole

from ..install.packages import ensureInstalled
from ..worker.client import Answer, Client, Progress
from ..worker.consent import checkCommand
from .casestore import OUTCOME, PENDING, RUNS, CaseStore, defaultFolder, discardPending, newId, runs
from .filechanges import makeFolder, makePrivate

STALE_SECONDS = 3600.0  # a run folder that nobody wrote to for so long was left by a Slicer that is gone
ALIVE_SECONDS = 60.0


@dataclass(frozen=True)
class Outcome:
    """What a training gave: an adapter that is in no library yet.

    Attributes:
        name: of the adapted model.
        path: its file.
        base, task: what it was made of and for.
        before, after: figures on the cases that were kept for checking: ``cases`` (id and ``dice`` by label) and
            ``mean_dice``.
        oldTask: the same before and after on what the base learned from, if that was measured.
        stopped: why it ended: budget, finish or early.
    """

    name: str
    path: Path
    base: str
    task: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    oldTask: Mapping[str, Any] | None = None
    seconds: float = 0.0
    steps: int = 0
    stopped: str = ""
    warnings: tuple[str, ...] = field(default_factory=tuple)

    @property
    def card(self) -> Card:
        return read_card(self.path)


class Training:
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
        freeze: Callable[[Path], Path],
        onProgress: Callable[[Progress], None],
        onDone: Callable[[Outcome], None],
        onError: Callable[[Exception], None],
    ) -> None:
        """Begin; one of ``onDone`` and ``onError`` will be called, once.

        Args:
            settings: fields of the request ``adapt``, without its files, and ``name`` of the model to make.
            freeze: writes the data set into a folder and returns where it is.

        Raises:
            LLMBoostError: what can be known at once: the name is taken, or a training runs.
        """
        self._check(settings["name"])
        self._run = self.folder / RUNS / newId()

        def failed(error: Exception) -> None:
            self._tidy()
            onError(error)

        def ready() -> None:
            try:
                fields = self._prepare(settings, freeze)
                self.client.start("adapt", fields, None, self._tell(onProgress), done, failed)
            except Exception as error:
                failed(error)

        def done(answer: Answer) -> None:
            try:
                outcome = self._keep(settings, answer)
            except Exception as error:
                failed(error)
                return
            self._tidy()
            onDone(outcome)

        try:
            whenLocal(self.client, ready, failed)
        except Exception as error:
            failed(error)

    def call(
        self, settings: Mapping[str, Any], freeze: Callable[[Path], Path], onProgress: Callable[[Progress], None]
    ) -> Outcome:
        """Train and wait for the end; in Slicer, the windows stay alive. Raises LLMBoostError or WorkerError."""
        self._check(settings["name"])
        self._run = self.folder / RUNS / newId()
        try:
            ensureLocal(self.client)
            fields = self._prepare(settings, freeze)
            return self._keep(settings, self.client.call("adapt", fields, None, self._tell(onProgress)))
        finally:
            self._tidy()

    def finish(self) -> None:
        """End it, and keep the best so far."""
        self.client.finish()

    def cancel(self) -> None:
        """End it, and keep nothing."""
        self.client.cancel()

    def _check(self, name: str) -> None:
        if self.running:
            raise LLMBoostError(_("a training runs already; wait for it, or cancel it"))
        CaseStore(self.folder)  # raises for a folder that others keep files in
        checkName(name)

    def _prepare(self, settings: Mapping[str, Any], freeze: Callable[[Path], Path]) -> dict[str, Any]:
        assert self._run
        dataset = freeze(self._run / "dataset")
        makeFolder(self._run)
        self.client.haveMachineToItself()
        fields = {key: value for key, value in settings.items() if key != "name"}
        return {**fields, "dataset": str(dataset), "output": str(self._output(settings["name"]))}

    def _output(self, name: str) -> Path:
        assert self._run
        return self._run / (name + library.EXTENSION)

    def _tell(self, onProgress: Callable[[Progress], None]) -> Callable[[Progress], None]:
        def tell(news: Progress) -> None:
            now = time.monotonic()
            if self._run and now - self._alive > ALIVE_SECONDS:
                self._alive = now
                with suppress(OSError):
                    self._run.touch()
            onProgress(news)

        return tell

    def _keep(self, settings: Mapping[str, Any], answer: Answer) -> Outcome:
        """Move the adapter to where it waits for a decision, also when Slicer ends before that."""
        fields, name = answer.fields, settings["name"]
        target = self.folder / PENDING / (name + library.EXTENSION)
        outcome = Outcome(
            name,
            target,
            str(settings["base"]),
            str(settings["task"]),
            fields["before"],
            fields["after"],
            fields.get("old_task"),
            float(fields["seconds"]),
            int(fields["steps"]),
            str(fields["stopped"]),
            tuple(fields["warnings"]),
        )
        discardPending(self.folder)
        try:
            makeFolder(target.parent)
            shutil.move(self._output(name), target)
            known = {key: value for key, value in asdict(outcome).items() if key != "path"}
            write_whole(target.parent / OUTCOME, json.dumps(known).encode())
            makePrivate(target.parent)
        except OSError as error:
            raise LLMBoostError(f"{target}: cannot be written ({error.strerror}); check the free space") from error
        return outcome

    def _tidy(self) -> None:
        if self._run:
            removeRun(self._run)
        self._run = None


def whenLocal(client: Client, onReady: Callable[[], None], onError: Callable[[Exception], None]) -> None:
    """Call one of the two: whether the packages are there, and the worker runs on this machine, where the cases are.

    Raises:
        LLMBoostError: packages are missing and were not installed; the worker's command cannot be read.
        WorkerError: another computation runs.
    """
    checkCommand()
    ensureInstalled("train")

    def hear(_answer: Any) -> None:
        if client.remoteHost:
            onError(_refusal(client.remoteHost))
        else:
            onReady()

    client.start("hello", onDone=hear, onError=onError)


def ensureLocal(client: Client) -> None:
    """The same, waiting; raises LLMBoostError where it cannot be done on this machine."""
    checkCommand()
    ensureInstalled("train")
    client.call("hello")
    if client.remoteHost:
        raise _refusal(client.remoteHost)


def _refusal(host: str) -> LLMBoostError:
    return LLMBoostError(
        _(
            "The worker runs on another computer, {host}, but cases do not leave this one: nothing was sent. To train"
            " here, clear the worker's command under Advanced of LLMBoost Segment"
        ).format(host=host)
    )


def checkName(name: str) -> None:
    """Refuse what cannot be the name of a new model; raises LLMBoostError."""
    if not name or Path(name).name != name or name.startswith(".") or len(name) > 60:
        raise LLMBoostError(_("'{name}' cannot be a model's name: take letters, digits and hyphens").format(name=name))
    if name in library.installed():
        raise LLMBoostError(_("A model named '{name}' is installed already: choose another name").format(name=name))


def freeName(base: str) -> str:
    """A name for what is made of a base."""
    known = library.installed()
    number = 1
    while f"{base}-local-{number}" in known:
        number += 1
    return f"{base}-local-{number}"


def accept(outcome: Outcome, anyway: bool = False) -> Card:
    """Put the adapter into the library, where all of LLMBoost finds it.

    Raises:
        LLMBoostError: it has learned nothing, and that was not to be taken; or it cannot be kept.
    """
    if (doubts := outcome.card.doubts) and not anyway:
        raise LLMBoostError(f"{doubts}; {ADVICE} (anyway=True accepts it all the same)")
    card = library.import_model(outcome.path, anyway=anyway)
    discardPending(outcome.path.parents[1])
    return card


def pending(folder: Path) -> Outcome | None:
    """The adapter that an earlier training, perhaps in an earlier Slicer, left for a decision."""
    try:
        known = json.loads((folder / PENDING / OUTCOME).read_text(encoding="utf-8"))
        path = folder / PENDING / (known["name"] + library.EXTENSION)
        outcome = Outcome(path=path, **{**known, "warnings": tuple(known["warnings"])})
        read_card(path)
        return outcome
    except (OSError, ValueError, KeyError, TypeError, LLMBoostError):
        return None


def removeRun(run: Path) -> None:
    """Delete a run's folder, and the one around it with the last of them."""
    shutil.rmtree(run, ignore_errors=True)
    with suppress(OSError):
        run.parent.rmdir()


def removeStale(folder: Path) -> None:
    """Delete what runs left whose Slicer was killed; others may still run, in another Slicer."""
    with suppress(LLMBoostError):
        CaseStore(folder)  # raises for a folder that others keep files in
        for run in runs(folder):
            with suppress(OSError):
                if time.time() - run.stat().st_mtime > STALE_SECONDS:
                    shutil.rmtree(run, ignore_errors=True)
