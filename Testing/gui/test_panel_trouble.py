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
from Testing.gui.panelcase import SEGMENTS, names
from Testing.gui.qthost import choose, click, typeText

from llmboost import library
from llmboost.errors import LLMBoostError
from LLMBoostLib.launcher import COMMAND_SETTING

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
    assert case.ui.fitLabel.text == case.refused()
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
    from LLMBoostLib import fit

    monkeypatch.setattr(fit, "HUGE", 1000)
    case.addImage()
    assert "0 million voxels take long and much memory: choose a ROI" in case.ui.fitLabel.text
    case.addRoi()
    assert "million" not in case.ui.fitLabel.text


# Models


def test_a_model_that_the_scene_names_is_not_installed(case):
    case.addImage()
    case.parameters.model = "/etc/passwd"
    assert "The model '/etc/passwd' is not installed here" in case.refused()
    assert case.ui.modelDetails.text == "No model is chosen."
    rows = [case.ui.modelList.item(n) for n in range(case.ui.modelList.count)]
    item = case.ui.modelList.visualItemRect(next(row for row in rows if row.text().startswith("Brain")))
    click(case.ui.modelList.viewport(), item.center())
    assert case.ui.applyButton.enabled


def test_a_damaged_model_is_listed_as_such_and_can_be_removed(case, host):
    case.addImage()
    case.models.mkdir()
    data = library.find("hippocampus").read_bytes()
    (case.models / "half.safetensors").write_bytes(data[: len(data) // 2])
    case.panel.chooser.refresh()
    last = case.ui.modelList.count - 1
    assert case.ui.modelList.item(last).text() == "half (damaged)"
    case.parameters.model = "half"
    assert "damaged: choose another" in case.refused()
    assert "copy it again" in case.ui.modelDetails.text
    click(case.ui.advancedButton)
    host.answer(True)
    click(case.ui.removeModelButton)
    host.dialogs.take("question")
    assert not (case.models / "half.safetensors").exists()
    assert case.ui.modelList.count == last


def copyOfTheModel(case, name: str = "own"):
    """The shipped model under a name of its own, outside of the library."""
    data = library.find("hippocampus").read_bytes()
    path = case.folder / f"{name}.safetensors"
    old, new = b'\\"name\\": \\"hippocampus\\"', f'\\"name\\": \\"{name}\\"'.encode()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(old, new)
    assert header != data[8 : 8 + length]
    path.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])
    return path


def importModel(case, path) -> None:
    if case.ui.advancedButton.collapsed:
        click(case.ui.advancedButton)
    case.ui.modelFileEdit.currentPath = str(path)
    click(case.ui.importButton)


def test_a_model_is_imported_chosen_and_removed(case, host):
    count = case.ui.modelList.count
    importModel(case, copyOfTheModel(case))
    assert case.parameters.model == "own"
    assert case.ui.modelList.count == count + 1
    assert (case.models / "own.safetensors").is_file()
    importModel(case, case.folder / "own.safetensors")
    assert "a model named 'own' is installed already" in case.error()
    host.answer(False)
    click(case.ui.removeModelButton)
    assert "Delete the model" in host.dialogs.take("question").text
    host.answer(True)
    click(case.ui.removeModelButton)
    host.dialogs.take("question")
    assert case.ui.modelList.count == count
    assert not (case.models / "own.safetensors").exists()


def test_a_shipped_model_cannot_be_removed(case):
    click(case.ui.advancedButton)
    assert not case.ui.removeModelButton.enabled


def test_a_model_file_that_is_none(case):
    (case.folder / "notes.safetensors").write_text("not a model, but a text that is long enough to be read")
    for path, message in (
        ("", "Choose a model file first"),
        (case.folder / "missing.safetensors", "missing.safetensors"),
        (case.folder / "notes.safetensors", "not a model file"),
        (case.folder, str(case.folder)),
    ):
        importModel(case, path)
        assert message in case.error()
    assert not case.models.exists()


def test_a_full_disk_while_a_model_is_imported(case, monkeypatch):
    def copyfile(source, target):
        with open(target, "wb") as file:
            file.write(b"half of it")
        raise OSError(28, "No space left on device")

    count = case.ui.modelList.count
    monkeypatch.setattr(library.shutil, "copyfile", copyfile)
    importModel(case, copyOfTheModel(case))
    assert "No space left on device" in case.error()
    assert list(case.models.iterdir()) == []
    assert case.ui.modelList.count == count


def test_a_model_that_was_removed_meanwhile(case):
    importModel(case, copyOfTheModel(case))
    case.addImage()
    (case.models / "own.safetensors").unlink()
    case.run()
    assert "model 'own': no such file" in case.error()
    case.assertUntouched()


# The worker


def setCommand(text: str) -> None:
    import qt

    qt.QSettings().setValue(COMMAND_SETTING, text)


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


def test_packages_are_missing_and_declined(case, monkeypatch):
    from LLMBoostLib import readiness

    asked = []

    def decline(purpose):
        asked.append(purpose)
        raise LLMBoostError("Python packages are missing (torch), and were not installed")

    monkeypatch.setattr(readiness, "ensureInstalled", decline)
    case.addImage()
    case.run()
    assert "were not installed" in case.error()
    assert asked == ["segment"]
    case.assertUntouched()


def test_the_panel_tells_beforehand_that_packages_are_missing(case, host, monkeypatch):
    from LLMBoostLib import readiness

    needed = ["torch>=2.8"]
    monkeypatch.setattr(readiness, "missing", lambda purpose: needed)
    host.selectModule("")
    host.selectModule("LLMBoostSegment")
    assert "Not installed yet" in case.status
    needed.clear()
    click(case.ui.advancedButton)
    click(case.ui.copyButton)  # whatever asks the worker looks again
    case.waitFor(lambda: not case.client.busy)
    assert case.status == ""
    setCommand("'")  # cannot be read
    monkeypatch.undo()
    host.selectModule("")
    host.selectModule("LLMBoostSegment")
    assert case.status == ""


def test_cancelled_while_packages_are_installed(case, monkeypatch):
    from LLMBoostLib import readiness

    monkeypatch.setattr(readiness, "ensureInstalled", lambda purpose: click(case.ui.applyButton))
    case.addImage()
    case.panel._rest.setInterval(0)
    case.apply()
    case.finish()
    if case.segmentations():  # the button rested
        pytest.fail("a cancelled run went on")
    assert case.status == "Cancelled"


def test_images_leave_this_machine_only_with_consent(case, host, monkeypatch):
    from LLMBoostLib import client

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
    case.panel._rest.setInterval(600)
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
    assert case.panel.editor._editor.segmentationNode() is None
    assert case.refused() == "Choose an image"


def workerPid(case) -> int:
    return case.client._hello["pid"]


def isGone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_the_module_is_reloaded_in_mid_run(case, host):
    case.addImage()
    case.start()
    pid = workerPid(case)
    case.widget = host.reload("LLMBoostSegment")
    case.waitFor(lambda: isGone(pid))
    case.assertUntouched()
    assert case.ui.inputSelector.currentNode().GetName() == "head"
    case.useWorker()
    case.panel._rest.setInterval(1)
    case.run()
    assert names(case.segmentations()[0]) == SEGMENTS


def test_slicer_ends_in_mid_run(case, host):
    case.addImage()
    case.start()
    pid = workerPid(case)
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
    os.kill(workerPid(case), signal.SIGKILL)
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
    pid = workerPid(case)
    click(case.ui.advancedButton)
    click(case.ui.releaseButton)
    case.waitFor(lambda: isGone(pid))
    case.run()
    assert len(case.segmentations()) == 2


# The private environment


@pytest.fixture
def environmentFolder(case, monkeypatch):
    """Where the private environment of this test lies."""
    from LLMBoostLib import environment

    folder = case.folder / "environment"
    monkeypatch.setattr(environment, "defaultFolder", lambda: folder)
    click(case.ui.advancedButton)
    case.panel.advanced._showEnvironment()
    return folder


@pytest.mark.parametrize(
    ("python", "wheels", "message"),
    [("/no/such/python", "", "/no/such/python: cannot be started"), ("", "empty", "holds no wheels")],
)
def test_an_environment_that_cannot_be_made(case, host, environmentFolder, python, wheels, message):
    case.addImage()
    case.ui.interpreterEdit.currentPath = python
    if wheels:
        (case.folder / wheels).mkdir()
        case.ui.wheelsEdit.currentPath = str(case.folder / wheels)
    host.answer(False)
    click(case.ui.createEnvironmentButton)
    assert str(environmentFolder) in host.dialogs.take("question").text
    host.answer(True)
    click(case.ui.createEnvironmentButton)
    host.dialogs.take("question")
    assert message in case.error()
    assert not environmentFolder.exists()
    assert case.ui.createEnvironmentButton.text == "Create"
    case.run()  # the worker is the same as before
    assert len(case.segmentations()) == 1


def test_making_an_environment_can_be_cancelled_and_keeps_apply_off(case, host, environmentFolder, monkeypatch):
    from LLMBoostLib.childprocess import Cancelled
    from LLMBoostLib.environment import PrivateEnvironment

    seen = []

    def create(self, python, wheels, purpose, onLine, shouldCancel):
        onLine("downloading")
        seen.extend([case.ui.applyButton.enabled, case.ui.createEnvironmentButton.text])
        click(case.ui.createEnvironmentButton)
        assert shouldCancel()
        raise Cancelled("cancelled")

    monkeypatch.setattr(PrivateEnvironment, "create", create)
    case.addImage()
    host.answer(True)
    click(case.ui.createEnvironmentButton)
    host.dialogs.take("question")
    assert seen == [False, "Cancel"]
    assert case.ui.applyButton.enabled
    assert "downloading" in case.ui.logEdit.toPlainText()
    assert "cancelled" in case.ui.logEdit.toPlainText()


def test_the_module_is_reloaded_while_an_environment_is_made(case, host, environmentFolder, monkeypatch):
    from LLMBoostLib.childprocess import Cancelled
    from LLMBoostLib.environment import PrivateEnvironment

    def create(self, python, wheels, purpose, onLine, shouldCancel):
        case.widget = host.reload("LLMBoostSegment")
        assert shouldCancel()
        raise Cancelled("cancelled")

    monkeypatch.setattr(PrivateEnvironment, "create", create)
    host.answer(True)
    click(case.ui.createEnvironmentButton)
    host.dialogs.take("question")
    assert case.refused() == "Choose an image"


def test_apply_offers_an_environment_where_slicers_python_cannot_compute(case, host, environmentFolder, monkeypatch):
    from LLMBoostLib import readiness
    from LLMBoostLib.environment import PrivateEnvironment

    command = case.panel.advanced._command
    worker = command()

    def create(self, python, wheels, purpose, onLine, shouldCancel):
        (environmentFolder / "bin").mkdir(parents=True)
        (environmentFolder / "bin" / "python").touch()
        (environmentFolder / "llmboost-environment.json").write_text('{"complete": true}')

    monkeypatch.setattr(PrivateEnvironment, "create", create)
    monkeypatch.setattr(PrivateEnvironment, "use", lambda self: setCommand(worker))
    monkeypatch.setattr(readiness, "obstacle", lambda: "no current PyTorch")
    monkeypatch.setattr(readiness, "missing", lambda purpose: [] if command() == worker else ["torch>=2.8"])
    case.addImage()
    setCommand("")
    host.answer(False)
    case.apply()
    assert str(environmentFolder) in host.dialogs.take("question").text
    assert not environmentFolder.exists()
    case.assertUntouched()
    host.answer(True)
    case.apply()
    host.dialogs.take("question")
    setCommand("")
    case.apply()  # it is there: no question
    assert command() == worker
    case.run()
    assert len(case.segmentations()) == 1


def test_an_environment_is_used_and_removed(case, host, environmentFolder):
    import qt

    assert not case.ui.useEnvironmentButton.enabled
    (environmentFolder / "bin").mkdir(parents=True)
    (environmentFolder / "bin" / "python").touch()
    (environmentFolder / "llmboost-environment.json").write_text('{"complete": true}')
    case.panel.advanced._showEnvironment()
    click(case.ui.useEnvironmentButton)
    command = qt.QSettings().value(COMMAND_SETTING)
    assert command == f"{environmentFolder / 'bin' / 'python'} -m llmboost.worker"
    assert case.ui.commandEdit.text == command
    assert not case.ui.useEnvironmentButton.enabled
    host.answer(False, True)
    click(case.ui.removeEnvironmentButton)
    host.dialogs.take("question")
    assert environmentFolder.exists()
    click(case.ui.removeEnvironmentButton)
    host.dialogs.take("question")
    assert not environmentFolder.exists()
    assert case.ui.commandEdit.text == ""
