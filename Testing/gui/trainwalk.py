"""The whole loop with the real worker: segment, correct, add, train, accept, segment again; a picture of each step.

The images are drawn, as if another scanner than those that the model knows had made them.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from Testing.gui.panelcase import grabPanel
from Testing.gui.qthost import Host, choose, click
from Testing.gui.traincase import grabTrain, selectRows
from vtk.util.numpy_support import vtk_to_numpy

from llmboost.messages.worker import Progress
from LLMBoostLib.scene import samples
from LLMBoostLib.worker.launcher import COMMAND_SETTING

SEGMENT, TRAIN = "LLMBoostSegment", "LLMBoostTrain"
Take = Callable[[str, Any], None]


class Walk:
    """Both panels, on a scene with phantoms.

    Args:
        steps: of the training; a test cannot wait for minutes that a busy computer fills with few steps.
        folder: gets the pictures train-<step>.png.
    """

    def __init__(self, host: Host, steps: int, folder: Path) -> None:
        import qt

        # as an extension whose packages are installed would find it, whatever this Python has
        qt.QSettings().setValue(COMMAND_SETTING, shlex.join([sys.executable, "-u", "-m", "llmboost.worker"]))
        self.host, self.folder = host, folder
        self.segment = host.openModule(SEGMENT)
        self.train = host.openModule(TRAIN)
        self.train.panel.refresh()
        logic = self.train.logic
        logic.train = partial(inSteps, logic.train, steps)
        self.pictures: list[Path] = []
        self.growth: list[int] = []  # points of the loss's curve, each time that the event loop turned
        self.picture("empty")
        host.selectModule(SEGMENT)
        self.phantoms = samples.makeTrainingPhantoms()
        slicer.util.setSliceViewerLayers(background=self.phantoms[0][0], fit=True)

    @property
    def ui(self) -> Any:
        """Of the panel for training."""
        return self.train.ui

    def picture(self, name: str) -> None:
        """Of the panel that is shown."""
        path = self.folder / f"train-{name}.png"
        self.pictures.append(path)  # first, for events are handled while the panel is drawn
        isTrain = self.train.parent.isEntered
        (grabTrain if isTrain else grabPanel)(self.train if isTrain else self.segment, path)

    def segmentLast(self) -> float:
        """Segment the phantom that nobody labeled, with the model that is chosen; Dice with what was drawn."""
        volumeNode = self.phantoms[-1][0]
        self._apply(volumeNode)
        shift = tuple(np.random.default_rng(len(self.phantoms)).integers(-2, 3, 3))
        node = self.segment.logic.result.segmentationNode
        return dice(voxelsOf(node, volumeNode), samples.drawLabels(shift))

    def correctFirst(self) -> None:
        """Segment the first phantom, correct the segments, and add it with a click."""
        volumeNode, drawn = self.phantoms[0]
        self._apply(volumeNode)
        result = self.segment.logic.result.segmentationNode
        click(self.segment.ui.editButton)
        for n in range(2):
            copySegment(drawn, result, n, volumeNode)
        click(self.segment.ui.backButton)
        slicer.mrmlScene.RemoveNode(drawn)
        self.picture("add")
        click(self.segment.ui.addCaseButton)
        assert "(1 in all)" in self.segment.ui.statusLabel.text, self.host.dialogs.shown

    def addOthers(self) -> None:
        """The other phantoms, which were segmented already, and the last one, unlabeled."""
        self.host.selectModule(TRAIN)
        ui = self.ui
        click(ui.addAllButton)
        choose(ui.segmentationSelector, "None: an unlabeled case")
        choose(ui.volumeSelector, self.phantoms[-1][0].GetName())
        click(ui.addButton)
        assert ui.casesLabel.text.startswith("4 to train with, every fourth is kept aside to check with, 1 unlabeled")
        assert ui.startButton.enabled, ui.startLabel.text
        self.picture("cases")

    def run(self) -> None:
        """Click Start, look how the curves grow, and wait for the end."""
        panel = self.train.panel
        tell, self.growth = panel.progress.tell, []

        def tellAndLook(news: Progress) -> None:
            tell(news)
            self.growth.append(len(panel.training.curves.points["loss"]))
            taken = any(path.stem == "train-running" for path in self.pictures)
            if len(panel.training.curves.points["dice"]) > 2 and not taken:
                panel.training.curves.show()
                self.picture("running")

        panel.progress.tell = tellAndLook
        click(self.ui.startButton)
        self.wait()
        assert self.ui.resultButton.visible, self.host.dialogs.shown
        self.picture("result")

    def compare(self) -> tuple[Any, Any]:
        """The case that was kept aside, before and after; the nodes."""
        click(self.ui.showButton)
        self.wait()
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[-2:]
        assert [node.GetName().rpartition("before")[1] != "" for node in nodes] == [True, False]
        return tuple(nodes)

    def accept(self) -> None:
        """Keep the adapter, and open the other module with it."""
        click(self.ui.acceptButton)
        selectRows(self.ui.adapterTable, 0)
        self.picture("accepted")
        click(self.ui.useButton)
        assert self.segment.panel.chooser.current.name == "hippocampus-local-1"

    def wait(self) -> None:
        self.host.runUntil(lambda: not self.train.panel.run.active, 900)

    def _apply(self, volumeNode: Any) -> None:
        ui, panel = self.segment.ui, self.segment.panel
        choose(ui.inputSelector, volumeNode.GetName())
        self.host.runUntil(lambda: ui.applyButton.enabled)
        click(ui.applyButton)
        self.host.runUntil(lambda: not panel.run.active and not panel.run.resting, 600)
        assert ui.resultButton.visible, self.host.dialogs.shown


def inSteps(train: Callable[..., Any], steps: int, base: str, *, minutes: float, **options: Any) -> Any:
    """As a logic's ``train``, with a budget of steps."""
    return train(base, steps=steps, **options)


def voxelsOf(segmentationNode: Any, volumeNode: Any) -> np.ndarray:
    """uint8 [k, j, i]: the number of the segment, counted from 1."""
    segmentation = segmentationNode.GetSegmentation()
    found = np.zeros(volumeNode.GetImageData().GetDimensions()[::-1], np.uint8)
    for number, segmentID in enumerate(segmentation.GetSegmentIDs(), start=1):
        mask = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentID, volumeNode)
        found[mask > 0] = number
    return found


def copySegment(source: Any, target: Any, number: int, volumeNode: Any) -> None:
    """What a user does with the Segment Editor's effects, which the stand-in lacks: through the same function."""
    segmentIDs = [node.GetSegmentation().GetNthSegmentID(number) for node in (source, target)]
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(source, segmentIDs[0], volumeNode)
    labelmap = slicer.vtkOrientedImageData()
    target.GetBinaryLabelmapRepresentation(segmentIDs[1], labelmap)
    whole = slicer.vtkOrientedImageData()
    whole.DeepCopy(labelmap)
    whole.SetExtent(0, mask.shape[2] - 1, 0, mask.shape[1] - 1, 0, mask.shape[0] - 1)
    whole.AllocateScalars(labelmap.GetScalarType(), 1)
    vtk_to_numpy(whole.GetPointData().GetScalars())[:] = (mask > 0).ravel()
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(whole, target, segmentIDs[1])


def dice(found: np.ndarray, expected: np.ndarray) -> float:
    """Mean of both labels."""
    scores = []
    for value in (1, 2):
        a, b = found == value, expected == value
        scores.append(2 * np.count_nonzero(a & b) / max(np.count_nonzero(a) + np.count_nonzero(b), 1))
    return float(np.mean(scores))
