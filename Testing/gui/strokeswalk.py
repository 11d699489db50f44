"""The way of the tutorial on strokes with the real worker, click by click: from the first stroke to the next case.

The images are drawn, as if another scanner than those that the model knows had made them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from PySide6 import QtGui
from Testing.gui.editorcase import Editor
from Testing.gui.painting import showSlice
from Testing.gui.qthost import MODULES, Host, click
from Testing.gui.trainwalk import inSteps
from Testing.host import SliceView

from LLMBoostLib.scene import samples
from LLMBoostLib.strokes.registration import NAME
from LLMBoostLib.worker.launcher import COMMAND_SETTING

BACKGROUND = "background"
NEW = "Head", "Body and tail"  # what no installed model knows by these names
KNOWN = tuple(label.name for label in samples.LABELS)
VIEW = 330, 330  # pixels
PANEL = 430  # pixels
FIELD = 58.0  # mm across a slice view
SLICES, FURTHER = (20, 28, 36), (24, 32)  # coronal ones that are painted in, at first and then
PATIENCE = 600.0  # seconds for an answer


class Walk:
    """The Segment Editor on drawn hippocampi.

    Args:
        views: of the slices; without them, no pictures are taken.
        folder: gets the pictures strokes-<step>.jpg.

    Attributes:
        clicks: of the mouse and keys, but for strokes: how many there were.
        strokes: how many were painted in the image that is open.
        kept: how many clicks there were when a model was kept.
        rounds: Dice of each structure after the first strokes, and after the further ones.
    """

    def __init__(self, host: Host, views: Sequence[SliceView] = (), folder: Path | None = None) -> None:
        import qt

        qt.QSettings().setValue(COMMAND_SETTING, shlex.join([sys.executable, "-u", "-m", "llmboost.worker"]))
        self.host, self.views, self.folder = host, views, folder
        self.clicks = self.strokes = self.kept = 0
        self.rounds: list[list[float]] = []
        host.loadModule(Path(__file__).parents[2] / "LLMBoostSegment" / "LLMBoostSegment.py")
        self.truths = [samples.drawLabels(_shift(number)) for number in (1, 2)]
        self.editor: Any = None

    def go(self) -> None:
        """All steps on one image whose structures no model knows, with a picture of each."""
        self.open(1, NEW)
        for j in SLICES:
            self.paintSlice(j)
        self.look()
        self.picture("paint")
        self.choose()
        self.finish()
        self.rounds.append(self.dice())
        self.picture("whole")
        self.click(self.effect.options.unsureButton)
        self.picture("unsure")
        for j in FURTHER:
            self.paintSlice(j)
        self.finish()
        self.rounds.append(self.dice())
        self.click(self.effect.options.addButton)
        self.click(self.effect.applyButton)
        self.look()
        self.picture("applied")

    def learn(self) -> None:
        """Strokes teach a model that knows the structures, but not such images; it is kept, and starts the next one."""
        self.open(1, KNOWN)
        # of strokes in several slices, the walker would find those left out better, and answer
        self.paintSlice(SLICES[1])
        self.choose()
        self.finish()
        self.rounds.append(self.dice())
        self.click(self.effect.options.keepButton)
        self.waitFor(lambda: "Kept as model" in self.status)
        self.kept = self.clicks
        self.click(self.effect.applyButton)
        self.open(2, KNOWN)
        self.paintSlice(SLICES[1])
        self.choose()
        self.finish()
        self.rounds.append(self.dice())
        self.look()
        self.picture("learned")

    def train(self, steps: int) -> None:
        """What strokes have drawn of structures that no model knows becomes a case, that a model, which draws the next
        image."""
        window = slicer.util.mainWindow()
        panel = window.takeCentralWidget()  # the modules', whose place the editor takes
        self.host.loadModule(MODULES / "LLMBoostTrain" / "LLMBoostTrain.py")
        self.open(1, NEW)
        for j in SLICES:
            self.paintSlice(j)
        self.choose()
        self.finish()
        options = self.effect.options
        self.click(options.rightBox)
        self.click(options.addButton)
        self.click(options.trainButton)
        window.takeCentralWidget()
        window.setCentralWidget(panel)
        panel.show()
        self.host.processEvents()
        module = slicer.util.getModuleWidget("LLMBoostTrain")
        module.logic.train = partial(inSteps, module.logic.train, steps)
        self.click(module.ui.startButton)
        self.waitFor(lambda: not module.panel.run.active)
        self.click(module.ui.acceptButton)
        self.kept = self.clicks
        window.takeCentralWidget()
        self.open(2, NEW)
        self.paintSlice(SLICES[1])
        self.choose()
        self.finish()

    def finish(self) -> None:
        """Wait until the newest strokes are answered, by all who have a say."""
        self.waitFor(lambda: f" {self.strokes} strokes" in self.status and "learns" not in self.status)

    def open(self, number: int, names: Sequence[str]) -> None:
        """The editor on a phantom, with its segments, called so, none painted."""
        array = samples.drawPhantom(_shift(number), number, inverted=True)
        matrix = np.eye(4)
        matrix[:3, 3] = np.array(samples.CENTER) - (np.array(samples.SIZE[::-1]) - 1) / 2
        if self.editor:
            self.editor.segmentation.GetDisplayNode().SetVisibility(False)
        self.names, self.strokes = tuple(names), 0
        self.editor = Editor(self.host, matrix, array=array, names=[*names, BACKGROUND])
        segmentation = self.editor.segmentation.GetSegmentation()
        for name, label in zip(names, samples.LABELS, strict=True):
            segmentation.GetSegment(name).SetColor(*(part / 255 for part in label.color))
        segmentation.GetSegment(BACKGROUND).SetColor(0.65, 0.65, 0.65)
        self.truth = self.truths[number - 1]
        for view in self.views:
            slicer.app.layoutManager().sliceWidget(view.node.GetName()).drawBy(view)
        self.look()

    def look(self, ras: Sequence[float] = samples.CENTER) -> None:
        """Show a place in the slice views."""
        showSlice("Green", self.editor.volume, ras)
        for view in self.views:
            view.show(ras, FIELD)

    def paintSlice(self, j: int) -> None:
        """A stroke in each structure of a coronal slice, and two around them."""
        plane = self.truth[:, j]
        for name, label in zip(self.names, samples.LABELS, strict=True):
            k, i = np.nonzero(plane == label.value)
            if len(i) > 8:
                row = int(np.median(k))
                inside = np.sort(i[k == row])[1:-1]
                self.paint(name, (inside[0], j, row), (inside[-1], j, row))
        k, i = np.nonzero(plane)
        if len(i):
            for row in (max(int(k.min()) - 4, 1), min(int(k.max()) + 4, plane.shape[0] - 2)):
                self.paint(BACKGROUND, (int(i.min()), j, row), (int(i.max()), j, row))

    def paint(self, name: str, *indices: Sequence[int]) -> None:
        """A stroke along voxels (i, j, k)."""
        matrix = slicer.util.arrayFromVTKMatrix(self._ijkToRAS())
        points = [(matrix @ [*index, 1])[:3] for index in indices]
        self.editor.paint(name, *points, view="Green")
        self.strokes += 1

    def _ijkToRAS(self) -> Any:
        import vtk

        matrix = vtk.vtkMatrix4x4()
        self.editor.volume.GetIJKToRASMatrix(matrix)
        return matrix

    @property
    def effect(self) -> Any:
        return self.editor.widget.effectByName(NAME).self()

    @property
    def status(self) -> str:
        return str(self.effect.options.statusLabel.text)

    def click(self, widget: Any) -> None:
        click(widget)
        self.clicks += 1

    def choose(self) -> None:
        """Click the effect's button."""
        import qt

        self.click(self.editor.widget.findChild(qt.QToolButton, NAME))

    def waitFor(self, condition: Callable[[], bool]) -> None:
        self.host.runUntil(condition, PATIENCE)

    def dice(self, node: Any = None) -> list[float]:
        """Of each structure, in the preview or another segmentation."""
        node = node or self.editor.preview
        found = []
        for name, label in zip(self.names, samples.LABELS, strict=True):
            segmentID = node.GetSegmentation().GetSegmentIdBySegmentName(name)
            drawn, true = self.editor.voxels(segmentID, node), self.truth == label.value
            found.append(2 * float((drawn & true).sum()) / float(drawn.sum() + true.sum()))
        return found

    def picture(self, name: str) -> None:
        """The editor beside two slice views."""
        if self.folder is None:
            return
        widgets = [slicer.app.layoutManager().sliceWidget(view.node.GetName()) for view in self.views]
        window = slicer.util.mainWindow()
        height = VIEW[1] * len(widgets)
        window.resize(PANEL, height)
        slicer.app.processEvents()
        whole = QtGui.QImage(PANEL + VIEW[0], height, QtGui.QImage.Format_RGB888)
        whole.fill(0)
        painter = QtGui.QPainter(whole)
        painter.drawPixmap(0, 0, window.grab())
        for number, widget in enumerate(widgets):
            painter.drawPixmap(PANEL, number * VIEW[1], widget.grab())
        painter.end()
        assert whole.save(str(self.folder / f"strokes-{name}.jpg"), None, 60)


def _shift(number: int) -> tuple[int, ...]:
    return tuple(np.random.default_rng(number).integers(-2, 3, 3))
