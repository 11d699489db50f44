"""The group Explanation of the panel: what to explain, and the maps that were made, over the slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import ctk
import qt
from slicer.i18n import tr as _

from llmboost.messages.images import ExplainOptions

from ..scene.explanation import Explanation, layerNames, methodNames
from ..scene.maps import EXPLANATION_COLORS, Overlay
from ..scene.nodes import removeNode
from . import swatches
from .errordisplay import capitalized
from .run import Run, Work


class Widgets(Protocol):
    explainButton: qt.QPushButton
    explanationGroup: ctk.ctkCollapsibleButton
    explanationLabel: qt.QLabel
    explanationOpacitySlider: ctk.ctkSliderWidget
    explanationOverlayBox: qt.QCheckBox
    layerBox: qt.QComboBox
    methodBox: qt.QComboBox
    overlayBox: qt.QCheckBox
    removeMapsButton: qt.QPushButton
    targetBox: qt.QComboBox


class ExplainView:
    """Keeps the maps of one result, and shows the one that is chosen; hidden while there is nothing to explain."""

    def __init__(self, ui: Widgets, run: Run) -> None:
        self._ui, self._run = ui, run
        self._overlay = Overlay()
        self._targets: list[int] = []
        self._names: list[str] = []
        self._made: dict[ExplainOptions, Explanation] = {}
        for box, names in ((ui.methodBox, methodNames()), (ui.layerBox, layerNames())):
            box.addItems(list(names.values()))
        for box in (ui.targetBox, ui.methodBox, ui.layerBox):
            box.connect("currentIndexChanged(int)", self._onChosen)
        ui.explanationOverlayBox.connect("toggled(bool)", self._onShow)
        ui.explanationOpacitySlider.connect("valueChanged(double)", self._overlay.setOpacity)
        ui.removeMapsButton.connect("clicked()", self.remove)
        run.observe(self._showRun)
        self.clear()

    def offer(self, targets: Sequence[tuple[int, str]]) -> None:
        """A new result, of which these classes or segments (value and name) can be explained."""
        self.clear()
        box = self._ui.targetBox
        wasBlocked = box.blockSignals(True)
        box.clear()
        box.addItems([name for _value, name in targets])
        box.blockSignals(wasBlocked)
        self._targets = [value for value, _name in targets]
        self._names = [name for _value, name in targets]
        self._ui.explanationGroup.visible = bool(targets)
        self._ui.explanationOverlayBox.setIcon(swatches.ofMap(EXPLANATION_COLORS))
        self._ui.explanationOverlayBox.setIconSize(qt.QSize(swatches.STRIP, swatches.SIDE))
        self._refresh()

    def clear(self) -> None:
        """Forget the result; the views show again what they showed before. The maps stay in the scene."""
        self._overlay.hide()
        self._targets = []
        self._made.clear()
        self._ui.explanationGroup.visible = False
        self._refresh()

    def choose(self, name: str) -> None:
        """Offer to explain this class or segment, if it can be."""
        if name in self._names and not self._run.does(Work.IMAGE):
            self._ui.targetBox.currentIndex = self._names.index(name)

    def remove(self) -> None:
        """Remove all maps of the result from the scene."""
        nodes = [made.mapNode for made in self._made.values()]
        self._overlay.hide()
        self._made.clear()
        for node in nodes:
            removeNode(node)
        self._refresh()

    @property
    def first(self) -> ExplainOptions:
        """The first thing to have explained of a result that is not there yet, in the way that the user chose."""
        ui = self._ui
        method, layer = list(methodNames())[ui.methodBox.currentIndex], list(layerNames())[ui.layerBox.currentIndex]
        return ExplainOptions(None, method, layer)

    @property
    def what(self) -> ExplainOptions:
        """What the user chose to have explained."""
        return replace(self.first, target=self._targets[self._ui.targetBox.currentIndex])

    def add(self, made: Explanation) -> None:
        """Keep a map that was made, and show it if it is of what is chosen now."""
        self._made[made.what] = made
        self._ui.explanationGroup.collapsed = False
        self._ui.explanationOverlayBox.checked = True
        self._refresh()

    def _showRun(self) -> None:
        """The button stops what is computed, or begins it."""
        run, button = self._run, self._ui.explainButton
        running = run.does(Work.IMAGE)
        button.text = _("Cancel") if running else _("Ex&plain")
        button.enabled = not run.resting and (running or not run.active)
        for box in (self._ui.targetBox, self._ui.methodBox, self._ui.layerBox):
            box.enabled = not running

    def forgetNode(self, node: Any) -> None:
        """Take a map that is being removed out of the views."""
        for what in [what for what, made in self._made.items() if made.mapNode is node]:
            del self._made[what]
            self._refresh()

    def _refresh(self) -> None:
        """Show the map of what is chosen, if there is one and the user wants to see it."""
        ui = self._ui
        made = self._made.get(self.what) if self._made else None
        shown = made if ui.explanationOverlayBox.checked else None
        ui.explanationOverlayBox.enabled = made is not None
        ui.explanationOpacitySlider.enabled = shown is not None
        ui.removeMapsButton.enabled = bool(self._made)
        ui.explanationLabel.visible = made is not None
        if made is not None:
            caution = _("Where the model looked, not whether it is right.")
            ui.explanationLabel.text = "\n".join((caution, *map(capitalized, made.warnings)))
        if shown is None:
            self._overlay.hide()
        elif self._overlay.mapNode is not shown.mapNode:
            ui.overlayBox.checked = False
            self._overlay.show(shown.mapNode, shown.volumeNode, ui.explanationOpacitySlider.value)

    def _onChosen(self, _index: int) -> None:
        self._refresh()

    def _onShow(self, _shown: bool) -> None:
        self._refresh()
