"""What the tests of the panel share: the panel of LLMBoost Segment on a scene with one image and a light worker."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from PySide6.QtCore import QPoint, QRect
from Testing.gui.qthost import Host, choose, click

from LLMBoostLib.worker.launcher import COMMAND_SETTING

MODULE = "LLMBoostSegment"
WORKER = Path(__file__).parent / "light_worker.py"
WIDTH, HEIGHT, EDITOR_HEIGHT = 460, 1700, 420  # of pictures; the first height has room for all of the panel
SEGMENTS = ["Anterior hippocampus", "Posterior hippocampus"]


class Case:
    """The panel, and what a test does with it.

    Attributes:
        folder: for the test's files.
        models: the user's folder of models.
    """

    def __init__(self, host: Host, folder: Path, models: Path) -> None:
        self.host, self.folder, self.models = host, folder, models
        self._gate = folder / "gate"
        self.useWorker()
        self.widget = host.openModule(MODULE)
        self.panel.run.restMs = 1  # no test clicks twice by chance

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def panel(self) -> Any:
        return self.widget.panel

    @property
    def client(self) -> Any:
        return self.widget.logic.client

    @property
    def parameters(self) -> Any:
        return self.panel.parameterNode

    def useWorker(self, how: str = "") -> None:
        """The next worker behaves like this, see light_worker.py."""
        import qt  # there only once the host has started

        command = [sys.executable, str(WORKER), str(self._gate), *([how] if how else [])]
        qt.QSettings().setValue(COMMAND_SETTING, shlex.join(command))

    def addImage(self, name: str = "head", shape: tuple = (40, 56, 40), spacing: float = 1.0) -> Any:
        """A volume with a gradient [k, j, i], chosen as the input."""
        array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape) % 500
        node = slicer.util.addVolumeFromArray(array, np.diag([spacing, spacing, spacing, 1]), name)
        self.chooseImage(node)
        return node

    def chooseImage(self, node: Any) -> None:
        if self.ui.inputSelector.currentNode() is not node:
            choose(self.ui.inputSelector, node.GetName())

    def addRoi(self, center: tuple = (20, 28, 20), size: tuple = (20, 20, 20)) -> Any:
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "box")
        node.SetCenter(*center)
        node.SetSize(*size)
        choose(self.ui.roiSelector, "box")
        return node

    def apply(self) -> None:
        """Click Apply, which must be enabled."""
        self.waitFor(lambda: not self.panel.run.resting)
        assert self.ui.applyButton.enabled, self.ui.applyButton.toolTip
        click(self.ui.applyButton)

    def waitFor(self, condition: Any) -> None:
        self.host.runUntil(condition)

    def explain(self) -> None:
        """Click Explain, which must be enabled, and wait."""
        self.waitFor(lambda: not self.panel.run.resting)
        assert self.ui.explainButton.enabled
        click(self.ui.explainButton)
        self.finish()

    def finish(self) -> None:
        """Wait until nothing runs any more."""
        self.waitFor(lambda: not self.panel.run.active)
        self.host.processEvents()

    def run(self) -> None:
        self.apply()
        self.finish()

    def start(self, how: str = "slow", word: str = "segmenting") -> None:
        """A run that is under way, and that Cancel can end, or :meth:`letFinish`."""
        self.useWorker(how)
        self.apply()
        self.waitFor(lambda: word in self.ui.statusLabel.text and self.ui.applyButton.enabled)

    def letFinish(self) -> None:
        """Let a slow run come to its end."""
        self._gate.touch()
        self.finish()

    def error(self) -> str:
        """The text of the error box that was shown."""
        return self.host.dialogs.take("error").text

    @property
    def status(self) -> str:
        return self.ui.statusLabel.text

    def refused(self) -> str:
        """Why Apply is disabled."""
        assert not self.ui.applyButton.enabled
        return self.ui.applyButton.toolTip

    @property
    def result(self) -> Any:
        return self.widget.logic.result

    def table(self) -> list[list[str]]:
        """What the table of segments shows, a list a row, its header first."""
        table = self.ui.segmentTable
        header = [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]
        rows = range(table.rowCount)
        return [header, *([table.item(row, n).text() for n in range(table.columnCount)] for row in rows)]

    @property
    def height(self) -> int:
        """Pixels that the panel needs, at the width of Slicer's module panel."""
        return heightOf(self.widget)

    def segmentations(self) -> list[Any]:
        return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")

    def assertUntouched(self, apply: str = "&Apply") -> None:
        """Nothing was made, and the panel is ready for the next run."""
        for className in ("vtkMRMLSegmentationNode", "vtkMRMLTableNode", "vtkMRMLSequenceNode"):
            assert not slicer.util.getNodesByClass(className)
        assert not self.ui.resultButton.visible
        assert self.ui.applyButton.text == apply
        assert not self.ui.progressBar.visible
        assert not self.client.busy


def setCommand(text: str) -> None:
    """The worker's command, as the user sets it."""
    import qt  # there only once the host has started

    qt.QSettings().setValue(COMMAND_SETTING, text)


def names(segmentationNode: Any) -> list[str]:
    """Of the segments."""
    segmentation = segmentationNode.GetSegmentation()
    return [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]


def voxels(segmentationNode: Any, name: str, volumeNode: Any) -> np.ndarray:
    """bool [k, j, i] of a segment."""
    segmentID = segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode) > 0


def heightOf(widget: Any) -> int:
    """Pixels that a module's panel needs, at the width of Slicer's module panel."""
    form = widget.ui.mainFrame.parentWidget()
    slicer.util.mainWindow().resize(WIDTH, HEIGHT)
    slicer.app.processEvents()
    slicer.app.processEvents()
    layout = form.layout()
    return int(
        layout.totalHeightForWidth(form.width) if layout.hasHeightForWidth() else layout.totalSizeHint().height()
    )


def grabPanel(widget: Any, path: Path) -> Path:
    """Write how the whole panel looks now, without scrolling, as PNG."""
    window, ui = slicer.util.mainWindow(), widget.ui
    window.resize(WIDTH, HEIGHT)
    slicer.app.processEvents()
    last = ui.advancedButton
    bottom = last.mapTo(window, QPoint(0, last.height)).y() + 12 if ui.mainFrame.visible else EDITOR_HEIGHT
    path.parent.mkdir(parents=True, exist_ok=True)
    assert window.grab(QRect(0, 0, WIDTH, bottom)).save(str(path)), f"cannot write {path}"
    return path


def rows(case: Any) -> list[str]:
    """The models of the list, without the parts of the body between them."""
    items = [case.ui.modelList.item(n) for n in range(case.ui.modelList.count)]
    return [item.text() for item in items if item.flags()]
