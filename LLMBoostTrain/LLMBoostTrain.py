"""Slicer's module LLMBoost Train: what it is, its life in the application, its own test. Without torch."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

from llmboost.messages.images import DrawnLabel
from LLMBoostLib.panels.modulewidget import HOMEPAGE, ModuleWidget
from LLMBoostLib.scene import samples
from LLMBoostLib.scene.segmentation import writeSegmentation
from LLMBoostLib.training.logic import LLMBoostTrainLogic, LLMBoostTrainParameterNode
from LLMBoostLib.training.plan import examine


class LLMBoostTrain(ScriptedLoadableModule):
    def __init__(self, parent: Any):
        super().__init__(parent)
        parent.title = _("LLMBoost Train")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        parent.dependencies = ["LLMBoostSegment"]
        parent.contributors = ["The LLMBoost developers"]
        parent.helpText = _(
            "Makes a model of LLMBoost Segment better on a user's own images, in minutes: correct some results, add"
            " them as cases, train. The model itself stays as it is; what is learned goes into a small file beside"
            " it. All is computed on this machine, and cases do not leave it. For research only, not for clinical use."
            ' See <a href="{url}">{url}</a>.'
        ).format(url=HOMEPAGE)
        parent.acknowledgementText = _(
            "Training builds on MONAI, PyTorch and PEFT; their licenses are listed at {url}."
        ).format(url=HOMEPAGE)


class LLMBoostTrainWidget(ModuleWidget):
    """The module's life in the application; what the panel does is told in ``LLMBoostLib.training.panel``."""

    def makeLogic(self) -> Any:
        return LLMBoostTrainLogic()

    def makePanel(self) -> Any:
        from LLMBoostLib.training.panel import Panel

        return Panel(self.ui, self.logic)

    def makeParameterNode(self) -> Any:
        wrap: Any = LLMBoostTrainParameterNode
        return wrap(self.logic.getParameterNode())


class LLMBoostTrainTest(ScriptedLoadableModuleTest):
    """Runs on Slicer's build machines, too: no torch, no main window, no network."""

    def setUp(self) -> None:
        slicer.mrmlScene.Clear()

    def runTest(self) -> None:
        for test in (self.test_caseOfAPhantom,):
            self.setUp()
            test()

    def test_caseOfAPhantom(self) -> None:
        """A phantom with two segments becomes a case that can be trained with, without a word of its name."""
        volumeNode = samples.makePhantomVolume()
        labelmap = np.zeros(samples.SIZE, np.uint8)
        labelmap[10:20, 20:30, 15:25], labelmap[10:20, 30:40, 15:25] = 1, 2
        names = ("Anterior hippocampus", "Posterior hippocampus")
        labels = [DrawnLabel(value, name, (230, 159, 0)) for value, name in enumerate(names, start=1)]
        segmentationNode = writeSegmentation(labelmap, labels, volumeNode).segmentationNode
        with tempfile.TemporaryDirectory() as folder:
            logic = LLMBoostTrainLogic(folder=Path(folder))
            case = logic.addCase(volumeNode, segmentationNode)
            assert sorted(case.voxels.values()) == [1000, 1000]
            plan = logic.plan("hippocampus")
            assert not any(found.problems for found in examine(plan, logic.store)[1].values())
            written = "".join(path.read_text() for path in Path(folder).glob("*.json"))
            assert volumeNode.GetName() not in written
            logic.store.removeAll()
