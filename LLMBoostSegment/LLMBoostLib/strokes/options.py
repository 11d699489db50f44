"""The options of the effect: what knows, what answered, what is unsure, and what becomes of what was learned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from llmboost.card import Card
from llmboost.messages.strokes import StrokesAnswer
from llmboost.messages.words import StrokesMethod

from ..panels.errordisplay import PROBLEM_STYLE, WARNING_STYLE, sentence
from ..panels.plaintext import tip
from ..panels.plural import counted
from .knowledge import AUTOMATIC, WALKER

MODEL, LEARN, REGION = "Model", "Learn", "Region"  # parameters of the effect


class Options:
    """Widgets above and below those that every auto-complete effect has.

    Args:
        effect: the effect's C++ side, which holds widgets and parameters.
        onChanged: is called when the user has chosen something else.
    """

    def __init__(self, effect: Any, onChanged: Callable[[], None]) -> None:
        self.scriptedEffect, self._onChanged = effect, onChanged
        self._models: list[tuple[str, str]] = []

    def addChoices(self) -> None:
        """What may be chosen before."""
        self.modelBox = qt.QComboBox()
        self.modelBox.setToolTip(
            tip(
                _(
                    "Models that know the segments, by name or SNOMED CT code; automatic: your own newest one first."
                    " The random walker needs none: it spreads the strokes as far as the image is alike"
                )
            )
        )
        self.learnBox = qt.QCheckBox(_("Learn from the strokes"))
        self.learnBox.setToolTip(
            tip(_("The model learns from what is painted, where that helps; unticked, the random walker alone draws"))
        )
        self.roiBox = slicer.qMRMLNodeComboBox()
        self.roiBox.nodeTypes = ["vtkMRMLMarkupsROINode"]
        self.roiBox.noneEnabled = True
        self.roiBox.noneDisplay = _("Around the strokes")
        self.roiBox.addEnabled = self.roiBox.removeEnabled = False
        self.roiBox.setMRMLScene(slicer.mrmlScene)
        self.roiBox.setToolTip(tip(_("Where to compute: a ROI, or what lies around the strokes")))
        self.scriptedEffect.addLabeledOptionsWidget(_("Model:"), self.modelBox)
        self.scriptedEffect.addOptionsWidget(self.learnBox)
        self.scriptedEffect.addLabeledOptionsWidget(_("Region:"), self.roiBox)
        self.modelBox.connect("currentIndexChanged(int)", self._onChoice)
        self.learnBox.connect("toggled(bool)", self._onChoice)
        self.roiBox.connect("currentNodeChanged(vtkMRMLNode*)", self._onChoice)

    def addResult(
        self,
        onNext: Callable[[], None],
        onKeep: Callable[[], None],
        onAdd: Callable[[], None],
        onTrain: Callable[[], None],
    ) -> None:
        """What is told and can be done afterwards."""
        self.statusLabel = qt.QLabel()
        self.statusLabel.wordWrap = True
        self.statusLabel.textFormat = qt.Qt.PlainText
        self.unsureButton = qt.QPushButton(_("Next unsure place (N)"))
        self.unsureButton.setToolTip(tip(_("Show in the slice views where a stroke would help most")))
        self.keepButton = qt.QPushButton(_("Keep as a model"))
        self.keepButton.setToolTip(
            tip(_("Make a model of what was learned: LLMBoost Segment lists it, and the next image starts from it"))
        )
        self.addButton = qt.QPushButton(_("Add this case"))
        self.addButton.setToolTip(
            tip(_("Add the image to the cases of LLMBoost Train: what is painted counts, the rest is not labeled"))
        )
        self.rightBox = qt.QCheckBox(_("All of the result is right"))
        self.rightBox.setToolTip(tip(_("Add the whole result, not only what is painted")))
        self.trainButton = qt.QPushButton(_("Train..."))
        self.trainButton.setToolTip(tip(_("Open LLMBoost Train, where a model learns from the cases that were added")))
        self.trainButton.enabled = False
        kept, added = qt.QHBoxLayout(), qt.QHBoxLayout()
        rows = (kept, (self.unsureButton, self.keepButton)), (added, (self.addButton, self.rightBox, self.trainButton))
        for row, widgets in rows:
            for widget in widgets:
                row.addWidget(widget)
        self.scriptedEffect.addOptionsWidget(self.statusLabel)
        self.scriptedEffect.addOptionsWidget(kept)
        self.scriptedEffect.addOptionsWidget(added)
        self.unsureButton.connect("clicked()", onNext)
        self.keepButton.connect("clicked()", onKeep)
        self.addButton.connect("clicked()", onAdd)
        self.trainButton.connect("clicked()", onTrain)
        self.showAnswer(None)

    def setDefaults(self) -> None:
        self.scriptedEffect.setParameterDefault(MODEL, AUTOMATIC)
        self.scriptedEffect.setParameterDefault(LEARN, 1)  # the last: then all are there

    @property
    def model(self) -> str:
        """A model's name, AUTOMATIC or WALKER."""
        return str(self.scriptedEffect.parameter(MODEL))

    @property
    def learn(self) -> bool:
        return self.scriptedEffect.integerParameter(LEARN) != 0 and self.model != WALKER

    @property
    def roiNode(self) -> Any:
        return self.scriptedEffect.nodeReference(REGION)

    def showChoices(self, cards: Sequence[Card]) -> None:
        """Offer these models, which know what is painted, and what is chosen, though it may not be among them."""
        models = [(AUTOMATIC, _("Automatic")), (WALKER, _("None: random walker"))]
        models += [(card.name, card.title) for card in cards]
        if self.model not in [name for name, _title in models]:
            models.append((self.model, self.model))
        blocked = self.modelBox.blockSignals(True)
        if models != self._models:
            self._models = models
            self.modelBox.clear()
            for _name, title in models:
                self.modelBox.addItem(title)
        self.modelBox.setCurrentIndex([name for name, _title in models].index(self.model))
        self.modelBox.blockSignals(blocked)

    def show(self) -> None:
        """The parameters, once they are there."""
        if not self.scriptedEffect.parameterDefined(LEARN):
            return
        if not self._models:
            self.showChoices([])
        for box, change in ((self.learnBox, self._showLearn), (self.roiBox, self._showRoi)):
            blocked = box.blockSignals(True)
            change()
            box.blockSignals(blocked)

    def _showLearn(self) -> None:
        self.learnBox.checked = self.scriptedEffect.integerParameter(LEARN) != 0
        self.learnBox.enabled = self.model != WALKER

    def _showRoi(self) -> None:
        if self.roiBox.currentNode() is not self.roiNode:
            self.roiBox.setCurrentNode(self.roiNode)

    def _onChoice(self, *_: Any) -> None:
        if self.scriptedEffect.parameterSetNode() is None:
            return
        row = self.modelBox.currentIndex
        if 0 <= row < len(self._models):
            self.scriptedEffect.setParameter(MODEL, self._models[row][0])
        self.scriptedEffect.setParameter(LEARN, int(self.learnBox.checked))
        self.scriptedEffect.setNodeReference(REGION, self.roiBox.currentNode())
        self._onChanged()

    def tell(self, text: str, style: str = "") -> None:
        """In the line below the buttons."""
        self.statusLabel.text = text
        self.statusLabel.setStyleSheet(style)

    def tellError(self, error: Exception) -> None:
        self.tell(sentence(error), PROBLEM_STYLE)

    def disableResult(self) -> None:
        """There is no answer any more; what was told stays."""
        self.rightBox.checked = False
        self.unsureButton.enabled = self.keepButton.enabled = self.rightBox.enabled = False

    def showAnswer(self, answer: StrokesAnswer | None, goesOn: bool = False, warnings: Sequence[str] = ()) -> None:
        """What answered, if anything did; ``goesOn``: a model still learns."""
        if answer is None:
            self.disableResult()
            self.tell("")
            return
        self.unsureButton.enabled = bool(answer.unsure)
        self.keepButton.enabled = answer.method == StrokesMethod.TAUGHT and not goesOn
        self.rightBox.enabled = True
        notes = [*answer.warnings, *warnings]
        text = describe(answer) + (_(" · a model learns ...") if goesOn else "")
        self.tell("\n".join([text, *notes]), WARNING_STYLE if notes else "")


def describe(answer: StrokesAnswer) -> str:
    """What answered, taught by how much, in which time, and how many places it is unsure of."""
    if answer.method == StrokesMethod.TAUGHT:
        one, more = _("{model}, taught by one stroke"), _("{model}, taught by {count} strokes")
        if answer.share < 1:
            one = _("{model}, taught by one stroke (by {share:.0%} of what it says)")
            more = _("{model}, taught by {count} strokes (by {share:.0%} of what they say)")
    elif answer.method == StrokesMethod.MODEL:
        one = _("{model} as it is: it agrees with one stroke")
        more = _("{model} as it is: it agrees with {count} strokes")
    else:
        one, more = _("Random walker from one stroke"), _("Random walker from {count} strokes")
    told = counted(answer.strokes, one, more).format(model=answer.model, share=answer.share)
    places = counted(len(answer.unsure), _("one unsure place"), _("{count} unsure places"))
    places = places if answer.unsure else _("no unsure place")
    return " · ".join([told, f"{answer.seconds:.1f} s", places])
