"""Bad input and bad moments through the panel: each ends with a message, with the scene intact, and ready to go on."""

from __future__ import annotations

import os
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import slicer
import vtk
from Testing.gui.panelcase import SEGMENTS, names, setCommand
from Testing.gui.qthost import choose, click, isGone, typeText

from LLMBoostLib.worker import launcher
from LLMBoostLib.worker.launcher import COMMAND_SETTING

# Input that cannot be segmented: Apply is disabled and says why


def test_no_image(case):
    assert case.refused() == "Choose an image"


def test_a_label_map_as_input(case):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(node, np.ones((4, 5, 6), np.uint8))
    assert case.ui.inputSelector.nodeCount() == 0  # not offered
    case.parameters.inputVolume = node  # but a scene may name it
    assert "labels: a label map, not an image" in case.refused()


def test_a_volume_of_several_components(case):
    node = slicer.util.addVolumeFromArray(
        np.zeros((4, 5, 6, 2)), name="displacements", nodeClassName="vtkMRMLVectorVolumeNode"
    )
    case.chooseImage(node)
    assert "displacements: 2 components, but the model takes one component" in case.refused()


def test_a_volume_without_voxels_until_they_come(case):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    case.chooseImage(node)
    assert "empty: holds no voxels" in case.refused()
    assert case.ui.applyLabel.text == case.refused()
    slicer.util.updateVolumeFromArray(node, np.ones((40, 56, 40), np.int16))
    assert case.ui.applyButton.enabled


def test_axes_that_place_the_voxels_nowhere(case):
    node = case.addImage()
    node.SetIJKToRASMatrix(vtk.vtkMatrix4x4())
    matrix = vtk.vtkMatrix4x4()
    for row in range(3):
        matrix.SetElement(row, 2, matrix.GetElement(row, 1))
    node.SetIJKToRASMatrix(matrix)
    assert "place the voxels nowhere" in case.refused()


def test_a_roi_that_is_not_placed_yet(case):
    case.addImage()
    roi = case.addRoi(size=(0, 0, 0))
    assert "box: an empty box" in case.refused()
    roi.SetSize(20, 20, 20)
    assert case.ui.applyButton.enabled


def test_a_roi_outside_of_the_image(case):
    case.addImage()
    roi = case.addRoi(center=(500, 0, 0))
    assert "box: lies outside of head, at (500, 0, 0) mm" in case.refused()
    roi.SetCenter(20, 20, 20)
    assert case.ui.applyButton.enabled


def test_a_roi_on_an_image_under_a_transform_that_is_not_linear(case):
    node = case.addImage()
    bend = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    grid = vtk.vtkImageData()
    grid.SetDimensions(5, 5, 5)
    grid.AllocateScalars(vtk.VTK_DOUBLE, 3)
    grid.GetPointData().GetScalars().Fill(0)
    transform = slicer.vtkOrientedBSplineTransform()
    transform.SetCoefficientData(grid)
    bend.SetAndObserveTransformFromParent(transform)
    node.SetAndObserveTransformNodeID(bend.GetID())
    assert "not linear" in case.ui.fitLabel.text
    assert case.ui.applyButton.enabled
    case.addRoi()
    assert "a ROI cannot limit a volume under a transform that is not linear" in case.refused()


def test_a_huge_image_is_warned_about(case, monkeypatch):
    from LLMBoostLib.scene import fit

    monkeypatch.setattr(fit, "HUGE", 1000)
    case.addImage()
    assert "0 million voxels take long and much memory: choose a ROI" in case.ui.fitLabel.text
    case.addRoi()
    assert "million" not in case.ui.fitLabel.text


# The worker


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("/no/such/python -m llmboost.worker", "could not be started (/no/such/python"),
        (f"{sys.executable} -c 'print(1)'", "could not be started"),
        ("python -m 'llmboost", "command cannot be read (No closing quotation"),
    ],
)
def test_a_command_that_starts_no_worker(case, command, message):
    case.addImage()
    setCommand(command)
    case.run()
    text = case.error()
    assert message in text
    assert "ommand" in text  # where to change it
    case.assertUntouched()
    case.useWorker()  # mended
    case.run()
    assert len(case.segmentations()) == 1


def test_rubbish_typed_as_a_command_is_not_kept(case):
    import qt

    before = qt.QSettings().value(COMMAND_SETTING)
    click(case.ui.advancedButton)
    case.ui.commandEdit.text = ""
    typeText(case.ui.commandEdit, "ssh 'gpu")
    case.ui.searchEdit.setFocus()
    assert "no command line" in case.error()
    assert qt.QSettings().value(COMMAND_SETTING) == before == case.ui.commandEdit.text


def test_another_command_is_used_from_the_next_run_on(case):
    case.addImage()
    case.run()
    click(case.ui.advancedButton)
    case.ui.commandEdit.text = ""
    typeText(case.ui.commandEdit, "/no/such/worker")
    case.ui.searchEdit.setFocus()
    case.run()
    assert "/no/such/worker" in case.error()


@pytest.mark.parametrize(
    ("how", "message"),
    [("crash", "ended unexpectedly (signal 9"), ("memory", "memory"), ("refuse", "Torch is not installed")],
)
def test_a_worker_that_gives_up(case, how, message):
    case.useWorker(how)
    case.addImage()
    case.run()
    assert message in case.error()
    case.assertUntouched()
    case.useWorker()
    case.client.shutDown()
    case.run()
    assert len(case.segmentations()) == 1


def test_a_worker_that_is_killed_in_mid_run_leaves_its_last_words_in_the_details(case, host):
    case.useWorker("crash")
    case.addImage()
    case.run()
    dialog = host.dialogs.take("error")
    assert "the GPU fell off the bus" in dialog.detailedText
    assert "limit it to a region of interest" in dialog.text


def test_voxels_that_are_no_numbers(case):
    node = case.addImage()
    array = np.ones((40, 56, 40), np.float32)
    array[3, 4, 5] = np.nan
    slicer.util.updateVolumeFromArray(node, array)
    case.run()
    assert "NaN" in case.error()
    case.assertUntouched()


def test_images_leave_this_machine_only_with_consent(case, host, monkeypatch):
    from LLMBoostLib.worker import client

    monkeypatch.setattr(client, "platform", SimpleNamespace(node=lambda: "my-desk"))
    case.addImage()
    host.answer(False)
    case.run()
    assert "The image leaves this machine" in host.dialogs.take("question").text
    assert "Nothing was sent" in case.error()
    case.assertUntouched()
    host.answer(True)
    case.run()
    host.dialogs.take("question")
    case.run()  # asked once
    assert len(case.segmentations()) == 2


# Moments


def test_cancel(case):
    case.addImage()
    case.start()
    click(case.ui.applyButton)
    case.finish()
    assert case.status == "Cancelled"
    case.assertUntouched()


def test_cancel_of_a_worker_that_does_not_listen(case):
    case.client.cancelSeconds = 2
    case.addImage()
    case.start("deaf")
    click(case.ui.applyButton)
    assert case.status.startswith("cancelling")
    case.finish()
    assert case.status == "Cancelled"
    case.assertUntouched()


def test_a_double_click_on_apply_starts_one_run_and_does_not_cancel_it(case):
    case.panel.run.restMs = 600
    case.addImage()
    click(case.ui.applyButton, double=True)
    assert not case.ui.applyButton.enabled
    case.finish()
    case.waitFor(lambda: case.ui.applyButton.enabled)
    assert len(case.segmentations()) == 1


def test_apply_while_a_script_uses_the_worker(case):
    node = case.addImage()
    done = []
    case.widget.logic.process(node, waitForCompletion=False, onDone=done.append)
    case.apply()
    assert "A segmentation runs" in case.error()
    case.waitFor(lambda: done)
    assert len(case.segmentations()) == 1


def test_the_image_is_removed_in_mid_run(case):
    node = case.addImage()
    case.start()
    slicer.mrmlScene.RemoveNode(node)
    case.finish()
    assert case.status == "Cancelled, for head was removed from the scene"
    assert not case.segmentations()
    assert case.refused() == "Choose an image"


def test_the_output_is_removed_in_mid_run_and_the_result_is_kept(case):
    case.addImage()
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    choose(case.ui.outputSelector, "mine")
    case.start()
    slicer.mrmlScene.RemoveNode(output)
    case.letFinish()
    (node,) = case.segmentations()
    assert node.GetName() == "head hippocampus"
    assert "removed meanwhile" in case.ui.warningsLabel.text


def test_an_output_made_of_surfaces_is_left_alone(case):
    case.addImage()
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "surfaces")
    output.CreateDefaultDisplayNodes()
    sphere = vtk.vtkSphereSource()
    sphere.Update()
    output.GetSegmentation().SetSourceRepresentationName("Closed surface")
    output.AddSegmentFromClosedSurfaceRepresentation(sphere.GetOutput(), "ball", [1, 0, 0])
    choose(case.ui.outputSelector, "surfaces")
    case.run()
    assert "surfaces: consists of closed surfaces" in case.error()
    assert names(output) == ["ball"]
    assert not case.ui.resultButton.visible


def test_the_scene_is_closed_in_mid_run(case, host):
    case.addImage()
    case.start()
    host.closeScene()
    case.finish()
    assert case.status == "Cancelled, for the scene was closed"
    case.assertUntouched()
    case.client.shutDown()
    case.useWorker()
    case.addImage()
    case.run()
    assert len(case.segmentations()) == 1


def test_a_scene_is_added_in_mid_run(case, host, session):
    """Its parameters are shown; what was clicked before goes on with the image that was chosen then."""
    node = case.addImage("other")
    case.parameters.uncertainty = True
    scene = case.folder / "scene.mrml"
    assert slicer.util.saveNode(node, str(case.folder / "other.nrrd"), {})
    assert slicer.util.saveScene(str(scene))
    host.closeScene()
    head = case.addImage()
    case.start()
    slicer.mrmlScene.SetURL(str(scene))
    slicer.mrmlScene.Import()
    session.errors.clear()  # what merges two subject hierarchies comes with the application alone
    case.letFinish()
    (made,) = case.segmentations()
    assert made.GetName() == "head hippocampus"
    assert case.result.volumeNode is head
    assert case.ui.inputSelector.currentNode().GetName() == "other"
    assert case.ui.uncertaintyBox.checked


def test_the_scene_is_closed_over_a_result_that_is_being_edited(case, host):
    case.addImage()
    click(case.ui.uncertaintyBox)
    case.run()
    click(case.ui.overlayBox)
    click(case.ui.editButton)
    host.closeScene()
    assert case.ui.mainFrame.visible
    assert not case.ui.resultButton.visible
    assert case.result is None
    assert case.ui.editorFrame.findChild(slicer.qMRMLSegmentEditorWidget).segmentationNode() is None
    assert case.refused() == "Choose an image"


def workerPid() -> int:
    """Of the only child of this process."""
    (pid,) = [pid for pid in launcher.descendants(os.getpid()) if not isGone(pid)]
    return pid


def test_the_module_is_reloaded_in_mid_run(case, host):
    case.addImage()
    case.start()
    pid = workerPid()
    case.widget = host.reload("LLMBoostSegment")
    case.waitFor(lambda: isGone(pid))
    case.assertUntouched()
    assert case.ui.inputSelector.currentNode().GetName() == "head"
    case.useWorker()
    case.panel.run.restMs = 1
    case.run()
    assert names(case.segmentations()[0]) == SEGMENTS


def test_slicer_ends_in_mid_run(case, host):
    case.addImage()
    case.start()
    pid = workerPid()
    host.quit()
    case.waitFor(lambda: isGone(pid))
    assert not case.segmentations()


def test_the_module_is_left_in_mid_run_and_entered_again(case, host):
    case.addImage()
    case.apply()
    host.selectModule("")
    case.waitFor(lambda: case.segmentations())
    host.selectModule("LLMBoostSegment")
    assert case.ui.resultButton.visible
    assert case.ui.applyButton.text == "&Apply"
    assert case.ui.inputSelector.currentNode().GetName() == "head"


def test_a_worker_that_dies_between_two_runs_is_started_again(case):
    case.addImage()
    case.run()
    pid = workerPid()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it takes a moment to give its memory back
    case.run()
    assert len(case.segmentations()) == 2


def test_the_result_is_deleted_by_the_user(case):
    case.addImage()
    case.run()
    slicer.mrmlScene.RemoveNode(case.segmentations()[0])
    assert not case.ui.resultButton.visible
    assert case.result is None
    case.run()
    assert len(case.segmentations()) == 1


# Diagnostics


def test_diagnostics_tell_versions_and_no_names(case, host):
    import qt

    case.addImage("Jane Doe 1970")
    case.useWorker("crash")
    case.run()
    case.error()
    case.useWorker()
    click(case.ui.advancedButton)
    click(case.ui.copyButton)
    case.waitFor(lambda: "diagnostics copied" in case.ui.logEdit.toPlainText())
    text = qt.QApplication.clipboard().text()
    for part in ("LLMBoost: 0.", "Slicer:", "llmboost 0.", "protocol", "fell off the bus", "hippocampus"):
        assert part in text
    assert "Jane" not in text
    assert os.path.expanduser("~") + "/" not in text


def test_diagnostics_work_without_a_worker(case):
    import qt

    setCommand("/no/such/worker")
    click(case.ui.advancedButton)
    click(case.ui.copyButton)
    case.waitFor(lambda: not case.client.busy)
    assert "could not be started" in qt.QApplication.clipboard().text()
    setCommand("'")
    click(case.ui.copyButton)
    assert "No closing quotation" in qt.QApplication.clipboard().text()


def test_memory_is_released_by_ending_the_worker(case):
    case.addImage()
    case.run()
    pid = workerPid()
    click(case.ui.advancedButton)
    click(case.ui.releaseButton)
    case.waitFor(lambda: isGone(pid))
    case.run()
    assert len(case.segmentations()) == 2
