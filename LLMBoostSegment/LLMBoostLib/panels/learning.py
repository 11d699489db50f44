"""Learning from results in the background: cases are added, an adapter is trained and taken up if it is no worse."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import slicer
from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import Card, read_card
from llmboost.errors import LLMBoostError
from llmboost.messages.words import HELD_OUT, ErrorKind
from llmboost.messages.worker import Progress

from ..training.basechoice import canBeBase
from ..training.candidate import AdapterCandidate
from ..training.candidateview import WORSE
from ..training.cases import TRAIN, VAL
from ..training.figures import change, finite
from ..training.snapshot import casesOf
from ..worker.troubles import WorkerError
from .errordisplay import NOTICE_STYLE, PROBLEM_STYLE, sentence
from .plaintext import confirmed
from .plural import counted
from .progressview import Pace
from .speed import duration
from .undosteps import Step

MINUTES = 2.0


class Learning:
    """One training at a time, by the logic of LLMBoost Train; what is added meanwhile is learned from afterwards.

    Args:
        label: a QLabel that tells how it goes; hidden while there is nothing to tell.
        log: is given what a training came to.
        onModel: is called with the name of the model to use from now on.

    Attributes:
        minutes: that a training takes.
    """

    def __init__(self, label: Any, log: Callable[[str], None], onModel: Callable[[str], None]) -> None:
        self._label, self._log, self._onModel = label, log, onModel
        self.minutes = MINUTES
        self._base, self._again = "", False  # what is learned for, and whether cases came meanwhile
        self._made: list[tuple[str, str]] = []  # models that were learned, and which was used before each
        self._used = self._news = ""
        self._pace = Pace()
        self._tell("")

    @staticmethod
    def baseOf(card: Card | None) -> str:
        """The model that learns, for one whose result was corrected; empty: none can."""
        if card is None:
            return ""
        name = card.adapter.base if card.adapter else card.name
        try:
            return name if canBeBase(read_card(library.find(name))) else ""
        except LLMBoostError:
            return ""

    @property
    def active(self) -> bool:
        """Whether it learns now."""
        return bool(self._base)

    def learn(self, volumeNode: Any, segmentationNode: Any, card: Card) -> Step:
        """Add a case, and learn from all that there are; the way back.

        Raises:
            LLMBoostError: the case cannot be learned from; nothing was added.
        """
        base, logic = self.baseOf(card), _trainLogic()
        if not self.active and logic.training.running:
            raise LLMBoostError(_("LLMBoost Train trains a model: wait for it, or cancel it there"))
        waiting = logic.pending()
        question = _("LLMBoost Train has a trained model, '{name}', that waits for your decision. Discard it?")
        if waiting and not confirmed(question.format(name=waiting.name)):
            raise LLMBoostError(_("Accept or discard the model in LLMBoost Train first"))
        store = logic.store
        before = {case.id: (store.read(case), store.masks(case)) for case in casesOf(store, segmentationNode)}
        cases = logic.addCases(volumeNode, segmentationNode, base=base)
        step = Step(_("learning"), partial(self._takeBack, [case.id for case in cases], before, len(self._made)), False)
        self._used = card.name
        if self.active:
            self._again = True
            self._news = _("Added: it is learned from as soon as the present training is done")
            self._tell(self._news)
            return step
        try:
            self._train(base)
        except Exception:
            self._restore([case.id for case in cases], before)
            raise
        return step

    def shutDown(self) -> None:
        """The panel goes away."""
        self._again = False
        if self.active:
            _trainLogic().client.cancel()

    def _train(self, base: str) -> None:
        logic = _trainLogic()
        self._base, self._again = base, False
        self._pace.start(60 * self.minutes)
        count = self._count()
        self._news = self._forecast(count)
        self._tell(self._news)
        try:
            logic.train(
                base,
                minutes=self.minutes,
                waitForCompletion=False,
                onProgress=self._onProgress,
                onDone=partial(self._onDone, count),
                onError=self._onError,
            )
        except Exception:
            self._base = ""
            self._tell("")
            raise

    @staticmethod
    def _count() -> int:
        return sum(case.role in (TRAIN, VAL) for case in _trainLogic().store.cases.values())

    @staticmethod
    def _forecast(count: int) -> str:
        """What is to be expected of so many cases."""
        if count < HELD_OUT:
            one = _("Learning from one case; from {least} on, some are kept aside and tell the gain")
            more = _("Learning from {count} cases; from {least} on, some are kept aside and tell the gain")
            return counted(count, one, more).format(least=HELD_OUT)
        return _("Learning from {count} cases, of which every fourth is kept aside and tells the gain").format(
            count=count
        )

    def _onProgress(self, news: Progress) -> None:
        self._pace.tell(news.fraction)
        left = self._pace.left
        self._tell(self._news + (_(" · about {time} left").format(time=duration(left)) if left else ""))

    def _onDone(self, count: int, candidate: AdapterCandidate) -> None:
        logic = _trainLogic()
        before, after = finite(candidate.before.mean_dice), finite(candidate.after.mean_dice)
        gain = _("Dice {change} on what was kept aside").format(change=change(before, after))
        isWorse = before is not None and after is not None and after - before < -WORSE
        if candidate.card.doubts or isWorse:
            logic.discard(candidate)
            text = _("Learned nothing better ({gain}): the model stays as it was. More cases help").format(gain=gain)
        else:
            name = logic.accept(candidate).name
            self._made.append((name, self._used))
            if after is None:
                gain = _("the gain is not measured yet")
            one = _("Learned from one case, {gain}: in use from now on")
            more = _("Learned from {count} cases, {gain}: in use from now on")
            text = counted(count, one, more).format(gain=gain)
            self._used = name
            self._onModel(name)
        self._end(text)

    def _onError(self, error: Exception) -> None:
        if isinstance(error, WorkerError) and error.kind == ErrorKind.CANCELLED:
            self._end(_("Learning was stopped"))
        else:
            self._end(sentence(error), PROBLEM_STYLE)

    def _end(self, text: str, style: str = NOTICE_STYLE) -> None:
        base, self._base = self._base, ""
        self._tell(text, style)
        self._log(text)
        if self._again:
            try:
                self._train(base)
            except Exception as error:  # nobody clicked: no box
                self._tell(sentence(error), PROBLEM_STYLE)

    def _takeBack(self, ids: list[str], before: dict[str, Any], made: int) -> None:
        """End the training, remove what it made, and bring back the cases of before."""
        self._again = False
        if self.active:
            _trainLogic().client.cancel()
        while len(self._made) > made:
            name, earlier = self._made.pop()
            self._used = earlier
            self._onModel(earlier)
            library.remove_model(name)
        self._restore(ids, before)
        self._tell(_("What was learned is forgotten again"))

    @staticmethod
    def _restore(ids: list[str], before: dict[str, Any]) -> None:
        store = _trainLogic().store
        store.remove(id for id in ids if id in store.cases and id not in before)
        for id, (image, masks) in before.items():
            if id in store.cases:
                store.update(id, image, masks)

    def _tell(self, text: str, style: str = NOTICE_STYLE) -> None:
        self._label.text = text
        self._label.setStyleSheet(style)
        self._label.visible = bool(text)


def _trainLogic() -> Any:
    """That of the module, so that both panels have one training and one list of cases."""
    return slicer.util.getModuleLogic("LLMBoostTrain")
