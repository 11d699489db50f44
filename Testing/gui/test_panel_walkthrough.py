"""From an empty scene to edited segments, on a real image with the real worker, and a picture of every step.

LLMBOOST_PICTURES names a folder that the pictures are kept in.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from Testing.gui.panelcase import SEGMENTS, grabPanel, voxels
from Testing.gui.qthost import choose, click
from vtk.util.numpy_support import vtk_to_numpy

from LLMBoostLib.client import Progress
from LLMBoostLib.launcher import COMMAND_SETTING


def test_from_an_empty_scene_to_edited_segments(host, session, tmp_path, data_root, monkeypatch):
    import qt

    monkeypatch.setenv("LLMBOOST_MODELS", str(tmp_path / "models"))
    folder = Path(os.environ.get("LLMBOOST_PICTURES") or tmp_path)
    taken: list[Path] = []

    def picture(step: str) -> None:
        taken.append(folder / f"{len(taken) + 1}-{step}.png")
        grabPanel(panel, taken[-1])

    # as an extension whose packages are installed would find it, whatever this Python has
    qt.QSettings().setValue(COMMAND_SETTING, shlex.join([sys.executable, "-u", "-m", "llmboost.worker"]))
    panel = host.openModule("LLMBoostSegment")
    ui = panel.ui
    picture("empty")

    case = sorted((data_root / "Task04_Hippocampus" / "imagesTr").glob("hippocampus_*.nii.gz"))[0]
    volumeNode = slicer.util.loadVolume(str(case), {})
    choose(ui.inputSelector, volumeNode.GetName())
    assert ui.fitLabel.text == ""
    click(ui.uncertaintyBox)
    picture("image")

    tell = panel.panel.progress.tell

    def tellAndShow(news: Progress) -> None:
        """The first news of the computation is a step of this walk, however soon the result follows."""
        tell(news)
        if news.text == "segmenting" and len(taken) == 2:
            picture("running")

    monkeypatch.setattr(panel.panel.progress, "tell", tellAndShow)
    click(ui.applyButton)
    host.runUntil(lambda: ui.applyButton.text == "&Apply")
    assert ui.resultButton.visible, host.dialogs.shown
    picture("done")
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    true = slicer.util.loadVolume(str(data_root / "Task04_Hippocampus" / "labelsTr" / case.name), {"labelmap": True})
    expected = slicer.util.arrayFromVolume(true)
    for value, name in enumerate(SEGMENTS, start=1):
        assert overlap(voxels(node, name, volumeNode), expected == value) > 0.7
    slicer.mrmlScene.RemoveNode(true)

    click(ui.overlayBox)
    click(ui.show3DBox)
    picture("uncertainty")

    click(ui.editButton)
    segmentID = node.GetSegmentation().GetSegmentIdBySegmentName(SEGMENTS[0])
    ui.editorFrame.findChild(slicer.qMRMLSegmentEditorWidget).setCurrentSegmentID(segmentID)
    picture("editing")
    before = np.count_nonzero(voxels(node, SEGMENTS[0], volumeNode))
    eraseUpperHalf(node, segmentID)
    click(ui.backButton)
    picture("edited")
    after = np.count_nonzero(voxels(node, SEGMENTS[0], volumeNode))
    assert 0 < after < before
    assert panel.logic.result.tableNode.GetCellText(0, 2) == str(after)
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert len({path.read_bytes() for path in taken}) == 7


def eraseUpperHalf(segmentationNode: Any, segmentID: str) -> None:
    """What an effect of the Segment Editor does, which the stand-in's cannot: it writes through the same function."""
    labelmap = slicer.vtkOrientedImageData()
    segmentationNode.GetBinaryLabelmapRepresentation(segmentID, labelmap)
    array = vtk_to_numpy(labelmap.GetPointData().GetScalars()).reshape(labelmap.GetDimensions()[::-1])
    array[int(np.argwhere(array)[:, 0].mean()) :] = 0
    slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(labelmap, segmentationNode, segmentID)


def overlap(found: np.ndarray, expected: np.ndarray) -> float:
    """Dice's coefficient."""
    return 2 * np.count_nonzero(found & expected) / (np.count_nonzero(found) + np.count_nonzero(expected))
