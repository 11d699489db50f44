"""From an empty scene to edited segments, on a real image with the real worker, and a picture of every step.

LLMBOOST_PICTURES names a folder that the pictures are kept in.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import numpy as np
import slicer
from Testing.gui.panelcase import SEGMENTS, voxels
from Testing.gui.qthost import choose, click, grab

from LLMBoostLib.launcher import COMMAND_SETTING

WIDTH = 460


def test_from_an_empty_scene_to_edited_segments(host, session, tmp_path, data_root, monkeypatch):
    import qt

    monkeypatch.setenv("LLMBOOST_MODELS", str(tmp_path / "models"))
    folder = Path(os.environ.get("LLMBOOST_PICTURES") or tmp_path)
    taken: list[Path] = []

    def picture(step: str) -> None:
        ui.LLMBoostSegment.adjustSize()
        window = slicer.util.mainWindow()
        window.resize(WIDTH, panel.layout.sizeHint().height() + 60)
        taken.append(grab(window, folder / f"{len(taken) + 1}-{step}.png"))

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

    click(ui.applyButton)
    host.runUntil(lambda: "segmenting" in ui.statusLabel.text and ui.progressBar.value > 0)
    picture("running")
    host.runUntil(lambda: ui.resultButton.visible)
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
    before = voxels(node, SEGMENTS[0], volumeNode)
    edited = before.copy()
    edited[: len(edited) // 2] = False
    slicer.util.updateSegmentBinaryLabelmapFromArray(edited.astype(np.uint8), node, segmentID, volumeNode)
    click(ui.backButton)
    picture("edited")
    table = panel.logic.result.tableNode
    assert table.GetCellText(0, 2) == str(np.count_nonzero(edited))
    assert 0 < np.count_nonzero(edited) < np.count_nonzero(before)
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert len({path.read_bytes() for path in taken}) == 7


def overlap(found: np.ndarray, expected: np.ndarray) -> float:
    """Dice's coefficient."""
    return 2 * np.count_nonzero(found & expected) / (np.count_nonzero(found) + np.count_nonzero(expected))
