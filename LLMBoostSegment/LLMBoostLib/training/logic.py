"""Training for scripts, with no GUI, and what the panel remembers with a scene."""

import enum
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Unpack

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from llmboost import library
from llmboost.card import Card, read_card
from llmboost.errors import LLMBoostError
from llmboost.messages import words
from llmboost.messages.cases import AdaptRequest, CrossCheckRequest
from llmboost.messages.words import AdaptTask, chosen

from ..panels.devicechoice import Device
from ..worker.calls import Listeners, run, separate
from ..worker.client import Client
from . import ranking, snapshot
from .candidate import AdapterCandidate, freeName, nameAfter, pending
from .cases import Snapshot
from .casestore import CaseStore, defaultFolder
from .plan import Plan, examine, freeze, makePlan
from .trainingrun import Asked, Freeze, TrainingRun


class Task(enum.Enum):
    """What a training is for, as the panel offers it."""

    IMPROVE = AdaptTask.IMPROVE
    NEW_LABELS = AdaptTask.NEW_LABELS

    def label(self) -> str:
        return _("The same labels, better") if self is Task.IMPROVE else _("New labels, those of the cases")


@parameterNodeWrapper
class LLMBoostTrainParameterNode:
    """What the panel remembers, saved with the scene; hence neither a folder nor a case.

    Attributes:
        inputVolume, inputSegmentation: the next case to add.
        base: the base model's name in the library.
        task: what to learn.
        minutes: how long to train.
        device: what computes.
    """

    inputVolume: slicer.vtkMRMLScalarVolumeNode
    inputSegmentation: slicer.vtkMRMLSegmentationNode
    base: str = "hippocampus"
    task: Task = Task.IMPROVE
    minutes: Annotated[float, WithinRange(0.1, 600)] = 2.0
    device: Device = Device.AUTO


class LLMBoostTrainLogic(ScriptedLoadableModuleLogic):
    """Training for scripts, with no GUI.

    Args:
        client: talks to the worker; by default one of its own.
        folder: where cases lie; by default the one that is chosen in the panel.
    """

    def __init__(self, client: Client | None = None, folder: Path | None = None):
        super().__init__()
        self.client = client or Client()
        self._folder = folder
        self._store: CaseStore | None = None
        self.training = TrainingRun(self.client, self.folder)

    @property
    def folder(self) -> Path:
        """Where cases lie, and what is trained with them."""
        return Path(self._folder) if self._folder else defaultFolder()

    @property
    def store(self) -> CaseStore:
        """The cases; raises LLMBoostError if their folder cannot be read."""
        if self._store is None or self._store.folder != self.folder:
            self._store = CaseStore(self.folder)
        self._store.refresh()
        return self._store

    def addCase(self, volumeNode: Any, segmentationNode: Any = None, role: str = "train", base: str = "") -> Snapshot:
        """As :meth:`addCases`; of several cases, the first."""
        return self.addCases(volumeNode, segmentationNode, role, base)[0]

    def addCases(
        self, volumeNode: Any, segmentationNode: Any = None, role: str = "train", base: str = ""
    ) -> list[Snapshot]:
        """Keep a copy of an image and its segments as a case; what already is a case is updated.

        Of an image larger than the crops that a model knows, such as a whole head, a crop around each structure that
        was drawn becomes a case of its own.

        Args:
            segmentationNode: without one, the case waits to be labeled.
            role: train, val or test.
            base: the model that is to learn from it; by default the one that drew the segments.

        Raises:
            LLMBoostError: the image is of no use, what was drawn does not fit the model's crops, or the folder cannot
                be written.
        """
        card = read_card(library.find(base)) if base else None
        return snapshot.addCases(self.store, volumeNode, segmentationNode, role, card)

    def addAllOfScene(self, base: str = "") -> list[Snapshot]:
        """Every segmentation that lies on a volume becomes a case, as by :meth:`addCases`; raises LLMBoostError."""
        return snapshot.addAllOfScene(self.store, card=read_card(library.find(base)) if base else None)

    def updateCase(self, id: str) -> Snapshot:
        """Copy what became of a case's segmentation in the scene; raises LLMBoostError."""
        return self.addCase(*snapshot.nodesOf(self.store.cases[id]))

    def importFolder(self, folder: Path, onCase: Callable[[int, int], bool] = lambda number, count: True) -> int:
        """Copy the cases of a folder in the Decathlon's form; how many. See ``LLMBoostLib.training.snapshot``."""
        return snapshot.importFolder(self.store, Path(folder), onCase)

    def plan(self, base: str, task: str = "improve") -> Plan:
        """What a base would learn from the cases; raises LLMBoostError."""
        return makePlan(self.store, read_card(library.find(base)), task)

    def train(
        self,
        base: str = "hippocampus",
        *,
        dataset: str | Path | None = None,
        task: str = "improve",
        minutes: float | None = None,
        steps: int | None = None,
        rank: int | None = None,
        device: str = "auto",
        name: str = "",
        **options: Unpack[Listeners],
    ) -> Any:
        """Train an adapter of a base model; the base stays as it is.

        The cases are copied when this is called: what is edited afterwards does not change the training.

        Args:
            base: a name of the library.
            dataset: a folder in the Decathlon's form to learn from; by default, the cases.
            task: improve (the base's own labels) or new-labels (those of the cases).
            minutes, steps: the budget, one of them; by default two minutes.
            rank: how much the adapter can take; by default it follows from the number of cases.
            device: auto, cpu or cuda.
            name: of the new model; by default one that is free, after the base, or of new labels after these or the
                folder.
            waitForCompletion: False returns None at once; then ``onDone`` or ``onError`` is called.
            onProgress: is called now and then.

        Returns:
            what was found, for :meth:`accept` or :meth:`discard`.

        Raises:
            LLMBoostError: something is wrong with the cases; the message says what to do.
            WorkerError: the worker refuses, or is lost. Without waiting, ``onError`` gets what comes after the start.
        """
        if minutes is None and steps is None:
            minutes = 2.0
        request = AdaptRequest(
            base=base,
            dataset="" if dataset is None else str(dataset),
            output="",
            minutes=minutes if steps is None else None,
            steps=steps,
            rank=rank,
            task=chosen(AdaptTask, task, "task"),
            device=chosen(words.Device, device, "device"),
        )
        name = name or freeName(self._origin(base, task, dataset))
        return self._begin(partial(self.training.start, name), request, options)

    def _origin(self, base: str, task: str, dataset: str | Path | None) -> str:
        """What a new model is called after."""
        if dataset is None:
            return self.plan(base, task).origin
        return (nameAfter([Path(dataset).name]) if task == AdaptTask.NEW_LABELS else "") or base

    def goOn(
        self,
        candidate: AdapterCandidate,
        *,
        minutes: float | None = None,
        steps: int | None = None,
        **options: Unpack[Listeners],
    ) -> Any:
        """Train on what a training gave, which stays as it is until the new one takes its place.

        Args:
            candidate: that waits for a decision.
            minutes, steps: more than it took, one of them: of what its budget was; by default two minutes.
            options: as for :meth:`train`.

        Returns:
            what was found, for :meth:`accept` or :meth:`discard`.

        Raises:
            LLMBoostError, WorkerError: as :meth:`train`; also if the cases have changed since.
        """
        if steps is None:
            minutes = candidate.seconds / 60 + (2.0 if minutes is None else minutes)
        request = AdaptRequest(
            base=candidate.base,
            dataset=candidate.dataset,
            output="",
            minutes=minutes,
            steps=None if steps is None else candidate.steps + steps,
            rank=candidate.rank,
            task=chosen(AdaptTask, candidate.task, "task"),
            device=chosen(words.Device, candidate.device, "device"),
        )
        return self._begin(partial(self.training.goOn, candidate), request, options)

    def crossCheck(self, candidate: AdapterCandidate, **options: Unpack[Listeners]) -> Any:
        """Tell by every case how good a training of new labels is, in place of the few that were kept aside.

        Networks like it, one for each patient or five at most, learn as many steps, each without some of the cases, and
        are measured on those. That takes the training's time once for each; the model itself stays as it is.

        Args:
            candidate: that waits for a decision.
            options: as for :meth:`train`.

        Returns:
            the candidate with ``outOfFold``, for :meth:`accept` or :meth:`discard`.

        Raises:
            LLMBoostError, WorkerError: as :meth:`goOn`; also of a training for the base's own labels, and of fewer than
                three patients.
        """
        request = CrossCheckRequest(
            base=candidate.base,
            dataset=candidate.dataset,
            output="",
            rank=candidate.rank,
            task=chosen(AdaptTask, candidate.task, "task"),
            device=chosen(words.Device, candidate.device, "device"),
        )
        return self._begin(partial(self.training.crossCheck, candidate), request, options)

    def _begin(self, begin: Callable[..., None], request: AdaptRequest | CrossCheckRequest, options: Listeners) -> Any:
        """Begin with one of the training's ways to, on the cases unless the request tells a data set."""
        listeners = _followed(options)
        freeze = None if request.dataset else self._freezer(request.base, request.task or "")
        self.training.folder = self.folder
        asked = Asked(request, freeze, listeners.get("onProgress") or (lambda news: None))
        return run(self.client, partial(begin, asked), listeners)

    def _freezer(self, base: str, task: str) -> Freeze:
        """Writes a run's data set; raises LLMBoostError if the cases have problems."""
        plan, store = self.plan(base, task), self.store
        whole, perCase = examine(plan, store)
        problems = [*whole.problems]
        problems += [f"case {id}: {text}" for id, found in perCase.items() for text in found.problems]
        if problems:
            raise LLMBoostError("\n".join(problems))
        return lambda folder: freeze(plan, store, folder)

    def pending(self) -> AdapterCandidate | None:
        """What a training gave and nobody has decided about yet, or None."""
        return pending(self.folder)

    def accept(self, candidate: AdapterCandidate, *, anyway: bool = False) -> Card:
        """Put a training's model into the library; returns its card.

        Args:
            anyway: also one that has learned nothing, by its own figures.

        Raises:
            LLMBoostError: it has learned nothing, or it cannot be kept.
        """
        return candidate.accept(anyway)

    def discard(self, candidate: AdapterCandidate) -> None:
        """Delete what a training gave."""
        candidate.discard()

    def rankCases(
        self,
        model: str = "hippocampus",
        device: str = "auto",
        **options: Unpack[Listeners],
    ) -> Any:
        """Which unlabeled case to label next: where the model is unsure, and what is unlike the others.

        Returns:
            a RankedCase (id, score, uncertainty, diversity) for each unlabeled case, the best one first.

        Raises:
            LLMBoostError: the worker runs on another machine.
            WorkerError: the worker refuses, or is lost. Without waiting, ``onError`` gets what comes after the start.
        """
        listeners = _followed(options)
        where, onProgress = chosen(words.Device, device, "device"), listeners.get("onProgress")
        return run(self.client, partial(ranking.start, self.client, self.store, model, where, onProgress), listeners)


def _followed(options: Listeners) -> Listeners:
    """The listeners of a call; an error that nobody listens for ends here."""
    _none, listeners = separate(Listeners, options)
    return {**listeners, "onError": listeners.get("onError") or (lambda error: None)}
