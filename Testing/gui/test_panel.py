"""The panel of LLMBoost Segment as a user meets it: clicks, and what they show and leave in the scene."""

from __future__ import annotations

import re

import numpy as np
import pytest
import slicer
from Testing.gui.panelcase import SEGMENTS, names, rows, voxels
from Testing.gui.qthost import choose, click, press, typeText

from llmboost import library
from llmboost.card import LEFT, RIGHT, Cascade, Label, Target, read_card
from llmboost.messages.images import SegmentRequest

# Choosing


def test_an_empty_scene_asks_for_an_image_and_shows_the_models_card(case):
    assert case.refused() == "Choose an image"
    assert not case.ui.fitLabel.visible
    assert "Hippocampus, anterior and posterior · MR" in rows(case)
    assert case.panel.chooser.current.name == "hippocampus"
    details = case.ui.modelDetails.text
    for text in ("crop", "CC-BY-SA 4.0", "9.0 MB", "known after the first run", *SEGMENTS):
        assert text in details
    assert "Not for clinical use" in case.ui.noticeLabel.text
    assert not case.client.busy


def test_the_first_image_of_the_scene_is_chosen_and_apply_is_enabled(case, host):
    host.selectModule("")
    slicer.util.addVolumeFromArray(np.ones((40, 56, 40), np.int16), name="head")
    host.selectModule("LLMBoostSegment")
    assert case.ui.inputSelector.currentNode().GetName() == "head"
    assert case.ui.applyButton.enabled
    assert not case.ui.fitLabel.visible


def test_without_an_image_a_phantom_is_drawn_and_segmented(case):
    click(case.ui.tryButton)
    node = case.ui.inputSelector.currentNode()
    assert "no person" in node.GetName()
    assert slicer.util.getNode("vtkMRMLSliceCompositeNodeRed").GetBackgroundVolumeID() == node.GetID()
    assert not case.ui.welcomeFrame.visible
    assert not case.ui.fitLabel.visible
    case.run()
    assert names(case.segmentations()[0]) == SEGMENTS


def test_search_narrows_the_list_by_what_the_cards_tell(case, makeModel):
    makeModel("lung", title="Lung nodules", modality="CT", description="Chest CT", license="MIT", labels=())
    count = len(rows(case))
    typeText(case.ui.searchEdit, "chest mit")
    assert rows(case) == ["Lung nodules · CT"]
    typeText(case.ui.searchEdit, " nothing")
    assert rows(case) == []
    assert case.panel.chooser.current.name == "hippocampus"  # still chosen, though hidden
    case.ui.searchEdit.clear()
    assert len(rows(case)) == count


def test_another_model_is_chosen_with_the_keyboard_and_kept_in_the_scene(case, makeModel):
    makeModel("lung", title="Lung nodules", modality="CT", description="<b>Chest</b> CT")
    case.addImage()
    case.ui.modelList.setFocus()
    while case.parameters.model != "lung":  # over the names of parts of the body, which cannot be chosen
        before = case.parameters.model
        press(case.ui.modelList, "Down")
        assert case.parameters.model != before
    assert "&lt;b&gt;Chest&lt;/b&gt;" in case.ui.modelDetails.text  # a card is text, whatever it holds
    assert "unlike CT" in case.ui.fitLabel.text


def test_tab_leads_from_the_image_to_apply_and_labels_have_mnemonics(case):
    case.addImage()
    seen = []
    case.ui.inputSelector.setFocus()
    for _ in range(20):
        widget = case.widget.parent.window().focusWidget()
        while widget is not None and not widget.name:
            widget = widget.parentWidget()
        seen.append(widget.name)
        press(case.widget.parent, "Tab")
    for before, after in (
        ("searchEdit", "modelList"),
        ("modelList", "optionsButton"),
        ("optionsButton", "applyButton"),
    ):
        assert seen.index(before) < seen.index(after)
    for name in ("inputLabel", "roiLabel", "searchLabel", "outputLabel", "deviceLabel"):
        label = getattr(case.ui, name)
        assert "&" in label.text
        assert label.buddy() is not None


def test_every_widget_that_takes_input_explains_itself(case):
    import qt

    kinds = (qt.QPushButton, qt.QCheckBox, qt.QComboBox, qt.QLineEdit, qt.QListWidget, slicer.qMRMLNodeComboBox)
    own = [widget for widget in vars(case.ui).values() if isinstance(widget, kinds) and widget.name[:3] != "qt_"]
    assert len(own) > 20
    assert [widget.name for widget in own if not widget.toolTip] == []


# Fitting


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [
        ((40, 56, 40), 1.0, ""),
        ((180, 200, 180), 1.0, "much larger"),
        ((1, 56, 40), 1.0, "single slice"),
        ((6, 56, 40), 1.0, "Too thin"),
        ((10, 14, 10), 4.0, "coarse"),
    ],
)
def test_an_image_that_does_not_suit_the_model_gets_a_warning_and_can_still_be_segmented(
    case, makeModel, shape, spacing, expected
):
    case.parameters.model = makeModel("crops", cascade=None).name
    case.addImage(shape=shape, spacing=spacing)
    assert expected in case.ui.fitLabel.text
    assert case.ui.fitLabel.visible == bool(expected)
    assert case.ui.applyButton.enabled


def test_a_model_with_a_cascade_takes_a_whole_head(case, makeModel):
    target = Target("Left hippocampus", LEFT)
    makeModel("whole", cascade=Cascade("brain", (target,), subject="head", subject_ml=(100, 9000), target_ml=(0.1, 9)))
    case.addImage(shape=(180, 200, 180))
    case.parameters.model = "whole"
    assert case.ui.fitLabel.text == ""
    assert "MR, a head or a crop of it" in case.ui.modelDetails.text
    output = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    for name in ("Left anterior hippocampus", SEGMENTS[1], "Skull"):
        output.GetSegmentation().AddEmptySegment("", name)
    choose(case.ui.outputSelector, "mine")
    assert case.ui.fitLabel.text == "Replaces Left anterior hippocampus in mine; Undo brings them back."


def test_other_modalities_are_noticed(case):
    node = case.addImage()
    slicer.util.updateVolumeFromArray(node, slicer.util.arrayFromVolume(node) - 1024)
    assert "values like CT" in case.ui.fitLabel.text
    hierarchy = slicer.mrmlScene.GetSubjectHierarchyNode()
    hierarchy.SetItemAttribute(hierarchy.GetItemByDataNode(node), "DICOM.Modality", "PT")
    node.Modified()
    assert case.ui.fitLabel.text == "The image is PT, the model was trained on MR."


def test_a_new_roi_lies_in_the_image_and_ends_the_warning(case, makeModel):
    case.parameters.model = makeModel("crops", cascade=None).name
    case.addImage(shape=(180, 200, 160))
    choose(case.ui.roiSelector, "Create new ROI")
    roi = case.parameters.roi
    np.testing.assert_allclose(roi.GetSize(), (40, 56, 40))
    np.testing.assert_allclose(roi.GetCenter(), (79.5, 99.5, 89.5))
    assert not case.ui.fitLabel.visible
    roi.SetSize(150, 150, 150)
    assert "The ROI (150 × 150 × 150 mm) is much larger" in case.ui.fitLabel.text


# Running


def test_a_run_leaves_segments_and_a_table(case):
    volumeNode = case.addImage()
    case.apply()
    assert case.ui.applyButton.text == "&Cancel"
    assert case.ui.progressBar.visible
    case.finish()
    (node,) = case.segmentations()
    assert names(node) == SEGMENTS
    assert voxels(node, SEGMENTS[0], volumeNode).any()
    assert re.fullmatch(r"Done in \d+ s: head hippocampus", case.status)
    assert case.ui.applyButton.text == "&Apply"
    assert case.ui.resultButton.visible
    assert not case.ui.progressBar.visible
    assert [row[0] for row in case.table()] == ["Segment", *SEGMENTS]
    assert "about 1 s on this machine" in case.ui.modelDetails.text
    assert "Done in" in case.ui.logEdit.toPlainText()


def test_the_expected_time_is_remembered_and_grows_with_the_image(case, host):
    case.addImage()
    case.run()
    # by the pace of one window: one of the localizer (48 x 56 x 48 voxels), and a window for each side
    case.addImage("large", (160, 224, 160))
    expected = 0.5 * (48 * 56 * 48 + 2 * 40 * 56 * 40) / (40 * 56 * 40)
    assert f"about {expected:.0f} s on this machine" in case.ui.modelDetails.text
    case.run()  # which took as long as the light worker says of any
    assert "about 1 s on this machine" in case.ui.modelDetails.text
    case.widget = host.reload("LLMBoostSegment")
    assert "on this machine" in case.ui.modelDetails.text


def test_without_a_cascade_the_expected_time_grows_with_the_windows_that_cover_the_image(case, makeModel):
    makeModel("crops", cascade=None)
    case.addImage()
    case.parameters.model = "crops"
    case.run()
    case.addImage("large", (80, 84, 40))  # windows of 40 x 56 x 40 that overlap by half: 3 x 2 x 1
    assert "about 3 s on this machine" in case.ui.modelDetails.text


def test_the_expected_time_goes_by_the_axes_that_the_model_goes_by(case, makeModel):
    """An image whose first axis runs to A, for patches of 40 x 56 x 40 along R, A, S, or along i, j, k."""
    from LLMBoostLib.panels import speed  # there only once the host has started

    for name, orientation in (("patients", "RAS"), ("arrays", "stored")):
        card = makeModel(name, {"orientation": orientation}, cascade=None)
        speed.rememberPatch(card, case.parameters.device.value, 1.0)
    image = case.addImage(shape=(40, 40, 280))  # [k, j, i]
    image.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.eye(4)[:, [1, 0, 2, 3]]))
    for name, patches in (("patients", 9), ("arrays", 13)):  # by half, 280 mm of 56, or of 40
        case.parameters.model = name
        assert f"about {patches} s on this machine" in case.ui.modelDetails.text


def test_the_time_of_a_sequence_is_that_of_its_images(case, beating):
    choose(case.ui.framesBox, "All 3")
    case.run()
    assert "about 2 s on this machine" in case.ui.modelDetails.text  # three times half a second
    choose(case.ui.framesBox, "This one (2 of 3)")
    assert "about 1 s on this machine" in case.ui.modelDetails.text


def test_progress_and_memory_are_told_and_the_clock_goes_on(case):
    case.addImage()
    case.start("deaf")
    assert "about 2.0 GB of memory" in case.status
    first = case.status
    case.waitFor(lambda: case.status != first)
    assert case.ui.progressBar.value == 10
    case.client.silenceSeconds = 0.1
    case.waitFor(lambda: "no news from the worker" in case.status)
    case.client.cancelSeconds = 0.1
    click(case.ui.applyButton)
    case.finish()


def test_warnings_of_the_engine_are_shown_with_the_result(case):
    case.useWorker("warn")
    case.addImage()
    case.run()
    assert case.ui.warningsLabel.visible
    assert "was not found" in case.ui.warningsLabel.text


def test_the_options_reach_the_worker(case, monkeypatch):
    case.addImage()
    case.addRoi()
    choose(case.ui.deviceBox, "CPU")
    click(case.ui.uncertaintyBox)
    sent, start = [], case.client.start

    def hear(request, *more, **options):
        sent.append(request)
        start(request, *more, **options)

    monkeypatch.setattr(case.client, "start", hear)
    case.run()
    (request,) = (each for each in sent if isinstance(each, SegmentRequest))
    assert (request.model, request.device, request.uncertainty) == ("hippocampus", "cpu", True)
    np.testing.assert_allclose(request.roi.center, (-20, -28, 20))


def test_parameters_come_back_with_a_saved_scene_and_no_command_does(case, host):
    case.addImage()
    case.addRoi()
    choose(case.ui.deviceBox, "GPU (CUDA)")
    click(case.ui.uncertaintyBox)
    path = case.folder / "scene" / "scene.mrml"
    path.parent.mkdir()
    for node in slicer.util.getNodesByClass("vtkMRMLStorableNode"):
        if node.IsA("vtkMRMLVolumeNode") or node.IsA("vtkMRMLMarkupsROINode"):
            extension = ".nrrd" if node.IsA("vtkMRMLVolumeNode") else ".mrk.json"
            slicer.util.saveNode(node, str(path.parent / (node.GetName() + extension)), {})
    assert slicer.util.saveScene(str(path))
    assert "python" not in path.read_text().lower()
    host.closeScene()
    assert case.refused() == "Choose an image"
    slicer.util.loadScene(str(path))
    host.processEvents()
    assert case.ui.inputSelector.currentNode().GetName() == "head"
    assert case.ui.roiSelector.currentNode().GetName() == "box"
    assert case.ui.deviceBox.currentText == "GPU (CUDA)"
    assert case.ui.uncertaintyBox.checked


OF_0_1 = (
    '<MRML version="Slicer5" userTags=""><ScriptedModule id="vtkMRMLScriptedModuleNodeLLMBoostSegment"'
    ' name="LLMBoostSegment" hideFromEditors="true" selectable="true" selected="false" singletonTag="LLMBoostSegment"'
    ' attributes="ModuleName:LLMBoostSegment" parameter0="allFrames False" parameter1="device CUDA"'
    ' parameter2="explanation False" parameter3="inputVolume " parameter4="inputVolume2 " parameter5="inputVolume3 "'
    ' parameter6="inputVolume4 " parameter7="model hippocampus" parameter8="outputSegmentation " parameter9="roi "'
    ' parameter10="uncertainty True"></ScriptedModule></MRML>'
)


def test_a_scene_of_version_0_1_keeps_what_was_chosen(case, host):
    path = case.folder / "old.mrml"
    path.write_text(OF_0_1)
    slicer.util.loadScene(str(path))
    host.processEvents()
    assert case.ui.deviceBox.currentText == "GPU (CUDA)"
    assert case.ui.uncertaintyBox.checked
    assert not case.ui.explanationBox.checked
    assert case.panel.chooser.current.name == "hippocampus"


# Results


def background(view) -> tuple:
    return view.GetBackgroundVolumeID(), view.GetForegroundVolumeID(), round(view.GetForegroundOpacity(), 3)


def test_the_map_of_uncertainty_is_laid_over_and_the_users_foreground_comes_back(case):
    pet = slicer.util.addVolumeFromArray(np.zeros((4, 4, 4)), name="PET")
    volumeNode = case.addImage()
    slicer.util.setSliceViewerLayers(background=volumeNode, foreground=pet, foregroundOpacity=0.3)
    click(case.ui.uncertaintyBox)
    case.run()
    view = slicer.util.getNode("vtkMRMLSliceCompositeNodeRed")
    before = background(view)
    assert case.ui.overlayBox.visible
    click(case.ui.overlayBox)
    entropy = case.result.mapNodes["entropy"]
    assert background(view) == (volumeNode.GetID(), entropy.GetID(), 0.5)
    case.ui.opacitySlider.value = 0.8
    assert background(view)[2] == 0.8
    case.run()  # again: the map stays in the views
    assert background(view)[1:] == (entropy.GetID(), 0.8)
    click(case.ui.overlayBox)
    assert background(view) == before
    click(case.ui.overlayBox)
    slicer.mrmlScene.RemoveNode(entropy)
    assert background(view) == before
    assert not case.ui.overlayBox.visible


def test_without_a_map_there_is_no_overlay_to_show(case):
    case.addImage()
    case.run()
    assert not case.ui.overlayBox.visible
    assert not case.ui.opacitySlider.visible


def test_surfaces_are_made_and_removed(case):
    case.addImage()
    case.run()
    (node,) = case.segmentations()
    click(case.ui.show3DBox)
    assert node.GetSegmentation().ContainsRepresentation("Closed surface")
    click(case.ui.show3DBox)
    assert not node.GetSegmentation().ContainsRepresentation("Closed surface")


def test_revert_removes_a_new_segmentation(case):
    case.addImage()
    case.run()
    click(case.ui.revertButton)
    assert case.status == "Undone: result"
    case.assertUntouched()


def test_existing_segments_are_replaced_and_come_back_with_revert(case, host):
    volumeNode = case.addImage()
    case.run()
    (node,) = case.segmentations()
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.ones((40, 56, 40), np.uint8), node, node.GetSegmentation().GetNthSegmentID(0), volumeNode
    )
    before = voxels(node, SEGMENTS[0], volumeNode)
    choose(case.ui.outputSelector, node.GetName())
    assert "Replaces Anterior hippocampus, Posterior hippocampus in head hippocampus" in case.ui.fitLabel.text
    case.run()
    assert case.segmentations() == [node]
    assert not np.array_equal(voxels(node, SEGMENTS[0], volumeNode), before)
    click(case.ui.revertButton)
    np.testing.assert_array_equal(voxels(node, SEGMENTS[0], volumeNode), before)


def test_an_output_that_belongs_to_another_image_is_told(case):
    case.addImage()
    case.run()
    choose(case.ui.outputSelector, "head hippocampus")
    case.addImage("second")
    assert "head hippocampus belongs to another image, head." in case.ui.fitLabel.text


def test_segments_are_edited_here_and_the_table_follows(case, host):
    volumeNode = case.addImage()
    case.run()
    (node,) = case.segmentations()
    click(case.ui.editButton)
    assert not case.ui.mainFrame.visible
    editor = case.ui.editorFrame.findChild(slicer.qMRMLSegmentEditorWidget)
    assert editor.segmentationNode() is node
    assert editor.sourceVolumeNode() is volumeNode
    assert editor._shortcuts
    assert slicer.mrmlScene.GetSingletonNode("SegmentEditor", "vtkMRMLSegmentEditorNode") is None
    block = np.zeros((40, 56, 40), np.uint8)
    block[:10, :10, :10] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(block, node, node.GetSegmentation().GetNthSegmentID(0), volumeNode)
    click(case.ui.backButton)
    assert case.ui.mainFrame.visible
    assert not editor._shortcuts
    assert editor.segmentationNode() is None
    table = case.result.tableNode
    assert [table.GetCellText(0, column) for column in range(3)] == [SEGMENTS[0], "1", "1000"]
    assert case.ui.revertButton.text == "Undo: correction"
    click(case.ui.revertButton)
    assert case.status == "Undone: correction"
    assert case.result.tableNode.GetCellText(0, 2) != "1000"
    slicer.util.updateSegmentBinaryLabelmapFromArray(block, node, node.GetSegmentation().GetNthSegmentID(0), volumeNode)
    host.answer(False)  # what another module edited is not thrown away without asking
    click(case.ui.revertButton)
    assert "edited" in host.dialogs.take("question").text
    assert case.segmentations() == [node]
    host.answer(True)
    click(case.ui.revertButton)
    host.dialogs.take("question")
    case.assertUntouched()


def test_the_table_tells_of_both_sides_and_of_the_skull_what_is_edited_too(case, makeModel):
    sides = tuple(
        Label(n, f"{side.meaning} hippocampus", (n, n, n), modifier=side) for n, side in enumerate((LEFT, RIGHT), 1)
    )
    makeModel("whole", labels=sides, intracranial=(1, 2), cascade=None)
    volumeNode = case.addImage()
    case.parameters.model = "whole"
    case.run()
    assert case.table() == [
        ["Segment", "mL", "% of TIV", "Asym. (%)"],
        ["Total intracranial (TIV)", case.table()[1][1], "100.000", ""],
        ["Left hippocampus", case.table()[2][1], "50.000", "0.0"],
        ["Right hippocampus", case.table()[3][1], "50.000", "0.0"],
    ]
    header = case.ui.segmentTable.horizontalHeaderItem
    assert "100 * volume / total intracranial volume" in header(2).toolTip()
    assert "100 * (left - right) / ((left + right) / 2)" in header(3).toolTip()
    (node,) = case.segmentations()
    click(case.ui.editButton)
    block = np.zeros((40, 56, 40), np.uint8)
    block[:10, :10, :10] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(block, node, node.GetSegmentation().GetNthSegmentID(0), volumeNode)
    click(case.ui.backButton)
    right = np.count_nonzero(voxels(node, "Right hippocampus", volumeNode))
    counts = [case.ui.segmentTable.item(row, 0).toolTip().split(", ")[1] for row in range(3)]
    assert counts == [f"{1000 + right} voxels", "1000 voxels", f"{right} voxels"]
    assert [row[3] for row in case.table()[1:]] == ["", *[f"{200 * (1000 - right) / (1000 + right):.1f}"] * 2]


def test_the_editor_lets_go_of_the_views_while_another_module_is_open(case, host):
    case.addImage()
    case.run()
    click(case.ui.editButton)
    editor = case.ui.editorFrame.findChild(slicer.qMRMLSegmentEditorWidget)
    host.selectModule("")
    assert not editor._shortcuts
    host.selectModule("LLMBoostSegment")
    assert editor._shortcuts


# Other inputs


def test_a_model_of_several_channels_gets_as_many_images(case, makeModel):
    card = makeModel("contrasts", preprocessing={"channels": 2, "normalization": read_card(
        library.find("hippocampus")).preprocessing.normalization * 2})  # fmt: skip
    case.addImage("T1")
    assert not case.ui.inputSelector2.visible
    case.parameters.model = card.name
    assert case.ui.inputSelector2.visible
    assert not case.ui.inputSelector3.visible
    assert case.refused() == "Choose an image"
    choose(case.ui.inputSelector2, "T1")
    assert "chosen twice" in case.refused()
    slicer.util.addVolumeFromArray(np.ones((40, 56, 40), np.int16), name="T2")
    choose(case.ui.inputSelector2, "T2")
    case.run()
    assert names(case.segmentations()[0]) == SEGMENTS


def test_a_model_of_masks_takes_a_segment(case, makeModel):
    volumeNode = case.addImage()
    case.run()
    (source,) = case.segmentations()
    makeModel("shape", modality="SEG")
    case.parameters.model = "shape"
    assert not case.ui.inputSelector.visible
    assert case.refused() == "Choose a segment"
    case.ui.segmentSelector.setCurrentNode(source)
    case.ui.segmentSelector.setCurrentSegmentID(source.GetSegmentation().GetNthSegmentID(1))
    case.run()
    assert len(case.segmentations()) == 2
    mask = case.result.volumeNode
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(mask) > 0, voxels(source, SEGMENTS[1], volumeNode))


def test_a_color_image_suits_a_model_of_color_images_alone(case, makeModel):
    array = np.zeros((40, 56, 40, 3), np.uint8)
    node = slicer.util.addVolumeFromArray(array, name="photo", nodeClassName="vtkMRMLVectorVolumeNode")
    case.chooseImage(node)
    assert "a color image, but the model takes one component" in case.refused()
    assert case.ui.applyLabel.text == case.refused()
    normalization = read_card(library.find("hippocampus")).preprocessing.normalization * 3
    makeModel("photos", preprocessing={"channels": 3, "color": True, "normalization": normalization})
    case.parameters.model = "photos"
    case.run()
    assert names(case.segmentations()[0]) == SEGMENTS


# Time points


@pytest.fixture
def beating(case):
    """A sequence of three volumes, chosen by the volume that shows it."""
    sequence = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceNode", "heart sequence")
    sequence.SetIndexName("time")
    sequence.SetIndexUnit("s")
    for number in range(3):
        frame = slicer.util.addVolumeFromArray(np.full((8, 9, 10), number, np.int16), name="frame")
        sequence.SetDataNodeAtValue(frame, str(number / 10))
        slicer.mrmlScene.RemoveNode(frame)
    browser = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    proxy.SetName("heart")
    case.chooseImage(proxy)
    browser.SetSelectedItemNumber(1)
    case.panel.update()
    return proxy, browser, sequence


def test_a_sequence_asks_for_this_time_point_or_all(case, beating):
    assert [case.ui.framesBox.itemText(n) for n in range(case.ui.framesBox.count)] == ["This one (2 of 3)", "All 3"]
    case.run()
    assert len(case.segmentations()) == 1
    assert len(slicer.util.getNodesByClass("vtkMRMLSequenceNode")) == 1


def test_all_time_points_become_a_sequence_of_segmentations(case, host, beating):
    proxy, browser, sequence = beating
    choose(case.ui.framesBox, "All 3")
    assert not case.ui.uncertaintyBox.enabled
    case.run()
    (node,) = case.segmentations()
    assert node.GetName() == "heart hippocampus"
    assert names(node) == SEGMENTS
    made = browser.GetSequenceNode(node)
    assert made.GetNumberOfDataNodes() == 3
    assert made.GetNthIndexValue(2) == sequence.GetNthIndexValue(2)
    assert browser.GetSaveChanges(made)
    assert browser.GetSelectedItemNumber() == 1
    table = case.result.tableNode
    assert [table.GetColumnName(n) for n in range(3)] == ["time", *(f"{name} (mL)" for name in SEGMENTS)]
    assert table.GetNumberOfRows() == 3
    browser.SetSelectedItemNumber(2)
    assert voxels(node, SEGMENTS[0], proxy).any()
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1
    host.answer(True)
    click(case.ui.revertButton)
    assert "may have been edited" in host.dialogs.take("question").text
    assert not case.segmentations()
    assert slicer.util.getNodesByClass("vtkMRMLSequenceNode") == [sequence]
    assert not slicer.util.getNodesByClass("vtkMRMLTableNode")


def test_cancelling_a_sequence_leaves_nothing(case, beating):
    choose(case.ui.framesBox, "All 3")
    case.start()
    assert "time point 1 of 3" in case.status
    click(case.ui.applyButton)
    case.finish()
    assert case.status == "Cancelled"
    assert not case.segmentations()


@pytest.mark.parametrize("which", [0, 1])
def test_a_sequence_that_is_removed_meanwhile_ends_the_run(case, beating, which):
    choose(case.ui.framesBox, "All 3")
    case.start()
    slicer.mrmlScene.RemoveNode(beating[which])
    case.finish()
    assert "removed from the scene" in case.status
    assert not case.segmentations()
