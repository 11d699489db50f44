"""What the panels of both modules have in common: parameters, a run, and a page with Slicer's Segment Editor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import qt
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from ..scene.display import Spotlight
from . import editorview
from .editorview import EditorView
from .errordisplay import NOTICE_STYLE
from .progressview import ProgressView
from .run import Run
from .runner import Runner


class Widgets(editorview.Widgets, Protocol):
    noticeLabel: qt.QLabel
    progressBar: qt.QProgressBar
    statusLabel: qt.QLabel


class ModulePanel(VTKObservationMixin):
    """A subclass shows what follows from the parameters.

    Args:
        ui: the widgets by name.
        logic: the module's logic, with the worker's client.
        later: see :class:`.run.Run`.

    Attributes:
        parameterNode: what is shown and changed; None while the module is left.
    """

    def __init__(self, ui: Widgets, logic: Any, later: Callable[[int, Callable[[], None]], None] | None = None) -> None:
        super().__init__()
        self._widgets, self._client = ui, logic.client
        self.parameterNode: Any = None
        self._guiTag: int | None = None
        ui.noticeLabel.setStyleSheet(NOTICE_STYLE)
        self.run = Run(logic.client.cancel, later)
        self.progress = ProgressView(ui.progressBar, ui.statusLabel)
        self.runner = Runner(self.run, self.progress, self.log)
        self.spotlight = Spotlight()  # on what is edited or compared
        self.editor = EditorView(ui, self.spotlight)

    def refresh(self) -> None:
        """Look at all that may have changed while the module was left."""
        raise NotImplementedError

    def update(self) -> None:
        """Show what follows from the parameters, and from the nodes that they name."""
        raise NotImplementedError

    def log(self, text: str) -> None:
        """What a run came to."""

    def setParameterNode(self, parameterNode: Any) -> None:
        """Show and change this node's parameters; None: no node's, as when the module is left."""
        if self.parameterNode is not None:
            self.parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self.parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
        self.parameterNode = parameterNode
        if parameterNode is not None:
            self._guiTag = parameterNode.connectGui(self._widgets)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onModified)
            self.refresh()

    def onModified(self, _caller: Any, _event: str) -> None:
        """The parameters have changed, or a node."""
        self.update()

    def enter(self) -> None:
        self.editor.enter()

    def exit(self) -> None:
        """A run goes on meanwhile."""
        self.editor.exit()

    def shutDown(self) -> None:
        """The module is reloaded, or Slicer ends."""
        self.runner.stop(_("cancelled"))
        self._client.shutDown()
        self.run.shutDown()
        self.setParameterNode(None)
        self.editor.close()
        self.removeObservers()

    def tell(self, text: str) -> None:
        """Put a sentence into the status line, unless it tells of a run."""
        if not self.run.active:
            self.progress.stop(text)
        self.log(text)
