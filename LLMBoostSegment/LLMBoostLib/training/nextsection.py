"""Which case to label next, and a beginning for that: the model's own segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import qt
from slicer.i18n import tr as _

from llmboost.messages.images import SegmentAnswer

from ..panels.run import Work
from ..scene.segmentation import writeSegmentation
from . import nextview
from .cases import UNLABELED
from .compare import segmentVolume
from .logic import LLMBoostTrainLogic
from .nextview import NextView
from .ranking import Order
from .snapshot import CASE, openCase

if TYPE_CHECKING:
    from .panel import Panel


class Widgets(nextview.Widgets, Protocol):
    rankButton: qt.QPushButton
    labelButton: qt.QPushButton


class NextSection:
    """The section Label next."""

    def __init__(self, ui: Widgets, logic: LLMBoostTrainLogic, panel: Panel) -> None:
        self._ui, self._logic, self._panel = ui, logic, panel
        self._view = NextView(ui, panel.showButtons)
        ui.rankButton.connect("clicked()", self._onRank)
        ui.labelButton.connect("clicked()", self._onLabel)

    def show(self) -> None:
        """Fill the table."""
        self._view.show(self._panel.store)

    def showButtons(self, busy: bool) -> None:
        """Only what can be done can be clicked."""
        ui, store, ready = self._ui, self._panel.store, not busy and self._panel.card is not None
        waiting = any(case.role == UNLABELED for case in store.cases.values()) if store else False
        ui.rankButton.enabled = ready and waiting
        ui.labelButton.enabled = ready and bool(self._view.selected)

    def _onRank(self) -> None:
        panel, card = self._panel, self._panel.card
        assert card

        def show(order: Order) -> None:
            self._view.rank(order)
            panel.runner.ended(_("ranked: {count}").format(count=len(order)))

        def start() -> None:
            panel.run.go()
            self._logic.rankCases(
                card.name,
                panel.parameterNode.device.value,
                waitForCompletion=False,
                onProgress=panel.progress.tell,
                onDone=show,
                onError=panel.runner.failed,
            )

        panel.runner.begin(Work.CASES, _("ranking"), start)

    def _onLabel(self) -> None:
        """The model's segments are where the user begins."""
        panel, card, case = self._panel, self._panel.card, self._logic.store.cases[self._view.selected]
        device = panel.parameterNode.device.value
        assert card

        def start() -> None:
            volumeNode, segmentationNode = openCase(self._logic.store, case)

            def show(answer: SegmentAnswer) -> None:
                with panel.runner.failing():
                    writeSegmentation(answer.labelmap, answer.labels, volumeNode, segmentationNode)
                    segmentationNode.SetAttribute(CASE, case.id)
                    panel.runner.ended(_("Correct the segments, then save them to the case"))
                    panel.edit(case)

            client, tell, failed = self._logic.client, panel.progress.tell, panel.runner.failed
            segmentVolume(client, volumeNode, card.name, device, tell, show, failed)

        panel.compute(_("segmenting"), start)
