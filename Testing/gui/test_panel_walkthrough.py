"""From an empty scene to edited segments, with the real worker, and a picture of every step.

LLMBOOST_PICTURES names a folder that the pictures are kept in.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
from Testing.gui.panelcase import SEGMENTS, grabPanel, voxels
from Testing.gui.qthost import Host, choose, click
from vtk.util.numpy_support import vtk_to_numpy

from llmboost.messages.worker import Progress
from LLMBoostLib.worker.launcher import COMMAND_SETTING


class Walk:
    """The panel on an empty scene, with the real worker.

    Attributes:
        pictures: one for each step so far.
    """

    def __init__(self, host: Host, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import qt

        # as an extension whose packages are installed would find it, whatever this Python has
        qt.QSettings().setValue(COMMAND_SETTING, shlex.join([sys.executable, "-u", "-m", "llmboost.worker"]))
        self._host, self._folder, self._monkeypatch = host, folder, monkeypatch
        self._panel = host.openModule("LLMBoostSegment")
        self.ui = self._panel.ui
        self.pictures: list[Path] = []
        self.picture("empty")

    def picture(self, step: str) -> None:
        self.pictures.append(self._folder / f"{len(self.pictures) + 1}-{step}.png")
        grabPanel(self._panel, self.pictures[-1])

    def segment(self) -> Any:
        """From the chosen image to the segmentation."""
        assert self.ui.fitLabel.text == ""
        click(self.ui.uncertaintyBox)
        self.picture("image")
        progress = self._panel.panel.progress
        tell = progress.tell

        def tellAndShow(news: Progress) -> None:
            """The first news of the computation is a step of this walk, however soon the result follows."""
            tell(news)
            if news.text == "segmenting" and len(self.pictures) == 2:
                self.picture("running")

        self._monkeypatch.setattr(progress, "tell", tellAndShow)
        click(self.ui.applyButton)
        self._host.runUntil(lambda: self.ui.applyButton.text == "&Apply")
        assert self.ui.resultButton.visible, self._host.dialogs.shown
        self.picture("done")
        (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        return node

    def edit(self, node: Any, volumeNode: Any) -> None:
        """Look at the result, and correct it."""
        click(self.ui.overlayBox)
        click(self.ui.show3DBox)
        self.picture("uncertainty")
        click(self.ui.editButton)
        segmentID = node.GetSegmentation().GetSegmentIdBySegmentName(SEGMENTS[0])
        self.ui.editorFrame.findChild(slicer.qMRMLSegmentEditorWidget).setCurrentSegmentID(segmentID)
        self.picture("editing")
        before = np.count_nonzero(voxels(node, SEGMENTS[0], volumeNode))
        eraseUpperHalf(node, segmentID)
        click(self.ui.backButton)
        self.picture("edited")
        after = np.count_nonzero(voxels(node, SEGMENTS[0], volumeNode))
        assert 0 < after < before
        assert self._panel.logic.result.tableNode.GetCellText(0, 2) == str(after)
        assert node.GetSegmentation().ContainsRepresentation("Closed surface")
        assert len({path.read_bytes() for path in self.pictures}) == 7


@pytest.fixture
def walk(host, tmp_path, monkeypatch) -> Walk:
    monkeypatch.setenv("LLMBOOST_MODELS", str(tmp_path / "models"))
    return Walk(host, Path(os.environ.get("LLMBOOST_PICTURES") or tmp_path), monkeypatch)


def test_from_an_empty_scene_to_edited_segments_of_a_phantom(walk):
    click(walk.ui.tryButton)
    volumeNode = walk.ui.inputSelector.currentNode()
    walk.edit(walk.segment(), volumeNode)


def test_from_an_empty_scene_to_edited_segments_of_a_real_image(walk, data_root):
    case = sorted((data_root / "Task04_Hippocampus" / "imagesTr").glob("hippocampus_*.nii.gz"))[0]
    volumeNode = slicer.util.loadVolume(str(case), {})
    choose(walk.ui.inputSelector, volumeNode.GetName())
    node = walk.segment()
    true = slicer.util.loadVolume(str(data_root / "Task04_Hippocampus" / "labelsTr" / case.name), {"labelmap": True})
    expected = slicer.util.arrayFromVolume(true)
    for value, name in enumerate(SEGMENTS, start=1):
        assert overlap(voxels(node, name, volumeNode), expected == value) > 0.7
    slicer.mrmlScene.RemoveNode(true)
    walk.edit(node, volumeNode)


def test_a_bundle_that_monai_keeps_here_is_imported_and_draws(host, tmp_path, monkeypatch):
    """What `llmboost models find` lists, by the button; then its segments."""
    from Testing.engine.bundle_samples import write_bundle  # with torch and MONAI

    for name in ("HOME", "TORCH_HOME", "LLMBOOST_MODELS"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("MONAI_DATA_DIRECTORY", str(tmp_path))
    bundle = write_bundle(tmp_path / "sample_segmentation", {"entries": {"note": "made up"}})
    walk = Walk(host, Path(os.environ.get("LLMBOOST_PICTURES") or tmp_path), monkeypatch)
    array = 300 * np.random.default_rng(0).random((30, 40, 36))
    choose(walk.ui.inputSelector, slicer.util.addVolumeFromArray(array, np.eye(4), "scan").GetName())

    def answer(dialog: Any) -> None:
        told = [label.text for label in dialog.findChildren("QLabel")]
        assert f"MONAI bundle: {bundle}" in told
        models, folds = dialog.findChildren("QComboBox")
        assert [models.itemText(n) for n in range(models.count)] == ["sample_segmentation"]
        assert not folds.enabled
        license, _name = dialog.findChildren("QLineEdit")
        assert (license.text, license.readOnly) == ("Apache-2.0", True)
        assert dialog.grab().save(str(walk.pictures[0].parent / "bundle-dialog.png"))
        click(next(button for button in dialog.findChildren("QPushButton") if button.text == "Import"))

    host.answer("What these programs keep on this computer...", answer)
    click(walk.ui.importButton)
    host.runUntil(lambda: walk.ui.importButton.text != "Cancel")
    for kind in ("menu", "dialog"):
        host.dialogs.take(kind)
    details = walk.ui.modelDetails.text
    for text in ("MONAI bundle", "Apache-2.0", "on this machine"):
        assert text in details
    walk.picture("bundle")
    click(walk.ui.applyButton)
    host.runUntil(lambda: walk.ui.applyButton.text == "&Apply")
    walk.picture("segments")
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    names = [node.GetSegmentation().GetNthSegment(n).GetName() for n in range(2)]
    assert names == ["front", "back"]
    volumeNode = walk.ui.inputSelector.currentNode()
    assert all(voxels(node, name, volumeNode).any() for name in names)


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
