"""What the tests of LLMBoost Train share: its panel on a scene with cases to add, and a trainer that needs no torch."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from PySide6.QtCore import QPoint, QRect
from PySide6.QtWidgets import QComboBox
from Testing.gui.panelcase import heightOf
from Testing.gui.qthost import Host, choose, click
from Testing.slicer.blocks import NAMES, drawBlocks

from llmboost import library
from LLMBoostLib.scene import samples
from LLMBoostLib.scene.segmentation import writeSegmentation
from LLMBoostLib.training.casestore import FOLDER_VARIABLE
from LLMBoostLib.worker.launcher import COMMAND_SETTING

MODULE = "LLMBoostTrain"
TRAINER = Path(__file__).parent / "fake_trainer.py"
WIDTH, HEIGHT = 460, 1900  # of pictures


class TrainCase:
    """The panel, and what a test does with it.

    Attributes:
        folder: for the test's files.
        cases: the folder of the cases.
    """

    def __init__(self, host: Host, folder: Path, monkeypatch: Any) -> None:
        monkeypatch.setenv(library.FOLDER_VARIABLE, str(folder / "models"))
        monkeypatch.setenv(FOLDER_VARIABLE, str(folder / "cases"))
        self.host, self.folder, self.cases = host, folder, folder / "cases"
        self.gate = folder / "gate"
        self.useWorker()
        self.widget = host.openModule(MODULE)

    @property
    def ui(self) -> Any:
        return self.widget.ui

    @property
    def panel(self) -> Any:
        return self.widget.panel

    @property
    def logic(self) -> Any:
        return self.widget.logic

    @property
    def store(self) -> Any:
        return self.logic.store

    @property
    def status(self) -> str:
        return self.ui.statusLabel.text

    def useWorker(self, how: str = "") -> None:
        """The next worker behaves like this, see fake_trainer.py."""
        import qt  # there only once the host has started

        command = [sys.executable, str(TRAINER), str(self.gate), *([how] if how else [])]
        qt.QSettings().setValue(COMMAND_SETTING, shlex.join(command))

    def makeNodes(self, name: str = "head", seed: int = 0, names: tuple = NAMES) -> tuple:
        """A volume and a segmentation of two blocks on it."""
        volumeNode = samples.makePhantomVolume()
        volumeNode.SetName(name)
        array = slicer.util.arrayFromVolume(volumeNode)
        slicer.util.updateVolumeFromArray(volumeNode, array + np.int16(seed))
        labelmap, labels = drawBlocks(names)
        node = writeSegmentation(labelmap, labels, volumeNode, name=f"{name} segments").segmentationNode
        return volumeNode, node

    def add(self, name: str = "head", seed: int = 0, names: tuple = NAMES) -> Any:
        """Add a case with clicks; its Case."""
        volumeNode, segmentationNode = self.makeNodes(name, seed, names)
        self.unfold()
        before = set(self.store.cases)
        choose(self.ui.segmentationSelector, segmentationNode.GetName())
        assert self.ui.volumeSelector.currentNode() is volumeNode  # follows
        click(self.ui.addButton)
        (id,) = set(self.store.cases) - before
        return self.store.cases[id]

    def unfold(self) -> None:
        """Open what is chosen, where it is folded to a line."""
        if self.ui.choiceButton.collapsed:
            click(self.ui.choiceButton)

    @property
    def height(self) -> int:
        """Pixels that the panel needs, at the width of Slicer's module panel."""
        return heightOf(self.widget)

    def select(self, *cases: Any) -> None:
        """Choose the rows of cases."""
        ids = list(self.store.cases)
        selectRows(self.ui.caseTable, *(ids.index(case.id) for case in cases))

    def cell(self, table: Any, row: int, column: int) -> str:
        """The text of a table's cell, or of the choice in it."""
        widget = table.cellWidget(row, column)
        return widget.currentText if isinstance(widget, QComboBox) else table.item(row, column).text()

    def start(self, how: str = "") -> None:
        """Click Start, which must be enabled."""
        self.useWorker(how)
        assert self.ui.startButton.enabled, self.ui.startLabel.text
        click(self.ui.startButton)

    def startSlow(self) -> None:
        """A training that is under way, until it is ended or the gate opens."""
        self.start("slow")
        self.waitFor(lambda: len(self.panel.training.curves.points["dice"]) == 1)

    @property
    def pid(self) -> int:
        """Of the worker that trains, or trained last."""
        return int(self.gate.with_suffix(".pid").read_text())

    def waitFor(self, condition: Any) -> None:
        self.host.runUntil(condition, 120)

    def finish(self) -> None:
        """Wait until nothing goes on any more."""
        self.waitFor(lambda: not self.panel.run.active)
        self.host.processEvents()

    def error(self) -> str:
        """The text of the error box that was shown."""
        return self.host.dialogs.take("error").text

    def assertTidy(self) -> None:
        """No training goes on, and none left anything."""
        assert not self.panel.run.active
        assert not self.logic.training.running
        assert not self.logic.client.busy
        assert not (self.cases / "runs").exists()
        assert self.ui.startButton.text == "&Start"
        assert not self.ui.progressBar.visible


def selectRows(table: Any, *rows: int) -> None:
    """Choose rows of a table, as with clicks while Ctrl is held."""
    import qt  # there only once the host has started

    table.clearSelection()
    for row in rows:
        table.setRangeSelected(qt.QTableWidgetSelectionRange(row, 0, row, table.columnCount - 1), True)


def erase(segmentationNode: Any, number: int) -> None:
    """Half of a segment, as an effect of the Segment Editor does."""
    from vtk.util.numpy_support import vtk_to_numpy

    segmentID = segmentationNode.GetSegmentation().GetNthSegmentID(number)
    labelmap = slicer.vtkOrientedImageData()
    segmentationNode.GetBinaryLabelmapRepresentation(segmentID, labelmap)
    array = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(labelmap.GetDimensions()[::-1])
    planes = np.flatnonzero(array.any(axis=(1, 2)))
    array[planes[len(planes) // 2 :]] = 0
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(labelmap, segmentationNode, segmentID)


def grabTrain(widget: Any, path: Path) -> Path:
    """Write how the whole panel looks now, without scrolling, as PNG."""
    window, ui = slicer.util.mainWindow(), widget.ui
    window.resize(WIDTH, HEIGHT)
    slicer.app.processEvents()
    slicer.app.processEvents()
    last = ui.adaptersButton
    bottom = last.mapTo(window, QPoint(0, last.height)).y() + 12 if ui.mainFrame.visible else 480
    path.parent.mkdir(parents=True, exist_ok=True)
    assert window.grab(QRect(0, 0, WIDTH, bottom)).save(str(path)), f"cannot write {path}"
    return path
