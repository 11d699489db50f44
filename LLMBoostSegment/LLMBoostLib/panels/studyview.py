"""The row Study of the section Input: the image alone, what suits best in its study, or all that suits the model."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import qt
from slicer.i18n import tr as _

from llmboost.card import Card

from ..scene.studyvolumes import chooseVolumes, studyItemOf
from .plaintext import tip

_LISTED = 20  # volumes that a tool tip names


class Widgets(Protocol):
    studyBox: qt.QComboBox
    studyLabel: qt.QLabel


class StudyView:
    """Shows the row where the image's study, or folder, has more that suits the model; tells what was left, and why."""

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self._parameterNode: Any = None
        self._item = 0
        self._actions: list[Callable[[], None]] = []
        ui.studyBox.connect("activated(int)", self._onActivated)

    def setParameterNode(self, parameterNode: Any) -> None:
        self._parameterNode = parameterNode

    @property
    def wanted(self) -> int:
        """The item of which all volumes that suit are wanted; 0: the image alone is."""
        return self._item if self._parameterNode.allOfStudy else 0

    def show(self, card: Card | None, volumeNode: Any) -> None:
        """Show what there is to choose beside the image; None, of either, hides the row."""
        box, self._item, left = self._ui.studyBox, 0, list[tuple[str, str]]()
        rows = [(_("This image alone"), partial(self._takeAll, False))]
        item = studyItemOf(volumeNode) if card is not None and volumeNode is not None else 0
        if item and card is not None:
            best, *_more = [node for one in chooseVolumes(item, card) for node in one.taken] or [None]
            if best not in (None, volumeNode):
                rows.append((_("What suits best: {name}").format(name=best.GetName()), partial(self._take, best)))
            every = chooseVolumes(item, card, "all")
            count, left = sum(len(one.taken) for one in every), [pair for one in every for pair in one.left]
            if count > 1:
                self._item = item
                rows.append((_("All {count} that suit").format(count=count), partial(self._takeAll, True)))
        self._actions = [action for _text, action in rows]
        texts = [text for text, _action in rows]
        if [box.itemText(n) for n in range(box.count)] != texts:
            box.clear()
            box.addItems(texts)
        box.currentIndex = len(rows) - 1 if self.wanted else 0
        box.toolTip = tip(_toldOf(left))
        self._ui.studyLabel.visible = box.visible = len(rows) > 1

    def _take(self, volumeNode: Any) -> None:
        self._parameterNode.allOfStudy = False
        self._parameterNode.inputVolume = volumeNode

    def _takeAll(self, every: bool) -> None:
        self._parameterNode.allOfStudy = every

    def _onActivated(self, index: int) -> None:
        self._actions[index]()


def _toldOf(left: list[tuple[str, str]]) -> str:
    """What a study's volumes are chosen by, and which do not suit."""
    text = _("All: each volume of the image's study, or folder, that suits the model is segmented on its own.")
    if not left:
        return text
    lines = [f"{name}: {why}" for name, why in left[:_LISTED]]
    more = [_("and {count} more").format(count=len(left) - _LISTED)] if len(left) > _LISTED else []
    return "\n".join([text, _("Left, for it does not suit:"), *lines, *more])
