"""What is chosen in the panel of LLMBoost Segment outlives the scene's file, and is looked at once."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from Testing.gui.qthost import choose

from LLMBoostLib.scene import segmentinput, volumes
from LLMBoostLib.segment import request


@pytest.fixture
def converted(monkeypatch) -> list[str]:
    """The segments that were made into voxels, in that order."""
    seen = []

    def convert(segmentationNode, segmentID):
        seen.append(segmentID)
        return volumes.volumeFromSegment(segmentationNode, segmentID)

    monkeypatch.setattr(segmentinput, "volumeFromSegment", convert)
    return seen


@pytest.fixture
def gland(case, makeClassifier):
    """A segmentation of two segments, for a model that takes one."""
    case.addImage()
    case.run()
    makeClassifier("gland", ("normal", "hyperplasia"), preprocessing={}, modality="SEG")
    return case.segmentations()[0]


def chooseSegment(case, node, number: int) -> str:
    case.ui.segmentSelector.setCurrentNode(node)
    case.ui.segmentSelector.setCurrentSegmentID(node.GetSegmentation().GetNthSegmentID(number))
    return node.GetSegmentation().GetNthSegmentID(number)


def saveAndLoad(case, host, *nodes) -> None:
    for node in nodes:
        extension = ".seg.nrrd" if node.IsA("vtkMRMLSegmentationNode") else ".nrrd"
        assert slicer.util.saveNode(node, str(case.folder / (node.GetName().replace(" ", "-") + extension)), {})
    assert slicer.util.saveScene(str(case.folder / "scene.mrml"))
    host.closeScene()
    assert case.ui.segmentSelector.currentNode() is None
    slicer.util.loadScene(str(case.folder / "scene.mrml"))


def test_a_chosen_segment_is_saved_with_the_scene(case, host, gland):
    segmentID = chooseSegment(case, gland, 1)
    assert case.ui.applyButton.enabled
    for node in slicer.util.getNodesByClass("vtkMRMLTableNode"):
        slicer.mrmlScene.RemoveNode(node)
    saveAndLoad(case, host, gland, *slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"))
    (loaded,) = case.segmentations()
    assert case.parameters.inputSegmentation is loaded
    assert case.ui.segmentSelector.currentNode() is loaded
    assert case.ui.segmentSelector.currentSegmentID() == case.parameters.inputSegmentID == segmentID
    case.run()
    assert "Posterior hippocampus" in case.result.tableNode.GetName()


def test_a_chosen_view_is_saved_with_the_scene(case, host, makeClassifier):
    makeClassifier()
    node = slicer.util.addVolumeFromArray(np.zeros((5, 30, 40), np.int16), np.diag([1.0, 1.0, 3.0, 1.0]), "chest")
    case.chooseImage(node)
    choose(case.ui.slicesBox, "The one shown in view Red")
    saveAndLoad(case, host, node)
    assert case.parameters.sliceView == "Red"
    assert case.ui.slicesBox.currentText == "The one shown in view Red"


def test_the_segment_stays_chosen_when_the_module_is_left(case, host, gland):
    segmentID = chooseSegment(case, gland, 1)
    host.selectModule("")
    host.selectModule("LLMBoostSegment")
    assert case.ui.segmentSelector.currentSegmentID() == segmentID
    assert case.ui.applyButton.enabled


def test_a_mask_is_converted_once_a_change(case, gland, converted):
    segmentID = chooseSegment(case, gland, 1)
    case.run()
    case.explain()
    assert converted.count(segmentID) == 1
    voxels = slicer.util.arrayFromSegmentBinaryLabelmap(gland, segmentID).copy()
    voxels[tuple(np.argwhere(voxels)[0])] = 0
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, gland, segmentID)
    case.run()
    assert converted.count(segmentID) == 2


def test_a_click_reads_image_roi_and_card_once(case, monkeypatch):
    case.addImage()
    case.addRoi()
    case.waitFor(lambda: not case.panel.run.resting)
    seen = []
    for name in ("volumesFromNode", "roiFromNode", "read_card"):
        original = getattr(request, name)
        monkeypatch.setattr(request, name, lambda *a, name=name, original=original: seen.append(name) or original(*a))
    monkeypatch.setattr("LLMBoostLib.scene.fit.volumesFromNode", lambda *_: pytest.fail("nothing was changed"))
    case.start()
    assert sorted(seen) == ["read_card", "roiFromNode", "volumesFromNode"]
    monkeypatch.setattr("LLMBoostLib.scene.fit.volumesFromNode", volumes.volumesFromNode)
    case.letFinish()
