"""The buttons that write a report of the segments where the user says, and open it, or store them in Slicer's DICOM
database."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import qt
import slicer
from slicer.i18n import tr as _

from ..scene.dicomdatabase import canBeStored
from ..scene.report import canBeReported
from .resultview import ResultView
from .run import Run

Begin = Callable[[Callable[[], None]], None]
Callbacks = Callable[[Callable[[Any], None]], dict[str, Any]]


class Widgets(Protocol):
    reportButton: qt.QPushButton
    storeButton: qt.QPushButton


class ReportView:
    """The buttons Report and Store in DICOM of the section Result.

    Args:
        logic: a LLMBoostSegmentLogic.
        results: the segments that are shown.
        begin: begins a run.
        callbacks: what the logic calls on the way, and at the end with what was made.
        ended: tells that the run is over, and what it made.
    """

    def __init__(
        self,
        ui: Widgets,
        logic: Any,
        results: ResultView,
        run: Run,
        begin: Begin,
        callbacks: Callbacks,
        ended: Callable[[str], None],
    ) -> None:
        self._ui, self._logic, self._results, self._run = ui, logic, results, run
        self._begin, self._callbacks, self._ended = begin, callbacks, ended
        ui.reportButton.connect("clicked()", self._onReport)
        ui.storeButton.connect("clicked()", lambda: self._begin(self._store))
        run.observe(self.refresh)

    def refresh(self) -> None:
        """Offer what can be done now."""
        self._ui.reportButton.visible = canBeReported(self._results.result)
        self._ui.storeButton.visible = canBeStored(self._results.result)
        self._ui.reportButton.enabled = self._ui.storeButton.enabled = not self._run.active

    def _onReport(self) -> None:
        title, kinds = _("Write a report"), _("Web page (*.html);;PDF (*.pdf)")
        start = f"{self._results.segments.segmentationNode.GetName()}.html"
        path = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, start, kinds)
        if path:
            self._begin(partial(self._write, Path(path)))

    def _write(self, path: Path) -> None:
        self._results.refresh()
        self._run.go(self._results.segments.nodes)
        self._logic.report(path, edited=self._results.edited, **self._callbacks(self._written))

    def _written(self, path: Path) -> None:
        self._ended(path.name)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path)))

    def _store(self) -> None:
        self._results.refresh()
        self._run.go(self._results.segments.nodes)
        ended = _("stored in Slicer's DICOM database, as segmentation and measurements of the same study")
        callbacks = self._callbacks(lambda _uids: self._ended(ended))
        self._logic.storeInDicom(edited=self._results.edited, **callbacks)
