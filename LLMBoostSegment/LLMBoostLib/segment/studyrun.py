"""Volumes of studies, one after the other: each that suits the model gets a result of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError
from llmboost.messages.words import ErrorKind
from llmboost.messages.worker import Progress

from ..scene.classification import Classification
from ..scene.result import Result
from ..scene.studyvolumes import StudyChoice
from ..worker.troubles import WorkerError

# what went wrong with one volume, and says nothing of the next
_OF_ONE = {ErrorKind.BAD_INPUT, ErrorKind.OUT_OF_MEMORY, ErrorKind.INTERNAL}


@dataclass(frozen=True)
class StudiesResult:
    """What became of the studies' volumes.

    Attributes:
        choices: of each study, what was taken, and what was left and why.
        results: of each volume that was taken, in order.
        failed: the names of volumes that gave none, each with the reason.
    """

    choices: tuple[StudyChoice, ...]
    results: tuple[Result | Classification, ...]
    failed: tuple[tuple[str, str], ...]

    @property
    def told(self) -> str:
        """How many gave a result, and why others gave none."""
        count, failed = len(self.results), "; ".join(f"{name}: {why}" for name, why in self.failed)
        text = _("{count} of {all} images of the study are done").format(count=count, all=count + len(self.failed))
        return f"{text}; {failed}" if failed else text

    def revert(self) -> None:
        """Take all results back."""
        for result in self.results:
            result.revert()


@dataclass
class StudyRun:
    """Asks for one volume after the other; one that fails does not stop the others.

    Args:
        choices: what was taken of each study.
        ask: the logic's ``process`` or ``classify`` with all but the volume and the listeners.
        onProgress: is told which volume is at work.
    """

    choices: Sequence[StudyChoice]
    ask: Callable[..., Any]
    onProgress: Callable[[Progress], None] | None = None
    _results: list[Result | Classification] = field(default_factory=list)
    _failed: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._todo = [node for choice in self.choices for node in choice.taken]
        if not self._todo:
            reasons = "; ".join(f"{name} ({why})" for choice in self.choices for name, why in choice.left)
            text = _("No volume here suits the model: {reasons}")
            raise LLMBoostError(text.format(reasons=reasons or _("there is none")))

    def start(self, onDone: Callable[[StudiesResult], None], onError: Callable[[Exception], None] | None) -> None:
        """The first volume, and after it those that follow."""
        self._next(onDone, onError or (lambda error: None))

    def _next(self, onDone: Callable[[StudiesResult], None], onError: Callable[[Exception], None]) -> None:
        number = len(self._results) + len(self._failed)
        if number == len(self._todo) == len(self._failed):
            onError(LLMBoostError("; ".join(f"{name}: {why}" for name, why in self._failed)))
            return
        if number == len(self._todo):
            onDone(StudiesResult(tuple(self.choices), tuple(self._results), tuple(self._failed)))
            return
        node = self._todo[number]
        name = node.GetName()

        def receive(result: Result | Classification) -> None:
            self._results.append(result)
            self._next(onDone, onError)

        def fail(error: Exception) -> None:
            if isinstance(error, WorkerError) and error.kind not in _OF_ONE:
                onError(error)  # cancelled, or there is no worker any more
                return
            self._failed.append((name, str(error)))
            self._next(onDone, onError)

        def tell(news: Progress) -> None:
            if self.onProgress:
                text = _("{name} ({number} of {count}): {text}")
                text = text.format(name=name, number=number + 1, count=len(self._todo), text=news.text)
                fraction = (number + (news.fraction or 0)) / len(self._todo)
                self.onProgress(Progress(fraction, text, news.memory))

        try:
            self.ask([node], waitForCompletion=False, onProgress=tell, onDone=receive, onError=fail)
        except LLMBoostError as error:
            fail(error)
