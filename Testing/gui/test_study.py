"""The row Study of the panel: the image alone, what suits best of its study, or all of it that suits."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from Testing.gui.qthost import choose, click


@pytest.fixture
def study(case):
    """Four volumes of a study; the localizer is the chosen image."""
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    item = hierarchy.CreateStudyItem(hierarchy.GetSceneItemID(), "2026-11-30")
    nodes = {}
    for name, shape, spacing in (
        ("1: localizer", (6, 56, 40), 8.0),
        ("3: T1 MPRAGE", (40, 56, 40), 1.0),
        ("5: FLAIR 3D", (40, 56, 40), 1.0),
        ("6: T2", (10, 56, 40), 4.0),
    ):
        array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape) % 500
        node = slicer.util.addVolumeFromArray(array, np.diag([1, 1, spacing, 1]), name)
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), item)
        nodes[name] = node
    case.chooseImage(nodes["1: localizer"])
    return nodes


def texts(case):
    box = case.ui.studyBox
    return [box.itemText(n) for n in range(box.count)] if box.visible else []


def segmentations():
    return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode")]


def test_the_row_is_there_only_where_a_study_has_more_that_suits(case, study):
    assert texts(case) == ["This image alone", "What suits best: 3: T1 MPRAGE", "All 3 that suit"]
    assert "1: localizer: a localizer" in case.ui.studyBox.toolTip
    case.addImage("elsewhere")
    assert texts(case) == []
    assert not case.ui.studyLabel.visible


def test_what_suits_best_becomes_the_image(case, study):
    choose(case.ui.studyBox, "What suits best: 3: T1 MPRAGE")
    assert case.ui.inputSelector.currentNode() is study["3: T1 MPRAGE"]
    assert texts(case) == ["This image alone", "All 3 that suit"]
    case.run()
    assert segmentations() == ["3: T1 MPRAGE hippocampus"]


def test_all_that_suit_get_segments_of_their_own_and_revert_takes_them_back(case, study):
    choose(case.ui.studyBox, "All 3 that suit")
    assert not case.ui.fitLabel.visible, "what is told is about the image that is not taken"
    case.run()
    assert segmentations() == ["3: T1 MPRAGE hippocampus", "5: FLAIR 3D hippocampus", "6: T2 hippocampus"]
    assert case.ui.statusLabel.text == "3 of 3 images of the study are done"
    click(case.ui.revertButton)
    assert segmentations() == []
    choose(case.ui.studyBox, "This image alone")
    case.chooseImage(study["6: T2"])
    case.run()
    assert len(segmentations()) == 1
