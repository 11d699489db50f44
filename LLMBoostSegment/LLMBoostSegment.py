"""Slicer's module LLMBoost Segment: what it is, its panel, its logic for scripts, its own test. Without torch."""

from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

from llmboost import library
from llmboost.card import read_card
from llmboost.messages.images import ClassChance, ClassifyAnswer, DrawnLabel, KnownRange
from LLMBoostLib.panels.modulewidget import HOMEPAGE, ModuleWidget
from LLMBoostLib.scene import fit, samples
from LLMBoostLib.scene.classification import writeClassification
from LLMBoostLib.scene.segmentation import writeSegmentation
from LLMBoostLib.segment.logic import LLMBoostSegmentLogic
from LLMBoostLib.segment.parameters import LLMBoostSegmentParameterNode
from LLMBoostLib.strokes import registration


class LLMBoostSegment(ScriptedLoadableModule):
    def __init__(self, parent: Any):
        super().__init__(parent)
        parent.title = _("LLMBoost Segment")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = []
        parent.contributors = ["The LLMBoost developers"]
        parent.helpText = _(
            "Segments or classifies an image with a network that carries a frozen block of a language model inside, and"
            " shows where the network looked. All is computed on this machine, in a process of its own. For research"
            " only, not for clinical use."
            ' See <a href="{url}">{url}</a>.'
        ).format(url=HOMEPAGE)
        parent.acknowledgementText = _(
            "The networks are trained on public data sets, named in each model's card. Models and programs are free"
            " software; their licenses are listed at {url}."
        ).format(url=HOMEPAGE)
        slicer.app.connect("startupCompleted()", samples.register)  # when Sample Data is there
        slicer.app.connect("startupCompleted()", registration.register)  # and the Segment Editor


class LLMBoostSegmentWidget(ModuleWidget):
    """The module's life in the application; what the panel does is told in ``LLMBoostLib.panels.segmentpanel``."""

    def makeLogic(self) -> Any:
        return LLMBoostSegmentLogic()

    def makePanel(self) -> Any:
        from LLMBoostLib.panels.segmentpanel import Panel

        return Panel(self.ui, self.logic)

    def makeParameterNode(self) -> Any:
        """The scene's parameters; where no image is chosen yet, the first one is."""
        wrap: Any = LLMBoostSegmentParameterNode
        parameterNode = wrap(self.logic.getParameterNode())
        if parameterNode.inputVolume is None:
            volumeNodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")  # label maps, too
            images = (node for node in volumeNodes if node.GetClassName() == "vtkMRMLScalarVolumeNode")
            parameterNode.inputVolume = next(images, None)
        return parameterNode


class LLMBoostSegmentTest(ScriptedLoadableModuleTest):
    """Runs on Slicer's build machines, too: no torch, no main window, no network."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        for test in (self.test_segmentsOfAnAnswer, self.test_tableOfClasses, self.test_phantom):
            self.setUp()
            test()

    def test_segmentsOfAnAnswer(self) -> None:
        """A made-up answer becomes segments with names, on the volume's grid, and is taken back."""
        volumeNode = slicer.util.addVolumeFromArray(np.zeros((6, 7, 8), np.int16), name="phantom")
        labelmap = np.zeros((6, 7, 8), np.uint8)
        labelmap[2:4, 2:5, 2:6] = 1
        label = DrawnLabel(1, "block", (230, 159, 0))
        undo = writeSegmentation(labelmap, [label], volumeNode, name="blocks")
        segmentation = undo.segmentationNode.GetSegmentation()
        segmentID = segmentation.GetSegmentIdBySegmentName("block")
        voxels = slicer.util.arrayFromSegmentBinaryLabelmap(undo.segmentationNode, segmentID, volumeNode)
        assert np.array_equal(voxels, labelmap)
        undo.revert()
        assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")

    def test_tableOfClasses(self) -> None:
        """A made-up answer becomes a table with a row a class, and is taken back."""
        volumeNode = slicer.util.addVolumeFromArray(np.zeros((6, 7, 8), np.int16), name="phantom")
        answer = ClassifyAnswer(
            refused=False,
            classes=(ClassChance(0, "normal", 0.25), ClassChance(1, "finding", 0.75)),
            decision=("finding",),
            positive="finding",
            threshold=0.5,
            slices=(),
            range=KnownRange(0.5, 1.0),
            seconds=0.1,
            provenance={"LLMBoost.Model": "made-up"},
        )
        found = writeClassification(answer, [volumeNode])
        assert [found.tableNode.GetCellText(row, 1) for row in (0, 1)] == ["0.25", "0.75"]
        assert found.decision == ("finding",)
        found.revert()
        assert not slicer.util.getNodesByClass("vtkMRMLTableNode")

    def test_phantom(self) -> None:
        """The image for trying the module needs no network, and suits the model that comes with it."""
        volumeNode = samples.makePhantomVolume()
        card = read_card(library.find("hippocampus"))
        fit.check(card, [volumeNode])
        assert not fit.concerns(card, [volumeNode])
